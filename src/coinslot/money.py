"""Amounts: integers in base units, and the only place where decimal text becomes one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from coinslot.errors import UsageError

# 78 digits hold any uint256; longer text can't be an amount on any chain we know.
MAX_DIGITS = 78
_UNITS = re.compile(r"(?:0|[1-9][0-9]{0,77})\Z", re.ASCII)
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,77})(?:\.[0-9]{1,77})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asset:
    """What is paid: a token on a network.

    `network` is a CAIP-2 id such as "eip155:42431", `id` the token in that network's own spelling (lower-case for
    hex addresses), `decimals` the digits after the point or None where unknown, `peg` a currency such as "USD" if
    one whole token is meant to be worth one of it and this was pinned by us (never learnt from the other side).
    """

    network: str
    id: str
    decimals: int | None = None
    symbol: str = ""
    peg: str | None = None

    @property
    def key(self) -> str:
        """The name under which the ledger sums this asset."""
        return f"{self.network}/{self.id}"

    def text(self, units: int) -> str:
        """Decimal text with the symbol for people, e.g. "0.01 pathUSD"; base units where decimals are unknown."""
        name = self.symbol or self.id
        return f"{units} base units of {name}" if self.decimals is None else f"{to_text(units, self.decimals)} {name}"


def parse_units(text: object) -> int:
    """Base units from wire text: digits only, no sign, no leading zero, at most 78 digits. Raises UsageError."""
    if type(text) is not str or not _UNITS.match(text):  # T20
        raise UsageError("an amount in base units is a string of digits without sign, point or leading zero")
    return int(text)


def parse_decimal(text: object) -> Decimal:
    """A price as people write it: "0.01", "1", a Decimal or an int. No floats, signs, exponents. Raises UsageError."""
    if type(text) is int and abs(text) < 10**MAX_DIGITS:  # T20: Python refuses to print larger ones its own way
        text = str(text)
    elif (
        type(text) is Decimal and text.is_finite() and abs(text.adjusted()) < MAX_DIGITS
    ):  # 1E+999999999 is 1 GB of zeros
        text = format(text, "f")
    if type(text) is not str or not _DECIMAL.match(text):  # T20
        raise UsageError(
            'a price is decimal text such as "0.01": no sign, exponent, space or float '
            "(a float can't hold 0.1; write it in quotes)"
        )
    return Decimal(text)


def to_units(price: Decimal, decimals: int) -> int:
    """Base units of a price, rounded up so that never less than the price is charged, and less than one unit more."""
    numerator, denominator = price.as_integer_ratio()  # exact, where any decimal context would round
    scale: int = 10**decimals
    return -(-numerator * scale // denominator)  # T20


def to_text(units: int, decimals: int) -> str:
    """Decimal text of base units, exact, without trailing zeros beyond what is needed."""
    sign, digits = ("-", -units) if units < 0 else ("", units)
    whole, part = divmod(digits, 10**decimals)
    fraction = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
