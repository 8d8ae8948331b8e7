"""An amount that several threads draw on, none of them beyond its end: in memory, for as long as a program runs."""

from __future__ import annotations

import threading


class Allowance:
    """Base units that were drawn so far."""

    __slots__ = ("_drawn", "_lock")

    def __init__(self) -> None:
        self._drawn = 0
        self._lock = threading.Lock()

    @property
    def drawn_units(self) -> int:
        """What was drawn and not given back."""
        return self._drawn

    def draw(self, units: int, most_units: int | None) -> bool:
        """Draw so much, unless that comes to more than `most_units` in all: then False, and nothing was drawn."""
        with self._lock:
            if most_units is not None and self._drawn + units > most_units:  # T22
                return False
            self._drawn += units
            return True

    def give_back(self, units: int) -> None:
        """What was drawn and never used."""
        with self._lock:
            self._drawn -= units
