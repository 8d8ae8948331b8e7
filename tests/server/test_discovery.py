"""What a service publishes of its prices: complete, in the shape that the document draws, and the same as its 402."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme

from coinslot.core.challenge import parse_challenge
from coinslot.errors import ConfigError
from coinslot.server.discovery import Service, llms_txt, openapi, priced
from coinslot.server.price import Routes
from coinslot.transports import wsgi
from coinslot.transports.asgi import CoinslotMiddleware, Receive, Scope, Send
from coinslot.transports.pages import discoverable, discoverable_wsgi
from coinslot.transports.slot import RouteTable, Slot
from support.serving import asgi_server, make_slot, wsgi_server
from support.toybank import Bank

SERVICE = Service(
    "Fish prices",
    "2.1.0",
    ("data", "developer-tools"),
    {"homepage": "https://fish.example/", "llms": "https://f.ex/l%20m"},
)
AMOUNT = re.compile(r"0|[1-9][0-9]*")


@pytest.fixture
def slot(bank: Bank) -> Slot:
    """A slot of the toy method."""
    return make_slot(bank)


@pytest.fixture
def routes(slot: Slot) -> Routes:
    """Every kind of price."""
    table: RouteTable = {
        "GET /paid/*": "0.01",
        "POST /v1/{model}/run": slot.price(lambda request: "1", description="by size"),
        "/any": "1000",
        "PUT,DELETE /things/{id}": slot.price("2.5", description="a thing"),
        "PURGE /cache": "1",
        "GET /docs/**": None,
    }
    return slot.routes(table)


def require_offer(offer: object) -> None:
    """An offer in the shape of the document's schema, nothing more in it."""
    assert isinstance(offer, dict)
    assert set(offer) <= {"intent", "method", "amount", "currency", "description"}
    assert offer["intent"] in ("charge", "session")
    assert isinstance(offer["method"], str)
    assert "amount" in offer
    assert offer["amount"] is None or AMOUNT.fullmatch(offer["amount"])
    assert all(isinstance(offer.get(name, ""), str) for name in ("currency", "description"))


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, all of them."""
    return [(path, verb, one) for path, item in document["paths"].items() for verb, one in item.items()]


@pytest.mark.spec("DISC-002", "DISC-005", "DISC-006", "DISC-007", "DISC-008", "DISC-009")
def test_the_document_has_what_every_document_has(routes: Routes) -> None:
    """Version of the format, name and version of the service, and operations."""
    document = openapi(routes, SERVICE)
    assert document["openapi"].startswith("3.")
    assert document["info"] == {"title": "Fish prices", "version": "2.1.0"}
    assert [(path, verb) for path, verb, _ in operations(document)] == [
        ("/paid/{rest}", "get"), ("/paid/{rest}", "head"), ("/v1/{model}/run", "post"), ("/any", "get"),
        ("/any", "post"), ("/any", "put"), ("/any", "patch"), ("/any", "delete"), ("/things/{id}", "delete"),
        ("/things/{id}", "put"), ("/docs/{rest}", "get"), ("/docs/{rest}", "head"),
    ]  # fmt: skip
    with pytest.raises(ConfigError):
        openapi(Routes.of([]), SERVICE)


@pytest.mark.spec("DISC-017", "DISC-018", "DISC-022", "DISC-023", "DISC-024", "DISC-025", "DISC-026", "DISC-027")
@pytest.mark.spec("DISC-028")
def test_every_payable_operation_says_what_it_costs(routes: Routes) -> None:
    """Offers in the list form, amounts in base units or null where they are computed, and a 402 among the answers."""
    document = openapi(routes, SERVICE)
    for path, verb, operation in operations(document):
        if path == "/docs/{rest}":
            assert "x-payment-info" not in operation
            assert "402" not in operation["responses"]
            continue
        assert set(operation["x-payment-info"]) == {"offers"}, (path, verb)
        assert len(operation["x-payment-info"]["offers"]) == 1
        for offer in operation["x-payment-info"]["offers"]:
            require_offer(offer)
        assert operation["responses"]["402"] == {"description": "Payment Required"}
    amounts = {
        path: one["x-payment-info"]["offers"][0]["amount"]
        for path, _, one in operations(document)
        if "402" in one["responses"]
    }
    assert amounts == {
        "/paid/{rest}": "10000",
        "/v1/{model}/run": None,
        "/any": "1000000000",
        "/things/{id}": "2500000",
    }
    assert document["paths"]["/things/{id}"]["put"]["x-payment-info"]["offers"][0]["description"] == "a thing"


@pytest.mark.spec("DISC-029")
def test_operations_that_take_a_body_say_so(routes: Routes) -> None:
    """And the others don't."""
    for _, verb, operation in operations(openapi(routes, SERVICE)):
        assert ("requestBody" in operation) == (verb in ("post", "put", "patch"))


def test_every_parameter_of_a_path_is_declared(routes: Routes) -> None:
    """OpenAPI wants each {name} of a template named among the parameters."""
    for path, _, operation in operations(openapi(routes, SERVICE)):
        declared = [one["name"] for one in operation.get("parameters", [])]
        assert re.findall(r"\{(\w+)\}", path) == declared


@pytest.mark.spec("DISC-010", "DISC-012", "DISC-015", "DISC-016")
def test_the_service_says_what_it_is(routes: Routes) -> None:
    """Categories and links, where there are any."""
    assert openapi(routes, SERVICE)["x-service-info"] == {
        "categories": ["data", "developer-tools"],
        "docs": {"homepage": "https://fish.example/", "llms": "https://f.ex/l%20m"},
    }
    assert "x-service-info" not in openapi(routes, Service("x"))


