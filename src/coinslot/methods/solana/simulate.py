"""Asking a node what a transaction would do, and what its answer means for a payment.

Nothing is believed to have happened because of it: it only saves broadcasting, and sponsoring, what must fail. T34
"""

from __future__ import annotations

from coinslot.chains.solana.answers import Failure
from coinslot.chains.solana.message import Transaction
from coinslot.chains.solana.programs import ATA_PROGRAM
from coinslot.chains.solana.sending import simulate
from coinslot.drive import Flow
from coinslot.errors import Problem, RailUnavailable, VerificationFailed

_ON_CHAIN = "AlreadyProcessed"
_STALE = "BlockhashNotFound"
# The account that pays the fee isn't there, or holds too little.
_EMPTY = frozenset({"AccountNotFound", "InsufficientFundsForFee"})
# Both the token programs and the System program call it 1.
_INSUFFICIENT = 1


def would_fail(url: str, raw: bytes) -> Flow[Failure | None]:
    """Why the chain would refuse these very bytes, signatures included; None if it would take them. Raises ChainError.

    Asked at the newest state there is: what was paid with a moment ago must not look payable again.
    """
    told = yield from simulate(url, raw, verify_signatures=True, commitment="processed")
    return told.failure


def problem_of(failure: Failure, transaction: Transaction, *, sponsored: bool) -> Problem:
    """What to tell the payer."""
    if failure.kind == _ON_CHAIN:
        return VerificationFailed("this transaction is on the chain already, and nothing ties it to this challenge")
    if failure.kind == _STALE:
        return VerificationFailed("the transaction's blockhash is too old, or not known; sign a fresh one")
    place = failure.instruction
    creates = place is not None and _program(transaction, place) == ATA_PROGRAM and failure.code == _INSUFFICIENT
    if sponsored and (failure.kind in _EMPTY or creates):  # SCHG-071 SCHG-196
        return RailUnavailable("the account that pays the fees here is empty; nothing was charged")
    if failure.kind in _EMPTY or failure.code == _INSUFFICIENT:
        return VerificationFailed("the payer doesn't hold enough for the payment and its fee")
    return VerificationFailed(f"the transaction would fail: {failure.text}")


def _program(transaction: Transaction, place: int) -> str | None:
    return transaction.instructions[place].program if place < len(transaction.instructions) else None
