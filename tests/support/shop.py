"""A small seller of the toy method, independent of the gate: what a client meets. Mischief is added around it.

    shop = Shop(bank)                       # or Shop(bank, price="2.5", currency="shell")
    with Site(shop) as site: ...            # GET anything -> 402, paid -> 200 b"paid for /path"

One credential is answered once; a repeat gets the stored answer, as from our gate.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing, format_challenge
from coinslot.core.credential import Credential, decode_credential
from coinslot.core.instant import format_instant
from coinslot.core.problem import problem_body
from coinslot.drive import RealWorld, run
from coinslot.errors import InvalidChallenge, Problem
from coinslot.intents.charge import Recognised, Settled, receipt_of
from coinslot.method import Extras, load
from coinslot.settings import settings
from support.site import Reply, Seen
from support.toybank import Bank


@dataclass
class Shop:
    """The seller. `fields` replace members of the challenge, `request` members of its request object."""

    bank: Bank
    price: str = "0.01"
    currency: str = "coin"
    recipient: str = "shop"
    valid_s: float = 60
    splits: tuple[tuple[str, Decimal], ...] = ()
    fields: Mapping[str, str | None] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    issued: list[Challenge] = field(default_factory=list)
    stored: dict[str, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = KeyRing((os.urandom(32),))
        method = load("toy")
        table = {"bank": self.bank.path, "recipient": self.recipient, "currency": self.currency}
        self.world = RealWorld()
        self.seller = run(method.sellers(settings(method.Accept, table, "test")), self.world)[0]

    def challenge(self) -> Challenge:
        """A fresh offer."""
        request = {**self.seller.offer(Decimal(self.price), Extras(splits=self.splits)), **self.request}
        members: dict[str, str | None] = {
            "realm": "shop.example",
            "method": "toy",
            "intent": "charge",
            "request": encode_object(request),
            "expires": format_instant(time.time() + self.valid_s),
            "opaque": encode_object({"n": os.urandom(8).hex()}),
        }
        members |= self.fields
        made = Challenge("none", **members)  # type: ignore[arg-type]
        if made.expires:
            made = self.keys.issue(made)
        self.issued.append(made)
        return made

    def ask(self, *challenges: Challenge) -> Reply:
        """A 402 with these offers, or a fresh one."""
        found = challenges or (self.challenge(),)
        body = b'{"type":"https://paymentauth.org/problems/payment-required","status":402}'
        return Reply(402, body, tuple(("WWW-Authenticate", format_challenge(one)) for one in found))

    def __call__(self, seen: Seen) -> Reply:
        """The honest answer."""
        if seen.credential is None:
            return self.ask()
        try:
            credential = decode_credential(seen.credential.partition(" ")[2])
            known = self.stored.get(credential.challenge.id)
            if known is not None:
                return known
            reply = self._sell(credential, seen)
        except Problem as problem:
            body = problem_body(problem)
            headers = self.ask().headers if problem.challenge else ()
            return Reply(problem.status, body, headers)
        self.stored[credential.challenge.id] = reply
        return reply

    def _sell(self, credential: Credential, seen: Seen) -> Reply:
        if not self.keys.issued(credential.challenge):
            raise InvalidChallenge
        terms = self.seller.terms(credential.challenge.request_object())
        checked = run(self.seller.check(Recognised(credential, terms, 0.0)), self.world)
        prepared = run(self.seller.prepare(checked), self.world)
        run(self.seller.broadcast(prepared), self.world)
        outcome = run(self.seller.confirm(prepared), self.world)
        assert isinstance(outcome, Settled)
        receipt = receipt_of(prepared, outcome).encode()
        return Reply(200, b"paid for " + seen.path.encode(), (("Payment-Receipt", receipt),))


def losing(shop: Shop, times: int, drop: str = "all") -> Callable[[Seen], Reply]:
    """The shop is paid, and its first `times` answers get lost."""
    left = [times]

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if seen.credential and left[0]:
            left[0] -= 1
            return replace(reply, drop=drop)
        return reply

    return answer
