"""Asking the chain again about payments whose end was not learnt: after a timeout, a crash, a restart.

Now and then also what was claimed by a process that died before it had anything to send: nobody asks the chain about
that, and until it is given up its budgets are drawn on, and its payer counts as one whose payment is under way. F07
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, now, wait
from coinslot.errors import ChainError, InvalidChallenge, LeaseLost, LedgerError, Problem, RpcUnreachable
from coinslot.intents import session
from coinslot.intents.charge import Pending, Prepared, Refused, Terms, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import ChargeSeller, Seller, SessionSeller, sells_charges, sells_sessions
from coinslot.server import funding
from coinslot.server.events import Observer, Resolved
from coinslot.server.holding import Hold, obtain
from coinslot.store.channels import SessionStore
from coinslot.store.protocol import Lease, Payment, Query, Stage

# One round asks about this many; the rest wait for the next, so that a pile-up never blocks a round for long.
ROUND = 32
# A look at what is open takes in this many: more than any node leaves open in the time that a transaction lives.
SEEN = 1024
# Whoever was cut off repeats the request within minutes, and goes on where it stopped; after so long nobody does, and
# what was signed for it can't appear any more on the networks we know.
ABANDONED_S = 3600.0
# Nothing waits for that: every so many rounds, and in the first one of a process; of the last days only, so that a look
# stays small on a store that has seen many payments.
SWEEP_EVERY = 300
SWEPT_S = 2 * 24 * 3600.0


def resolve_round(
    store: SessionStore, sellers: Sequence[Seller], observe: Observer | None = None, turn: int = 0
) -> Flow[int]:
    """Ask about open payments once; how many of those asked about are still open. Raises StoreError. F09 F11

    `turn` counts the rounds: each begins where the one before ended, so that payments that stay open (whose network
    is down, whose method was taken out of the settings) never keep the others from their turn.
    """
    if turn % SWEEP_EVERY == 0:
        yield from _sweep(store, sellers)
    waiting = list((yield from wait(store.unresolved(SEEN))))
    start = turn * ROUND % len(waiting) if len(waiting) > ROUND else 0  # F11
    silent: set[int] = set()
    pending = 0
    for payment in (waiting[start:] + waiting[:start])[:ROUND]:
        known = None if payment.prepared is None else _seller_of(payment.prepared.challenge, sellers)
        if known is None or id(known) in silent:
            pending += 1
            continue
        lease = yield from obtain(store, store.take(payment.challenge.id))
        if lease is None:
            continue
        with Hold(store, lease) as hold:
            try:
                pending += not (yield from _resolve(store, hold.lease, known, observe))
            except RpcUnreachable:
                silent.add(id(known))
                pending += 1
            except (ChainError, Problem, LedgerError, LeaseLost):
                pending += 1
    return pending


def _seller_of(challenge: Challenge, sellers: Sequence[Seller]) -> Seller | None:
    """Who can ask about a payment."""
    for seller in sellers:
        if (seller.method, seller.intent) == (challenge.method, challenge.intent):
            try:
                seller.terms(challenge.request_object())
            except InvalidChallenge:
                continue
            return seller
    return None


def _resolve(store: SessionStore, lease: Lease, seller: Seller, observe: Observer | None) -> Flow[bool]:
    """Whether the end of a payment is known now, and on record."""
    payment: Payment | None = yield from wait(store.find(lease.challenge_id))  # it may have moved before we held it
    if payment is None or payment.prepared is None or payment.stage is not Stage.PREPARED:
        return True
    prepared = payment.prepared
    stage: str | None = None
    if sells_sessions(seller):
        stage = yield from _funding(store, lease, payment, prepared, seller)
    elif sells_charges(seller):
        stage = yield from _charge(store, lease, prepared, seller)
    if stage is not None and observe is not None:
        observe(Resolved(prepared.challenge.id, prepared.reference, stage))
    return stage is not None


def _charge(store: SessionStore, lease: Lease, prepared: Prepared, seller: ChargeSeller) -> Flow[str | None]:
    outcome = yield from seller.confirm(prepared)
    if isinstance(outcome, Pending):
        return None
    if isinstance(outcome, Refused):
        yield from wait(store.fail(lease, outcome.reason))
        return "failed"
    terms: Terms = seller.terms(prepared.challenge.request_object())
    entry = post_charge(terms, prepared, outcome)  # the delivery is owed to whoever comes with the credential
    yield from wait(store.settle(lease, receipt_of(prepared, outcome), entry))
    return "settled"


def _funding(
    store: SessionStore, lease: Lease, payment: Payment, prepared: Prepared, seller: SessionSeller
) -> Flow[str | None]:
    """An open or a top-up: once it is on record nothing more is owed for it."""
    outcome = yield from seller.confirm(prepared)
    if isinstance(outcome, Pending):
        return None
    if isinstance(outcome, Refused):
        yield from funding.give_up(store, seller, payment)
        yield from wait(store.fail(lease, outcome.reason))
        return "failed"
    yield from funding.record(store, lease, prepared, outcome, seller)
    return "settled"


# --- claimed, and left --------------------------------------------------------------------------


def _sweep(store: SessionStore, sellers: Sequence[Seller]) -> Flow[None]:
    at_s = yield from now()
    query = Query(frozenset({Stage.CLAIMED}), since_s=at_s - SWEPT_S, until_s=at_s - ABANDONED_S, limit=SEEN)
    for payment in (yield from wait(store.payments(query))):
        if payment.leased:
            continue
        lease = yield from obtain(store, store.take(payment.challenge.id))
        if lease is None:
            continue
        with Hold(store, lease) as hold, suppress(ChainError, Problem, LeaseLost):
            yield from _give_up(store, hold, sellers)


def _give_up(store: SessionStore, hold: Hold, sellers: Sequence[Seller]) -> Flow[None]:
    """Unless it moved on meanwhile, or the chain knows the channel that it was to open: its payer sent that itself."""
    payment = yield from wait(store.find(hold.lease.challenge_id))
    if payment is None or payment.stage is not Stage.CLAIMED:
        return
    if payment.challenge.intent == session.INTENT:
        seller = _seller_of(payment.challenge, sellers)
        if seller is None or not sells_sessions(seller) or not (yield from funding.give_up(store, seller, payment)):
            return
    yield from wait(store.fail(hold.lease, "left before anything was sent"))
    hold.pass_on()
