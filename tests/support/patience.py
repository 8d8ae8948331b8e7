"""How long to wait for what should happen soon, and takes longer on a busy machine."""

from __future__ import annotations

import os

# Where a guard was taken out, what is waited for never happens: that is known sooner.
_MUTATED = os.environ.get("COINSLOT_MUTATED") == "1"


def within(seconds: float) -> float:
    """So many seconds, and a fifth where a test is to fail."""
    return seconds / 5 if _MUTATED else seconds
