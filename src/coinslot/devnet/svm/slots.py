"""Slots, the blockhashes they bring, and the chain's clock.

Slots come by themselves every `slot_s` seconds of real time, reckoned whenever somebody asks, so an idle chain costs
nothing; or, with `slot_s` 0, only when `advance` is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

# A transaction may be this many blocks younger than its blockhash (MAX_PROCESSING_AGE).
HASH_AGE = 150
# Slots whose hashes programs can see.
REMEMBERED_SLOTS = 512
# Slots from a block's making until it can't be undone.
FINAL_SLOTS = 32
# Where a fresh chain stands: a slot of these days, whose number differs from the block height as it does everywhere.
START_SLOT = 380_000_000
SKIPPED_SLOTS = 22_000_000
# The main network's pace.
SLOT_S = 0.4
SLOTS_PER_EPOCH = 432_000


@dataclass
class Slots:
    """The newest slot and the blockhashes that transactions may carry. Not for two threads at once."""

    genesis: bytes
    monotonic: Callable[[], float]
    slot_s: float = SLOT_S
    slot: int = START_SLOT
    generation: int = 0
    hashes: dict[bytes, int] = field(default_factory=dict)  # slot by blockhash, oldest first
    _since: float = 0.0  # when the newest slot began

    def __post_init__(self) -> None:
        """Have some past, as every chain has."""
        self._since = self.monotonic()
        if not self.hashes:
            self._record(range(self.slot - HASH_AGE, self.slot + 1))

    @property
    def height(self) -> int:
        """The number of blocks: less than the slot, since slots are skipped."""
        return self.slot - SKIPPED_SLOTS

    def set_pace(self, slot_s: float) -> None:
        """Seconds per slot from now on; 0: none by themselves."""
        self.catch_up()
        self.slot_s, self._since = slot_s, self.monotonic()

    def catch_up(self) -> bool:
        """Let pass the slots that are due; whether there were any."""
        if not self.slot_s:
            return False
        due = int((self.monotonic() - self._since) / self.slot_s)
        if due < 1:
            return False
        self._since += due * self.slot_s
        self.advance(due)
        return True

    def advance(self, count: int) -> None:
        """Let so many slots pass now."""
        first = self.slot + 1
        self.slot += count
        self._record(range(max(first, self.slot - HASH_AGE), self.slot + 1))

    def expire(self) -> None:
        """Make every blockhash unknown that was told so far."""
        self.generation += 1
        self.hashes.clear()
        self.advance(1)

    def newest(self, finalized: bool = False) -> tuple[bytes, int]:
        """The newest blockhash, and the last block height at which it is good; if `finalized`, of a final block."""
        newest_slot = self.slot - FINAL_SLOTS if finalized else self.slot
        told = [(key, slot) for key, slot in self.hashes.items() if slot <= newest_slot] or list(self.hashes.items())[
            :1
        ]
        return told[-1][0], self.last_valid(told[-1][1])

    def last_valid(self, slot: int) -> int:
        """The last block height at which the blockhash of a slot is good."""
        return slot - SKIPPED_SLOTS + HASH_AGE

    def is_valid(self, blockhash: bytes, finalized: bool = False) -> bool:
        """Whether a transaction may carry it; if `finalized`, whether the last final block knows it, too."""
        slot = self.hashes.get(blockhash)
        return slot is not None and (not finalized or slot <= self.slot - FINAL_SLOTS)

    def _record(self, slots: range) -> None:
        for slot in slots:
            made = b"".join((self.genesis, slot.to_bytes(8, "little"), self.generation.to_bytes(8, "little")))
            self.hashes[hashlib.sha256(made).digest()] = slot
        for old in [key for key, slot in self.hashes.items() if slot < self.slot - HASH_AGE]:
            del self.hashes[old]
