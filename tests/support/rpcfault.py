"""A node that fails at chosen moments: an HTTP proxy in front of a real one, told what to do with which call."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

# Decides about one call: gets a function that asks the real node, returns the result to answer with, or DROP.
Fault = Callable[[Callable[[], Any]], Any]
DROP = object()


def drop(ask: Callable[[], Any]) -> Any:
    """The connection breaks before the node hears of the call."""
    return DROP


def drop_after(ask: Callable[[], Any]) -> Any:
    """The node acts, and the connection breaks before its answer arrives. F11"""
    ask()
    return DROP


def answer(result: Any) -> Fault:
    """The node is not asked; the answer is made up."""
    return lambda ask: result


def edit(change: Callable[[Any], Any]) -> Fault:
    """The node's answer, changed on its way."""
    return lambda ask: change(ask())


class FaultyNode:
    """`url` is where clients connect. `calls` are the methods that were asked for, in order."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.calls: list[str] = []
        self._faults: defaultdict[str, list[tuple[Fault, list[int]]]] = defaultdict(list)
        self._client = httpx.Client(timeout=60)
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                node._serve(self)

            def log_message(self, *args: object) -> None:
                """Nothing on the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, method: str, fault: Fault, times: int = 10**9) -> None:
        """The next so many calls of a method meet this fault; faults of one method take their turns."""
        self._faults[method].append((fault, [times]))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        call = json.loads(body)
        self.calls.append(call["method"])

        def ask() -> Any:
            answer = self._client.post(self.upstream, content=body, headers={"content-type": "application/json"}).json()
            return answer["result"] if "result" in answer else _Refusal(answer["error"])

        result = self._fault(call["method"])(ask)
        if result is DROP:
            handler.close_connection = True
            return
        told = {"error": result.error} if isinstance(result, _Refusal) else {"result": result}
        content = json.dumps({"jsonrpc": "2.0", "id": call["id"], **told}).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _fault(self, method: str) -> Fault:
        for fault, left in self._faults[method]:
            if left[0] > 0:
                left[0] -= 1
                return fault
        return lambda ask: ask()


class _Refusal:
    def __init__(self, error: Any) -> None:
        self.error = error
