"""What became of a transaction that we sent: it landed, it can never land any more, or nobody knows yet. F12"""

from __future__ import annotations

from typing import TypeAlias

from coinslot.chains.solana.expiry import never_lands
from coinslot.chains.solana.rpc import Commitment
from coinslot.chains.solana.sending import Landed, get_transaction
from coinslot.drive import Flow
from coinslot.intents.charge import Pending, Refused

End: TypeAlias = Landed | Refused | Pending


def find_end(url: str, signature: str, blockhash: str, dead_after_s: float, commitment: Commitment) -> Flow[End]:
    """Where a transaction stands. Landed: it did what it says. Refused: it failed, or can never appear any more.

    Raises ChainError.
    """
    landed = yield from get_transaction(url, signature, commitment=commitment)
    if landed is not None:
        return Refused(f"the chain refused it: {landed.failure.text}") if landed.failure is not None else landed
    if (yield from never_lands(url, signature, blockhash, dead_after_s)):
        return Refused("it never appeared, and can't any more")
    return Pending("the chain does not show it yet")
