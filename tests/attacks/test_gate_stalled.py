"""Clients that stop in the middle, of what they say or of what they are told, and stay."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from coinslot.services.guarded import GuardedProtocol
from coinslot.transports.asgi import Receive, Scope, Send
from support.patience import within
from support.serving import asgi_server

SHORT_S = 0.3
WAIT_S = within(20)


class Hurried(GuardedProtocol):
    """The same, with little patience."""

    stall_timeout_s = SHORT_S


class Patient(GuardedProtocol):
    """The same, with enough of it for a machine that is busy."""

    stall_timeout_s = 2.0


class Site:
    """Reads a body, after a while at /slow, then answers: at length, or while anybody listens at /endless."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        if scope["path"] == "/slow":
            await asyncio.sleep(4 * SHORT_S)
        while message.get("more_body", False):
            message = await receive()
        if message["type"] == "http.disconnect":
            self.left.set()
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100 if scope["path"] != "/endless" else 100_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.left.set()


@contextmanager
def site(protocol: type[GuardedProtocol]) -> Iterator[tuple[Site, int]]:
    """A server with this protocol, and its port."""
    made = Site()
    with asgi_server(made, ws="none", http=protocol) as url:
        yield made, urlsplit(url).port or 0


@pytest.mark.guard("T41")
def test_who_does_not_read_its_answer_is_let_go() -> None:
    """The connection ends, and the application has its hands free again."""
    with site(Hurried) as (made, port), socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert made.left.wait(WAIT_S)


@pytest.mark.guard("T41")
def test_who_does_not_finish_its_body_is_let_go() -> None:
    """Nobody has to pay for a request that never becomes one."""
    with site(Hurried) as (made, port), socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        assert line.recv(1) == b""
        assert made.left.wait(WAIT_S)


def test_who_is_slow_but_goes_on_is_served() -> None:
    """Both ways: the time begins anew with each piece."""
    with site(Patient) as (_, port), socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.sendall(b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n")
        for _ in range(9):
            time.sleep(SHORT_S)
            line.sendall(b"x")
        read = 0
        while piece := line.recv(1 << 20):
            read += len(piece)
            time.sleep(SHORT_S / 2)
    assert read > 100 * 65_536


def test_a_server_that_reads_slowly_hurries_nobody() -> None:
    """A body that waits for us is no fault of its client's."""
    size = 1024 * 1024  # more than is taken ahead, and less than the line holds
    with site(Hurried) as (_, port), socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        line.sendall(b"x" * size)
        assert line.recv(12) == b"HTTP/1.1 200"
