"""Reading single members of session objects (SSES "Credential Schema").

Every reader raises UsageError with the member's name and never repeats its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.instruction import I64_MAX, I64_MIN, U64_MAX
from coinslot.chains.solana.signature import parse_signature
from coinslot.errors import UsageError
from coinslot.money import parse_units


def read_amount(value: object, name: str) -> int:
    """A u64: decimal text, or a JSON integer as some clients write it. Never a bool, a float or a second spelling."""
    if type(value) is int:  # T20
        amount = value
    else:
        try:
            amount = parse_units(value)
        except UsageError:
            raise UsageError(f"{name} is missing or not a whole number in decimal digits") from None
    if not 0 <= amount <= U64_MAX:
        raise UsageError(f"{name} is not from 0 to 2**64 - 1")
    return amount


def read_time(value: object, name: str) -> int:
    """A time in whole seconds since 1970, an i64 as JSON integer."""
    if type(value) is not int or not I64_MIN <= value <= I64_MAX:
        raise UsageError(f"{name} is not a whole number of seconds")
    return value


def read_address(value: object, name: str) -> str:
    """An address."""
    try:
        return parse_address(value)
    except UsageError:
        raise UsageError(f"{name} is missing or not the base58 of 32 bytes") from None


def read_signature(value: object, name: str) -> bytes:
    """The 64 bytes of a signature in base58."""
    try:
        return parse_signature(value)
    except UsageError:
        raise UsageError(f"{name} is missing or not the base58 of 64 bytes") from None


def read_text(value: object, name: str, most: int) -> str:
    """Text of 1 to `most` characters."""
    if type(value) is not str or not 0 < len(value) <= most:
        raise UsageError(f"{name} is missing or not text of at most {most} characters")
    return value


def read_object(value: object, name: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is missing or not an object")
    return value
