"""Vouchers that buy nothing, one after another on one channel, are answered with 429. T26

A voucher that buys is paid for, so its number has no limit. One that was verified and changed nothing (equal, lower, a
step too small, above the deposit) costs its sender nothing and us a signature to check, so there may be so many of
those in a second. Only who signs for a channel can use its allowance up: a stranger's signature is refused before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# TSES "Denial of Service": 10 a second for each session; ten seconds' worth at once, for clients that repeat in bulk
# after a break.
FRUITLESS_PER_S = 10.0
BURST = 100.0
# Channels that are remembered; then all are forgotten, which only ever forgives.
REMEMBERED = 16_384


@dataclass(frozen=True, slots=True)
class Flood:
    """Counts per channel, in this process."""

    _left: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def allows(self, key: str, at_s: float) -> bool:
        """Whether one more fruitless voucher of a channel is answered at this time, seconds since 1970."""
        left, before_s = self._left.get(key, (BURST, at_s))
        left = min(BURST, left + max(0.0, at_s - before_s) * FRUITLESS_PER_S)  # F21: a clock set back refills nothing
        if len(self._left) >= REMEMBERED and key not in self._left:  # F28
            self._left.clear()
        self._left[key] = (max(0.0, left - 1.0), at_s)
        return left >= 1.0
