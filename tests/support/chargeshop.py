"""Both sides of a charge on a real chain, each step by hand, whatever the method; and its gate."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import decode_credential, encode_credential
from coinslot.core.instant import format_instant, parse_instant
from coinslot.drive import Flow, RealWorld, run
from coinslot.intents.charge import Checked, Outcome, Prepared, Recognised
from coinslot.method import ChargePayer, ChargeSeller, Extras, Presentation
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Delivery
from support.till import GET, REALM, SECRET, asking, first, offered, problem

_RING = KeyRing((bytes(range(32)),))


class ChargeShop:
    """The steps of a charge; a method's shop adds its chain, accounts, sellers and payers."""

    world: RealWorld

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow against the real chain."""
        return run(flow, self.world)

    def offer(self, seller: ChargeSeller, price: str = "0.25", **extras: Any) -> dict[str, Any]:
        """The request object of an offer, completed as when it is issued."""
        return dict(self.run(seller.complete(seller.offer(Decimal(price), Extras(**extras)))))

    def challenge(
        self,
        seller: ChargeSeller,
        price: str = "0.25",
        *,
        request: Mapping[str, Any] | None = None,
        lives_s: float = 120,
        realm: str = REALM,
        **extras: Any,
    ) -> Challenge:
        """What the seller offers, bound; `request` replaces the offer."""
        offer = self.offer(seller, price, **extras) if request is None else dict(request)
        expires = format_instant(time.time() + lives_s)
        opaque = encode_object({"n": secrets.token_hex(8)})
        draft = Challenge("", realm, seller.method, "charge", encode_object(offer), expires=expires, opaque=opaque)
        return _RING.issue(draft)

    def pay(self, payer: ChargePayer, challenge: Challenge) -> Presentation:
        """What the payer presents for a challenge; what it sends itself is sent."""
        shown = self.run(payer.pay(challenge, payer.terms(challenge)))
        assert isinstance(shown, Presentation)
        if shown.sending is not None:
            self.run(payer.send(shown.sending, again=False))
        return shown

    def recognised(
        self, seller: ChargeSeller, challenge: Challenge, payload: Mapping[str, Any], source: str | None
    ) -> Recognised:
        """A credential that travelled, recognised as the gate would."""
        credential = decode_credential(encode_credential(challenge, payload, source).removeprefix("Payment "))
        return Recognised(credential, seller.terms(challenge.request_object()), parse_instant(challenge.expires or ""))

    def check(
        self, seller: ChargeSeller, challenge: Challenge, payload: Mapping[str, Any], source: str | None = None
    ) -> Checked:
        """Step 2 of the gate."""
        checked = self.run(seller.check(self.recognised(seller, challenge, payload, source)))
        assert isinstance(checked, Checked)
        return checked

    def prepare(self, seller: ChargeSeller, checked: Checked) -> Prepared:
        """First act of step 4."""
        prepared = self.run(seller.prepare(checked))
        assert isinstance(prepared, Prepared)
        return prepared

    def settle(self, seller: ChargeSeller, prepared: Prepared) -> Outcome:
        """The other two acts of step 4."""
        self.run(seller.broadcast(prepared))
        return self.confirm(seller, prepared)

    def confirm(self, seller: ChargeSeller, prepared: Prepared) -> Outcome:
        """What the chain says."""
        outcome: Outcome = self.run(seller.confirm(prepared))
        return outcome

    def through(self, seller: ChargeSeller, challenge: Challenge, shown: Presentation) -> Outcome:
        """Steps 2 and 4 in one go."""
        checked = self.check(seller, challenge, shown.payload, shown.source)
        return self.settle(seller, self.prepare(seller, checked))


class ChargeTill:
    """A gate with sellers of charges on a real chain."""

    def __init__(self, shop: ChargeShop, *sellers: ChargeSeller, patience_s: float = 0.0) -> None:
        self.shop, self.store = shop, MemoryStore()
        self.gate = Gate(Issuer(REALM, KeyRing((SECRET,))), self.store, patience_s)
        self.price = Price("0.25", sellers)

    def ask(self, credential: str | None = None, request: Incoming = GET) -> Answer | Admission:
        """What the gate says."""
        got = self.shop.run(self.gate.admit(asking(request, credential), self.price))
        assert isinstance(got, Answer | Admission)
        return got

    def offered(self) -> Challenge:
        """A fresh challenge."""
        got = self.ask()
        assert isinstance(got, Answer)
        return offered(got)[0]

    def refused(self, credential: str) -> dict[str, Any]:
        """The problem of an answer that admits nobody, and promises no receipt."""
        got = self.ask(credential)
        assert isinstance(got, Answer)
        assert first(got, "payment-receipt") is None
        assert first(got, "content-type") == "application/problem+json"
        return {**problem(got), "status": got.status, "fresh": bool(offered(got))}

    def deliver(self, admission: Admission) -> None:
        """As a door does after a good answer."""
        self.shop.run(self.gate.delivered(admission, Delivery(200, (), b"goods")))


def presented(challenge: Challenge, shown: Presentation) -> str:
    """The header value."""
    return encode_credential(challenge, shown.payload, shown.source)
