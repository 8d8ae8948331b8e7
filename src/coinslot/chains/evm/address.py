"""Addresses: lower-case "0x" and 40 hex digits everywhere inside; checksum spelling (EIP-55) for people."""

from __future__ import annotations

import re

from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import UsageError

ZERO_ADDRESS = "0x" + "0" * 40
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z", re.ASCII)


def parse_address(text: object) -> str:
    """The address in lower case. Mixed case must be the right checksum: it exists to catch slips.

    Raises UsageError, which never repeats the text.
    """
    if type(text) is not str or not _ADDRESS.match(text):
        raise UsageError("an address is 0x and 40 hex digits")
    digits, lower = text[2:], text.lower()
    if digits not in (lower[2:], digits.upper()) and text != to_checksum(lower):
        raise UsageError("the upper and lower case letters of this address don't match its checksum (EIP-55)")
    return lower


def to_checksum(address: str) -> str:
    """The checksum spelling (EIP-55) of a parsed address."""
    digits = address[2:]
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        letter.upper() if nibble >= "8" else letter for letter, nibble in zip(digits, nibbles, strict=False)
    )


def address_bytes(address: str) -> bytes:
    """The 20 bytes of a parsed address."""
    return bytes.fromhex(address[2:])


def address_text(data: bytes) -> str:
    """The parsed spelling of 20 bytes. Raises UsageError."""
    if len(data) != 20:
        raise UsageError("an address is 20 bytes")
    return "0x" + data.hex()
