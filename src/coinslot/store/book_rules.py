"""How one record of the payer's book follows from the one before; every kind of book runs these inside its transaction.

0 <= settled, acknowledged, spent <= signed <= deposit;   none of them, nor the deposit, ever decreases
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coinslot.errors import LedgerError, PolicyRefused
from coinslot.intents.acts import Held, Standing
from coinslot.store.book import ENDED, SETTLED, Draw, Limit, Pending, Word


def begun(held: Held) -> Held:
    """The first record. Raises LedgerError."""
    amounts = (held.acknowledged_units, held.spent_units, held.settled_units)
    if not 0 <= held.signed_units <= held.deposit_units or min(amounts) < 0 or max(amounts) > held.signed_units:
        raise LedgerError(f"channel {held.channel_id}: amounts that contradict each other; nothing was recorded")
    return held


def signed(held: Held | None, total_units: int, voucher: bytes, at_s: float) -> Held:
    """The record with a higher voucher in it. Raises LedgerError."""
    known = _known(held)
    if total_units <= known.signed_units:  # I3
        raise LedgerError(f"channel {known.channel_id}: a signed total only grows; nothing was recorded")
    if total_units > known.deposit_units:
        raise LedgerError(f"channel {known.channel_id}: more than was deposited; nothing was recorded")
    return replace(known, signed_units=total_units, voucher=voucher, used_at_s=max(known.used_at_s, at_s))


def noted(held: Held | None, word: Word) -> Held:
    """The record with what was learnt in it: amounts are raised, and a server's word counts up to what we signed."""
    known = _known(held)
    pending = word.pending or Pending(known.opening, known.reference, known.dead_after_s)
    settled = max(known.settled_units, min(word.settled_units or 0, known.signed_units))
    return replace(
        known,
        acknowledged_units=max(known.acknowledged_units, _capped(word.acknowledged_units, known)),
        spent_units=max(known.spent_units, _capped(word.spent_units, known)),
        settled_units=settled,
        deposit_units=max(known.deposit_units, word.deposit_units or 0),
        standing=word.standing or known.standing,
        closing_at_s=None
        if word.standing is Standing.OPEN
        else known.closing_at_s
        if word.closing_at_s is None
        else word.closing_at_s,
        used_at_s=max(known.used_at_s, word.used_at_s or 0.0),
        opening=pending.opening,
        reference=known.reference if word.pending is SETTLED else pending.reference,
        dead_after_s=pending.dead_after_s,
    )


def _capped(said_units: int | None, known: Held) -> int:
    return min(said_units or 0, known.signed_units)  # T24


def merged(old: Held | None, found: Held) -> Held:
    """A channel found again: as found if it was lost, else the higher of both. A closed one stays closed."""
    if old is None:
        return begun(found)
    if old.standing in ENDED:
        return old
    higher = found.signed_units > old.signed_units
    return begun(
        replace(
            old,
            signed_units=max(old.signed_units, found.signed_units),
            voucher=found.voucher if higher else old.voucher,
            deposit_units=max(old.deposit_units, found.deposit_units),
            acknowledged_units=max(old.acknowledged_units, found.acknowledged_units),
            spent_units=max(old.spent_units, found.spent_units),
            settled_units=max(old.settled_units, found.settled_units),
            standing=Standing.OPEN if old.standing is Standing.OPENING else old.standing,
            state=old.state or found.state,
            origin=old.origin or found.origin,
        )
    )


def _known(held: Held | None) -> Held:
    if held is None:
        raise LedgerError("this channel is not in the book; nothing was recorded")
    if held.standing in ENDED:
        raise LedgerError(f"channel {held.channel_id} is {held.standing}; nothing was recorded")
    return held


def unlocked(channels: Iterable[Held], held: Held, draw: Draw) -> None:
    """Raises PolicyRefused if a new channel would lock up more than may be, beside those there are. T22"""
    if draw.most_locked_units is None:
        return
    beside = [one for one in channels if one.asset == held.asset and one.standing not in ENDED]
    locked_units = sum(one.deposit_units - one.settled_units for one in beside)
    if locked_units + held.deposit_units > draw.most_locked_units:
        raise PolicyRefused(
            f"{locked_units} base units are deposited in channels, {held.deposit_units} more are asked for, and "
            f"{draw.most_locked_units} are allowed (max_locked). Nothing was sent."
        )


def within(limits: Iterable[tuple[Limit, int]], draw: Draw) -> None:
    """Raises PolicyRefused if a draw passes a limit; with each limit comes what was drawn under it already."""
    for limit, drawn_units in limits:
        if drawn_units + draw.units > limit.most_units:
            whom = f"with {limit.origin} " if limit.origin is not None else ""
            raise PolicyRefused(
                f"the budget of {limit.most_units} base units {whom}in {limit.window_s / 3600:g} hours is spent "
                f"({drawn_units} so far, {draw.units} more are asked for). Nothing was signed."
            )
