"""RLP, strictly: every value has exactly one spelling, and whoever sends another is refused.

An item is bytes or a tuple of items. Numbers are big-endian bytes without leading zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, Union

from coinslot.errors import BadTransaction, UsageError

Item: TypeAlias = Union[bytes, "tuple[Item, ...]"]
Encodable: TypeAlias = Union[bytes, int, "Sequence[Encodable]"]

# Nodes refuse larger transactions, so we need not read them.
MAX_BYTES = 128 * 1024
# The deepest thing we know is the recipients of a scoped key authorization, 8 lists down.
MAX_DEPTH = 10
# A transaction of a hundred calls has a few hundred items; more only costs us time.
MAX_ITEMS = 4096


def encode(item: Encodable) -> bytes:
    """The RLP of bytes, a non-negative integer, or a sequence of these. Raises UsageError."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _head(0x80, len(item)) + item
    if isinstance(item, int):
        return encode(from_int(item))
    body = b"".join([encode(part) for part in item])
    return _head(0xC0, len(body)) + body


def _head(base: int, length: int) -> bytes:
    if length < 56:
        return bytes((base + length,))
    digits = from_int(length)
    return bytes((base + 55 + len(digits),)) + digits


def from_int(value: int) -> bytes:
    """Big-endian bytes without leading zeros; nothing for 0. Raises UsageError for a negative number."""
    if value < 0:
        raise UsageError("a number in a transaction is not negative")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def to_int(item: Item, *, bits: int = 256) -> int:
    """The number in an item, at most `bits` wide. Raises BadTransaction."""
    if not isinstance(item, bytes):
        raise BadTransaction("a list stands where a number belongs")
    if item[:1] == b"\x00":
        raise BadTransaction("a number starts with a zero byte")
    if len(item) > bits // 8:
        raise BadTransaction(f"a number is wider than {bits} bits")
    return int.from_bytes(item, "big")


def decode(data: bytes) -> Item:
    """The one item that `data` spells, canonically and wholly. Raises BadTransaction."""
    if len(data) > MAX_BYTES:
        raise BadTransaction(f"more than {MAX_BYTES} bytes")
    return _Reader(data).whole()


class _Reader:
    """Walks over the bytes once; every read is checked against the end of the list it is in."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0

    def whole(self) -> Item:
        item, end = self._item(0, len(self._data), 0)
        if end != len(self._data):
            raise BadTransaction("bytes follow the end")
        return item

    def _item(self, at: int, end: int, depth: int) -> tuple[Item, int]:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise BadTransaction(f"more than {MAX_ITEMS} items")
        if at >= end:
            raise BadTransaction("it ends too early")
        first = self._data[at]
        if first < 0x80:
            return self._data[at : at + 1], at + 1
        base = 0x80 if first < 0xC0 else 0xC0
        start, stop = self._span(at, end, first - base)
        if base == 0xC0:
            return self._list(start, stop, depth + 1), stop
        if stop - start == 1 and self._data[start] < 0x80:
            raise BadTransaction("a single byte is not in its shortest form")
        return self._data[start:stop], stop

    def _span(self, at: int, end: int, size: int) -> tuple[int, int]:
        """Where the content of an item starts and stops; `size` is its first byte without the base."""
        start = at + 1
        if size > 55:
            width = size - 55
            digits = self._data[start : min(start + width, end)]
            if len(digits) != width:
                raise BadTransaction("it ends too early")
            size = int.from_bytes(digits, "big")
            if digits[0] == 0 or size < 56:
                raise BadTransaction("a length is not in its shortest form")
            start += width
        if size > end - start:
            raise BadTransaction("it ends too early")
        return start, start + size

    def _list(self, at: int, end: int, depth: int) -> Item:
        if depth > MAX_DEPTH:
            raise BadTransaction(f"lists are nested more than {MAX_DEPTH} deep")
        parts: list[Item] = []
        while at < end:
            part, at = self._item(at, end, depth)
            parts.append(part)
        return tuple(parts)
