"""Asking the chain again about payments whose end was not learnt: after a timeout, a crash, a restart."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.drive import Flow, wait
from coinslot.errors import ChainError, InvalidChallenge, LeaseLost, LedgerError, Problem, RpcUnreachable
from coinslot.intents.charge import Pending, Prepared, Refused, Terms, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import ChargeSeller
from coinslot.server.events import Observer, Resolved
from coinslot.server.holding import Hold, obtain
from coinslot.store.protocol import Lease, Payment, Stage, Store

# One round asks about this many; the rest wait for the next, so that a pile-up never blocks a round for long.
ROUND = 32
# A look at what is open takes in this many: more than any node leaves open in the time that a transaction lives.
SEEN = 1024


def resolve_round(
    store: Store, sellers: Sequence[ChargeSeller], observe: Observer | None = None, turn: int = 0
) -> Flow[int]:
    """Ask about open payments once; how many of those asked about are still open. Raises StoreError. F09 F11

    `turn` counts the rounds: each begins where the one before ended, so that payments that stay open (whose network
    is down, whose method was taken out of the settings) never keep the others from their turn.
    """
    waiting = list((yield from wait(store.unresolved(SEEN))))
    start = turn * ROUND % len(waiting) if len(waiting) > ROUND else 0  # F11
    silent: set[int] = set()
    pending = 0
    for payment in (waiting[start:] + waiting[:start])[:ROUND]:
        known = _seller_of(payment.prepared, sellers)
        if known is None or id(known[0]) in silent:
            pending += 1
            continue
        lease = yield from obtain(store, store.take(payment.challenge.id))
        if lease is None:
            continue
        with Hold(store, lease) as hold:
            try:
                pending += not (yield from _resolve(store, hold.lease, known, observe))
            except RpcUnreachable:
                silent.add(id(known[0]))
                pending += 1
            except (ChainError, Problem, LedgerError, LeaseLost):
                pending += 1
    return pending


def _seller_of(prepared: Prepared | None, sellers: Sequence[ChargeSeller]) -> tuple[ChargeSeller, Terms] | None:
    """Who can ask about a payment, and what was asked."""
    if prepared is None:
        return None
    challenge = prepared.challenge
    for seller in sellers:
        if (seller.method, seller.intent) == (challenge.method, challenge.intent):
            try:
                return seller, seller.terms(challenge.request_object())
            except InvalidChallenge:
                continue
    return None


def _resolve(store: Store, lease: Lease, known: tuple[ChargeSeller, Terms], observe: Observer | None) -> Flow[bool]:
    """Whether the end of a payment is known now, and on record."""
    payment: Payment | None = yield from wait(store.find(lease.challenge_id))  # it may have moved before we held it
    if payment is None or payment.prepared is None or payment.stage is not Stage.PREPARED:
        return True
    seller, terms = known
    prepared = payment.prepared
    outcome = yield from seller.confirm(prepared)
    if isinstance(outcome, Pending):
        return False
    if isinstance(outcome, Refused):
        yield from wait(store.fail(lease, outcome.reason))
    else:  # the delivery is owed to whoever comes with the credential
        entry = post_charge(terms, prepared, outcome)
        yield from wait(store.settle(lease, receipt_of(prepared, outcome), entry))
    if observe is not None:
        stage = "failed" if isinstance(outcome, Refused) else "settled"
        observe(Resolved(prepared.challenge.id, prepared.reference, stage))
    return True
