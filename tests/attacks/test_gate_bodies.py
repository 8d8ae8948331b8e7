"""A body that the gate hands on is as long as its sender said, whatever else the sender says."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from support.toybank import Bank
from support.upstream import Gated, Upstream, gate_for

INNER = b"GET /paid/x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def api() -> Iterator[Upstream]:
    """An API that echoes what it was asked."""
    with Upstream() as running:
        yield running


@pytest.fixture
def gated(api: Upstream, bank: Bank) -> Iterator[Gated]:
    """A gate with a priced and a free folder."""
    with gate_for(api, {"GET /paid/*": "0.01"}, bank, free=["GET,POST,HEAD /free/*"]) as running:
        yield running


def said(url: str, request: bytes) -> bytes:
    """The answer to raw bytes."""
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), 10) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.guard("T42")
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_length_is_no_hops_own(api: Upstream, gated: Gated, method: bytes) -> None:
    """Else the body would go on in chunks, and an API that knows none would read it as further requests."""
    fields = b"Host: a\r\nConnection: content-length, close\r\nContent-Length: %d\r\n\r\n" % len(INNER)
    assert said(gated.url, method + b" /free/a HTTP/1.1\r\n" + fields + INNER).startswith(b"HTTP/1.1 200")
    assert [call.body for call in api.calls] == [INNER]
    assert api.calls[0].all("content-length") == [str(len(INNER))]
    assert not api.calls[0].all("transfer-encoding")


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + INNER,
        b"Content-Length: 5, 5\r\n\r\nhello" + INNER,
        b"Content-Length : 5\r\n\r\nhello" + INNER,
        b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello" + INNER,
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
        b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
        b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    ],
)
def test_a_body_of_two_lengths_is_refused(api: Upstream, gated: Gated, fields: bytes) -> None:
    """Before the API hears of it."""
    assert said(gated.url, b"POST /free/a HTTP/1.1\r\nHost: a\r\n" + fields).startswith(b"HTTP/1.1 400")
    assert api.calls == []


def test_a_request_that_wants_another_protocol_stays_a_request(api: Upstream, gated: Gated) -> None:
    """What follows it is answered for itself, with its own price."""
    upgrade = b"GET /free/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    last = b"GET /paid/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(gated.url).port or 0), 10) as line:
        line.settimeout(2)
        line.sendall(upgrade + last)
        answer = b""
        try:
            while piece := line.recv(65536):
                answer += piece
        except TimeoutError:
            pass
    assert answer.count(b"HTTP/1.1 200") == 1
    assert [(call.target, call.all("upgrade")) for call in api.calls] == [("/free/a", [])]
