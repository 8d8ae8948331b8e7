"""JSON-RPC on its way to the node, put right by `dialect`: one connection to the node per client connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeAlias

import msgspec

from coinslot.devnet.dialect import SIMULATING, SPECIAL, needs_help
from coinslot.devnet.door import INTERNAL, Answer, error_body
from coinslot.devnet.node import Node
from coinslot.errors import DevnetError, RpcRefused, RpcUnreachable

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


class Shim:
    """What stands between one client's connection and the node."""

    def __init__(self, node_port: int) -> None:
        self._node = Node(node_port)

    def answer(self, body: bytes) -> Answer:
        """The node's answer, or that there is none."""
        try:
            return HTTPStatus.OK, answer(self._node, body)
        except RpcUnreachable as error:
            return HTTPStatus.BAD_GATEWAY, error_body(str(error))

    def close(self) -> None:
        """Hang up on the node."""
        self._node.close()
