"""Whose an Idempotency-Key is, and who may ask for what was answered under it, on whichever channel.

the same channel      any voucher that its signer signed, or a proof of who pays: the gate has verified it
a channel of theirs   one that could buy something now: higher than any before, or none, while it is open
anybody else's        the key means nothing there
"""

from __future__ import annotations

from coinslot.intents import session
from coinslot.intents.session import Channel, Refused, Spent, Stale
from coinslot.store.channels import Order


def payer_of(found: Channel) -> str:
    """Who pays whom on a channel, as one text: a key is known by it on all their channels.

    The signer is in it: whom a payer lets sign on one channel need not hear what was answered on another. T05
    The asset is not: whatever it is paid in, a request is paid once. A step of the schema says the same in SQL.
    """
    return f"{found.method} {found.network} {found.payer} {found.signer} {found.payee}"


def not_shown(found: Channel, order: Order) -> Stale | Refused | None:
    """Why an order doesn't show that its payer sends it now, whatever it costs; None: it does. T05

    A voucher that was accepted may stand on the chain for everybody to repeat; a higher one only its signer has.
    """
    shown = session.purchase(found, order.voucher, 0, order.rules)
    return None if isinstance(shown, Spent) else shown
