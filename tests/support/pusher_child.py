"""A client in a process of its own that sends its charges itself, to be killed.

    python -m support.pusher_child BOOK WALLET URL [FAILPOINT]

WALLET is the JSON of {method: settings}. Gets the URL once; kills itself with SIGKILL at the failpoint. Prints the
status, and the reference of what was paid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from coinslot import drive
from coinslot.client.events import Paid
from coinslot.client.wallet import wallet
from coinslot.transports.httpx import pay

TESTS = Path(__file__).resolve().parent.parent


def start(book: Path, purse: dict[str, Any], url: str, failpoint: str = "") -> subprocess.Popen[str]:
    """A client process."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "support.pusher_child", str(book), json.dumps(purse), url, failpoint],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def main(book: str, purse: str, url: str, failpoint: str = "") -> None:
    """Pay, or die."""

    def strike(name: str) -> None:
        if name == failpoint:
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)
    with pay(httpx.Client(trust_env=False, timeout=60), wallet(**json.loads(purse)), book=book) as client:
        answer = client.get(url)
        paid = answer.extensions.get("coinslot")
        print(answer.status_code, paid.reference if isinstance(paid, Paid) else None, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
