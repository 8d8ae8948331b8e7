"""A real HTTP server on loopback whose every answer a test decides, also the nasty ones.

with Site(lambda seen: Reply(200, b"hello")) as site:
    site.url, site.seen
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def credential(self) -> str | None:
        """The credential, wherever it stands."""
        for name in ("Payment-Authorization", "Authorization"):
            value = self.headers.get(name, "")
            if value.startswith("Payment "):
                return value
        return None


@dataclass(frozen=True)
class Reply:
    """An answer. `drop`: "all" closes without a word, "body" after half of the body, "hang" answers when released."""

    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    drop: str | None = None
    chunks: Iterator[bytes] | None = None


@dataclass
class Site:
    """The server. `seen` are all requests in order."""

    answer: Callable[[Seen], Reply]
    seen: list[Seen] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError, BrokenPipeError):
                    super().handle_one_request()

            def do(self) -> None:
                seen = Seen(self.command, self.path, self.headers, self._body())
                site.seen.append(seen)
                reply = site.answer(seen)
                if reply.drop == "hang":
                    site.released.wait(30)
                if reply.drop in ("all", "hang"):
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self._send(reply)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", "0")))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if reply.chunks is not None:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in reply.chunks:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if reply.drop == "body":
                    self.wfile.write(reply.body[: len(reply.body) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(reply.body)

            def log_message(self, *arguments: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Where it listens, by address."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paid(self) -> list[Seen]:
        """The requests that carried a credential."""
        return [seen for seen in self.seen if seen.credential]

    def wait_for(self, count: int) -> None:
        """Until so many requests have come."""
        deadline = time.monotonic() + 60
        while len(self.seen) < count:
            assert time.monotonic() < deadline, f"{len(self.seen)} requests came, not {count}"
            time.sleep(0.005)
