"""The blockhash and the slot that new channels are opened on, as the node said it a moment ago (SSES-067).

Each challenge for a new channel carries them, and a busy server issues many: what was told is kept for some seconds.
A blockhash is good for 150 blocks, about a minute, and a client needs its part of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.solana.rpc import Blockhash, Commitment, latest_blockhash
from coinslot.drive import Flow, now
from coinslot.errors import ChainError

# So long a blockhash is given out; a client then has three quarters of its life left.
KEEP_S = 10.0
# So long where the node does not answer: half of its life.
KEEP_SILENT_S = 30.0


@dataclass(slots=True)
class Recent:
    """The newest blockhash, asked for at most every KEEP_S seconds. Safe for threads and tasks: two may ask at once."""

    rpc_url: str = field(repr=False)
    commitment: Commitment = "confirmed"
    _told: tuple[float, Blockhash] | None = field(default=None, init=False, repr=False)

    def blockhash(self) -> Flow[Blockhash]:
        """A blockhash that an opening can still be built on. Raises ChainError."""
        at_s = yield from now()
        if self._told is not None and 0 <= at_s - self._told[0] < KEEP_S:
            return self._told[1]
        try:
            found = yield from latest_blockhash(self.rpc_url, commitment=self.commitment)
        except ChainError:
            if self._told is not None and 0 <= at_s - self._told[0] < KEEP_SILENT_S:  # F11
                return self._told[1]
            raise
        self._told = (at_s, found)
        return found
