"""Ways around a price: route x method x header, over real servers, as raw bytes. T42

Whatever a framework would hand to the priced handler is charged, or refused, or sent to the priced spelling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path, re_path
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from coinslot.server.classify import Charge, Pass, classify
from coinslot.transports import asgi, wsgi
from coinslot.transports import starlette as starlette_door
from coinslot.transports.slot import Slot
from support.djangosite import configured
from support.serving import Payer, asgi_server, raw_request, status_of, wsgi_server

assert configured

SECRET = b"worth a cent"
TABLE = {"GET /paid": "0.01", "GET /paid/{name}": "0.01", "/free": None}
# Request lines, as clients that look for a way around would write them.
LINES = [
    "GET /paid",
    "GET /paid/x",
    "GET /%70aid/x",
    "GET /paid%2Fx",
    "GET //paid/x",
    "GET ///paid//x",
    "GET /paid/",
    "GET /paid//",
    "GET /free/../paid/x",
    "GET /./paid/x",
    "GET /free/%2e%2e/paid/x",
    "GET /paid%0A",
    "GET /paid%0a%0a",
    "GET /paid/x%0A",
    "GET /paid/%00",
    "GET /paid%00",
    "GET /paid/%ff%fe",
    "GET /paid;x=1",
    "GET /paid?x=1",
    "GET /paid/x#y",
    "GET http://{host}/paid/x",
    "GET http://{host}//paid/x",
    "HEAD /paid/x",
    "get /paid/x",
    "Get /paid",
    "POST /paid/x",
    "PUT /paid",
    "BREW /paid/x",
    "OPTIONS /paid/x",
    "TRACE /paid",
]
HEADERS = [
    "",
    "X-HTTP-Method-Override: GET",
    "X-Method-Override: POST",
    "Origin: https://page.example\r\nAccess-Control-Request-Method: GET",
    "Payment-Authorization: Payment e30",
    "Authorization: Payment e30",
    "Authorization: Bearer x",
]


def starlette_app(mark: Callable[[Any], Any], middleware: list[Middleware], handler: bytes) -> Starlette:
    """Functions, a class that folds methods to lower case, and a mount that takes any."""

    @mark
    async def function(request: Request) -> Response:
        return Response(handler)

    class Everything(HTTPEndpoint):
        @mark
        async def get(self, request: Request) -> Response:
            return Response(handler)

    free = Route("/free", lambda request: PlainTextResponse("free"))
    return Starlette(routes=[Route("/paid", function), Route("/paid/{name}", Everything), free], middleware=middleware)


def flask_app(handler: bytes) -> flask.Flask:
    """A route that does not care about its last slash, and one that answers any method."""
    app = flask.Flask("shop")
    methods = ["GET", "POST", "PUT", "OPTIONS", "TRACE"]
    app.add_url_rule("/paid", "paid", lambda: handler, strict_slashes=False)
    app.add_url_rule("/paid/<name>", "more", lambda name: handler, methods=methods)
    app.add_url_rule("/free", "free", lambda: "free")
    return app


@contextmanager
def django_project(slot: Slot, middleware: list[str], handler: bytes) -> Iterator[str]:
    """Views that answer any method, and a pattern that a line feed slips through."""
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [
        re_path(r"^paid/?$", lambda request: HttpResponse(handler)),
        path("paid/<name>", lambda request, name: HttpResponse(handler)),
        path("free", lambda request: HttpResponse("free")),
    ]
    options = {"ROOT_URLCONF": urls, "MIDDLEWARE": middleware, "COINSLOT_SLOT": slot, "COINSLOT_ROUTES": TABLE}
    with override_settings(**options), wsgi_server(WSGIHandler()) as url:
        yield url


@contextmanager
def shop(kind: str, slot: Slot, priced: bool) -> Iterator[str]:
    """One of the shops, with the price or without."""
    if kind.startswith("starlette"):
        http = "h11" if kind.endswith("h11") else "httptools"
        middleware = [Middleware(asgi.CoinslotMiddleware, slot=slot, routes=TABLE)] if priced else []
        with asgi_server(starlette_app(lambda handler: handler, middleware, SECRET), http=http) as url:
            yield url
    elif kind == "decorated":
        mark = starlette_door.paid(slot, "0.01") if priced else lambda handler: handler
        with asgi_server(starlette_app(mark, [], SECRET), http="h11") as url:
            yield url
    elif kind == "flask":
        app = flask_app(SECRET)
        with wsgi_server(wsgi.CoinslotMiddleware(app.wsgi_app, slot, TABLE) if priced else app) as url:
            yield url
    else:
        ours = ["coinslot.transports.django.CoinslotMiddleware"] if priced else []
        with django_project(slot, ours, SECRET) as url:
            yield url


def ask(url: str, line: str, header: str) -> bytes:
    """One request of the matrix."""
    extra = f"{header}\r\n" if header else ""
    return raw_request(url, f"{line} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n{extra}\r\n".encode())


@pytest.mark.guard("T42")
@pytest.mark.parametrize("kind", ["starlette h11", "starlette httptools", "decorated", "flask", "django"])
def test_nothing_reaches_the_priced_handler_unpaid(slot: Slot, kind: str) -> None:
    """No line with no header brings what it sells; and without the price many would, so the matrix means something."""
    with shop(kind, slot, priced=True) as url:
        slipped = [(line, header) for line in LINES for header in HEADERS if SECRET in ask(url, line, header)]
    assert slipped == []
    with shop(kind, slot, priced=False) as url:
        reached = [line for line in LINES if SECRET in ask(url, line, "")]
    assert len(reached) >= 6
    assert {"GET /paid", "GET /%70aid/x"} <= set(reached)


def test_the_free_route_stays_free(slot: Slot) -> None:
    """A classifier that refuses everything would pass the matrix too."""
    for kind in ("starlette h11", "flask", "django"):
        with shop(kind, slot, priced=True) as url:
            assert status_of(ask(url, "GET /free", "")) == 200


@pytest.mark.guard("T42")
def test_a_priced_websocket_is_refused(slot: Slot) -> None:
    """It would be a way around the price; a free one connects."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    with asgi_server(asgi.CoinslotMiddleware(app, slot, TABLE)) as url:
        address = url.replace("http", "ws")
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{address}/paid/x").__enter__()
        assert refused.value.response.status_code == 403
        with connect(f"{address}/free"):
            pass


