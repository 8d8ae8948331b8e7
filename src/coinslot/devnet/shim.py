"""The door of the local chain: JSON-RPC over HTTP on loopback, put right by `dialect` on its way to the node.

One thread and one connection to the node per client connection, both kept alive.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

import msgspec

from coinslot.devnet.dialect import SIMULATING, SPECIAL, needs_help
from coinslot.devnet.node import Node
from coinslot.errors import DevnetError, PortTaken, RpcRefused, RpcUnreachable

# A dumped state or a contract is a few MB; a body beyond this is a mistake.
BODY_BYTES = 32 * 1024 * 1024
INTERNAL = -32603
_Function: TypeAlias = Callable[[Node, Sequence[object]], object]


def answer(node: Node, body: bytes) -> bytes:
    """The answer to one JSON-RPC request or batch. Raises RpcUnreachable."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return node.post(body)  # the node words its own refusal
    if isinstance(request, list):
        if not any(isinstance(each, dict) and _special(each) for each in request):
            return node.post(body)
        return b"[" + b",".join(_one(node, each) for each in request) + b"]"
    return _one(node, request, body)


def _special(request: dict[str, object]) -> _Function | None:
    """The function that answers instead of the node, if one does."""
    method = request.get("method")
    if not isinstance(method, str) or not isinstance(request.get("params", []), list):
        return None
    if method in SIMULATING:
        return SIMULATING[method] if needs_help(request) else None
    return SPECIAL.get(method)


def _one(node: Node, request: object, body: bytes | None = None) -> bytes:
    special = _special(request) if isinstance(request, dict) else None
    if special is None or not isinstance(request, dict):
        return node.post(body or msgspec.json.encode(request))
    head: dict[str, object] = {"jsonrpc": "2.0", "id": request.get("id")}
    try:
        result = special(node, request.get("params", []))
    except RpcRefused as refusal:
        data = {} if refusal.data is None else {"data": refusal.data}
        return msgspec.json.encode(head | {"error": {"code": refusal.code, "message": str(refusal)} | data})
    except DevnetError as error:
        return msgspec.json.encode(head | {"error": {"code": INTERNAL, "message": str(error)}})
    return msgspec.json.encode(head | {"result": result})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    node: Node

    def setup(self) -> None:
        super().setup()
        self.node = Node(self.server.node_port)
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        self.node.close()
        super().finish()

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES:
            self.close_connection = True
            self._reply(HTTPStatus.BAD_REQUEST, _error("send one JSON-RPC body with its Content-Length"))
            return
        body = self.rfile.read(int(length))
        try:
            self._reply(HTTPStatus.OK, answer(self.node, body))
        except RpcUnreachable as error:
            self._reply(HTTPStatus.BAD_GATEWAY, _error(str(error)))

    def do_GET(self) -> None:
        self._reply(HTTPStatus.METHOD_NOT_ALLOWED, _error("this is a JSON-RPC server: use POST"))

    def _reply(self, status: HTTPStatus, body: bytes) -> None:
        # head and body in one write: two would cost a delayed acknowledgement
        close = "connection: close\r\n" if self.close_connection else ""
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n{close}"
        self.wfile.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def log_message(self, *_: object) -> None:
        """Nothing: the chain's own log tells the calls."""


def _error(message: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": {"code": INTERNAL, "message": message}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    # a restart must not wait until old connections are forgotten; on Windows this would allow two servers on one port
    allow_reuse_address = hasattr(socket, "SO_REUSEPORT")
    allow_reuse_port = False
    node_port = 0

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
        """A client that went away in the middle is no news."""


class Shim:
    """The server and its thread. The port is taken when it is made, and served from `serve` on."""

    def __init__(self, port: int) -> None:
        """Take the port (0: a free one). Raises PortTaken."""
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

    def serve(self, node_port: int) -> None:
        """Pass requests on to the node from now on."""
        self._server.node_port = node_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="devnet-shim", daemon=True
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
