"""A settler in a process of its own, to be killed: `start(job=..., ...)` starts one; the rest is the child.

Jobs:

    settle   rounds until something was settled or closed and nothing is open; killed at failpoint `strike`. With
             `hang`, it stops there and says so instead, and lives on
    hold     set a window of `units` aside on the channel `key`, say "held", and only live
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from coinslot import drive
from coinslot.drive import run
from coinslot.intents.session import Rules
from coinslot.server.settler import Policy, settle_round
from coinslot.store.channels import Order, Reserved
from coinslot.store.open import open_store
from support.sessiondesk import session_seller
from support.till import SetWorld
from support.toybank import Bank

TESTS = Path(__file__).resolve().parent.parent
# More rounds than any of these stories needs.
ROUNDS = 20


def start(**job: Any) -> subprocess.Popen[str]:
    """Start a child."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )


def _arm(name: str, hang: bool) -> None:
    def strike(at: str) -> None:
        if at == name and hang:
            print("reached", flush=True)
            signal.pause()
        elif at == name:
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)


def main(job: dict[str, Any]) -> None:
    """Do a job."""
    store = open_store(job["store"], lease_s=job["lease_s"])
    if job["job"] == "hold":
        got = store.reserve(Order(job["key"], 0, Rules(bits=96)), job["units"], job["units"]).result()
        assert isinstance(got, Reserved)
        print("held", flush=True)
        signal.pause()
    seller = session_seller(Bank(job["bank"]), flavour=job.get("flavour", "v2"))
    world = SetWorld()
    world.at_s = time.time() + job.get("ahead_s", 0.0)
    _arm(job["strike"], job.get("hang", False))
    for turn in range(ROUNDS):
        report = run(settle_round(store, [seller], Policy(settle_units=1), None, turn), world)
        if not report.pending + report.planned and report.settled + report.closed == 0:
            break
    print("done", flush=True)
    store.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
