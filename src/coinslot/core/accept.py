"""Accept-Payment: what a client prefers, and in which order a server then offers (CORE section 6.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from coinslot.core.header import MAX_FIELD_BYTES
from coinslot.errors import MalformedHeader, UsageError

# More ranges than there are registered methods and intents together are noise.
MAX_RANGES = 64

MAX_THOUSANDTHS = 1000

_RANGE_NAMES = r"([a-z]+|\*)/([A-Za-z0-9-]+|\*)"
_NAMES = re.compile(rf"{_RANGE_NAMES}\Z")
_RANGE = re.compile(rf"{_RANGE_NAMES}(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{{0,3}})?|1(?:\.0{{0,3}})?))?\Z")


class Offered(Protocol):
    """Anything with a method and an intent."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """The intent's name."""


Choice = TypeVar("Choice", bound=Offered)


@dataclass(frozen=True, slots=True)
class Range:
    """One preference. `thousandths` is q times 1000: 0 means never. Raises UsageError."""

    method: str
    intent: str
    thousandths: int = 1000

    def __post_init__(self) -> None:
        if not _NAMES.match(f"{self.method}/{self.intent}") or not 0 <= self.thousandths <= MAX_THOUSANDTHS:
            raise UsageError("a range is method/intent, either may be '*', with a weight of 0 to 1000 thousandths")

    def matches(self, offer: Offered) -> bool:
        """Whether an offer falls into this range."""
        return self.method in ("*", offer.method) and self.intent in ("*", offer.intent)

    @property
    def weight(self) -> int:
        """How specific the range is: a named method counts more than a named intent."""
        return 2 * (self.method != "*") + (self.intent != "*")


def parse_accept(field: str) -> list[Range]:
    """The ranges of an Accept-Payment field. Raises MalformedHeader; a server may then ignore the field."""
    if len(field) > MAX_FIELD_BYTES:  # T41
        raise MalformedHeader("Accept-Payment is too long")
    ranges: list[Range] = []
    for item in field.split(","):
        text = item.strip(" \t")
        if not text:
            continue
        match = _RANGE.match(text)
        if match is None or len(ranges) == MAX_RANGES:
            raise MalformedHeader("Accept-Payment has a range that can't be read, or too many")
        whole, _, part = (match[3] or "1").partition(".")
        ranges.append(Range(match[1], match[2], int(whole) * 1000 + int(part.ljust(3, "0"))))
    return ranges


def format_accept(ranges: Sequence[Range]) -> str:
    """The field value for these preferences."""
    texts = []
    for one in ranges:
        q = "" if one.thousandths == MAX_THOUSANDTHS else f";q=0.{one.thousandths:03d}".rstrip("0").rstrip(".")
        texts.append(f"{one.method}/{one.intent}{q}")
    return ", ".join(texts)


def preference(ranges: Sequence[Range], offer: Offered) -> int:
    """q times 1000 of the most specific range that matches an offer, 0 if none does."""
    best = max((one for one in ranges if one.matches(offer)), key=lambda one: one.weight, default=None)
    return best.thousandths if best is not None else 0


def arrange(ranges: Sequence[Range], offers: Sequence[Choice]) -> list[Choice]:
    """The acceptable offers, liked best first, equals in the server's order; all of them if none is acceptable."""
    ranked = [(preference(ranges, offer), offer) for offer in offers]
    kept = sorted((pair for pair in ranked if pair[0] > 0), key=lambda pair: -pair[0])
    return [offer for _, offer in kept] or list(offers)
