"""The irreversible act, and what the chain says of it afterwards.

A missing status is never "unpaid"; when a transaction can never land any more, chains/solana/expiry.py says. F11 F13
"""

from __future__ import annotations

from coinslot.chains.solana.expiry import never_lands
from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.rpc import Commitment
from coinslot.chains.solana.sending import get_transaction, send_transaction, signature_statuses
from coinslot.drive import Flow, now
from coinslot.errors import Problem
from coinslot.intents.charge import Outcome, Pending, Prepared, Refused, Settled
from coinslot.methods.solana.push import require_paid
from coinslot.methods.solana.terms import SolanaTerms


def broadcast_raw(url: str, raw: bytes, *, tried: bool) -> Flow[None]:
    """Send a transaction; sending it again does no harm. `tried`: it was simulated, so the node need not.

    Raises RpcUnreachable (not known), RpcRefused.
    """
    yield from send_transaction(url, raw, skip_preflight=tried)


def confirm_paid(
    url: str,
    prepared: Prepared,
    terms: SolanaTerms,
    token_program: str | None,
    *,
    commitment: Commitment,
    lag_s: int,
) -> Flow[Outcome]:
    """What the chain says of a prepared payment. Raises ChainError."""
    late = prepared.dead_after_s is None or (yield from now()) > prepared.dead_after_s
    (status,) = yield from signature_statuses(url, [prepared.reference], history=late)
    if status is None:
        return (yield from _dead(url, prepared, lag_s)) if late else Pending("the chain does not show it yet")
    if not status.reached(commitment):  # SCHG-170 T33
        return Pending("the transaction is not confirmed yet")
    landed = yield from get_transaction(url, prepared.reference, commitment=commitment)
    if landed is None:  # F12: another replica
        return Pending("the transaction is not to be seen yet")
    try:
        payer = require_paid(landed, terms, token_program)
    except Problem as problem:  # T32: success that moved nothing is no payment
        return Refused(problem.detail)
    if payer != prepared.payer:
        return Refused("another account has paid")
    settled_at_s = float(landed.block_time_s) if landed.block_time_s is not None else (yield from now())
    return Settled(prepared.reference, settled_at_s)


def _dead(url: str, prepared: Prepared, lag_s: int) -> Flow[Outcome]:
    """Refused, if what we sent can never land; F13 Pending as long as that is not certain."""
    waiting = Pending("the chain has not shown the transaction yet")
    if not prepared.raw or prepared.dead_after_s is None:
        return waiting
    blockhash = read_transaction(prepared.raw).blockhash
    dead = yield from never_lands(url, prepared.reference, blockhash, prepared.dead_after_s + lag_s)
    return Refused("the transaction was not taken while it could be") if dead else waiting
