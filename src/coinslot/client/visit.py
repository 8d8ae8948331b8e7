"""One client at one paid address: what every step with a channel needs to know, and the step that signs.

Signing is in one place, in this order: compute, sign, write down, and only then may it be sent (F01 F02).
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.client.events import Authorized, Recovered
from coinslot.client.purse import Purse, units_of
from coinslot.client.terms import WHOLE, WHOLE_ANSWER, as_charge
from coinslot.client.watermark import Purchase
from coinslot.core.challenge import ALTERNATE_HEADER, Challenge
from coinslot.core.credential import encode_credential
from coinslot.drive import Flow, call, failpoint, now, sleep, wait
from coinslot.errors import StoreBusy
from coinslot.intents import charge
from coinslot.intents.acts import Act, Balance, Held, Terms
from coinslot.method import SessionPayer
from coinslot.store.book import Book, Draw, Lease, Limit, Scope, Word
from coinslot.store.book_rules import within

# How long a request waits for its turn on a channel: others may be waiting for a block.
TURN_S = 120.0
# Between two looks whether it is our turn: from not noticeable to a person's patience.
LEAST_PAUSE_S, MOST_PAUSE_S = 0.001, 0.025
DAY_S = 24 * 3600.0


@dataclass
class Visit:
    """`challenge` is the one that credentials echo now; it is replaced by fresh ones under the same `terms`.

    `remembered`: it is from an earlier request, or answers a credential, and may not be one to open a channel under.
    """

    purse: Purse
    payer: SessionPayer
    origin: str
    verb: str
    url: str
    challenge: Challenge
    terms: Terms
    expires_at_s: float
    remembered: bool = False

    @property
    def book(self) -> Book:
        """The purse's book."""
        return self.purse.desk.book

    @property
    def price(self) -> charge.Terms:
        """What one unit costs, to show."""
        return as_charge(self.terms)

    @property
    def aside_units(self) -> int:
        """Base units that a server may have authorized before its answer begins: the price, where that is the whole
        answer's; else what is told at its end may come to as much, and that is what one request may cost. T24
        """
        policy, price = self.purse.policy, self.terms.amount_units
        if self.terms.unit_type in WHOLE:
            return price
        if policy.max_window is not None:
            return policy.max_window * price
        limit = policy.limit(self.terms.asset)
        return price if limit is None else max(price, units_of(limit, self.terms.asset))

    @property
    def ahead_units(self) -> int:
        """Base units that an answer which is counted while it comes may be paid ahead: nothing, where the price that
        was agreed to is the whole answer's. T24
        """
        return 0 if self.terms.unit_type == WHOLE_ANSWER else self.purse.policy.window * self.terms.amount_units

    def purchase(self, held: Held) -> Purchase:
        """A request that begins now, on this channel."""
        return Purchase.on(held, self.terms.amount_units, self.aside_units, signs=self.payer.signs(held))

    @property
    def scope(self) -> Scope:
        """Whose channels these are."""
        asset = self.terms.asset
        return Scope(asset.network, self.payer.method, self.payer.account, self.terms.recipient, asset.key)

    def credential(self, payload: object, challenge: Challenge | None = None) -> tuple[str, str]:
        """The header that presents a payload, under the challenge at hand or another one."""
        assert isinstance(payload, dict)  # noqa: S101 - what payers return
        echo = challenge or self.challenge
        return header_of(echo), encode_credential(echo, payload, self.payer.source())

    def voucher(self, held: Held) -> tuple[str, str]:
        """The header that presents the highest voucher of a channel, or the proof of who pays."""
        act = Act.VOUCHER if self.payer.signs(held) else Act.USE
        payload = dict(self.payer.payload(held, act, held.signed_units, held.voucher))
        return self.credential(payload, self.payer.echoed(held, self.challenge))


def header_of(challenge: Challenge) -> str:
    """Where a challenge wants its credential."""
    return "Authorization" if challenge.header is None else ALTERNATE_HEADER


