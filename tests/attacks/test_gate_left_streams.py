"""Clients that begin an answer without an end and go, again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from coinslot.services import proxy
from support.patience import within
from support.serving import Payer
from support.toybank import Bank
from support.upstream import Call, Gated, Upstream, gate_for

PIECE = b"data: x\n\n"
WAIT_S = within(20)


class Feed:
    """An API that says something now and then: for ever at /feed, a few times at /short."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.go_on = threading.Event()
        self.runs = 0

    def __call__(self, handler: BaseHTTPRequestHandler, call: Call) -> None:
        """One answer."""
        self.runs += 1
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            self._say(handler)
            if call.target == "/short":
                self.go_on.wait(WAIT_S)
                self._say(handler)
                handler.wfile.write(b"0\r\n\r\n")
            while call.target != "/short" and not handler.wfile.closed:
                self._say(handler)
                threading.Event().wait(0.01)
        except OSError:
            self.let_go.set()

    def _say(self, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        handler.wfile.flush()


@pytest.fixture
def feed() -> Feed:
    """An API without an end."""
    return Feed()


@pytest.fixture
def gated(feed: Feed, bank: Bank) -> Iterator[Gated]:
    """A gate in front of it: one feed is free, one is paid, and so is the short answer."""
    with (
        Upstream(raw=feed) as api,
        gate_for(api, {"GET,POST /feed": "0.01", "GET /short": "0.01"}, bank, free=["GET,POST /free"]) as gate,
    ):
        yield gate


def leave(url: str, headers: dict[str, str], method: str = "GET") -> None:
    """Read the first piece, and go."""
    with httpx.stream(method, url, headers=headers, content=b"?" if method == "POST" else None) as answer:
        assert answer.status_code == 200
        next(answer.iter_raw())


@pytest.mark.guard("F28")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/free", "/feed"])
def test_nobody_leaves_an_endless_answer_behind(
    feed: Feed, gated: Gated, alice: dict[str, object], monkeypatch: pytest.MonkeyPatch, path: str, method: str
) -> None:
    """The API is let go, and what was paid for and begun is delivered: leaving is no way to have it again."""
    monkeypatch.setattr(proxy, "READ_ON_S", 0.1)
    asked = httpx.request(method, gated.url + "/feed", content=b"?" if method == "POST" else None)
    headers = {"Authorization": Payer(alice).credential(asked)} if path == "/feed" else {}
    leave(gated.url + path, headers, method)
    assert feed.let_go.wait(WAIT_S)
    if path == "/feed" and method == "GET":
        again = httpx.get(gated.url + path, headers=headers)
        while again.status_code == 409 and again.json()["type"].endswith("in-flight"):
            again = httpx.get(gated.url + path, headers=headers)
        assert again.json()["type"].endswith("/already-delivered")
        assert feed.runs == 1


def test_who_comes_again_soon_gets_the_whole_answer(feed: Feed, gated: Gated, alice: dict[str, object]) -> None:
    """A line that broke costs an honest client nothing: what it paid for is read on for a while, and kept."""
    headers = {"Authorization": Payer(alice).credential(httpx.get(gated.url + "/short"))}
    leave(gated.url + "/short", headers)
    feed.go_on.set()
    again = httpx.get(gated.url + "/short", headers=headers)
    while again.status_code == 409 and again.json()["type"].endswith("in-flight"):
        again = httpx.get(gated.url + "/short", headers=headers)
    assert (again.status_code, again.content) == (200, PIECE * 2)
    assert feed.runs == 1
