"""Reading single members of session objects: one spelling inside, whatever the case on the wire (TSES "Encoding").

Every reader raises UsageError with the member's name and never repeats its value.
"""

from __future__ import annotations

import re

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.errors import UsageError
from coinslot.methods.tempo.terms import MAX_CHAIN_ID
from coinslot.money import parse_units

_WORD = re.compile(r"0x[0-9a-fA-F]{64}\Z", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z", re.ASCII)
# Close requests are stamped in uint64 (v1) and uint32 (v2) seconds.
MAX_TIME_S = 2**64 - 1


def read_word(value: object, name: str) -> str:
    """32 bytes: "0x" and 64 hex digits, in lower case."""
    if type(value) is not str or not _WORD.match(value):
        raise UsageError(f"{name} is not 0x and 64 hex digits")
    return value.lower()


def read_address(value: object, name: str) -> str:
    """An address in lower case; the zero address passes, since here it means "none"."""
    if type(value) is not str or not _ADDRESS.match(value):
        raise UsageError(f"{name} is not an address")
    return value.lower()


def read_party(value: object, name: str) -> str:
    """An address that somebody or something must have: not the zero address."""
    address = read_address(value, name)
    if address == ZERO_ADDRESS:
        raise UsageError(f"{name} is the zero address")
    return address


def read_units(value: object, name: str, most: int) -> int:
    """Base units from decimal text, at most `most`."""
    try:
        units = parse_units(value)  # T20
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if units > most:  # TSES-018
        raise UsageError(f"{name} is more than this session protocol can hold")
    return units


def read_chain_id(value: object, name: str) -> int:
    """A chain's number, a JSON number."""
    # The document's default (4217) and the deployed clients' (none, or 42431) differ: it must be said.
    if type(value) is not int or not 0 < value <= MAX_CHAIN_ID:
        raise UsageError(f"{name} is missing or not a chain's number")
    return value
