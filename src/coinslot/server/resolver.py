"""Asking the chain again about payments whose end was not learnt: after a timeout, a crash, a restart."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.drive import Flow, wait
from coinslot.errors import ChainError, InvalidChallenge, LeaseLost
from coinslot.intents.charge import Pending, Refused, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import ChargeSeller
from coinslot.server.events import Observer, Resolved
from coinslot.store.protocol import Lease, Payment, Store

# One round asks about this many; the rest wait for the next, so that a pile-up never blocks a round for long.
ROUND = 32


def resolve_round(store: Store, sellers: Sequence[ChargeSeller], observe: Observer | None = None) -> Flow[int]:
    """Ask about every open payment once, oldest first; how many are still open. Raises StoreError. F09 F11"""
    pending = 0
    for payment in (yield from wait(store.unresolved(ROUND))):
        lease = yield from wait(store.take(payment.challenge.id))
        if lease is None:
            continue
        held = True
        try:
            held = not (yield from _resolve(store, lease, payment, sellers, observe))
        except (ChainError, LeaseLost):
            pending += 1
            continue
        finally:
            if held or payment.prepared is None:
                store.release(lease)
        pending += held
    return pending


def _resolve(
    store: Store, lease: Lease, payment: Payment, sellers: Sequence[ChargeSeller], observe: Observer | None
) -> Flow[bool]:
    """Whether the end is known now; then it is recorded and the lease is dropped."""
    prepared = payment.prepared
    if prepared is None:
        return False
    for seller in sellers:
        if (seller.method, seller.intent) != (prepared.challenge.method, prepared.challenge.intent):
            continue
        try:
            terms = seller.terms(prepared.challenge.request_object())
        except InvalidChallenge:
            continue
        outcome = yield from seller.confirm(prepared)
        if isinstance(outcome, Pending):
            return False
        if isinstance(outcome, Refused):
            yield from wait(store.fail(lease, outcome.reason))
        else:
            entry = post_charge(terms, prepared, outcome)
            yield from wait(store.settle(lease, receipt_of(prepared, outcome), entry))
            yield from wait(store.release(lease))  # the delivery is owed to whoever comes with the credential
        if observe is not None:
            stage = "failed" if isinstance(outcome, Refused) else "settled"
            observe(Resolved(prepared.challenge.id, prepared.reference, stage))
        return True
    return False
