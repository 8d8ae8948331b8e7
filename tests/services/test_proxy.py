"""The reverse proxy alone: what it was sent arrives, byte for byte, and what comes back does too."""

from __future__ import annotations

import http.server
import socket
from collections.abc import Iterator

import httpx
import pytest

from coinslot.services import proxy as proxying
from coinslot.services.proxy import Proxy
from support.upstream import Call, Upstream, serving


class Forwarding:
    """The proxy as an application with a lifespan."""

    def __init__(self, url: str) -> None:
        self.proxy = Proxy(url)

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "lifespan":
            await self.proxy(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.proxy.close()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def api() -> Iterator[Upstream]:
    """An API that echoes what it was asked."""
    with Upstream() as running:
        yield running


@pytest.fixture
def front(api: Upstream) -> Iterator[str]:
    """The proxy's URL; the API's has a path of its own."""
    with serving(Forwarding(api.url + "/prefix/")) as url:
        yield url


def _exchange(url: str, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), 10) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.parametrize(
    "target", ["/a%2Fb;c=d/%7e%41?q=%20+&q=%c3%a9", "/a//b/../c?x=y?z", "/x?", "/%C3%A9/~user/!$&'()*+,"]
)
def test_a_target_is_passed_on_as_it_was_spelled(api: Upstream, front: str, target: str) -> None:
    """Nothing is decoded, encoded, joined or tidied up, but for an empty query."""
    _exchange(front, f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode("ascii"))
    assert api.calls[0].target == "/prefix" + target.removesuffix("?")


def test_a_field_that_stands_twice_arrives_twice(api: Upstream, front: str) -> None:
    """In its order, also with characters outside ASCII; and the proxy adds no field of its own taste."""
    fields = b"X-One: a\r\nX-One: b\r\nX-Two: \xc3\xa9\r\nX-Three: \xe9\r\n"
    _exchange(front, b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"Connection: close\r\n\r\n")
    call = api.calls[0]
    assert call.all("x-one") == ["a", "b"]
    assert [call.all(name)[0].encode("latin-1") for name in ("x-two", "x-three")] == ["é".encode(), "é".encode()]
    names = {name.lower() for name, _ in call.headers}
    assert names == {"host", "x-one", "x-two", "x-three", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_arrives_whole(api: Upstream, front: str, framing: str) -> None:
    """With its length, or in pieces; a client that waits to be asked for it is asked."""
    body = b"0123456789" * 100_000
    content = body if framing == "length" else iter([body[:100], body[100:]])
    httpx.post(front + "/x", content=content, headers={"expect": "100-continue"}, trust_env=False, timeout=30)
    assert api.calls[0].body == body
    assert api.calls[0].all("expect") == []


def test_an_answer_may_have_long_fields() -> None:
    """As long as what we would take from a client."""
    long = "v" * 30_000
    with Upstream(answer=lambda call: (200, {"X-Long": long}, b"ok")) as api, serving(Forwarding(api.url)) as url:
        assert httpx.get(url, trust_env=False).headers["x-long"] == long


def test_an_answer_passes_as_it_was_compressed_and_redirects_are_not_followed() -> None:
    """What an API says is for its client."""

    def answer(call: Call) -> tuple[int, dict[str, str], bytes]:
        return 302, {"Location": "/elsewhere", "Content-Encoding": "gzip", "Set-Cookie": "a=b"}, b"not gzip at all"

    with Upstream(answer=answer) as api, serving(Forwarding(api.url)) as url:
        for _ in range(2):
            with httpx.stream("GET", url + "/x", trust_env=False) as got:
                assert (got.status_code, b"".join(got.iter_raw())) == (302, b"not gzip at all")
        assert [(call.target, call.all("cookie")) for call in api.calls] == [("/x", []), ("/x", [])]


def test_an_upstream_that_speaks_another_protocol_is_a_bad_gateway() -> None:
    """What follows on its line is no answer."""

    def switch(handler: http.server.BaseHTTPRequestHandler, _: Call) -> None:
        handler.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")

    with Upstream(raw=switch) as api, serving(Forwarding(api.url)) as url:
        assert httpx.get(url, trust_env=False).status_code == 502


def test_an_upstream_that_does_not_answer_in_time_is_a_504(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is no refusal: whoever asked may ask again."""
    monkeypatch.setattr(proxying, "READ_TIMEOUT_S", 0.3)
    quiet = socket.socket()
    quiet.bind(("127.0.0.1", 0))
    quiet.listen()
    with quiet, serving(Forwarding(f"http://127.0.0.1:{quiet.getsockname()[1]}")) as url:
        assert httpx.get(url, trust_env=False).status_code == 504


def test_a_post_is_never_sent_twice() -> None:
    """An upstream that hangs up without an answer may have done what it was asked."""

    calls: list[Call] = []

    def hang_up(handler: http.server.BaseHTTPRequestHandler, call: Call) -> None:
        if len(calls) > 1:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Upstream(raw=hang_up, calls=calls) as shop, serving(Forwarding(shop.url)) as url:
        statuses = [httpx.post(url, content=b"x", trust_env=False).status_code for _ in range(2)]
        assert (statuses, len(calls)) == ([200, 502], 2)
