"""A server of paid words in a process of its own, on a store that others share: `start(...)` starts one.

It prints its address, and serves GET /words: `count` words at one base unit each, in windows of `window`. Each word is
logged after it was sent. With `die_after`, the process kills itself when so many have been sent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinslot.server.settler import Policy
from coinslot.store.sqlite import SqliteStore
from coinslot.transports.asgi import CoinslotMiddleware, Stream, meter
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS, asse
from support.lapse import LONG_LEASE_S
from support.serving import asgi_server
from support.streamclient import stream_slot
from support.toybank import Bank

TESTS = Path(__file__).resolve().parent.parent
PRICE = "0.000001"


@dataclass
class Child:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def sent(self) -> int:
        """How many words it has sent."""
        return len(self.log.read_bytes()) if self.log.exists() else 0


@contextmanager
def start(bank: Bank, store: str, folder: Path, name: str, **job: Any) -> Iterator[Child]:
    """A child, killed at the end."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    log = folder / f"{name}.log"
    told = {"bank": bank.path, "store": store, "log": str(log), "count": 10_000, "window": 64, "patience_s": 20, **job}
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(told)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the server did not start"
        yield Child(process, url, log)
    finally:
        process.kill()
        process.communicate()


def serve(slot: Slot, job: dict[str, Any]) -> Any:
    """The application."""
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent = 0

        async def counted(message: Any) -> None:
            nonlocal sent
            await send(message)
            if message.get("body", b"").startswith(b"data: word"):
                sent += 1
                os.write(log, b".")
                if sent == job.get("die_after"):
                    os.kill(os.getpid(), signal.SIGKILL)

        words = (f"word {n}" for n in range(job["count"]))
        await Stream(asse(meter(scope), words), HEADERS)(scope, receive, counted)

    price = slot.metered(PRICE, unit="word", window=job["window"], patience_s=job["patience_s"])
    return CoinslotMiddleware(app, slot, {"GET /words": price})


def main(job: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    store = SqliteStore(job["store"], lease_s=LONG_LEASE_S)
    slot = stream_slot(Bank(job["bank"]), store, settle=Policy(), settle_every_s=0.2)
    with asgi_server(serve(slot, job)) as url:
        print(f"{url}/words", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
