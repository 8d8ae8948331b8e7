"""Addresses: base58 of 32 bytes in one spelling, and those that programs derive."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from coinslot.chains.solana.address import (
    address_bytes,
    address_text,
    find_program_address,
    is_on_curve,
    parse_address,
)
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.errors import UsageError

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


@given(st.binary(min_size=32, max_size=32))
def test_every_32_bytes_have_one_spelling(data: bytes) -> None:
    """Text and bytes go over into each other, leading zeros too."""
    text = address_text(data)
    assert parse_address(text) == text
    assert address_bytes(text) == data


@pytest.mark.parametrize(
    "text",
    [
        "", USDC[:-2], USDC + "1", "1" + USDC, USDC + " ", " " + USDC, USDC + "\n", USDC.replace("E", "0", 1),
        "1" * 31, "1" * 33, "l" * 43, "é" * 43, "\ud800" * 43, "z" * 44, None, 7000, USDC.encode(),
    ],
)  # fmt: skip
def test_anything_else_is_refused_without_being_repeated(text: object) -> None:
    """Wrong length, other letters, whitespace, other types."""
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert not text or str(text) not in str(caught.value)


@given(st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=30, max_size=46))
def test_what_is_taken_is_spelt_the_same_by_the_chain(text: str) -> None:
    """A second spelling of an address would be a second name for one account."""
    try:
        parse_address(text)
    except UsageError:
        return
    assert str(Pubkey.from_string(text)) == text


def test_a_key_is_on_the_curve_and_a_derived_address_is_not() -> None:
    """That is what makes derived addresses safe: nobody can have their key."""
    key = Key(os.urandom(32))
    derived, bump = find_program_address((b"seed",), TOKEN_PROGRAM)
    assert is_on_curve(key.address)
    assert not is_on_curve(derived)
    assert str(Pubkey.create_program_address([b"seed", bytes((bump,))], Pubkey.from_string(TOKEN_PROGRAM))) == derived


@pytest.mark.parametrize("seeds", [(b"x" * 33,), (b"",) * 16])
def test_seeds_that_no_program_could_use_are_refused(seeds: tuple[bytes, ...]) -> None:
    """The library would end the process's thread instead of saying so."""
    with pytest.raises(UsageError):
        find_program_address(seeds, TOKEN_PROGRAM)


def test_an_owner_has_one_account_per_mint_and_token_program() -> None:
    """Known pair of the mainnet, and another for Token-2022."""
    owner = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"
    assert derive_ata(owner, USDC, TOKEN_PROGRAM) == "FGETo8T8wMcN2wCjav8VK6eh3dLk63evNDPxzLSJra8B"
    assert derive_ata(owner, USDC, TOKEN_2022_PROGRAM) != derive_ata(owner, USDC, TOKEN_PROGRAM)
    with pytest.raises(UsageError):
        derive_ata(owner, USDC, USDC)
