"""Deliveries whose reader left early are paid all the same: on leaving, or before the channel's next payment.

What is owed stands in memory (debts.py) until it is noted in the book as a pending commit (committing.py); from then on
it goes out whatever happens, by any process, and is never signed for a second time (F14).

    on leaving              some seconds; not where the channel is busy, or would need more deposit: then it waits
    with the next payment   before anything else is signed; one try, where the server still takes it for running
"""

from __future__ import annotations

from coinslot.client import channels
from coinslot.client.committing import MAX_PENDING_S, Commit, begin, post
from coinslot.client.debts import Debt
from coinslot.client.events import Declined, Refused, Unknown
from coinslot.client.text import plain
from coinslot.client.visit import Visit, affordable, turn
from coinslot.client.watermark import STEP_UNITS
from coinslot.drive import Cancelled, Flow, now, wait
from coinslot.errors import CoinslotError, PaymentOutcomeUnknown, PaymentRefused, PolicyRefused
from coinslot.intents.acts import Held, Standing

# A server hears within seconds that its reader has left; nobody waits much longer for a connection to be closed.
LEAVE_S = 5.0
# Whoever has the channel now may wait for a block: too long for somebody who leaves.
LEAVE_TURN_S = 1.0
# All of it, where it can be stopped from outside.
LEAVE_MOST_S = 10.0


def pay(visit: Visit, held: Held, debt: Debt, *, left: bool = False, within_s: float | None = None) -> Flow[Held]:
    """Pay one delivery, while the caller has its turn and nothing is pending. The channel's new record.

    `left`: its reader left early. Raises PolicyRefused, PaymentRefused, PaymentOutcomeUnknown, ChainError, StoreError.
    """
    # As far as the server acknowledged; what it never said a word about it may not have.
    base = held.acknowledged_units or held.signed_units
    total = max(held.signed_units + STEP_UNITS, base + debt.amount_units)
    yield from affordable(visit, total - held.signed_units)  # before anything is deposited for it. T22
    held = yield from channels.covered(visit, held, total)
    before = held.signed_units
    more = max(0, base + debt.amount_units + debt.more_units - total) if left else 0
    commit = Commit(debt.url, debt.delivery_id, debt.amount_units, total, before, more)
    dead_after_s = min(debt.until_s, (yield from now()) + MAX_PENDING_S)
    signed = yield from begin(visit, held, commit, dead_after_s)
    debt.agreed.deliveries[debt.delivery_id] = debt.amount_units  # T24
    debt.agreed.committed_units += total - before
    return (yield from post(visit, signed, commit, debt if left else None, within_s))


def settled(visit: Visit, held: Held) -> Flow[Held]:
    """The channel, what is owed on it at this site paid, as far as it can be. Whoever calls has its turn.

    Raises PaymentOutcomeUnknown, ChainError, StoreError. What is refused, or not allowed any more, is told and over.
    """
    for debt in visit.purse.desk.debts.of(held.key, visit.origin):
        held = yield from _settled(visit, held, debt, 0.0)
    return held


def _settled(visit: Visit, held: Held, debt: Debt, within_s: float) -> Flow[Held]:
    debts = visit.purse.desk.debts
    if debt.until_s <= (yield from now()):
        debts.drop(held.key, debt.delivery_id)
        return held
    try:
        return (yield from pay(visit, held, debt, left=True, within_s=within_s))
    except (PolicyRefused, PaymentRefused) as error:
        debts.drop(held.key, debt.delivery_id)
        tell(visit, error)
        return (yield from wait(visit.book.get(held.key))) or held


def leave(visit: Visit, key: str, debt: Debt) -> Flow[None]:
    """Pay what a stream was left with, in bounded time. Raises nothing of ours."""
    try:
        lease = yield from turn(visit.book, visit.scope, LEAVE_TURN_S)
        try:
            held = yield from wait(visit.book.get(key))
            known = debt in visit.purse.desk.debts.of(key, visit.origin)  # else somebody has paid it meanwhile. F14
            if known and held is not None and payable(visit, held):
                yield from _settled(visit, held, debt, LEAVE_S)
        finally:
            lease.release()
    except CoinslotError as error:
        tell(visit, error)
        if isinstance(error.__cause__, Cancelled):  # F29
            raise error.__cause__ from None


def payable(visit: Visit, held: Held) -> bool:
    """Whether what is owed can be paid at once: nothing is pending, and the deposit covers it; to add to that takes a
    block.
    """
    owed = sum(one.amount_units + one.more_units for one in visit.purse.desk.debts.of(held.key, visit.origin))
    ready = held.standing is Standing.OPEN and not held.opening
    return ready and held.deposit_units - held.signed_units >= owed


def tell(visit: Visit, error: CoinslotError) -> None:
    """The observer hears what became of it: nobody else can."""
    purse, text = visit.purse, plain(str(error))
    match error:
        case PaymentOutcomeUnknown():
            purse.observe(Unknown(visit.origin, visit.price, error.reference, text))
        case PaymentRefused():
            purse.observe(Refused(visit.origin, visit.price, error.reference, text))
        case _:
            purse.observe(Declined(visit.origin, text))
