"""Whether a transaction that was sent can never land any more.

It dies with its blockhash. That is certain only by a node whose own final blocks show that it has seen the time in
which the blockhash was good, and which knows it neither there nor in its newest block; then the transaction is looked
for once more, in the whole history. A missing answer is never "dead": a node may lag, restart or lie low. F12 F13
"""

from __future__ import annotations

from coinslot.chains.solana.rpc import block_time, is_blockhash_valid, slot
from coinslot.chains.solana.sending import signature_statuses
from coinslot.drive import Flow

# A blockhash is good for 150 blocks, a minute at 0.4 s each; by now they are past, or the chain is slow and says so.
LIFE_S = 120.0


def never_lands(url: str, signature: str, blockhash: str, after_s: float) -> Flow[bool]:
    """Whether it is certain; up to `after_s`, seconds since 1970 by the chain's clock, it is not. Raises ChainError."""
    time_s = yield from block_time(url, (yield from slot(url, commitment="finalized")))
    if time_s is None or time_s <= after_s:  # F12: a node from before can't know the blockhash
        return False
    if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):  # F21: our clock may be minutes behind
        return False
    if (yield from is_blockhash_valid(url, blockhash, commitment="finalized")):
        return False
    # First the chain's clock and blocks, then once more the transaction. F13
    (status,) = yield from signature_statuses(url, [signature], history=True)
    return status is None
