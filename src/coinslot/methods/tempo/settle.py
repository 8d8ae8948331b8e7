"""The irreversible act, and what the chain says of it afterwards.

A missing receipt is never "unpaid": a node may lag, restart or lie low. Only when the chain's own clock is well past
the transaction's validity, and the receipt, asked for after that clock, is still absent, can it never appear. F11 F13
"""

from __future__ import annotations

from coinslot.chains.evm.rpc import Block, Receipt, get_block, get_receipt, latest_block, send_raw_sync
from coinslot.drive import Flow
from coinslot.errors import Problem
from coinslot.intents.charge import Outcome, Pending, Prepared, Refused, Settled
from coinslot.methods.tempo.legs import Binding
from coinslot.methods.tempo.push import require_paid
from coinslot.methods.tempo.terms import TempoTerms

# After that the caller asks for the receipt by itself; a block takes half a second.
BROADCAST_WAIT_S = 10.0


def broadcast_raw(url: str, raw: bytes) -> Flow[None]:
    """Send a transaction; sending it again does no harm. Raises RpcUnreachable (not known) or RpcRefused."""
    yield from send_raw_sync(url, raw, wait_s=BROADCAST_WAIT_S)


def find_receipt(url: str, reference: str, dead_after_s: float | None, lag_s: int) -> Flow[Receipt | Refused | Pending]:
    """The receipt of what we sent; Refused once it can never have one, `lag_s` past the chain time `dead_after_s`.

    Raises ChainError.
    """
    receipt = yield from get_receipt(url, reference)
    if receipt is not None:
        return receipt
    if dead_after_s is None:
        return Pending("the chain has not shown the transaction yet")
    head = yield from latest_block(url)  # F12: first the clock, then once more the receipt
    receipt = yield from get_receipt(url, reference)
    if receipt is not None:
        return receipt
    if head.timestamp_s > dead_after_s + lag_s:
        return Refused("the transaction was not taken while it was valid")
    return Pending("the chain has not shown the transaction yet")


def find_block(url: str, receipt: Receipt, confirmations: int) -> Flow[Block | Pending]:
    """The block of a receipt, once so many others follow it. Raises ChainError."""
    if confirmations:
        head = yield from latest_block(url)
        if head.number < receipt.block_number + confirmations:  # T33
            return Pending("the transaction is in a block that is not final yet")
    block = yield from get_block(url, receipt.block_number)
    if block is None or block.hash != receipt.block_hash:  # T33: another replica, or the block is gone
        return Pending("the block of the transaction is not to be seen")
    return block


def confirm_paid(
    url: str, prepared: Prepared, terms: TempoTerms, binding: Binding, *, confirmations: int, lag_s: int
) -> Flow[Outcome]:
    """What the chain says of a prepared payment. Raises ChainError."""
    receipt = yield from find_receipt(url, prepared.reference, prepared.dead_after_s, lag_s)
    if not isinstance(receipt, Receipt):
        return receipt
    try:
        require_paid(receipt, prepared.payer, terms, binding)
    except Problem as problem:  # T32: success that moved nothing is no payment
        return Refused(problem.detail)
    block = yield from find_block(url, receipt, confirmations)
    return block if isinstance(block, Pending) else Settled(prepared.reference, float(block.timestamp_s))
