"""A till in a process of its own, to be killed: `start(job=..., ...)` starts one; the rest is the child.

The handler writes "start" and "end" lines with its process id to a log, so that a test sees every run of it; its goods
name the run. Jobs:

    present   present the credential once, deliver, and print the status; killed at failpoint `strike`, if given
    copies    present it from `threads` threads until each has a 200, and print the set of bodies; with `hang`, the
              first handler tells the log "hang" and never returns
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from coinslot import drive
from coinslot.store.open import open_store
from support.till import Till
from support.toybank import Bank

TESTS = Path(__file__).resolve().parent.parent
# A copy that still has no answer after that would wait for ever.
PATIENCE_S = 60.0


def start(**job: Any) -> subprocess.Popen[str]:
    """Start a child; its output is one line of JSON."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def log_lines(log: str) -> list[str]:
    """What handlers did, in order."""
    path = Path(log)
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


class _Handler:
    def __init__(self, log: str, hang: bool) -> None:
        self._log, self._hang, self._lock, self._runs = log, hang, threading.Lock(), 0

    def _say(self, word: str) -> None:
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{word} {os.getpid()}\n".encode("ascii"))
        os.close(handle)

    def __call__(self) -> bytes:
        with self._lock:
            self._runs += 1
            run = self._runs
        self._say("start")
        if self._hang:
            self._say("hang")
            threading.Event().wait()
        self._say("end")
        return f"goods {os.getpid()}-{run}".encode("ascii")


def kill_at(name: str) -> None:
    """SIGKILL this process at a failpoint."""

    def strike(at: str) -> None:
        if at == name:
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)


def main(job: dict[str, Any]) -> object:
    """Do a job; what to print."""
    store = open_store(job["store"], lease_s=job["lease_s"])
    till = Till(Bank(job["wallet"]["bank"]), job["wallet"], store)
    handler = _Handler(job["log"], job.get("hang", False))
    credential = job["credential"]
    if job["job"] == "present":
        if job.get("strike"):
            kill_at(job["strike"])
        return till.serve(credential, handler=handler).status

    def copy(_: int) -> str:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = till.serve(credential, handler=handler)
            if answer.status == 200:
                return answer.body.decode("ascii")
            assert answer.status in (409, 503), answer
            time.sleep(0.02)  # what Retry-After asks for, made shorter
        raise AssertionError("no answer")

    with ThreadPoolExecutor(job["threads"]) as pool:
        return sorted(set(pool.map(copy, range(job["threads"]))))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
