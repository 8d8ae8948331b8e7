"""The door of a local chain: JSON-RPC over HTTP on loopback, connections kept alive, each with a thread of its own."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, TypeAlias

import msgspec

from coinslot.errors import PortTaken, UsageError

# A dumped state or a contract is a few MB; a body beyond this is a mistake.
BODY_BYTES = 32 * 1024 * 1024
INTERNAL = -32603
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
MAX_PORT = 65535
_LOG = logging.getLogger("coinslot.devnet")
Answer: TypeAlias = tuple[HTTPStatus, bytes]
# In place of an answer: the connection is cut.
HANG_UP: Answer = (HTTPStatus.NO_CONTENT, b"")


class Visitor(Protocol):
    """What answers the requests of one connection, one after the other."""

    def answer(self, body: bytes) -> Answer:
        """Status and body of the answer, or HANG_UP."""

    def close(self) -> None:
        """The connection has ended."""


def error_body(message: str) -> bytes:
    """An error that is about no call."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL, "message": message}})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    visitor: Visitor

    def setup(self) -> None:
        super().setup()
        self.visitor = self.server.welcome()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        self.visitor.close()
        super().finish()

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES:
            self.close_connection = True
            self._reply(HTTPStatus.BAD_REQUEST, error_body("send one JSON-RPC body with its Content-Length"))
            return
        body = self.rfile.read(int(length))
        try:
            answer = self.visitor.answer(body)
        except Exception:
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, error_body("the local chain has a bug; its log says where"))
            raise
        if answer is HANG_UP:
            self.close_connection = True
            return
        self._reply(*answer)

    def do_GET(self) -> None:
        self._reply(HTTPStatus.METHOD_NOT_ALLOWED, error_body("this is a JSON-RPC server: use POST"))

    def _reply(self, status: HTTPStatus, body: bytes) -> None:
        # head and body in one write: two would cost a delayed acknowledgement
        close = "connection: close\r\n" if self.close_connection else ""
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n{close}"
        self.wfile.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def log_message(self, *_: object) -> None:
        """Nothing: the chain's own log tells the calls."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    # a restart must not wait until old connections are forgotten; on Windows this would allow two servers on one port
    allow_reuse_address = hasattr(socket, "SO_REUSEPORT")
    allow_reuse_port = False
    welcome: Callable[[], Visitor]

    def __init__(self, port: int) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind, without the look-up of our host name that the base class makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(self.allow_reuse_address))
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is no news; everything else is a bug of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            _LOG.exception("a request could not be answered")


class Door:
    """The server and its thread. The port is taken when it is made, and served from `serve` on."""

    def __init__(self, port: int) -> None:
        """Take the port (0: a free one). Raises PortTaken, UsageError for a number that is no port's."""
        if not 0 <= port <= MAX_PORT:
            raise UsageError(f"a port is a number from 0 (a free one) to {MAX_PORT}")
        try:
            self._server = _Server(port)
        except OSError as error:
            raise PortTaken(
                f"port {port} on loopback can't be taken ({error.strerror}). Nothing was started. "
                "Stop what listens there, or choose another port (0 takes a free one)"
            ) from error
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def alive(self) -> bool:
        """Whether it is open."""
        return self._thread is not None and self._thread.is_alive()

    def serve(self, welcome: Callable[[], Visitor]) -> None:
        """Answer from now on; every connection gets a visitor of its own."""
        self._server.welcome = welcome
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="devnet-door", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop, and hang up on clients that keep their connections alive."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        for connection in list(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed by the client
