"""The gate in front of an ordinary API: what is charged, what passes, what neither side gets to see."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from yarl import URL

from coinslot.client.events import Paid
from coinslot.client.wallet import wallet
from coinslot.core.challenge import parse_challenge
from coinslot.errors import PaymentOutcomeUnknown
from coinslot.transports.httpx import PayingTransport, pay
from support.toybank import Bank
from support.upstream import Call, Gated, Upstream, gate_for

PRICES: dict[str, Any] = {
    "GET /paid/*": "0.01",
    "POST /paid/*": {"amount": "0.02", "description": "a post"},
    "POST /big/*": {"amount": "0.02", "bind_body": False},
    "/v1/{name}/do": "1",
}


@pytest.fixture
def api() -> Iterator[Upstream]:
    """An API that echoes what it was asked."""
    with Upstream() as running:
        yield running


@pytest.fixture
def gated(api: Upstream, bank: Bank) -> Iterator[Gated]:
    """A gate with priced and free routes."""
    with gate_for(api, PRICES, bank, free=["GET /", "/open/**"]) as running:
        yield running


@pytest.fixture
def client(alice: dict[str, object]) -> Iterator[httpx.Client]:
    """A client that pays."""
    with pay(httpx.Client(trust_env=False), wallet(toy=alice)) as paying:
        yield paying


def raw(url: str, request: bytes) -> bytes:
    """The answer to exactly these bytes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


@pytest.mark.spec("CORE-002", "CORE-012", "CORE-111")
def test_an_unpaid_request_gets_a_402_and_never_reaches_the_api(api: Upstream, gated: Gated) -> None:
    """With a challenge that can be read, and not to be cached."""
    answer = httpx.get(gated.url + "/paid/x")
    assert answer.status_code == 402
    challenge = parse_challenge(answer.headers["www-authenticate"])
    assert (challenge.realm, challenge.request_object()["amount"]) == ("gate.example", "10000")
    assert answer.headers["cache-control"] == "no-store"
    assert api.calls == []


def test_a_paid_request_is_served_once_with_a_receipt(api: Upstream, gated: Gated, client: httpx.Client) -> None:
    """The API sees the request as it was, once."""
    answer = client.get(gated.url + "/paid/x?q=1&q=2")
    done = answer.extensions["coinslot"]
    assert isinstance(done, Paid)
    assert done.receipt is not None
    assert (answer.status_code, answer.text) == (200, "GET /paid/x?q=1&q=2")
    assert [call.target for call in api.calls] == ["/paid/x?q=1&q=2"]
    assert "private" in answer.headers["cache-control"]


@pytest.mark.spec("CORE-007", "CORE-010")
def test_free_routes_pass_and_all_others_are_not_found(api: Upstream, gated: Gated) -> None:
    """Nothing is free by accident: not another method of a priced path, not a path beside it."""
    assert httpx.get(gated.url + "/").text == "GET /"
    assert httpx.post(gated.url + "/open/a/b", content=b"x").text == "POST /open/a/b"
    for method, path in [("GET", "/nothing"), ("DELETE", "/paid/x"), ("GET", "/paid"), ("PUT", "/")]:
        assert httpx.request(method, gated.url + path).status_code == 404, (method, path)
    assert len(api.calls) == 2


@pytest.mark.guard("T42")
def test_head_costs_what_get_costs(api: Upstream, gated: Gated) -> None:
    """HEAD follows GET."""
    answer = httpx.head(gated.url + "/paid/x")
    assert (answer.status_code, answer.content) == (402, b"")
    assert api.calls == []


@pytest.mark.guard("T42")
@pytest.mark.parametrize(
    "target",
    [
        "/open/../paid/x",
        "/open/%2e%2e/paid/x",
        "/open/..%2fpaid/x",
        "//paid/x",
        "/open//../paid/x",
        "/open\\..\\paid\\x",
        "/open/%5c..%5cpaid",
        "/./paid/x",
        "/open/%00",
    ],
)
def test_a_path_with_two_readings_is_refused(api: Upstream, gated: Gated, target: str) -> None:
    """What the API might read as a priced path must not pass as a free one."""
    host = urlsplit(gated.url).netloc
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert raw(gated.url, request.encode()).startswith(b"HTTP/1.1 400 ")
    assert api.calls == []


@pytest.mark.guard("T42")
@pytest.mark.parametrize("target", ["/%70aid/x", "/paid/%78", "http://evil.example/paid/x"])
def test_another_spelling_of_a_priced_path_is_charged(api: Upstream, gated: Gated, target: str) -> None:
    """Percent-encoding and absolute-form targets are the same route."""
    request = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    answer = raw(gated.url, request.encode())
    assert answer.startswith(b"HTTP/1.1 402 ")
    assert b"evil.example" not in answer
    assert api.calls == []


