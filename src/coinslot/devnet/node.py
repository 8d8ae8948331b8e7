"""JSON-RPC to the node behind the shim, over one kept-alive connection."""

from __future__ import annotations

import http.client

import msgspec

from coinslot.errors import RpcRefused, RpcUnreachable

# A block may take this long where somebody asked for slow blocks; a node that needs more hangs.
ANSWER_S = 60.0


class Node:
    """One connection to the node. Not for use by two threads at once."""

    def __init__(self, port: int) -> None:
        # http.client switches Nagle's algorithm off and writes head and body in one piece
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)

    def post(self, body: bytes) -> bytes:
        """The answer to a request, byte for byte. Raises RpcUnreachable."""
        try:
            self._connection.request("POST", "/", body, {"content-type": "application/json"})
            return self._connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RpcUnreachable(f"the node does not answer ({type(error).__name__})") from error

    def call(self, method: str, *params: object) -> object:
        """The result of one call. Raises RpcRefused or RpcUnreachable."""
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        try:
            answer = msgspec.json.decode(self.post(body))
        except msgspec.DecodeError as error:
            raise RpcUnreachable(f"{method}: the node's answer is not JSON") from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise RpcUnreachable(f"{method}: the node's answer is not JSON-RPC")
        if "result" in answer:
            return answer["result"]
        problem = answer["error"]
        if not isinstance(problem, dict):
            raise RpcUnreachable(f"{method}: the node's error is not JSON-RPC")
        code = problem.get("code")
        raise RpcRefused(
            str(problem.get("message", "")), code=code if isinstance(code, int) else -32000, data=problem.get("data")
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