def test_another_spelling_is_sent_to_the_priced_one(slot: Slot, payer: Payer) -> None:
    """Nobody pays for a redirect: it comes first, relative, with the query, under any mount point."""
    table = {"GET /paid": "0.01"}
    inner = starlette_app(
        lambda handler: handler, [Middleware(asgi.CoinslotMiddleware, slot=slot, routes=table)], SECRET
    )
    with asgi_server(Starlette(routes=[Mount("/shop", inner)])) as url:
        answer = payer.client.get(f"{url}/shop/paid/?x=1")
        assert (answer.status_code, answer.headers["location"]) == (308, "../paid?x=1")
        followed = payer.client.get(f"{url}/shop/paid/?x=1", follow_redirects=True)
        assert followed.status_code == 402
        assert str(followed.url) == f"{url}/shop/paid?x=1"


def test_a_mount_point_is_not_part_of_the_pattern(slot: Slot) -> None:
    """Under --root-path, a framework's own root_path, or SCRIPT_NAME, the same patterns charge."""
    app = starlette_app(lambda handler: handler, [], SECRET)
    door = asgi.CoinslotMiddleware(app, slot, TABLE)
    with asgi_server(door, root_path="/shop") as url:
        assert status_of(ask(url, "GET /paid", "")) == 402
    app.root_path = "/shop"  # type: ignore[attr-defined]  # as FastAPI does
    rooted = asgi.CoinslotMiddleware(app, slot, TABLE)
    with asgi_server(rooted) as url:
        assert status_of(ask(url, "GET /shop/paid", "")) == 402

    under = wsgi.CoinslotMiddleware(flask_app(SECRET).wsgi_app, slot, TABLE)

    def mounted(environ: dict[str, Any], start_response: Any) -> Any:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/shop", environ["PATH_INFO"].removeprefix("/shop")
        return under(environ, start_response)

    with wsgi_server(mounted) as url:
        assert status_of(ask(url, "GET /shop/paid", "")) == 402


@pytest.mark.guard("T42")
def test_a_preflight_is_free_and_brings_nothing(slot: Slot) -> None:
    """The application's permissions pass; its content and its other headers do not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"access-control-allow-origin", b"*"), (b"x-result", SECRET), (b"content-length", b"12")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": SECRET})

    def old(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("X-Result", SECRET.decode())])
        return [SECRET]

    for server, door in (
        (asgi_server, asgi.CoinslotMiddleware(app, slot, TABLE)),
        (wsgi_server, wsgi.CoinslotMiddleware(old, slot, TABLE)),
    ):
        with server(door) as url:
            answer = ask(url, "OPTIONS /paid", HEADERS[3])
        assert status_of(answer) == 200
        assert b"access-control-allow-origin: *" in answer.lower()
        assert SECRET not in answer


@pytest.mark.guard("T42")
@pytest.mark.parametrize(
    ("method", "where", "overrides", "expected"),
    [
        ("GET", "/paid", (), 402),
        ("get", "/paid", (), 402),
        ("HEAD", "/paid", (), 402),
        ("POST", "/paid", (), 405),
        ("BREW", "/paid", (), 405),
        ("POST", "/listed", (), 0),
        ("POST", "/listed", ("get",), 400),
        ("GET", "/listed", ("POST",), 402),
        ("OPTIONS", "/paid", (), -1),
        ("GET", "/paid/", (), 308),
        ("GET", "//paid", (), 400),
        ("GET", "/paid\n", (), 400),
        ("GET", "/a/../paid", (), 400),
        ("GET", "paid", (), 400),
        ("GET", "/index/", (), 0),
        ("GET", "/deep", (), 0),
        ("GET", "/deep/a//b", (), 402),
        ("GET", "/deep/free", (), 0),
        ("GET", "/other", ("POST",), 0),
        ("GET", "/.well-known/x", (), 0),
    ],
)
def test_one_classifier(slot: Slot, method: str, where: str, overrides: tuple[str, ...], expected: int) -> None:
    """402 is charged, 0 passes, -1 passes without content, else it is refused with that status."""
    routes = slot.routes(
        {
            "GET /paid": "0.01",
            "GET /listed": "0.01",
            "POST /listed": None,
            "/deep/free": None,
            "/deep/**": "0.01",
            "/index": None,
        }
    )
    found = classify(routes, method, where, "", overrides)
    if isinstance(found, Charge):
        assert expected == 402
    elif isinstance(found, Pass):
        assert expected == (-1 if found.bare else 0)
    else:
        assert found.status == expected
        assert ("cache-control", "no-store") in found.headers
        if expected == 405:
            assert ("allow", "GET, HEAD") in found.headers
            assert json.loads(found.body)["status"] == 405
