"""How far a client's signed totals may go: the arithmetic of one request, and of one stream (I2, T24).

What a server says only ever makes us sign *less*: an amount that it admits we have not used is used up first. Upwards
there is one rule: what was signed when the request began, and its price.

    a request:  signed + 1  <=  total  <=  max(signed + price, signed + 1)
    a stream:   total  <=  what it began with + price x (units received + one window)

The least step is there because an equal voucher buys nothing, also where enough was signed before; it is one base unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coinslot.errors import PolicyRefused
from coinslot.intents.acts import Held

# The least that a voucher must differ from the one before to buy anything.
STEP_UNITS = 1


def unused_from(held: Held) -> int:
    """From which total on nothing was bought yet, as far as we know: what was spent, where the server's last word was
    about our last voucher or an earlier one; all that was signed, where it never said a word.
    """
    said = held.acknowledged_units or held.spent_units
    return held.spent_units if said else held.signed_units


@dataclass(frozen=True, slots=True)
class Purchase:
    """One request on one channel. All in base units; `signed_units` is what was signed when it began."""

    signed_units: int
    basis_units: int
    price_units: int

    @classmethod
    def on(cls, held: Held, price_units: int) -> Purchase:
        """A request that begins now."""
        return cls(held.signed_units, min(unused_from(held), held.signed_units), price_units)

    @property
    def most_units(self) -> int:
        """The highest total that this request may ever need. T24"""
        return self.signed_units + max(self.price_units, STEP_UNITS)

    @property
    def first_units(self) -> int:
        """The total to sign first."""
        return min(self.most_units, max(self.signed_units + STEP_UNITS, self.basis_units + self.price_units))

    def next_units(self, signed_units: int) -> int | None:
        """The total to sign if that was not enough; None if this request has nothing more to give. T46"""
        return self.most_units if signed_units < self.most_units else None


@dataclass(frozen=True, slots=True)
class Flowing:
    """A stream that is paid while it comes: it may cost its units, and one window of them ahead."""

    basis_units: int
    price_units: int
    window: int
    signed_units: int
    received: int = 0

    @property
    def most_units(self) -> int:
        """The highest total that it may ask for now."""
        return self.basis_units + self.price_units * (self.received + self.window)  # T24

    def after(self, units: int) -> Flowing:
        """The stream after so many more units were received."""
        return replace(self, received=self.received + units)

    def beside(self, signed_units: int) -> Flowing:
        """The stream where others have signed on the same channel meanwhile: theirs is not its own."""
        return replace(self, basis_units=self.basis_units + signed_units - self.signed_units, signed_units=signed_units)

    def answer(self, required_units: int, deposit_units: int) -> int:
        """The total to answer with. Raises PolicyRefused for one that was not delivered for. T24"""
        if required_units > self.most_units:
            raise PolicyRefused(
                f"the stream asks for a voucher of {required_units} base units, and what was received with one window "
                f"ahead comes to {self.most_units}. Nothing was signed."
            )
        return max(required_units, min(self.most_units, deposit_units))
