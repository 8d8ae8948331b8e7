"""What a client sends before it has made a request, or after its body, to the gate's own server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from coinslot.services.guarded import MAX_HEAD_BYTES, GuardedProtocol
from coinslot.transports.asgi import Receive, Scope, Send
from support.serving import asgi_server

# What one test lets a client waste.
SHORT_S = 0.3
# uvicorn's own patience between two requests, in whole seconds.
IDLE_S = 1


class Hurried(GuardedProtocol):
    """The same, with little patience."""

    head_timeout_s = SHORT_S


class Site:
    """Answers with the names of the header fields it got, after reading the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body", False):
            pass
        names = b" ".join(name for name, _ in scope["headers"])
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(names))]}
        await send(start)
        await send({"type": "http.response.body", "body": names})


@contextmanager
def site(protocol: type[GuardedProtocol]) -> Iterator[int]:
    """The port of a server with this protocol."""
    with asgi_server(Site(), ws="none", http=protocol, timeout_keep_alive=IDLE_S) as url:
        yield urlsplit(url).port or 0


def sent(port: int, head: bytes, more: bytes = b"", most: int = 0) -> tuple[bytes, int]:
    """What comes back for a head and then `more` over and over, up to `most` bytes; and how much was taken."""
    taken = 0
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            connection.sendall(head)
            while taken < most:
                connection.sendall(more)
                taken += len(more)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:  # it hung up on us
            answer = b""
    return answer, taken


@pytest.mark.guard("T41")
@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 4096),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n" * 1000),
        (b"GET /", b"a" * 4096),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: ", b"a" * 4096),
    ],
    ids=["a field", "many fields", "a path", "a trailer"],
)
def test_a_head_without_an_end_is_cut_off(head: bytes, more: bytes) -> None:
    """Long before it fills the memory."""
    with site(GuardedProtocol) as port:
        _, taken = sent(port, head, more, 64 * 1024 * 1024)
        assert taken < 32 * 1024 * 1024
        assert sent(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[0].startswith(b"HTTP/1.1 200")


@pytest.mark.guard("T41")
@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_takes_for_ever_is_hung_up_on(begun: bytes) -> None:
    """Nothing, an empty line, half a head: the connection is closed in time, also after a good request."""
    good = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with site(Hurried) as port:
        for before in (b"", good):
            began = time.monotonic()
            answer, _ = sent(port, before + begun)
            assert answer.startswith(b"HTTP/1.1 200") == bool(before)
            assert time.monotonic() - began < 10


def test_a_large_body_and_a_large_head_pass() -> None:
    """The limit is for heads: bodies of any size go through, and so does a head just under it."""
    size = 40 * MAX_HEAD_BYTES
    with site(GuardedProtocol) as port:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size
        assert sent(port, head, b"a" * MAX_HEAD_BYTES, size)[0].startswith(b"HTTP/1.1 200")
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: " + b"a" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n"
        assert sent(port, head)[0].startswith(b"HTTP/1.1 200")


@pytest.mark.guard("T42")
def test_fields_after_the_body_are_no_header() -> None:
    """Whoever in front of us strips or sets header fields does not look there."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with site(GuardedProtocol) as port:
        answer, _ = sent(
            port, head + b"1\r\na\r\n0\r\nX-Authenticated-User: root\r\nAuthorization: Payment e30\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"host connection transfer-encoding")
