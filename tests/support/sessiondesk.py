"""Both sides of a toy session with nothing between them: the method's contracts, tried step by step.

desk = Desk(bank, alice)                     # Desk(bank, alice, flavour="v1")
move = desk.open(deposit=1_000, first=0)     # signed, nothing sent
channel = desk.fund(move)                    # checked, broadcast, confirmed; the engine's record
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from coinslot.core.canonical import canonical, encode_object
from coinslot.core.challenge import Challenge
from coinslot.core.credential import Credential
from coinslot.core.instant import format_instant
from coinslot.drive import RealWorld, run
from coinslot.intents import acts, session
from coinslot.intents.charge import Prepared
from coinslot.method import Extras, load
from coinslot.settings import settings
from support.toybank import Bank
from support.toysessionpayer import ToySessionPayer
from support.toysessionseller import ToySessionSeller


def session_seller(bank: Bank, **table: Any) -> ToySessionSeller:
    """A seller of sessions at this bank, paid to `shop`."""
    toy = load("toy")
    sessions = toy.sessions
    assert sessions is not None
    given = {"bank": bank.path, "recipient": "shop", "sessions": True, **table}
    seller = run(sessions.sellers(settings(toy.Accept, given, "test")), RealWorld())[0]
    assert isinstance(seller, ToySessionSeller)
    return seller


def session_payer(wallet: Mapping[str, Any]) -> ToySessionPayer:
    """A payer of sessions."""
    toy = load("toy")
    sessions = toy.sessions
    assert sessions is not None
    payer = run(sessions.payers(settings(toy.Wallet, wallet, "test")), RealWorld())[0]
    assert isinstance(payer, ToySessionPayer)
    return payer


class Desk:
    """A seller and a payer, and a challenge between them; prices are a thousandth of a coin."""

    def __init__(self, bank: Bank, wallet: Mapping[str, Any], **table: Any) -> None:
        self.world = RealWorld()
        self.bank = bank
        self.seller = session_seller(bank, **table)
        self.payer = session_payer(wallet)
        tariff = acts.Tariff("word", Decimal("0.5"))
        self.challenge = self.challenge_of(self.seller.offer(Decimal("0.001"), Extras(), tariff))
        self.terms = self.seller.terms(self.challenge.request_object())
        self.rules = self.seller.rules(self.terms)

    @staticmethod
    def challenge_of(request: Mapping[str, Any]) -> Challenge:
        """A challenge for a request object."""
        expires = format_instant(time.time() + 300)
        return Challenge("c1", "realm", "toy", "session", encode_object(request), expires)

    def open(self, deposit: int = 10_000, first: int = 0) -> acts.Move:
        """A signed opening."""
        return run(self.payer.open(self.challenge, self.terms, deposit, first), self.world)

    def claimed(self, payload: Mapping[str, Any]) -> acts.Claimed:
        """What a server makes of a payload before it reads it."""
        credential = Credential(self.challenge, canonical(payload))
        return acts.Claimed(credential, self.terms, time.time() + 300)

    def check(self, payload: Mapping[str, Any], channel: session.Channel | None = None) -> acts.Funding:
        """A funding, checked."""
        presented = self.seller.read(payload, self.terms)
        return run(self.seller.check(presented, self.claimed(payload), channel), self.world)

    def prepared(self, funding: acts.Funding) -> Prepared:
        """What will be broadcast."""
        return run(self.seller.prepare(funding, self.challenge), self.world)

    def confirmed(self, prepared: Prepared) -> acts.FundingOutcome:
        """What the bank says of it."""
        return run(self.seller.confirm(prepared), self.world)

    def fund(self, move: acts.Move) -> session.Channel:
        """An opening all the way to an open channel."""
        funding = self.check(move.payload)
        prepared = self.prepared(funding)
        run(self.seller.broadcast(prepared), self.world)
        outcome = self.confirmed(prepared)
        assert isinstance(outcome, acts.Funded), outcome
        assert funding.channel is not None
        begun = session.begin(funding.channel, self.rules)
        opened = session.opened(begun, outcome.state.deposit_units, outcome.state.settled_units, self.rules)
        assert isinstance(opened, session.Channel)
        return opened

    def accept(self, channel: session.Channel, held: acts.Held, units: int) -> session.Channel:
        """The channel with a higher voucher in it, presented and verified."""
        raw = self.payer.sign(held, units)
        payload = self.payer.payload(held, acts.Act.VOUCHER, units, raw)
        presented = self.seller.read(payload, self.terms)
        assert presented.voucher is not None
        self.seller.verify(presented, channel, self.claimed(payload), time.time())
        got = session.accept(channel, presented.voucher, self.rules)
        assert isinstance(got, session.Channel)
        return got

    def spent(self, channel: session.Channel, units: int) -> session.Channel:
        """The channel with a cost taken."""
        got = session.spend(channel, units, 1)
        assert isinstance(got, session.Spent)
        return got.channel

    def pay_out(self, *jobs: tuple[session.Channel, session.Close, bool]) -> list[acts.JobOutcome]:
        """One transaction for these jobs, sent, and what became of each."""
        sent = run(self.seller.pay_out(jobs), self.world)
        run(self.seller.send(sent.raw), self.world)
        return [run(self.seller.paid_out(*job, sent), self.world) for job in jobs]

    def look(self, channel: session.Channel) -> acts.OnChain:
        """A channel as the bank has it."""
        return run(self.seller.look([channel]), self.world)[0]


def altered(payload: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A payload with other members; None leaves one out."""
    return {name: value for name, value in {**payload, **members}.items() if value is not None}


def renamed(held: acts.Held, **fields: Any) -> acts.Held:
    """A held channel with other fields."""
    return replace(held, **fields)
