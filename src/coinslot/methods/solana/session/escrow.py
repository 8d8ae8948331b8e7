"""Where channels live: the channel program that we know, and its constants (SSES "Channel Program Interface").

A program holds the deposits, so a stranger's word for one is not enough: the one below is pinned, others are a matter
of the owner's settings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from coinslot.errors import UsageError

# One address on every cluster.
CHANNEL_PROGRAM = "CHNLxYvVA28MJP9PrFuDXccuoGXAx7jBacfLEkahyGsX"
# Built into the deployed program: where the rounding dust of closed channels goes, and what nobody can be paid.
TREASURY_OWNER = "Cs2zdfUNonRdRGsiZUQQLdTxzxVvJZmgiX2mpLYKuEqP"
# A channel is opened within so many slots of the slot in its address, and its address freed only after: no address
# ever holds two channels.
OPEN_SLOT_WINDOW = 1500
# What the payee has to settle after the payer asked to close (SSES "Grace Period").
GRACE_PERIOD_S = 900


@dataclass(frozen=True, slots=True)
class Escrow:
    """A channel program, and who owns the treasury that was built into it."""

    program: str
    treasury_owner: str


PINNED_ESCROW = Escrow(CHANNEL_PROGRAM, TREASURY_OWNER)


def require_program(program: str, others: Collection[str] = ()) -> None:
    """That a channel program is the pinned one, or one of the `others` that the owner allows.

    Raises UsageError. T07 T47
    """
    if program != CHANNEL_PROGRAM and program not in others:  # T47
        raise UsageError(f"{program} is not the known channel program")


def in_open_window(open_slot: int, slot: int) -> bool:
    """Whether a channel of `open_slot` can be opened at `slot`: not from the future, and not too old."""
    return 0 <= slot - open_slot <= OPEN_SLOT_WINDOW


def can_reclaim(open_slot: int, slot: int) -> bool:
    """Whether a channel's account may be freed at `slot`."""
    return slot > open_slot + OPEN_SLOT_WINDOW
