"""Hex text to bytes and numbers, strictly: one spelling, a limit on every length."""

from __future__ import annotations

import re

from coinslot.errors import UsageError

# What a node or a counterparty may send us in one hex string; transactions are capped at 128 KiB by nodes.
MAX_DATA_BYTES = 128 * 1024
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z", re.ASCII)


def to_hex(data: bytes) -> str:
    """Lower-case hex text with "0x"."""
    return "0x" + data.hex()


def parse_hex(text: object, *, size: int | None = None, most: int = MAX_DATA_BYTES) -> bytes:
    """Bytes of "0x"-prefixed hex text: whole bytes, either case, exactly `size` or at most `most` bytes.

    Raises UsageError, which never repeats the text.
    """
    if type(text) is not str:
        raise UsageError("hex data is text that starts with 0x")
    limit = most if size is None else size
    if len(text) > 2 + 2 * limit:
        raise UsageError(f"hex data is longer than {limit} bytes")
    try:
        data = bytes.fromhex(text[2:])
    except ValueError:
        data = None
    if data is None or text[:2] != "0x" or len(text) != 2 + 2 * len(data):  # fromhex passes over white space
        raise UsageError("hex data is 0x and an even number of hex digits")
    if size is not None and len(data) != size:
        raise UsageError(f"hex data is not {size} bytes long")
    return data


def parse_quantity(text: object) -> int:
    """The integer of a JSON-RPC quantity, below 2**256. Leading zeros pass, since some nodes write them.

    Raises UsageError.
    """
    if type(text) is not str or not _QUANTITY.match(text):
        raise UsageError("a quantity is 0x and 1 to 64 hex digits")
    return int(text, 16)