def test_a_post_is_bound_to_its_body(api: Upstream, gated: Gated, client: httpx.Client) -> None:
    """The same bytes reach the API; other bytes under the credential do not."""
    answer = client.post(gated.url + "/paid/x", content=b"hello")
    assert answer.status_code == 200
    assert api.calls[0].body == b"hello"
    seen: list[str] = []

    class Remembering(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.headers.get("authorization", ""))
            return super().handle_request(request)

    door = client._transport
    assert isinstance(door, PayingTransport)
    door._inner.close()
    door._inner = Remembering()
    client.post(gated.url + "/paid/y", content=b"one")
    stolen = httpx.post(gated.url + "/paid/y", content=b"two", headers={"Authorization": seen[-1]})
    assert stolen.status_code == 402
    assert stolen.json()["type"].endswith("/invalid-challenge")
    assert [call.body for call in api.calls] == [b"hello", b"one"]


def test_a_body_over_a_mebibyte_is_refused_unless_the_route_opts_out(
    api: Upstream, gated: Gated, client: httpx.Client
) -> None:
    """413 before anything is paid; opted out, any size streams through."""
    large = b"x" * (1024 * 1024 + 1)
    assert httpx.post(gated.url + "/paid/x", content=large).status_code == 413
    assert client.post(gated.url + "/big/x", content=large).status_code == 200
    assert [len(call.body) for call in api.calls] == [len(large)]


@pytest.mark.guard("T44")
def test_payments_stay_with_the_gate_and_hops_with_their_connection(
    api: Upstream, gated: Gated, client: httpx.Client
) -> None:
    """The API gets neither credential nor hop-by-hop headers; forwarding headers are ours, whoever claims them."""
    headers = {
        "Connection": "x-hop, keep-alive",
        "X-Hop": "1",
        "X-Keep": "2",
        "TE": "trailers",
        "Proxy-Authorization": "secret",
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "Payment-Receipt": "forged",
        "Accept-Payment": "toy/charge",
    }
    assert client.get(gated.url + "/paid/x", headers=headers).status_code == 200
    (call,) = api.calls
    for name in ("authorization", "payment-authorization", "accept-payment", "payment-receipt", "x-hop", "te"):
        assert call.all(name) == [], name
    assert call.all("proxy-authorization") == []
    assert call.all("forwarded") == []
    assert (call.all("x-keep"), call.all("x-forwarded-for")) == (["2"], ["127.0.0.1"])
    assert call.all("x-forwarded-host") == [urlsplit(gated.url).netloc]
    assert call.all("host") == [urlsplit(api.url).netloc]


@pytest.mark.guard("T44")
def test_other_authorization_reaches_the_api_on_free_routes(api: Upstream, gated: Gated) -> None:
    """A bearer token is the API's business; a payment is not, alone or joined to another scheme."""
    httpx.get(gated.url + "/open/x", headers={"Authorization": "Bearer abc"})
    httpx.get(gated.url + "/open/x", headers={"Authorization": "Payment abc"})
    httpx.get(gated.url + "/open/x", headers={"Authorization": "Bearer abc, Payment abc"})
    assert [call.all("authorization") for call in api.calls] == [["Bearer abc"], [], []]


@pytest.mark.guard("T44")
def test_the_api_cannot_speak_of_payments_in_our_name(bank: Bank, client: httpx.Client) -> None:
    """Its receipts and payment challenges are dropped, its other challenges kept."""

    def answer(call: Call) -> tuple[int, dict[str, str], bytes]:
        own = "Payment id=a" if "pay" in call.target.split("/")[-1] else 'Basic realm="api"'
        return 200, {"Payment-Receipt": "forged", "WWW-Authenticate": own, "Keep-Alive": "1"}, b"ok"

    with Upstream(answer) as api, gate_for(api, {"GET /paid/*": "0.01"}, bank, free=["/free"]) as gated:
        first = client.get(gated.url + "/paid/pay")
        second = client.get(gated.url + "/paid/other")
        free = client.get(gated.url + "/free")
    assert "payment-receipt" not in free.headers
    assert first.headers["payment-receipt"] != "forged"
    assert "www-authenticate" not in first.headers
    assert second.headers["www-authenticate"] == 'Basic realm="api"'
    assert "keep-alive" not in second.headers