def turn(book: Book, scope: Scope, most_s: float = TURN_S) -> Flow[Lease]:
    """Wait until nobody else speaks for these channels: other threads, tasks and processes. Raises StoreBusy. F25"""
    waited_s, pause_s = 0.0, LEAST_PAUSE_S
    while True:
        lease: Lease | None = yield from call(book.try_lock, scope)
        if lease is not None:
            return lease
        if waited_s > most_s:
            raise StoreBusy("somebody else has been using this channel for too long; nothing was signed")
        yield from sleep(pause_s)
        waited_s, pause_s = waited_s + pause_s, min(2 * pause_s, MOST_PAUSE_S)


def sign(visit: Visit, held: Held, total_units: int) -> Flow[Held]:
    """Sign a higher total and write it down; then, and only then, it may be sent. F01 F02

    Raises PolicyRefused where a budget would be passed, LedgerError, StoreError.
    """
    purse, added = visit.purse, total_units - held.signed_units
    draw = yield from drawing(visit, added)
    with purse.tally.drawn(added, budget_of(visit)):  # T22
        voucher = visit.payer.sign(held, total_units)
        failpoint("client.signed")
        signed = yield from wait(visit.book.sign(held.key, total_units, voucher, draw))  # F01 F02
    failpoint("client.saved")
    purse.observe(Authorized(visit.origin, signed.channel_id, signed.asset, total_units, added))
    return signed


def budget_of(visit: Visit) -> int | None:
    """The session's own budget in base units, None for none."""
    budget = visit.purse.tally.budget
    return None if budget is None else units_of(budget, visit.terms.asset)


def drawing(visit: Visit, added_units: int) -> Flow[Draw]:
    """What a voucher that adds so much draws on the budgets of the book."""
    return Draw(visit.origin, visit.terms.asset.key, added_units, (yield from now()), _limits(visit))


def affordable(visit: Visit, added_units: int) -> Flow[None]:
    """That the budgets allow so much more. Raises PolicyRefused. T22"""
    draw = yield from drawing(visit, added_units)
    visit.purse.tally.require(added_units, budget_of(visit))
    within((yield from _drawn(visit, draw)), draw)


def affordable_part(visit: Visit, held: Held, total_units: int) -> Flow[int]:
    """Of a total that a stream wants what the budgets leave room for: the beginning of a window is served as well, so
    they are used to their end. What is wanted, where they leave no room for a unit: signing it says why not. T22
    """
    draw = yield from drawing(visit, total_units - held.signed_units)
    budget, tally = budget_of(visit), visit.purse.tally
    room = [] if budget is None else [budget - tally.authorized_units]
    room += [limit.most_units - drawn_units for limit, drawn_units in (yield from _drawn(visit, draw))]
    part = min([draw.units, *room])
    return total_units if part < visit.terms.amount_units else held.signed_units + part


def _drawn(visit: Visit, draw: Draw) -> Flow[list[tuple[Limit, int]]]:
    """The limits of the book, and what was drawn under each."""
    drawn = []
    for limit in draw.limits:
        since_s = draw.at_s - limit.window_s
        drawn.append((limit, (yield from wait(visit.book.drawn(draw.asset, since_s, limit.origin)))))
    return drawn


def _limits(visit: Visit) -> tuple[Limit, ...]:
    policy, asset = visit.purse.policy, visit.terms.asset
    total, here = policy.units("max_per_day", asset), policy.units("max_per_day_and_origin", asset)
    found = [] if total is None else [Limit(total, DAY_S)]
    return tuple(found if here is None else [*found, Limit(here, DAY_S, visit.origin)])


def note(visit: Visit, held: Held, said: Balance | None) -> Flow[Held]:
    """Write a server's word down, as far as it is about this channel; never above what we signed. T24"""
    at_s = yield from now()
    if said is None or said.channel_id != held.channel_id:
        return (yield from wait(visit.book.note(held.key, Word(used_at_s=at_s))))
    word = Word(said.accepted_units, said.spent_units, used_at_s=at_s)
    return (yield from wait(visit.book.note(held.key, word)))


def adopt(visit: Visit, found: Held) -> Flow[Held]:
    """Take a channel, or a higher total, into the book that our own signature proves. F04 F05"""
    known = yield from wait(visit.book.get(found.key))
    merged = yield from wait(visit.book.adopt(found))
    if known is None or merged.signed_units > known.signed_units:
        told = Recovered(visit.origin, merged.channel_id, merged.asset, merged.signed_units)
        visit.purse.observe(told)
    return merged
