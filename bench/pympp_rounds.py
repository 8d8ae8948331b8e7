"""pympp's handler, a round at a time: one line of JSON in, one line out. peers.py runs this with pympp's Python.

First on stdin comes the work: {"request", "meta", "payload", "source", "description"}. Each further line `issue N`
or `verify N` does the thing N times and answers with the processor's microseconds for one. It imports no coinslot.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from mpp import Challenge, Credential, Receipt
from mpp.methods import Method
from mpp.server import Mpp, Request
from mpp.server.method import ServerMethod, VerifyContext
from pydantic import BaseModel

SECRET = "a secret of more than thirty-two characters"
REALM = "api.example.com"
URL = "https://api.example.com/paid/report"
REFERENCE = "0x" + "ab" * 32


class Wire(BaseModel):
    """The request of a charge."""

    amount: str
    currency: str
    recipient: str
    methodDetails: dict[str, Any]


class Proof(BaseModel):
    """The payload of a credential."""

    type: str
    signature: str


async def _yes(_: VerifyContext) -> Receipt:
    """Proofs are always good: what remains is the protocol."""
    return Receipt.success(REFERENCE, timestamp=datetime.now(UTC), method="tempo")


def at_once(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing: no event loop in the figures."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def main() -> None:
    """Answer until stdin ends."""
    told = json.loads(sys.stdin.readline())
    method = Method(name="tempo", intent="charge", request_model=Wire, payload_model=Proof)
    server = Mpp(ServerMethod(method=method, verify=_yes), realm=REALM, secret_key=SECRET)
    handler = server["tempo/charge"](**told["request"], description=told["description"], meta=told["meta"])
    unpaid = Request("GET", URL)
    offer = Challenge.from_www_authenticate(at_once(handler(unpaid)).challenge.headers["WWW-Authenticate"])
    value = Credential(challenge=offer.to_echo(), payload=told["payload"], source=told["source"]).to_authorization()
    paid = Request("GET", URL, {"Authorization": value})
    assert at_once(handler(paid)).status == 200

    def issue() -> str:
        return str(at_once(handler(unpaid)).challenge.headers["WWW-Authenticate"])

    def verify() -> str:
        return str(at_once(handler(paid)).receipt.to_payment_receipt())

    work = {"issue": issue, "verify": verify}
    for line in sys.stdin:
        name, times = line.split()
        begun = time.thread_time()
        for _ in range(int(times)):
            work[name]()
        print(json.dumps((time.thread_time() - begun) / int(times) * 1e6), flush=True)


if __name__ == "__main__":
    main()
