"""A client in a process of its own, to be killed: `python -m support.payer_child BOOK WALLET URL COUNT [FAILPOINT]`.

Gets the URL COUNT times from a channel; kills itself with SIGKILL at the first pass of the failpoint, or at the second
one of "NAME:2". Prints the status of each answer.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import httpx

from coinslot import drive
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.transports.httpx import pay, session

DEPOSIT = "0.02"


def main(book: str, settings: str, url: str, count: str, failpoint: str = "") -> None:
    """Pay until done, or dead."""

    failpoint, _, wanted = failpoint.partition(":")
    passes = 0

    def strike(name: str) -> None:
        nonlocal passes
        passes += name == failpoint
        if name == failpoint and passes == int(wanted or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)
    plain = httpx.Client(trust_env=False, timeout=20)
    with pay(plain, wallet(toy=json.loads(settings)), Policy(max_deposit=DEPOSIT), book=book) as client:
        for _ in range(int(count)):
            print(client.get(url).status_code, flush=True)
        if failpoint == "client.closing":
            with session(client, url, max_deposit=DEPOSIT) as paid:
                paid.get()
                paid.close()
        if failpoint == "client.topping_up":
            with session(client, url, max_deposit="0.03") as paid:
                paid.get()
                paid.top_up("0.01")


if __name__ == "__main__":
    main(*sys.argv[1:])
