"""Reading single members of session objects: addresses in their one spelling, amounts as u64.

Every reader raises UsageError with the member's name and never repeats its value.
"""

from __future__ import annotations

from itertools import pairwise

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.instruction import I64_MAX, I64_MIN, U32_MAX, U64_MAX
from coinslot.chains.solana.signature import parse_signature
from coinslot.errors import UsageError
from coinslot.money import parse_units

# SSES "idleTimeoutOptionsSeconds": one second to thirty days.
MAX_IDLE_S = 2_592_000
# Ids of challenges are a few dozen characters; a longer text is none.
MAX_TEXT = 512


def read_address(value: object, name: str) -> str:
    """An address, canonical base58 of 32 bytes."""
    try:
        return parse_address(value)
    except UsageError:
        raise UsageError(f"{name} is missing or not an address") from None


def read_signature(value: object, name: str) -> bytes:
    """64 bytes in canonical base58."""
    try:
        return parse_signature(value)
    except UsageError:
        raise UsageError(f"{name} is missing or not the base58 of 64 bytes") from None


def read_units(value: object, name: str) -> int:
    """A u64 from decimal text, or from a JSON integer as some clients write it: base units, salts, slots.

    Never a bool, a float, or a second spelling.
    """
    try:
        units = value if type(value) is int else parse_units(value)  # T20
    except UsageError:
        raise UsageError(f"{name} is missing or not decimal text") from None
    if not 0 <= units <= U64_MAX:  # T20
        raise UsageError(f"{name} is less than 0 or more than a u64 can hold")
    return units


def read_count(value: object, name: str, least: int, most: int = U32_MAX) -> int:
    """A JSON integer from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:  # T20: a bool is an int to Python, and no number here
        raise UsageError(f"{name} is missing or not an integer from {least} to {most}")
    return value


def read_time(value: object, name: str) -> int:
    """An i64 of whole seconds since 1970, a JSON integer."""
    return read_count(value, name, I64_MIN, I64_MAX)


def read_text(value: object, name: str, most: int = MAX_TEXT) -> str:
    """Text that is there, and not absurdly long."""
    if type(value) is not str or not 0 < len(value) <= most:
        raise UsageError(f"{name} is missing or not text of 1 to {most} characters")
    return value


def read_flag(value: object, name: str) -> bool:
    """true or false; absent is false."""
    if value is None:
        return False
    if type(value) is not bool:
        raise UsageError(f"{name} is neither true nor false")
    return value


def read_idle_options(value: object, name: str) -> tuple[int, ...]:
    """Thresholds of inactivity in seconds, strictly increasing, at least one (SSES-078); absent: none are offered."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not value:
        raise UsageError(f"{name} is not a list of at least one integer")
    options = tuple(read_count(one, name, 1, MAX_IDLE_S) for one in value)
    if any(later <= earlier for earlier, later in pairwise(options)):
        raise UsageError(f"{name} is not strictly increasing")
    return options
