"""A till that sells from channels in a process of its own: `start(job=..., ...)` starts one; the rest is the child.

present   present the credential once (with `key` as its Idempotency-Key, `verb` as its method), deliver, and print
          the status; killed at failpoint `strike`, if given
race      say "ready", wait for a line, then send `threads` clients for one answer each: they sign the totals
          `first`, `first + 2` ... one after the other until a voucher buys or the balance is used up; print how many
          had an answer
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from coinslot.store.open import open_store
from support.sessiontill import WORDS, Buyer, SessionTill
from support.till import problem
from support.till_child import kill_at
from support.toybank import Bank

TESTS = Path(__file__).resolve().parent.parent


def start(**job: Any) -> subprocess.Popen[str]:
    """Start a child; what it prints are lines of JSON."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def packed(buyer: Buyer) -> str:
    """A client's channel and challenge, for a child."""
    return base64.b64encode(pickle.dumps((buyer.held, buyer.challenge))).decode("ascii")


def _race(till: SessionTill, job: dict[str, Any]) -> int:
    held, challenge = pickle.loads(base64.b64decode(job["buyer"]))
    buyer = Buyer(till, held, challenge)
    totals, lock = count(job["first"], 2), threading.Lock()

    def client(_: int) -> bool:
        while True:
            with lock:
                credential = buyer.voucher(next(totals))
            answer = till.serve(credential)
            if answer.status == 200:
                return answer.body == b"words"
            if answer.status == 402 and problem(answer)["slug"] == "insufficient-balance":
                return False
            if answer.status == 429:  # too many at once: a second later
                till.world.at_s += 1.0
            assert answer.status in (402, 429, 503), answer

    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(job["threads"]) as pool:
        return sum(pool.map(client, range(job["threads"])))


def main(job: dict[str, Any]) -> object:
    """Do a job; what to print."""
    store = open_store(job["store"], lease_s=job.get("lease_s", 15.0))
    till = SessionTill(Bank(job["wallet"]["bank"]), job["wallet"], store)
    if job["job"] == "race":
        return _race(till, job)
    if job.get("strike"):
        kill_at(job["strike"])
    headers = {"idempotency_key": job["key"]} if job.get("key") else {}
    return till.serve(job["credential"], replace(WORDS, method=job.get("verb", "GET")), **headers).status


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
