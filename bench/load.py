"""A load generator: `python -m bench.load`, one line of JSON on stdin, one on stdout.

In: {"port", "connections", "count", "requests": [text, ...]}. Each connection sends the next request as soon as its
answer is whole (no pipelining) until `count` are answered; requests are taken in turn. With "lists": [[text, ...], ...]
in their place each connection has requests of its own, sent in order, and "ports" in place of "port" are taken in turn
by the connections. Out: {"seconds", "statuses", "p50_ms", "p99_ms"}.
Answers must carry Content-Length.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from typing import Any

import uvloop

from bench.pinning import pin_as_told


class Run:
    """What all connections share."""

    def __init__(self, count: int) -> None:
        self.left_to_send = self.left_to_come = count
        self.statuses: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.done = asyncio.Event()


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, run: Run, requests: Iterator[bytes]) -> None:
        self._run = run
        self._requests = requests
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        request = next(self._requests, None) if self._run.left_to_send > 0 else None
        if request is not None:
            self._run.left_to_send -= 1
            self._began = time.perf_counter()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().index(b"content-length:", 0, head) + 15
        size = int(self._buffer[at : self._buffer.index(b"\r\n", at)])
        if len(self._buffer) < head + 4 + size:
            return
        run = self._run
        run.took_s.append(time.perf_counter() - self._began)
        run.statuses[self._buffer[9:12].decode()] += 1
        run.left_to_come -= 1
        self._buffer = b""
        if run.left_to_come == 0:
            run.done.set()
        else:
            self._ask()


async def _load(told: dict[str, Any]) -> dict[str, Any]:
    if "lists" in told:
        lists = [[text.encode("ascii") for text in one] for one in told["lists"]]
        turns, run = [iter(one) for one in lists], Run(sum(map(len, lists)))
    else:
        shared = cycle([text.encode("ascii") for text in told["requests"]])
        turns, run = [shared] * told["connections"], Run(told["count"])
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    doors = zip(turns, cycle(told.get("ports") or [told["port"]]), strict=False)
    opened = [await loop.create_connection(partial(Connection, run, each), "127.0.0.1", port) for each, port in doors]
    await asyncio.wait_for(run.done.wait(), 120)
    seconds = time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    took = sorted(run.took_s)
    p50, p99 = (took[int(len(took) * part)] * 1000 for part in (0.5, 0.99))
    return {"seconds": seconds, "statuses": run.statuses, "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    pin_as_told()
    print(json.dumps(uvloop.run(_load(json.load(sys.stdin)))))
