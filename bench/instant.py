"""A seller whose proofs are always good and settle at once: what remains of a paid request is coinslot itself.

A method's own work (a signature to recover, a chain to ask) comes on top of every figure that is measured with it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from coinslot.core.challenge import KeyRing
from coinslot.core.credential import encode_credential
from coinslot.drive import Flow, RealWorld, run
from coinslot.intents.charge import Checked, Outcome, Payee, Prepared, Recognised, Settled, Terms
from coinslot.method import Extras
from coinslot.money import Asset, parse_units, to_units
from coinslot.plain import PlainSeller
from coinslot.server.issue import Issuer
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.transports.slot import Slot

REALM = "api.example.com"
# Known to everybody, so that credentials can be made beforehand in another process.
SECRET = "a secret of a benchmark that guards nothing at all"
RECIPIENT = "0x742d35cc6634c0532925a3b844bc9e7595f1b0f2"
SOURCE = "did:pkh:eip155:42431:0x742d35cc6634c0532925a3b844bc9e7595f1b0f2"
TOKEN = Asset("eip155:42431", "0x20c0000000000000000000000000000000000000", 6, "DOLLAR", "USD")
# As long as the signed transfer of a real payment, in hex.
SIGNATURE = "0x" + "ab" * 240


class Instant(PlainSeller):
    """The server's side; see coinslot.method.ChargeSeller."""

    method = "tempo"
    intent = "charge"

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """A request of the usual size."""
        details = {"chainId": 42431, "supportedModes": ["pull", "push"]}
        units = str(to_units(price, 6))
        return {"amount": units, "currency": TOKEN.id, "recipient": RECIPIENT, "methodDetails": details}

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """The terms of an offer."""
        units = parse_units(request["amount"])
        return Terms(TOKEN, units, (Payee(str(request["recipient"]), units),))

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """Always good."""
        yield from ()
        proof = hashlib.sha256(recognised.credential.challenge.id.encode()).hexdigest()
        return Checked(recognised, RECIPIENT, f"{TOKEN.network}/tx/0x{proof}")

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """Nothing to be sent."""
        yield from ()
        challenge = checked.recognised.credential.challenge
        return Prepared(challenge, checked.payer, checked.proof, checked.proof.rpartition("/")[2], b"\x76" * 240)

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Nowhere to be sent."""
        yield from ()

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """Settled."""
        yield from ()
        return Settled(prepared.reference, time.time())


def slot(store: str) -> Slot:
    """A slot on a store."""
    return Slot(REALM, store=store, secret_key=SECRET, sellers=[Instant()])


def credentials(path: str, number: int, price: str = "0.01") -> list[str]:
    """As many header values as asked for, each good for one GET of the path."""
    issuer, priced = Issuer(REALM, KeyRing((SECRET.encode(),))), Price(price, [Instant()])
    payload = {"type": "transaction", "signature": SIGNATURE}
    found = []
    for _ in range(number):
        (challenge,) = run(issuer.challenges(Incoming("GET", path), priced), RealWorld())
        found.append(encode_credential(challenge, payload, SOURCE))
    return found
