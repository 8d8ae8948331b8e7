"""Mints and token accounts: every byte accounted for, every extension listed."""

from __future__ import annotations

import struct
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.tokens import (
    Extension,
    ExtensionKind,
    Mint,
    TokenAccount,
    TokenState,
    read_mint,
    read_token_account,
)
from coinslot.errors import BadTransaction

A, B, C = (address_text(sha256(name).digest()) for name in (b"a", b"b", b"c"))


def optional(address: str | None) -> bytes:
    return bytes(36) if address is None else b"\x01\x00\x00\x00" + address_bytes(address)


def mint_bytes(mint: Mint) -> bytes:
    """A mint as the token programs keep it."""
    supply = struct.pack("<QBB", mint.supply_units, mint.decimals, 1)
    data = optional(mint.mint_authority) + supply + optional(mint.freeze_authority)
    return with_extensions(data, 1, mint.extensions)


def account_bytes(account: TokenAccount) -> bytes:
    """A token account as the token programs keep it."""
    data = (
        address_bytes(account.mint) + address_bytes(account.owner) + struct.pack("<Q", account.amount_units)
        + optional(account.delegate) + bytes((account.state,))
        + (struct.pack("<IQ", 1, 2_039_280) if account.is_native else bytes(12))
        + struct.pack("<Q", account.delegated_units) + optional(account.close_authority)
    )  # fmt: skip
    return with_extensions(data, 2, account.extensions)


def with_extensions(data: bytes, kind: int, extensions: tuple[Extension, ...]) -> bytes:
    if not extensions:
        return data
    entries = [struct.pack("<HH", each.kind, len(each.data)) + each.data for each in extensions]
    return data.ljust(165, b"\x00") + bytes((kind,)) + b"".join(entries)


POINTER = Extension(ExtensionKind.METADATA_POINTER, bytes(64))
MINT = Mint(TOKEN_2022_PROGRAM, 6, 10**15, A, None, (POINTER, Extension(900, b"new")))
ACCOUNT = TokenAccount(
    TOKEN_2022_PROGRAM, A, B, 5_000_000, TokenState.INITIALIZED, C, 7, None, False,
    (Extension(ExtensionKind.IMMUTABLE_OWNER, b""),),
)  # fmt: skip
PLAIN_MINT = Mint(TOKEN_PROGRAM, 9, 1, None, B, ())
PLAIN_ACCOUNT = TokenAccount(TOKEN_PROGRAM, A, B, 2**64 - 1, TokenState.FROZEN, None, 0, C, True, ())


def test_both_programs_keep_mints_alike() -> None:
    """Authorities that are nobody are None; an extension that we don't know keeps its number."""
    for mint in (MINT, PLAIN_MINT):
        assert read_mint(mint.program, mint_bytes(mint)) == mint


def test_both_programs_keep_accounts_alike() -> None:
    """Frozen ones and native ones, too."""
    for account in (ACCOUNT, PLAIN_ACCOUNT):
        assert read_token_account(account.program, account_bytes(account)) == account


def test_zeros_may_follow_the_last_extension_and_nothing_else_may() -> None:
    """An extension behind the end is one that the token program reads and a careless reader doesn't."""
    data = mint_bytes(MINT)
    for zeros in (1, 2, 3, 4, 200):
        assert read_mint(MINT.program, data + bytes(zeros)) == MINT
    for tail in (b"\x00\x00\x00\x01", b"\x00\x00\x00\x00\x0c\x00\x20\x00", b"\x0c", b"\x00\x0c"):
        with pytest.raises(BadTransaction):
            read_mint(MINT.program, data + tail)


@pytest.mark.parametrize(
    "data",
    [
        mint_bytes(MINT)[:-1],
        mint_bytes(MINT)[:165],
        mint_bytes(MINT)[:166].replace(b"\x01", b"\x02")[:166],
        mint_bytes(PLAIN_MINT)[:-1],
        mint_bytes(PLAIN_MINT) + b"\x00",
        mint_bytes(PLAIN_MINT)[:45] + b"\x00" + mint_bytes(PLAIN_MINT)[46:],
        b"\x02" + mint_bytes(PLAIN_MINT)[1:],
        with_extensions(mint_bytes(PLAIN_MINT), 2, (POINTER,)),
        with_extensions(mint_bytes(PLAIN_MINT), 1, (POINTER, POINTER)),
        with_extensions(mint_bytes(PLAIN_MINT) + b"\x01", 1, (POINTER,)),
        account_bytes(PLAIN_ACCOUNT),
        b"",
    ],
)
def test_what_is_no_mint_is_refused(data: bytes) -> None:
    """Cut, stretched, uninitialized, the wrong kind, an extension twice."""
    with pytest.raises(BadTransaction):
        read_mint(TOKEN_2022_PROGRAM, data)


def test_the_older_program_has_no_extensions_and_other_programs_have_no_tokens() -> None:
    """The owner of an account says how to read it."""
    with pytest.raises(BadTransaction):
        read_mint(TOKEN_PROGRAM, mint_bytes(MINT))
    with pytest.raises(BadTransaction):
        read_token_account(TOKEN_PROGRAM, account_bytes(ACCOUNT))
    with pytest.raises(BadTransaction, match="no token program"):
        read_mint(SYSTEM_PROGRAM, mint_bytes(PLAIN_MINT))


def test_a_state_that_we_cannot_name_is_refused() -> None:
    """It is neither usable nor known to be frozen."""
    data = bytearray(account_bytes(PLAIN_ACCOUNT))
    data[108] = 3
    with pytest.raises(BadTransaction, match="state"):
        read_token_account(TOKEN_PROGRAM, bytes(data))


@given(st.sampled_from([account_bytes(ACCOUNT), mint_bytes(MINT)]), st.integers(0, 400), st.binary(max_size=6))
def test_changed_accounts_are_refused_by_name_or_read(data: bytes, at: int, part: bytes) -> None:
    """No bytes of the chain raise anything else."""
    changed = data[:at] + part + data[at + len(part) :]
    for program in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        with suppress(BadTransaction):
            assert read_mint(program, changed).program == program
        with suppress(BadTransaction):
            assert read_token_account(program, changed).program == program
