"""What a payment channel means on any method: signed totals that only grow, and what was bought with them.

A client puts a deposit in escrow once and then signs vouchers, each for the *total* that it allows the payee to take.
All of it is arithmetic on one record per channel. Nothing here knows a clock, a database or a signature: a store runs
these functions on the one current record inside a transaction, so that every server decides alike.

    opening ──► open ◄──► closing ──► closed
       │          └───────────────────► ▲
       └────────────────────────────────┘

`opening`: recorded before its transaction is sent; buys nothing. `open`: the chain shows the deposit. `closing`: its
payer asked the chain to close it, or we are about to; nothing more is sold, what was sold is still counted. A top-up
takes that back where the method says so. `closed`: for ever (T08); a reopened channel is another channel.

What holds at every moment, in base units; `_checked` enforces it for every new record:

    0 <= spent,  0 <= reserved,  spent + reserved <= accepted <= deposit <= 2^bits - 1,  0 <= settled <= accepted
    deposit, accepted, spent, settled and units never decrease

`settled` may pass `spent`: a voucher is settled for what it says, and clients may sign ahead of what they buy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from coinslot.core.challenge import Challenge
from coinslot.core.record import quick
from coinslot.errors import LedgerError, UsageError

INTENT = "session"
# A client can't sign less than it did: each voucher that got lost makes the next one a base unit higher at least.
LOST_STEPS = 64


class Stage(StrEnum):
    """Where a channel stands; see the table above."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


# A stage may always stay what it is; any other step that is not listed is refused.
TRANSITIONS: Mapping[Stage, frozenset[Stage]] = MappingProxyType(
    {
        Stage.OPENING: frozenset({Stage.OPEN, Stage.CLOSED}),
        Stage.OPEN: frozenset({Stage.CLOSING, Stage.CLOSED}),
        Stage.CLOSING: frozenset({Stage.OPEN, Stage.CLOSED}),
        Stage.CLOSED: frozenset(),
    }
)


class Repeat(StrEnum):
    """What a method makes of a voucher that isn't higher than the one before. It never buys anything. T02"""

    IGNORE = "ignore"
    REFUSE = "refuse"


class Capture(StrEnum):
    """What closing takes: what was `spent` (or settled already, if that is more), or all that a `voucher` says."""

    SPENT = "spent"
    VOUCHER = "voucher"


# The payee's own hand, where payers leave the signing to it and only prove who they are: a signed total of so many base
# units for this channel, always the same bytes; None for a channel whose payer signs. Such a channel has its whole
# deposit `accepted`, and its voucher says what was spent, no more.
Pen: TypeAlias = "Callable[[Channel, int], bytes | None]"


@dataclass(frozen=True, slots=True)
class Rules:
    """In what methods and routes differ.

    `bits` is the width of an amount on the chain; `min_delta_units` the least step between two vouchers;
    `top_up_reopens`: a top-up takes a request to close back. `ahead`: whether a voucher may allow noticeably more than
    the request costs that it comes with. `pen`: signs for channels whose payer let us sign (see `Pen`).
    """

    bits: int = 128
    equal: Repeat = Repeat.IGNORE
    lower: Repeat = Repeat.REFUSE
    min_delta_units: int = 0
    capture: Capture = Capture.SPENT
    top_up_reopens: bool = True
    ahead: bool = True
    pen: Pen | None = None


@quick
@dataclass(frozen=True, slots=True)
class Voucher:
    """A signed total of `amount_units` for a channel. `raw` is the method's own record of it, signature included."""

    channel: str
    amount_units: int
    raw: bytes = field(repr=False)


