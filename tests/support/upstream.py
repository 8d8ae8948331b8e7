"""An ordinary HTTP API in a thread, and a gate in front of it, on real sockets.

with Upstream() as api, gate_for(api, {"GET /paid/*": "0.01"}, bank) as gate: ...
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn

from coinslot.services.config import from_table
from coinslot.services.gate import GateService
from support.toybank import Bank


@dataclass(frozen=True)
class Call:
    """A request as the API got it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


Reply = tuple[int, dict[str, str], bytes]


def _plain(call: Call) -> Reply:
    return 200, {"Content-Type": "text/plain"}, f"{call.method} {call.target}".encode()


@dataclass
class Upstream:
    """`answer` may return a reply, or write to the handler's socket itself and return None."""

    answer: Callable[[Call], Reply] = _plain
    raw: Callable[[http.server.BaseHTTPRequestHandler, Call], None] | None = None
    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> Self:
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                call = Call(self.command, self.path, tuple(self.headers.items()), self._body())
                owner.calls.append(call)
                if owner.raw is not None:
                    owner.raw(self, call)
                    return
                status, headers, body = owner.answer(call)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = _serve

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    return b"".join(iter(self._chunk, b""))
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _chunk(self) -> bytes:
                size = int(self.rfile.readline().strip() or b"0", 16)
                chunk = self.rfile.read(size)
                self.rfile.readline()
                return chunk

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """An ASGI application on a free port; its URL."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="on", ws="none", http="httptools", proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()


@dataclass(frozen=True)
class Gated:
    """A running gate."""

    url: str
    gate: GateService


@contextlib.contextmanager
def gate_for(api: Upstream, prices: Mapping[str, Any], bank: Bank, **settings: Any) -> Iterator[Gated]:
    """A gate that charges coins of a bank for an API."""
    table = {
        "upstream": api.url,
        "prices": dict(prices),
        "accept": [{"method": "toy", "bank": bank.path, "recipient": "shop"}],
        "realm": "gate.example",
        "store": "memory:",
        **settings,
    }
    gate = GateService(from_table(table, "test"))
    with serving(gate) as url:
        yield Gated(url, gate)