def test_a_stream_passes_through_before_it_is_complete(bank: Bank, client: httpx.Client) -> None:
    """The first chunk is read before the API has made the second."""
    made_second = threading.Event()
    read_first = threading.Event()

    def stream(handler: http.server.BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\none\r\n")
        assert read_first.wait(60)
        made_second.set()
        handler.wfile.write(b"3\r\ntwo\r\n0\r\n\r\n")

    with (
        Upstream(raw=stream) as api,
        gate_for(api, {"GET /paid/*": "0.01"}, bank) as gated,
        client.stream("GET", gated.url + "/paid/x") as answer,
    ):
        chunks = answer.iter_raw()
        assert next(chunks) == b"one"
        assert not made_second.is_set()
        read_first.set()
        assert b"".join(chunks) == b"two"


def test_an_upload_streams_to_the_api_where_the_route_opts_out(bank: Bank, alice: dict[str, object]) -> None:
    """The API reads the first bytes while the client still holds back the last."""
    got_first, send_rest = threading.Event(), threading.Event()

    def take(handler: http.server.BaseHTTPRequestHandler, call: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    with Upstream(raw=take) as api, gate_for(api, {"GET /paid/*": "1"}, bank, free=["POST /open/*"]) as gated:
        parts = urlsplit(gated.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

        def body() -> Iterator[bytes]:
            yield b"first"
            got_first.set()
            assert send_rest.wait(60)
            yield b"rest"

        sender = threading.Thread(
            target=lambda: connection.request(
                "POST", "/open/x", body=body(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
            ),
            daemon=True,
        )
        sender.start()
        assert got_first.wait(60)
        send_rest.set()
        sender.join(60)
        assert connection.getresponse().read() == b"ok"
        connection.close()
    assert api.calls[0].body == b"firstrest"


def test_an_api_that_is_down_leaves_the_payment_redeemable(bank: Bank, alice: dict[str, object]) -> None:
    """502 without a receipt; the same credential is served once the API is back, and nothing is paid twice."""
    with Upstream() as api:
        down = api.url
    with Upstream() as api, gate_for(api, {"GET /paid/*": "0.01"}, bank) as gated:
        proxy = gated.gate._proxy
        back = proxy._base
        proxy._base = URL(down)
        with pay(httpx.Client(trust_env=False), wallet(toy=alice)) as paying:
            first = paying.get(gated.url + "/paid/x")
            assert first.status_code == 502
            assert "payment-receipt" not in first.headers
            proxy._base = back
            resume = first.extensions["coinslot"].resume
            second = paying.get(gated.url + "/paid/x", extensions={"coinslot_resume": resume})
    assert (second.status_code, second.text) == (200, "GET /paid/x")
    assert bank.balance("shop", "coin") == 10_000


def test_a_stream_that_breaks_off_does_not_look_whole(bank: Bank, alice: dict[str, object]) -> None:
    """Half an answer ends in an error, and the payment can be redeemed for a whole one."""
    broken = [True]

    def stream(handler: http.server.BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\none\r\n")
        if broken.pop() if broken else False:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.wfile.write(b"0\r\n\r\n")

    with (
        Upstream(raw=stream) as api,
        gate_for(api, {"GET /paid/*": "0.01"}, bank) as gated,
        pay(httpx.Client(trust_env=False), wallet(toy=alice)) as paying,
    ):
        with pytest.raises(PaymentOutcomeUnknown) as cut:
            paying.get(gated.url + "/paid/x")
        again = paying.get(gated.url + "/paid/x", extensions={"coinslot_resume": cut.value.resume})
    assert (again.status_code, again.text) == (200, "one")
    assert bank.balance("shop", "coin") == 10_000


def test_the_gate_has_pages_of_its_own(gated: Gated, client: httpx.Client) -> None:
    """Health, metrics, discovery; none of them asks for money."""
    assert httpx.get(gated.url + "/healthz").json() == {"status": "ok"}
    httpx.get(gated.url + "/paid/x")
    client.get(gated.url + "/paid/x")
    metrics = httpx.get(gated.url + "/metrics").text
    assert 'coinslot_challenges_total{problem="payment-required"} 2' in metrics
    assert 'coinslot_paid_units_total{method="toy"' in metrics
    document = httpx.get(gated.url + "/openapi.json")
    assert document.headers["content-type"] == "application/json"
    operation = document.json()["paths"]["/paid/{rest}"]["post"]
    assert operation["x-payment-info"]["offers"][0]["amount"] == "20000"
    assert "402" in operation["responses"]
    assert "POST /paid/*" in httpx.get(gated.url + "/llms.txt").text


def test_health_fails_when_the_store_does(gated: Gated) -> None:
    """503, so that a load balancer sends nobody here."""
    gated.gate.slot.store.close()
    answer = httpx.get(gated.url + "/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")


def test_a_preflight_is_free_and_reaches_the_api(api: Upstream, gated: Gated) -> None:
    """A browser asks before it pays."""
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    assert httpx.options(gated.url + "/paid/x", headers=headers).status_code == 200
    assert httpx.options(gated.url + "/paid/x").status_code == 404
    assert [call.method for call in api.calls] == ["OPTIONS"]


def test_the_answer_of_a_bearer_of_two_credentials_is_400(gated: Gated) -> None:
    """One credential a request."""
    token = json.dumps({}).encode().hex()
    headers = [("Authorization", f"Payment {token}"), ("Authorization", f"Payment {token}")]
    assert httpx.get(gated.url + "/paid/x", headers=headers).status_code == 400
