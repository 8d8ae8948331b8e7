"""What became of a transaction that we sent: it landed, it can never land any more, or nobody knows yet. F12

A transaction dies with its blockhash. That it is dead is believed only when the finalized chain has passed the time by
which it had to be there, does not know its blockhash any more, and shows no trace of it.
"""

from __future__ import annotations

from typing import TypeAlias

from coinslot.chains.solana.rpc import Commitment, block_time, is_blockhash_valid
from coinslot.chains.solana.rpc import slot as newest_slot
from coinslot.chains.solana.sending import Landed, get_transaction, signature_statuses
from coinslot.drive import Flow
from coinslot.intents.charge import Pending, Refused

# A blockhash is good for 150 blocks: a minute where the chain runs well. Longer than that is only a matter of waiting.
LIFE_S = 120.0

End: TypeAlias = Landed | Refused | Pending


def find_end(url: str, signature: str, blockhash: str, dead_after_s: float, commitment: Commitment) -> Flow[End]:
    """Where a transaction stands. Landed: it did what it says. Refused: it failed, or can never appear any more.

    Raises ChainError.
    """
    landed = yield from get_transaction(url, signature, commitment=commitment)
    if landed is not None:
        return Refused(f"the chain refused it: {landed.failure.text}") if landed.failure is not None else landed
    finalized = yield from newest_slot(url, commitment="finalized")
    chain_s = yield from block_time(url, finalized)
    if chain_s is None or chain_s <= dead_after_s:  # F12
        return Pending("the chain does not show it yet")
    if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):  # F21: our clock may be minutes behind
        return Pending("the chain may still take it")
    if (yield from is_blockhash_valid(url, blockhash, commitment="finalized")):
        return Pending("the chain may still take it")
    if (yield from signature_statuses(url, [signature], history=True)) != (None,):
        return Pending("the chain knows it, and has not confirmed it")
    return Refused("it never appeared, and can't any more")
