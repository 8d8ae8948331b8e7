"""The same work done by pympp in its own environment: inputs come on stdin, microseconds by name go to stdout, as JSON.

Nothing of coinslot is imported here; core.py runs this file with pympp's Python.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mpp import Challenge, Credential, Receipt, generate_challenge_id
from mpp.methods import Method
from mpp.server import Mpp, Request
from mpp.server.method import ServerMethod, VerifyContext
from mpp.server.verify import verify_or_challenge
from pydantic import BaseModel

SECRET = "a secret of more than thirty-two characters"
REALM = "api.example.com"


class Nothing:
    """An intent whose proofs are always good, as the cheapest method would be."""

    name = "charge"

    async def verify(self, credential: Credential, request: dict[str, Any]) -> Receipt:
        """Yes."""
        return Receipt.success("0x" + "ab" * 32, timestamp=WHEN, method="tempo")


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
    return Receipt.success("0x" + "ab" * 32, timestamp=WHEN, method="tempo")


WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def best(work: Callable[[], object]) -> float:
    """Microseconds, the best of several rounds."""
    rounds, times = 7, 300
    found = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(times):
            work()
        found = min(found, (time.process_time() - begun) / times)
    return found * 1e6


def once(work: Callable[[], object]) -> float:
    """Microseconds of something that may take seconds: the second of two runs."""
    work()
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1e6


def at_once(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing: no event loop in the figures."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def refused(read: Callable[[str], object], text: str) -> Callable[[], None]:
    """Reading junk, to its end in an error."""

    def work() -> None:
        try:
            read(text)
        except Exception:  # whatever it raises is a refusal
            return

    return work


def main() -> None:
    """All figures."""
    told = json.load(sys.stdin)
    request, meta, payload, source = told["request"], told["meta"], told["payload"], told["source"]
    common: dict[str, Any] = {
        "intent": Nothing(), "request": request, "realm": REALM, "secret_key": SECRET, "method": "tempo",
        "description": told["description"], "meta": meta,
    }  # fmt: skip

    method = ServerMethod(
        method=Method(name="tempo", intent="charge", request_model=Wire, payload_model=Proof), verify=_yes
    )
    handler = Mpp(method, realm=REALM, secret_key=SECRET)["tempo/charge"](
        **request, description=told["description"], meta=meta
    )
    unpaid = Request("GET", "https://api.example.com/paid")
    offer = Challenge.from_www_authenticate(at_once(handler(unpaid)).challenge.headers["WWW-Authenticate"])
    bought = Credential(challenge=offer.to_echo(), payload=payload, source=source).to_authorization()
    paid = Request("GET", "https://api.example.com/paid", {"Authorization": bought})
    assert at_once(handler(paid)).status == 200

    def handle_paid() -> str:
        return str(at_once(handler(paid)).receipt.to_payment_receipt())

    def check_unpaid() -> str:
        challenge = at_once(verify_or_challenge(authorization=None, **common))
        return str(challenge.to_www_authenticate(REALM))

    def primitives_issue() -> Challenge:
        challenge = Challenge.create(
            secret_key=SECRET, realm=REALM, method="tempo", intent="charge", request=request,
            expires="2099-01-01T00:00:00Z", description=told["description"], meta=meta,
        )  # fmt: skip
        challenge.to_www_authenticate(REALM)
        return challenge

    issued = at_once(verify_or_challenge(authorization=None, **common))
    value = Credential(challenge=issued.to_echo(), payload=payload, source=source).to_authorization()

    def check_paid() -> str:
        _, receipt = at_once(verify_or_challenge(authorization=value, **common))
        return str(receipt.to_payment_receipt())

    def primitives_verify() -> str:
        read = Credential.from_authorization(value)
        echo = read.challenge
        ident = generate_challenge_id(
            secret_key=SECRET, realm=echo.realm, method=echo.method, intent=echo.intent, request=issued.request,
            expires=echo.expires, digest=echo.digest, opaque=issued.opaque, header=echo.header,
        )  # fmt: skip
        assert ident == echo.id
        assert datetime.fromisoformat(str(echo.expires)) > datetime.now(UTC)
        return Receipt.success("0x" + "ab" * 32, timestamp=WHEN).to_payment_receipt()

    found = {
        "issue, handler": best(lambda: at_once(handler(unpaid)).challenge),
        "issue, check": best(check_unpaid),
        "issue, primitives": best(primitives_issue),
        "verify, handler": best(handle_paid),
        "verify, check": best(check_paid),
        "verify, primitives": best(primitives_verify),
        "parse a challenge": best(lambda: Challenge.from_www_authenticate(told["field"])),
    }
    for name, junk in told["junk"].items():
        read = Challenge.from_www_authenticate if name.startswith("challenge") else Credential.from_authorization
        found[f"refuse {name}"] = once(refused(read, junk))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