@quick
@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as recorded. Amounts in base units of `asset` (a money.Asset key), times in seconds since 1970.

    `key` names it in the store ("network/id", the id in the method's canonical lower-case spelling) and never names
    another incarnation. `signer` is whose vouchers count. `voucher` is the highest accepted one's `raw`, b"" for none;
    `state` belongs to the method. `reserved` is set aside for streams that run now. `units` counts what was delivered.
    """

    key: str
    id: str
    network: str
    method: str
    payer: str
    payee: str
    signer: str
    asset: str
    deposit: int
    accepted: int = 0
    reserved: int = 0
    spent: int = 0
    settled: int = 0
    units: int = 0
    stage: Stage = Stage.OPENING
    closing_at_s: float | None = None
    voucher: bytes = field(default=b"", repr=False)
    state: bytes = field(default=b"", repr=False)
    opened_at_s: float = 0.0
    used_at_s: float = 0.0

    @property
    def available(self) -> int:
        """Authorized and not spent, in base units."""
        return self.accepted - self.spent

    @property
    def free(self) -> int:
        """Authorized, not spent, and not set aside for a running stream."""
        return self.accepted - self.spent - self.reserved

    @property
    def owed(self) -> int:
        """The least total that closing must take: what was bought, or what the chain has paid out already."""
        return max(self.spent, self.settled)

    @property
    def unsettled(self) -> int:
        """Bought and not paid out on the chain yet."""
        return max(0, self.spent - self.settled)


# --- what a step answers -------------------------------------------------------------------------


class Why(StrEnum):
    """Why a step was refused; session_problems.py turns each into an answer."""

    NOT_FOUND = "not-found"
    OPENING = "opening"
    CLOSING = "closing"
    CLOSED = "closed"
    LOWER = "lower"
    EQUAL = "equal"
    DELTA = "delta-too-small"
    AHEAD = "ahead"
    DEPOSIT = "exceeds-deposit"
    BALANCE = "insufficient"
    RESERVED = "reserved"
    KEY_REUSED = "key-reused"
    CROWDED = "too-many-at-once"


@quick
@dataclass(frozen=True, slots=True)
class Spent:
    """The cost was taken, once, for this request: deliver. `channel` is the record after it."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class Stale:
    """The voucher says what is known, or less: nothing changed, nothing was bought, nothing may run. T02"""

    channel: Channel
    equal: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was bought. `channel` is the record, which a good voucher may have advanced all the same.

    With BALANCE `missing_units` more must be authorized; elsewhere it is 0.
    """

    why: Why
    channel: Channel | None
    missing_units: int = 0


Purchase: TypeAlias = Spent | Stale | Refused

_CLOSED_FOR: Mapping[Stage, Why] = MappingProxyType(
    {Stage.OPENING: Why.OPENING, Stage.CLOSING: Why.CLOSING, Stage.CLOSED: Why.CLOSED}
)


# --- the one place -------------------------------------------------------------------------------


def _signs(rules: Rules | None, channel: Channel) -> bool:
    """Whether the payee signs for this channel."""
    return rules is not None and rules.pen is not None and rules.pen(channel, channel.spent) is not None


def _signed(rules: Rules | None, channel: Channel, spent_units: int) -> bytes:
    """The voucher of a channel of which so much is spent."""
    if rules is None or rules.pen is None:
        return channel.voucher
    written = rules.pen(channel, spent_units)
    return channel.voucher if written is None else written


def check_units(units: object, bits: int = 128) -> int:
    """An amount that fits the chain's integer of that width. Raises UsageError. T20"""
    if type(units) is not int or not 0 <= units < 1 << bits:  # T20: bool is an int to Python, and no amount
        raise UsageError(f"an amount is an integer from 0 to 2^{bits} - 1")
    return units


def _step(old: Channel, **changes: Any) -> Channel:
    """The next record. Raises LedgerError if that breaks what must always hold."""
    return _checked(old, replace(old, **changes))


def _advanced(old: Channel, voucher: Voucher, spent: int, units: int) -> Channel:
    """`_step` for what happens with each voucher. One by one: dataclasses.replace costs five times as much."""
    new = Channel(
        old.key, old.id, old.network, old.method, old.payer, old.payee, old.signer, old.asset, old.deposit,
        voucher.amount_units, old.reserved, spent, old.settled, units, old.stage, old.closing_at_s, voucher.raw,
        old.state, old.opened_at_s, old.used_at_s,
    )  # fmt: skip
    return _checked(old, new)


def used(old: Channel, at_s: float) -> Channel:
    """The same record, used at a time. For stores whose clock is their own."""
    return Channel(
        old.key, old.id, old.network, old.method, old.payer, old.payee, old.signer, old.asset, old.deposit,
        old.accepted, old.reserved, old.spent, old.settled, old.units, old.stage, old.closing_at_s, old.voucher,
        old.state, old.opened_at_s, at_s,
    )  # fmt: skip


def _checked(old: Channel, new: Channel) -> Channel:
    """Raises LedgerError."""
    held = (
        0 <= new.settled <= new.accepted
        and new.reserved >= 0
        and new.spent >= 0
        and new.spent + new.reserved <= new.accepted <= new.deposit
    )
    if not held:
        raise LedgerError(f"channel {old.id}: amounts that contradict each other; nothing was recorded")
    grown = (
        old.accepted <= new.accepted
        and old.spent <= new.spent
        and old.settled <= new.settled
        and old.deposit <= new.deposit
        and old.units <= new.units
    )
    if not grown:
        raise LedgerError(f"channel {old.id}: an amount that only grows would shrink; nothing was recorded")
    if new.stage is not old.stage and new.stage not in TRANSITIONS[old.stage]:
        raise LedgerError(f"channel {old.id}: {old.stage} can't become {new.stage}; nothing was recorded")
    return new


def begin(channel: Channel, rules: Rules) -> Channel:
    """The first record of a channel, its opening voucher (if any) in it. Raises UsageError, LedgerError."""
    for units in (channel.deposit, channel.accepted):
        check_units(units, rules.bits)
    used = (channel.spent, channel.reserved, channel.units) != (0, 0, 0)
    if used or channel.stage not in {Stage.OPENING, Stage.OPEN} or channel.key != channel.key.lower():
        raise UsageError("a channel begins unspent, opening or open, under a lower-case key")
    return _step(channel)


# --- vouchers and what they buy ------------------------------------------------------------------


def accept(channel: Channel, voucher: Voucher, rules: Rules) -> Channel | Stale | Refused:
    """The record with a higher voucher in it. Its signature was checked before; nothing here looks at it."""
    stopped = _unacceptable(channel, voucher, rules)
    return stopped or _advanced(channel, voucher, channel.spent, channel.units)


def _unacceptable(channel: Channel, voucher: Voucher, rules: Rules) -> Stale | Refused | None:
    units = check_units(voucher.amount_units, rules.bits)
    if voucher.channel != channel.id:
        raise UsageError("a voucher of another channel")
    if channel.stage is not Stage.OPEN:  # T27: what a closing channel signs may never be collected
        return Refused(_CLOSED_FOR[channel.stage], channel)
    added = units - channel.accepted
    if added <= 0:  # T02
        repeat, why = (rules.lower, Why.LOWER) if added < 0 else (rules.equal, Why.EQUAL)
        return Stale(channel, added == 0) if repeat is Repeat.IGNORE else Refused(why, channel)
    if added < rules.min_delta_units:
        return Refused(Why.DELTA, channel)
    return Refused(Why.DEPOSIT, channel) if units > channel.deposit else None


def spend(channel: Channel, cost_units: int, units: int = 0, rules: Rules | None = None) -> Spent | Refused:
    """Take a fixed cost from what is free. Under `rules` with a pen, what is spent then is signed in the same step."""
    if cost_units < 0 or units < 0:
        raise UsageError("a cost and a count are 0 or more")
    if channel.stage is not Stage.OPEN:  # T27
        return Refused(_CLOSED_FOR[channel.stage], channel)
    if cost_units > channel.free:  # T22
        return Refused(Why.BALANCE, channel, cost_units - channel.free)
    spent = channel.spent + cost_units
    return Spent(_step(channel, spent=spent, units=channel.units + units, voucher=_signed(rules, channel, spent)))


def most_added(cost_units: int) -> int:
    """What a voucher may add where it may not run ahead: the cost, and what a client may have signed, least step by
    least step or for one request more, that never reached us.
    """
    return cost_units + max(cost_units, LOST_STEPS)


def purchase(channel: Channel, voucher: Voucher | None, cost_units: int, rules: Rules, units: int = 0) -> Purchase:
    """Accept a voucher, if there is one, and take the cost: Spent, or Stale, or Refused. T02 T22

    The same as `accept` and then `spend`. A Refused for want of balance carries the record with the voucher in it.
    """
    if voucher is None:
        return spend(channel, cost_units, units, rules)
    stopped = _unacceptable(channel, voucher, rules)
    if stopped is not None:
        return stopped
    if cost_units < 0 or units < 0:
        raise UsageError("a cost and a count are 0 or more")
    if not rules.ahead and cost_units and voucher.amount_units - channel.accepted > most_added(cost_units):
        return Refused(Why.AHEAD, channel)
    missing = cost_units + channel.spent + channel.reserved - voucher.amount_units
    if missing > 0:  # T22
        return Refused(Why.BALANCE, _advanced(channel, voucher, channel.spent, channel.units), missing)
    return Spent(_advanced(channel, voucher, channel.spent + cost_units, channel.units + units))


# --- metered use ---------------------------------------------------------------------------------


def reserve(channel: Channel, least_units: int, most_units: int) -> Channel | Refused:
    """Set aside what is free, up to `most_units`; refused if that is less than `least_units` (or nothing)."""
    if not 0 < least_units <= most_units:
        raise UsageError("a window is least and most, more than nothing")
    if channel.stage is not Stage.OPEN:
        return Refused(_CLOSED_FOR[channel.stage], channel)
    if channel.free < least_units:  # T22
        return Refused(Why.BALANCE, channel, least_units - channel.free)
    return _step(channel, reserved=channel.reserved + min(most_units, channel.free))


def commit(channel: Channel, window_units: int, used_units: int, units: int = 0, rules: Rules | None = None) -> Channel:
    """Spend `used_units` of a window that was set aside and free the rest; in any stage, since it was delivered."""
    if not 0 <= used_units <= window_units:
        raise UsageError("more was delivered than the window held")
    spent = channel.spent + used_units
    return _step(
        channel,
        reserved=channel.reserved - window_units,
        spent=spent,
        units=channel.units + units,
        voucher=_signed(rules, channel, spent),
    )


# --- what the chain tells ------------------------------------------------------------------------


def opened(channel: Channel, deposit_units: int, settled_units: int, rules: Rules) -> Channel | Refused:
    """The chain shows the channel open. A second time changes nothing."""
    check_units(deposit_units, rules.bits)
    if channel.stage is Stage.CLOSED:
        return Refused(Why.CLOSED, channel)
    stage = Stage.OPEN if channel.stage is Stage.OPENING else channel.stage
    deposit, settled = max(channel.deposit, deposit_units), max(channel.settled, settled_units)
    accepted = deposit if _signs(rules, channel) else channel.accepted
    return _step(channel, stage=stage, deposit=deposit, settled=settled, accepted=accepted)


def top_up(channel: Channel, deposit_units: int, rules: Rules) -> Channel | Refused:
    """The chain shows a deposit of `deposit_units` in all, and no request to close. A second time changes nothing."""
    check_units(deposit_units, rules.bits)
    if channel.stage in {Stage.OPENING, Stage.CLOSED}:
        return Refused(_CLOSED_FOR[channel.stage], channel)
    if channel.stage is Stage.CLOSING and not rules.top_up_reopens:
        return Refused(Why.CLOSING, channel)
    deposit = max(channel.deposit, deposit_units)
    accepted = deposit if _signs(rules, channel) else channel.accepted
    return _step(channel, deposit=deposit, accepted=accepted, stage=Stage.OPEN, closing_at_s=None)


def note_settled(channel: Channel, settled_units: int) -> Channel:
    """The chain shows `settled_units` paid out in all; an older look at the chain changes nothing.

    Raises LedgerError if that is more than any voucher known here: this record is then older than the chain's.
    """
    return _step(channel, settled=max(channel.settled, settled_units))


def request_close(channel: Channel, at_s: float) -> Channel | Refused:
    """Sell nothing more. `at_s` is when closing was asked for; the first time counts. T27"""
    if channel.stage in {Stage.OPENING, Stage.CLOSED}:
        return Refused(_CLOSED_FOR[channel.stage], channel)
    if channel.stage is Stage.CLOSING:
        return channel
    return _step(channel, stage=Stage.CLOSING, closing_at_s=at_s)


def closed(channel: Channel, settled_units: int) -> Channel:
    """The chain shows the channel closed (or never opened) with `settled_units` paid out. Raises LedgerError."""
    return _step(channel, stage=Stage.CLOSED, settled=max(channel.settled, settled_units))


# --- closing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Close:
    """What to tell the chain: the voucher to show (b"" for none) and the total to take in all."""

    voucher_units: int
    raw: bytes = field(repr=False)
    capture_units: int


def close(channel: Channel, offered: Voucher | None, rules: Rules) -> Close | Refused:
    """How to close now: owed <= capture <= voucher <= deposit, also where nothing is owed. T23

    `offered` is the voucher with which the client asks to close, its signature checked, or None. Where closing takes
    what was spent, any voucher that covers it does. Where it takes all that the voucher says, the lowest one that
    covers what is owed is shown; the client is asked for one of exactly `owed` units, and if none comes the highest
    accepted one takes more than was bought.
    """
    if channel.stage in {Stage.OPENING, Stage.CLOSED}:
        return Refused(_CLOSED_FOR[channel.stage], channel)
    if channel.reserved:
        return Refused(Why.RESERVED, channel)
    if offered is None and _signs(rules, channel):
        return Close(channel.owed, _signed(rules, channel, channel.owed), channel.owed)
    vouchers = [(channel.accepted, channel.voucher)]
    if offered is not None:
        check_units(offered.amount_units, rules.bits)
        if offered.channel != channel.id:
            raise UsageError("a voucher of another channel")
        if offered.amount_units < channel.owed:  # T23
            return Refused(Why.BALANCE, channel, channel.owed - offered.amount_units)
        if offered.amount_units > channel.deposit:  # T23
            return Refused(Why.DEPOSIT, channel)
        vouchers.append((offered.amount_units, offered.raw))
    if rules.capture is Capture.SPENT:
        units, raw = max(vouchers, key=lambda each: each[0])
        return Close(units, raw, channel.owed)  # T23
    units, raw = min(vouchers, key=lambda each: each[0])
    return Close(units, raw, units)


def settlement(channel: Channel, rules: Rules) -> Close | None:
    """The highest voucher, taken for all that it says; None where the chain has paid that out already."""
    if _signs(rules, channel):
        return Close(channel.owed, _signed(rules, channel, channel.owed), channel.owed) if channel.unsettled else None
    if channel.accepted <= channel.settled or not channel.voucher:
        return None
    return Close(channel.accepted, channel.voucher, channel.accepted)


def under(challenge: Challenge, proof: str) -> Challenge:
    """The challenge as one act under it claims it: many acts may echo one challenge, and each is done once. T06"""
    return replace(challenge, id=f"{challenge.id}/{proof}")


def issued_id(challenge: Challenge) -> str:
    """The id under which a challenge was issued, also of one that `under` made (ids are base64url, without slashes)."""
    return challenge.id.partition("/")[0]
