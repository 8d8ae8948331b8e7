"""RLP: the same bytes as everybody else writes, and one spelling only when reading."""

from __future__ import annotations

import pytest
import rlp as oracle
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm import rlp
from coinslot.errors import BadTransaction, UsageError

items = st.recursive(st.binary(max_size=80), lambda parts: st.lists(parts, max_size=6), max_leaves=30).filter(
    lambda item: depth(item) <= rlp.MAX_DEPTH
)


def depth(item: object) -> int:
    """How deep the lists of an item are nested."""
    return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0


def tuples(item: object) -> object:
    """The item with tuples for lists, as the reader gives it."""
    return tuple(map(tuples, item)) if isinstance(item, list | tuple) else item


@given(item=items)
def test_writing_equals_the_rlp_package_and_reads_back(item: rlp.Encodable) -> None:
    """Byte for byte the same as pyrlp, and the reader returns what was written."""
    data = rlp.encode(item)
    assert data == oracle.encode(item)
    assert rlp.decode(data) == tuples(item)


@given(data=st.binary(max_size=60))
def test_random_bytes_are_read_one_way_or_refused(data: bytes) -> None:
    """What is accepted is its own only spelling: writing it again gives the same bytes."""
    try:
        item = rlp.decode(data)
    except BadTransaction:
        return
    assert rlp.encode(item) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends too early"),
        ("8100", "shortest"),
        ("817f", "shortest"),
        ("b800", "shortest"),
        ("b837" + "00" * 55, "shortest"),
        ("b90038" + "00" * 56, "shortest"),
        ("f800", "shortest"),
        ("8180ff", "follow"),
        ("c0c0", "follow"),
        ("82ff", "too early"),
        ("b8", "too early"),
        ("b9ff", "too early"),
        ("bfffffffffffffffff", "too early"),
        ("ffffffffffffffffff", "too early"),
        ("c281", "too early"),
        ("c382ffff00", "follow"),
        ("c182", "too early"),
    ],
)
def test_other_spellings_are_refused_by_name(data: str, reason: str) -> None:
    """Long forms of short things, missing and left-over bytes."""
    with pytest.raises(BadTransaction, match=reason):
        rlp.decode(bytes.fromhex(data))


def test_size_depth_and_number_of_items_are_limited() -> None:
    """None of the three can be used to make us work or overflow."""
    with pytest.raises(BadTransaction, match="bytes"):
        rlp.decode(bytes(rlp.MAX_BYTES + 1))
    nested: rlp.Encodable = b""
    for _ in range(rlp.MAX_DEPTH):
        nested = [nested]
    rlp.decode(rlp.encode(nested))
    with pytest.raises(BadTransaction, match="deep"):
        rlp.decode(rlp.encode([nested]))
    rlp.decode(rlp.encode([b""] * (rlp.MAX_ITEMS - 1)))
    with pytest.raises(BadTransaction, match="items"):
        rlp.decode(rlp.encode([b""] * rlp.MAX_ITEMS))


def test_numbers_have_one_spelling() -> None:
    """No zero bytes in front, no list, no more bits than asked for; zero is the empty string."""
    assert rlp.to_int(b"") == 0
    assert rlp.to_int(b"\xff" * 8, bits=64) == 2**64 - 1
    for item in (b"\x00", b"\x00\x01", ()):
        with pytest.raises(BadTransaction):
            rlp.to_int(item)
    with pytest.raises(BadTransaction, match="64 bits"):
        rlp.to_int(b"\x01" + bytes(8), bits=64)
    with pytest.raises(UsageError):
        rlp.encode(-1)


@given(value=st.integers(0, 2**256 - 1))
def test_numbers_read_back(value: int) -> None:
    """A number is written without leading zeros and read as itself."""
    assert rlp.to_int(rlp.from_int(value)) == value
    assert rlp.encode(value) == oracle.encode(value)
