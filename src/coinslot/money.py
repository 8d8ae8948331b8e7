"""Amounts: integers in base units, and the only place where decimal text becomes one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal

from coinslot.errors import UsageError

# 78 digits hold any uint256; longer text can't be an amount on any chain we know.
MAX_DIGITS = 78
_UNITS = re.compile(r"(?:0|[1-9][0-9]{0,77})\Z", re.ASCII)
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,77})(?:\.[0-9]{1,77})?\Z", re.ASCII)
_EXACT = Context(prec=4 * MAX_DIGITS, traps=[])


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
        return (
            f"{units} base units of {name}"
            if self.decimals is None
            else f"{to_text(units, self.decimals)} {name}"
        )


def parse_units(text: object) -> int:
    """Base units from wire text: digits only, no sign, no leading zero, at most 78 digits. Raises UsageError."""
    if type(text) is not str or not _UNITS.match(text):
        raise UsageError("an amount in base units is a string of digits without sign, point or leading zero")
    return int(text)


def parse_decimal(text: object) -> Decimal:
    """A price as people write it: "0.01", "1", a Decimal or an int. No floats, signs, exponents. Raises UsageError."""
    if type(text) is int:
        text = str(text)
    elif type(text) is Decimal:
        text = format(text, "f") if text.is_finite() else "not finite"
    if type(text) is not str or not _DECIMAL.match(text):
        raise UsageError(
            'a price is decimal text such as "0.01": no sign, exponent, space or float '
            "(a float can't hold 0.1; write it in quotes)"
        )
    return Decimal(text)


def to_units(price: Decimal, decimals: int) -> int:
    """Base units of a price, rounded up so that never less than the price is charged."""
    return int(_EXACT.scaleb(price, decimals).to_integral_value(rounding=ROUND_CEILING, context=_EXACT))


def to_text(units: int, decimals: int) -> str:
    """Decimal text of base units, exact, without trailing zeros beyond what is needed."""
    sign, digits = ("-", -units) if units < 0 else ("", units)
    whole, part = divmod(digits, 10**decimals)
    fraction = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
