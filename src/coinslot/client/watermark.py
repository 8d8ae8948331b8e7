"""How far a client's signed totals may go: the arithmetic of one request, and of one stream (I2, T24).

What a server says only ever makes us sign *less*: an amount that it admits we have not used is used up first. Upwards
there is one rule: what was signed when the request began, and its price.

    a request:  signed + 1  <=  total  <=  signed + price   (of an unused channel: price, or signed + 1)
    an answer that is metered, before its first unit:   total  <=  signed + what may be set aside, and what is missing
    a stream:   total  <=  what it began with + price x (units received + one window)

The least step is there because an equal voucher buys nothing, also where enough was signed before: it is one base unit,
and the most by which the first request on a channel is signed too high, whose opening shows a voucher for one unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """One request on one channel. All in base units; `signed_units` is what was signed when it began. `opened`: the
    channel is known to be unused, so that no claim of the server can be true by which the first request costs more.
    `aside_units`: what may be authorized for a metered answer before it comes. `signs`: False where the payee signs,
    and all that is deposited was authorized when it was.
    """

    signed_units: int
    basis_units: int
    price_units: int
    opened: bool = False
    aside_units: int = 0
    signs: bool = True

    @classmethod
    def on(cls, held: Held, price_units: int, aside_units: int = 0, *, signs: bool = True) -> Purchase:
        """A request that begins now."""
        if not signs:
            return cls(held.signed_units, held.signed_units, price_units, aside_units=aside_units, signs=False)
        unused = held.spent_units == 0 and held.acknowledged_units == held.signed_units <= price_units
        return cls(held.signed_units, min(unused_from(held), held.signed_units), price_units, unused, aside_units)

    @property
    def most_units(self) -> int:
        """The highest total that this request may ever need. T24"""
        if not self.signs:
            return self.signed_units
        above = self.basis_units if self.opened else self.signed_units
        return max(self.signed_units + STEP_UNITS, above + self.price_units)

    @property
    def first_units(self) -> int:
        """The total to sign first."""
        step = STEP_UNITS if self.signs else 0
        return min(self.most_units, max(self.signed_units + step, self.basis_units + self.price_units))

    def next_units(self, signed_units: int, missing_units: int = 0) -> int | None:
        """The total to sign if that was not enough; None if this request has nothing more to give. T46

        `missing_units` is what the server says is missing: it counts for metered answers, up to `aside_units`.
        """
        if not self.signs:
            return None
        wanted = signed_units + missing_units
        if self.most_units < wanted and not self.excessive(signed_units, missing_units):
            return wanted
        return self.most_units if signed_units < self.most_units else None

    def excessive(self, signed_units: int, missing_units: int) -> bool:
        """Whether what the server says is missing is more than may be set aside. T24"""
        above = self.basis_units if self.opened else self.signed_units
        return signed_units + missing_units > max(self.most_units, above + self.aside_units)  # T24


@dataclass(frozen=True, slots=True)
class Flowing:
    """The streams that are paid from one channel while they come: what they delivered, and a window ahead for each.

    All in base units. A server takes units of one stream from what was authorized for another, so they count together.
    """

    basis_units: int
    received_units: int
    ahead_units: int

    @property
    def most_units(self) -> int:
        """The highest total that they may ask for now."""
        return self.basis_units + self.received_units + self.ahead_units  # T24

    def answer(self, required_units: int, deposit_units: int) -> int:
        """The total to answer with. Raises PolicyRefused for one that was not delivered for. T24"""
        if required_units > self.most_units:
            raise PolicyRefused(
                f"the stream asks for a voucher of {required_units} base units, and what was received with one window "
                f"ahead comes to {self.most_units}. Nothing was signed."
            )
        return max(required_units, min(self.most_units, deposit_units))


@dataclass
class Agreed:
    """What one request agreed to so far, on its channel; it goes along with the request, so that an answer that comes
    again is counted together with the one that was lost, and nothing is agreed to twice (T24).

    All in base units. `before_units` is the channel's total without it, `bought_units` what its first vouchers added,
    `asked_units` what was signed while its stream came, which was `received_units` of it; `committed_units` what the
    vouchers for its `deliveries` added, which maps them to their prices.
    """

    before_units: int
    bought_units: int
    asked_units: int = 0
    received_units: int = 0
    committed_units: int = 0
    deliveries: dict[str, int] = field(default_factory=dict)

    @property
    def own_units(self) -> int:
        """What of the channel's total is this request's: another stream may have asked for what this one received."""
        return max(self.bought_units + self.asked_units, self.received_units) + self.committed_units

    def start_units(self, signed_units: int) -> int:
        """The total without this request: that of the beginning, and what others have signed since."""
        return max(self.before_units, signed_units - self.own_units)  # T24


@dataclass
class Streams:
    """What runs on one channel of this process: `signed_units` is the total that its basis was last moved by.

    `running` maps each stream to what it received and may receive ahead, in base units; only its own reader changes it.
    `asked_units` is what was signed for them while they came: a delivery is not paid for that once more.
    """

    basis_units: int
    signed_units: int
    running: dict[int, tuple[int, int]] = field(default_factory=dict)
    asked_units: int = 0

    def begin(self, stream: int, ahead_units: int) -> None:
        """One more."""
        self.running[stream] = (0, ahead_units)

    def receive(self, stream: int, units: int) -> None:
        """One of them received so much."""
        received, ahead = self.running.get(stream, (0, 0))
        self.running[stream] = (received + units, ahead)

    def end(self, stream: int) -> None:
        """One of them is over: what it received stays paid for."""
        received, _ = self.running.pop(stream, (0, 0))
        self.basis_units += received

    def asked(self, signed_units: int) -> int:
        """They have asked for a higher total, which was signed. What it added. T24"""
        added = max(0, signed_units - self.signed_units)
        self.asked_units += added
        self.signed_units = signed_units
        return added

    def beside(self, signed_units: int, own_units: int = 0) -> None:
        """Others have signed on the same channel meanwhile: what they bought is not the streams'. `own_units` of it are
        those of a stream that begins.
        """
        self.basis_units += max(0, signed_units - self.signed_units - own_units)
        self.signed_units = signed_units

    def again(self, agreed: Agreed) -> None:
        """One comes again beside others: what it agreed to is its own once more, and will be received once more. T24"""
        self.basis_units -= agreed.own_units
        self.asked_units += agreed.asked_units

    def flowing(self) -> Flowing:
        """As they stand."""
        parts = list(self.running.values())
        return Flowing(self.basis_units, sum(one for one, _ in parts), sum(ahead for _, ahead in parts))
