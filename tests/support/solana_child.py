"""A server that sells from Solana channels in a process of its own, to be killed: `start(rpc_url=..., ...)` starts one.

It presents one credential, is killed at the failpoint `strike`, and prints the answer's status if it lives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from coinslot.store.open import open_store
from support.solanatill import SolanaTill
from support.svm import SvmChain, post
from support.till_child import kill_at

TESTS = Path(__file__).resolve().parent.parent


class RemoteSvm(SvmChain):
    """A chain that runs in another process."""

    def __init__(self, url: str) -> None:
        object.__setattr__(self, "_url", url)

    @property
    def rpc_url(self) -> str:
        """Where it answers."""
        return str(object.__getattribute__(self, "_url"))

    def rpc(self, method: str, *params: object) -> Any:
        """The result of a call."""
        return post(self.rpc_url, method, *params)["result"]

    def fund(self, address: str, units: int, token: str | None = None) -> str:
        """Give."""
        return str(self.rpc("svm_mint", address, str(units), token)["signature"])


def start(**job: Any) -> subprocess.Popen[str]:
    """Start a child; what it prints is a line of JSON."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def main(job: dict[str, Any]) -> int:
    """Present the credential."""
    store = open_store(job["store"], lease_s=job["lease_s"])
    till = SolanaTill(RemoteSvm(job["rpc_url"]), store, seed=job["seed"], operator=job["operator"])
    kill_at(job["strike"])
    headers = {"idempotency_key": job["key"]} if job.get("key") else {}
    return till.serve(job["credential"], **headers).status


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
