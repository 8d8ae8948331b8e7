"""Addresses and hex text: one meaning per text, everything else refused."""

from __future__ import annotations

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.address import address_bytes, address_text, parse_address, to_checksum
from coinslot.chains.evm.hexdata import parse_hex, parse_quantity, to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import UsageError

addresses = st.binary(min_size=20, max_size=20)


@given(data=st.binary(max_size=300))
def test_keccak_equals_that_of_eth_utils(data: bytes) -> None:
    """The native hash is the one from before SHA-3."""
    assert keccak256(data) == keccak(data)


@given(raw=addresses)
def test_an_address_has_one_spelling_inside(raw: bytes) -> None:
    """Lower, upper and checksum spelling all become lower case; checksums equal those of eth_utils."""
    lower = address_text(raw)
    assert to_checksum(lower) == to_checksum_address(raw)
    assert parse_address(lower) == parse_address(to_checksum(lower)) == lower
    assert parse_address("0x" + raw.hex().upper()) == lower
    assert address_bytes(lower) == raw


@pytest.mark.parametrize(
    "text",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".replace("a", "A", 1),
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
        "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "0X5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed0",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed\n",
        "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae\u0661",
        "",
        None,
        7,
        bytes(20),
    ],
)
def test_a_text_that_is_no_address_is_refused(text: object) -> None:
    """A wrong checksum is a slip; other lengths, prefixes and digits are no addresses."""
    with pytest.raises(UsageError, match="address"):
        parse_address(text)


@given(data=st.binary(max_size=100))
def test_hex_comes_back_as_it_went(data: bytes) -> None:
    """Text of bytes reads as these bytes, also in upper case and with the exact size asked for."""
    assert parse_hex(to_hex(data)) == data
    assert parse_hex("0x" + data.hex().upper(), size=len(data)) == data


@pytest.mark.parametrize("text", ["", "00", "0X00", "0x0", "0xzz", "0x00\n", "0x 00", "0x0\u0661", None, b"0x00"])
def test_text_that_is_not_hex_is_refused(text: object) -> None:
    """Whole bytes with 0x, nothing else."""
    with pytest.raises(UsageError):
        parse_hex(text)


def test_hex_has_a_length_limit() -> None:
    """Text above the limit is refused before it is looked at."""
    assert parse_hex("0x" + "00" * 4, most=4) == bytes(4)
    for text, size, most in (("0x" + "00" * 5, None, 4), ("0x" + "00" * 5, 4, 9), ("0x" + "00" * 3, 4, 9)):
        with pytest.raises(UsageError, match="bytes"):
            parse_hex(text, size=size, most=most)


@given(value=st.integers(0, 2**256 - 1))
def test_quantities_read_as_numbers(value: int) -> None:
    """Hex numbers read back, with zeros before them too, as some nodes write them."""
    assert parse_quantity(hex(value)) == value
    assert parse_quantity(f"0x{value:064x}") == value


@pytest.mark.parametrize("text", ["", "0x", "1", "-0x1", "0x-1", "0x1\n", "0x_1", "0x" + "f" * 65, 1, None, True])
def test_text_that_is_no_quantity_is_refused(text: object) -> None:
    """Numbers in JSON, decimals, signs and giants are refused."""
    with pytest.raises(UsageError, match="quantity"):
        parse_quantity(text)
