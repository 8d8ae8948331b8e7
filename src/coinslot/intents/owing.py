"""Deliveries that a channel owes: what may be given before it is paid, and how it is paid. Arithmetic, like session.py.

    reserved ──► begun ──► due ──► paid
        │          │
        └──────────┴─► gone (time is up, or nothing was delivered)

`reserved`: the payer asked for room. `begun`: an answer streams; as long as its server lives it takes of the credit,
however slowly it is read. `due`: it came, and costs so much; that is owed until
it is paid, however late. `paid`: kept for whoever asks again. What is open (all but paid) may come to `credit_units`
in all, and to what the deposit holds that is neither spent nor set aside. T26
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from coinslot.errors import UsageError
from coinslot.intents import session
from coinslot.intents.session import Channel, Rules, Stale, Voucher
from coinslot.intents.session import Refused as SessionRefused

# A client has one stream or a few at a time; each is a row, and a directive to remember.
MAX_OPEN = 16
# How long a reservation holds that nothing becomes of, in seconds, and a stream whose server died.
LIFE_S = 600.0
# How many that are paid are remembered for each channel: a client asks again within minutes.
KEPT_PAID = 32


class State(StrEnum):
    """Where a delivery stands; see the table above."""

    RESERVED = "reserved"
    BEGUN = "begun"
    DUE = "due"
    PAID = "paid"


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery as recorded, on the channel `key`. Base units; times in seconds since 1970.

    `most_units` is what it may cost, `cost_units` what it does: what is due, then what was spent for it. `units` counts
    the service's. `voucher` paid it (the method's own record, as in Channel), for `total_units` in all.
    """

    id: str
    key: str
    sequence: int
    most_units: int
    state: State
    expires_at_s: float
    cost_units: int = 0
    units: int = 0
    total_units: int = 0
    voucher: bytes = field(default=b"", repr=False)

    @property
    def held_units(self) -> int:
        """What it takes of the credit."""
        if self.state is State.PAID:
            return 0
        return self.cost_units if self.state is State.DUE else self.most_units

    def expired(self, at_s: float) -> bool:
        """Whether nothing became of it in time. What streams ends with its server at the earliest, which only a store
        knows; what came is owed for ever.
        """
        return self.state is State.RESERVED and at_s >= self.expires_at_s  # T26


@dataclass(frozen=True, slots=True)
class Wish:
    """Room for a delivery of at most `most_units`, and of `least_units` at least; `credit_units` is the channel's.

    `id` None: "CHANNEL:SEQUENCE". `begins`: an answer streams now; it takes up what its payer reserved, if there is
    such a thing. `freed_units` of what is set aside on the channel are set aside for this very answer, and come back
    where it is lent.
    """

    key: str
    credit_units: int
    least_units: int
    most_units: int
    id: str | None = None
    begins: bool = False
    freed_units: int = 0


class Not(StrEnum):
    """Why nothing is owed, or paid, by a step."""

    CREDIT = "credit"  # what is open uses the credit up, or there are too many
    TAKEN = "taken"  # a delivery of that id is on record
    UNKNOWN = "unknown"  # no such delivery: never made, or expired, or forgotten
    RUNNING = "running"  # it has not ended yet
    OTHERWISE = "otherwise"  # it is paid, by another voucher
    OVER = "over"  # the voucher adds more than was reserved


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing changed."""

    why: Not


@dataclass(frozen=True, slots=True)
class Paid:
    """The delivery is paid; `replayed`: it had been, by this voucher."""

    channel: Channel
    owed: Owed
    replayed: bool = False


def set_aside(channel: Channel, known: Sequence[Owed], wish: Wish, at_s: float) -> Owed | Declined | SessionRefused:
    """The record of a delivery for which there is room. `known` are the channel's deliveries, none of them expired."""
    if not 0 < wish.least_units <= wish.most_units:
        raise UsageError("a delivery costs least and most, more than nothing")
    stopped = session.spend(channel, 0)
    if isinstance(stopped, SessionRefused):  # T27
        return stopped
    if any(one.id == wish.id for one in known):
        return Declined(Not.TAKEN)
    expires_at_s = at_s + LIFE_S
    if wish.begins:
        ready = [one for one in known if one.state is State.RESERVED and one.most_units >= wish.least_units]
        if ready:
            first = min(ready, key=lambda one: one.sequence)
            return replace(first, state=State.BEGUN, expires_at_s=expires_at_s)
    open_ones = [one for one in known if one.state is not State.PAID]
    held = sum(one.held_units for one in open_ones)
    credit = wish.credit_units - held
    if credit < wish.least_units or len(open_ones) >= MAX_OPEN:  # T26
        return Declined(Not.CREDIT)
    room = channel.deposit - channel.spent - (channel.reserved - wish.freed_units) - held  # T22
    if room < wish.least_units:  # T22
        return SessionRefused(session.Why.BALANCE, channel, wish.least_units - room)
    names = {one.id for one in known}
    sequence = 1 + max((one.sequence for one in known), default=0)
    while wish.id is None and f"{channel.id}:{sequence}" in names:  # T26: a payer may have reserved under that name
        sequence += 1
    state = State.BEGUN if wish.begins else State.RESERVED
    most = min(wish.most_units, credit, room)
    return Owed(wish.id or f"{channel.id}:{sequence}", channel.key, sequence, most, state, expires_at_s)


def delivered(owed: Owed, cost_units: int, units: int) -> Owed:
    """It came, and costs so much. Raises UsageError for more than it may cost."""
    if not 0 <= cost_units <= owed.most_units or owed.state is State.PAID:  # T24
        raise UsageError("a delivery costs no more than was reserved for it")
    return replace(owed, state=State.DUE, cost_units=cost_units, units=units)


def pay(channel: Channel, owed: Owed | None, voucher: Voucher, rules: Rules) -> Paid | Declined | SessionRefused:
    """Accept the voucher and spend what the delivery costs: both, or nothing. T02 T22

    One that was only reserved costs what its payer signs for it.
    """
    if owed is None:
        return Declined(Not.UNKNOWN)
    if owed.state is State.PAID:
        same = (voucher.amount_units, voucher.raw) == (owed.total_units, owed.voucher)
        return Paid(channel, owed, replayed=True) if same else Declined(Not.OTHERWISE)
    if owed.state is State.BEGUN:
        return Declined(Not.RUNNING)
    added = voucher.amount_units - channel.accepted
    if added > owed.most_units:  # T24: more than its payer can have meant to pay for it
        return Declined(Not.OVER)
    cost = owed.cost_units if owed.state is State.DUE else max(added, 0)
    bought = session.purchase(channel, voucher, cost, replace(rules, ahead=True), owed.units)
    if isinstance(bought, Stale):
        return SessionRefused(session.Why.EQUAL if bought.equal else session.Why.LOWER, channel)
    if isinstance(bought, SessionRefused):
        return replace(bought, channel=channel)  # nothing is accepted, either
    paid = replace(owed, state=State.PAID, cost_units=cost, total_units=voucher.amount_units, voucher=voucher.raw)
    return Paid(bought.channel, paid)