@pytest.mark.spec("DISC-010", "DISC-012", "DISC-013", "DISC-015", "DISC-016")
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"title": ""}, "title"),
        ({"version": ""}, "version"),
        ({"categories": ("Developer Tools",)}, "categories"),
        ({"categories": ("-data",)}, "categories"),
        ({"categories": tuple("abcdef")}, "categories"),
        ({"docs": {"blog": "https://x.example"}}, "docs"),
        ({"docs": {"homepage": "fish dot example"}}, "homepage"),
        ({"docs": {"homepage": "https://fish.example/ü"}}, "homepage"),
        ({"docs": {"llms": "https://fish.example/%zz"}}, "llms"),
    ],
)
def test_a_wrong_self_description_is_refused(wrong: dict[str, Any], named: str) -> None:
    """Which setting, at start-up."""
    with pytest.raises(ConfigError, match=named):
        Service(**{"title": "x", **wrong})


def test_an_applications_own_document_gets_prices(routes: Routes) -> None:
    """Its schemas and texts stay; what is free, or not in the table, is not touched."""
    body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    run = {"summary": "run it", "requestBody": body, "responses": {"200": {"description": "done"}}}
    own = {
        "openapi": "3.1.0",
        "info": {"title": "mine", "version": "9"},
        "paths": {
            "/v1/{model}/run": {"post": run, "parameters": []},
            "/docs/{page}": {"get": {"responses": {}}},
            "/other": {"get": {"responses": {}}},
        },
        "components": {"schemas": {}},
    }
    document = priced(own, routes)
    paid = document["paths"]["/v1/{model}/run"]["post"]
    assert paid["x-payment-info"]["offers"][0]["amount"] is None
    assert paid["requestBody"] == body
    assert set(paid["responses"]) == {"200", "402"}
    assert document["paths"]["/docs/{page}"] == own["paths"]["/docs/{page}"]  # type: ignore[index]
    assert document["paths"]["/other"] == {"get": {"responses": {}}}
    assert (document["info"], document["components"]) == (own["info"], own["components"])
    assert "402" not in run["responses"]


def test_the_page_for_language_models_names_routes_and_prices(routes: Routes) -> None:
    """Every route, what it costs, and where to read more."""
    text = llms_txt(routes, SERVICE)
    assert text.startswith("# Fish prices\n")
    assert "- `GET, HEAD /paid/*`: 0.01 (toy/charge)" in text
    assert "- `POST /v1/{model}/run`: a price computed for each request (toy/charge) - by size" in text
    assert "- `GET, HEAD /docs/**`: free" in text
    assert "(https://fish.example/)" in text
    assert "/openapi.json" in text


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.spec("DISC-003", "DISC-030", "DISC-031", "DISC-036")
def test_a_middleware_serves_its_pages(slot: Slot) -> None:
    """Free even where everything else is priced, for five minutes, readable from any origin; the rest is charged."""
    app = discoverable(CoinslotMiddleware(hello, slot, {"GET /**": "0.01"}), SERVICE)
    with asgi_server(app) as url:
        page = httpx.get(f"{url}/openapi.json")
        assert page.status_code == 200
        assert page.headers["content-type"] == "application/json"
        assert page.headers["cache-control"] == "max-age=300"
        assert page.headers["access-control-allow-origin"] == "*"
        offer = page.json()["paths"]["/{rest}"]["get"]["x-payment-info"]["offers"][0]
        assert httpx.get(f"{url}/llms.txt").text.startswith("# Fish prices")
        assert httpx.head(f"{url}/openapi.json").content == b""
        asked = httpx.get(f"{url}/openapi.jsonx")
        assert asked.status_code == 402
        request = parse_challenge(asked.headers["www-authenticate"]).request_object()
        assert (offer["amount"], offer["currency"]) == (request["amount"], request["currency"])


def test_a_wsgi_middleware_serves_the_same_pages(slot: Slot) -> None:
    """Free and readable; everything else is charged."""

    def plain(environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    app = discoverable_wsgi(wsgi.CoinslotMiddleware(plain, slot, {"GET /**": "0.01"}), SERVICE)
    with wsgi_server(app) as url:
        assert "/{rest}" in httpx.get(f"{url}/openapi.json").json()["paths"]
        assert httpx.get(f"{url}/llms.txt").text.startswith("# Fish prices")
        assert httpx.get(f"{url}/else").status_code == 402


def test_a_middleware_publishes_an_applications_own_document(slot: Slot) -> None:
    """As FastAPI and others make it, with prices."""
    own = {"openapi": "3.1.0", "info": {"title": "mine", "version": "9"}, "paths": {"/a": {"get": {"responses": {}}}}}
    app = discoverable(CoinslotMiddleware(hello, slot, {"GET /a": "0.01"}), SERVICE, own)
    with asgi_server(app) as url:
        told = httpx.get(f"{url}/openapi.json").json()
    assert told["info"]["title"] == "mine"
    assert "x-payment-info" in told["paths"]["/a"]["get"]


@pytest.mark.spec("DISC-004")
def test_the_document_is_served_over_https(slot: Slot, tmp_path: Path) -> None:
    """With its content type, to a client that checks the certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    app = discoverable(CoinslotMiddleware(hello, slot, {"GET /paid": "0.01"}), SERVICE)
    with asgi_server(app, ssl_certfile=str(tmp_path / "cert"), ssl_keyfile=str(tmp_path / "key")) as url:
        port = url.rpartition(":")[2]
        page = httpx.get(f"https://localhost:{port}/openapi.json", verify=trusting)
    assert page.headers["content-type"] == "application/json"
    assert msgspec.json.decode(page.content)["paths"]["/paid"]["get"]["x-payment-info"]
