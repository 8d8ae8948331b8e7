"""A charge of nothing on the toy bank: who pays shows who it is, and no money moves.

till.price = Price("0.001", till.price.sellers, provers=(ProofSeller(till.seller),))
wallet = proving_wallet(till)                    # pays from channels, and proves its account
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from coinslot.client.wallet import Wallet
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, call
from coinslot.errors import NoPayableOffer, UsageError, VerificationFailed
from coinslot.intents.charge import Checked, Outcome, Payee, Prepared, Recognised, Terms
from coinslot.method import Extras, Fate, Presentation, Sending
from coinslot.plain import PlainSeller
from support.sessiontill import SessionTill
from support.toybank import sign
from support.toychannel import asset
from support.toysessionpayer import ToySessionPayer
from support.toysessionseller import ToySessionSeller


def _terms(request: Mapping[str, Any]) -> Terms:
    if request.get("amount") != "0":
        raise UsageError("not a proof")
    who = str(request.get("recipient"))
    return Terms(asset(str(request.get("bank")), str(request.get("currency"))), 0, (Payee(who, 0),))


@dataclass(frozen=True)
class ProofSeller(PlainSeller):
    """See method.ChargeSeller; for a price of nothing only."""

    of: ToySessionSeller
    method: str = "toy"
    intent: str = "charge"

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """See method.py."""
        if price:
            raise UsageError("proofs only")
        return {
            "amount": "0",
            "bank": self.of.identity,
            "currency": self.of.currency,
            "recipient": self.of.recipient,
            "methodDetails": {"bank": self.of.identity},
        }

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """See method.py."""
        return _terms(request)

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """See method.py."""
        challenge, payload = recognised.credential.challenge, recognised.credential.payload_object()
        payer, signature = str(payload.get("payer")), str(payload.get("signature"))
        if not (yield from call(self.of.bank.verify, payer, challenge.id.encode(), signature)):
            raise VerificationFailed("not signed by this account")
        return Checked(recognised, payer, f"toy:proof/{challenge.id}")

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """Nothing moves."""
        yield from ()
        raise UsageError("a proof is not settled")

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Nothing moves."""
        yield from ()

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """Nothing moves."""
        yield from ()
        raise UsageError("a proof is not settled")


@dataclass(frozen=True)
class ProofPayer:
    """See method.ChargePayer."""

    of: ToySessionPayer
    method: str = "toy"
    intent: str = "charge"

    def terms(self, challenge: Challenge) -> Terms:
        """See method.py."""
        try:
            return _terms(challenge.request_object())
        except UsageError as error:
            raise NoPayableOffer(str(error)) from None

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """See method.py."""
        yield from ()
        signature = sign(self.of.secret, challenge.id.encode())
        return Presentation({"payer": self.of.account, "signature": signature}, self.of.source(), None)

    def source(self) -> str:
        """See method.py."""
        return self.of.source()

    def pushes(self, terms: Terms) -> bool:
        """Nothing moves."""
        return False

    def send(self, sending: Sending, *, again: bool) -> Flow[None]:
        """Nothing moves."""
        yield from ()

    def look(self, sending: Sending) -> Flow[Fate]:
        """Nothing moves."""
        yield from ()
        return Fate.DEAD
        raise UsageError("a proof is not sent")


def proving_wallet(till: SessionTill) -> Wallet:
    """A wallet that pays from channels and proves its account."""
    return Wallet((), [ProofPayer(till.payer), till.payer])
