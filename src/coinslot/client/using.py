"""Channels whose payee signs the vouchers: a request presents a proof of who pays, the same each time.

What protects such a payer is the deposit: the payee can take all of it, whatever it delivered. So all that is deposited
counts as authorized from the moment it is, in the budgets, too; receipts are believed up to it, and no further.
"""

from __future__ import annotations

from coinslot.client import channels
from coinslot.client.visit import Visit, affordable, sign
from coinslot.drive import Flow
from coinslot.intents.acts import Held


def ready_to_use(visit: Visit, held: Held) -> Flow[Held]:
    """The channel, all that it holds authorized where its payee signs; others as they are.

    Where receipts told that it is used up it is given more deposit first: some servers refuse a request then and don't
    say that this is why. Raises as channels.ready does.
    """
    if visit.payer.signs(held):
        return held
    missing = held.spent_units + visit.terms.amount_units - held.deposit_units
    if missing > 0:
        return (yield from refilled(visit, held, missing))
    return (yield from _authorized(visit, held))


def refilled(visit: Visit, held: Held, missing_units: int) -> Flow[Held]:
    """The channel with more deposit, within the policy and the budgets. Raises as channels.ready does."""
    added = yield from channels.addition(visit, held, missing_units)
    yield from affordable(visit, added)  # T22: what is deposited can't be taken back by not signing for it
    return (yield from _authorized(visit, (yield from channels.top_up(visit, held, added))))


def _authorized(visit: Visit, held: Held) -> Flow[Held]:
    if held.signed_units == held.deposit_units:
        return held
    return (yield from sign(visit, held, held.deposit_units))
