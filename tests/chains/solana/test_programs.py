"""Instructions of the native programs: what is built is read back, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from coinslot.chains.solana import ata, budget, ed25519, memo, system, token
from coinslot.chains.solana.address import address_text
from coinslot.chains.solana.instruction import (
    AccountMeta,
    Instruction,
    pack_i64,
    pack_u8,
    pack_u16,
    pack_u32,
    pack_u64,
)
from coinslot.chains.solana.programs import MEMO_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.errors import BadTransaction, UsageError

A, B, C, D = (Key(sha256(name).digest()).address for name in (b"a", b"b", b"c", b"d"))
SIGNED = ed25519.SignedMessage(A, Key(sha256(b"a").digest()).sign(b"m" * 50), b"m" * 50)
TRANSFER = token.TransferChecked(TOKEN_2022_PROGRAM, A, B, C, D, 1_000_000, 6)
CLOSE = token.CloseAccount(TOKEN_PROGRAM, A, B, C)

CASES: dict[str, tuple[Instruction, Callable[[Instruction], object], object]] = {
    "transfer": (system.build_transfer(A, B, 5), system.read_transfer, system.SystemTransfer(A, B, 5)),
    "transferChecked": (token.build_transfer_checked(TRANSFER), token.read_transfer_checked, TRANSFER),
    "closeAccount": (token.build_close_account(CLOSE), token.read_close_account, CLOSE),
    "createIdempotent": (
        ata.build_create_idempotent(A, B, C, TOKEN_PROGRAM),
        ata.read_create_idempotent,
        ata.CreateAta(A, ata.derive_ata(B, C, TOKEN_PROGRAM), B, C, TOKEN_PROGRAM),
    ),
    "unit limit": (budget.build_unit_limit(2**32 - 1), budget.read_unit_limit, 2**32 - 1),
    "unit price": (budget.build_unit_price(2**64 - 1), budget.read_unit_price, 2**64 - 1),
    "ed25519": (ed25519.build_ed25519(SIGNED), ed25519.read_ed25519, SIGNED),
    "memo": (memo.build_memo(memo.Memo("hé", (A,))), memo.read_memo, memo.Memo("hé", (A,))),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_built_is_read_back(name: str) -> None:
    """The same values, and only by the reader of this instruction."""
    instruction, read, value = CASES[name]
    assert read(instruction) == value
    for other, (_, foreign, _) in CASES.items():
        if other != name:
            with pytest.raises(BadTransaction):
                foreign(instruction)


@pytest.mark.guard("T31")
@pytest.mark.parametrize("name", [name for name in CASES if name != "memo"])
def test_an_account_or_a_byte_too_many_or_too_few_is_refused(name: str) -> None:
    """A program may ignore it, and so it could hide."""
    instruction, read, _ = CASES[name]
    changed = [
        replace(instruction, accounts=(*instruction.accounts, AccountMeta(D, signer=True, writable=True))),
        replace(instruction, data=instruction.data + b"\x00"),
        replace(instruction, data=instruction.data[:-1]),
        replace(instruction, data=bytes((instruction.data[0] ^ 0x80,)) + instruction.data[1:]),
        replace(instruction, program=D),
    ]
    if instruction.accounts:
        changed.append(replace(instruction, accounts=instruction.accounts[:-1]))
    for wrong in changed:
        if name == "ed25519" and len(wrong.data) != len(instruction.data):
            continue  # another message length is another good instruction only if its size says so; see below
        with pytest.raises(BadTransaction):
            read(wrong)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0].accounts])
def test_an_account_without_its_role_is_refused_and_one_with_more_is_not(name: str) -> None:
    """Roles are one for the whole transaction: another instruction may need more."""
    instruction, read, value = CASES[name]
    for place, account in enumerate(instruction.accounts):
        more = replace(account, signer=True, writable=True)
        accounts = list(instruction.accounts)
        accounts[place] = more
        assert read(replace(instruction, accounts=tuple(accounts))) == value
        if account.signer or account.writable:
            accounts[place] = AccountMeta(account.address)
            with pytest.raises(BadTransaction, match=r"role|sign"):
                read(replace(instruction, accounts=tuple(accounts)))


def test_the_chains_own_library_builds_the_same_bytes() -> None:
    """System transfer and compute budget, as solders has them."""
    native = transfer(TransferParams(from_pubkey=Pubkey.from_string(A), to_pubkey=Pubkey.from_string(B), lamports=5))
    assert bytes(native.data) == CASES["transfer"][0].data
    assert bytes(set_compute_unit_limit(2**32 - 1).data) == CASES["unit limit"][0].data
    assert bytes(set_compute_unit_price(2**64 - 1).data) == CASES["unit price"][0].data


def test_an_associated_account_of_somebody_else_is_refused() -> None:
    """The address is derived, never believed."""
    instruction, read, _ = CASES["createIdempotent"]
    accounts = list(instruction.accounts)
    accounts[1] = AccountMeta(D, writable=True)
    with pytest.raises(BadTransaction, match="owner and mint"):
        read(replace(instruction, accounts=tuple(accounts)))
    accounts = list(instruction.accounts)
    accounts[5] = AccountMeta(D)
    with pytest.raises(BadTransaction, match="token program"):
        read(replace(instruction, accounts=tuple(accounts)))


def test_a_create_that_fails_where_the_account_exists_is_another_instruction() -> None:
    """Somebody else could create it first and so stop the payment."""
    instruction, read, _ = CASES["createIdempotent"]
    for data in (b"", b"\x00", b"\x02"):
        with pytest.raises(BadTransaction):
            read(replace(instruction, data=data))


@given(st.integers(0, 15), st.integers(0, 255))
def test_any_other_head_of_the_signature_precompile_is_refused(at: int, value: int) -> None:
    """Counts, padding, offsets, and indexes that point into another instruction."""
    instruction = CASES["ed25519"][0]
    assert len(instruction.data) == 162
    data = bytearray(instruction.data)
    if data[at] == value:
        return
    data[at] = value
    with pytest.raises(BadTransaction):
        ed25519.read_ed25519(replace(instruction, data=bytes(data)))


@given(st.binary(max_size=200))
def test_a_signed_message_of_any_size_is_written_and_read(message: bytes) -> None:
    """The size stands in the head, and must be the size that is there."""
    signed = replace(SIGNED, message=message)
    instruction = ed25519.build_ed25519(signed)
    assert ed25519.read_ed25519(instruction) == signed
    for data in (instruction.data + b"\x00", instruction.data[:-1]):
        with pytest.raises(BadTransaction):
            ed25519.read_ed25519(replace(instruction, data=data))


def test_a_memo_is_text_of_limited_size() -> None:
    """566 bytes of UTF-8, which is fewer letters."""
    assert memo.read_memo(memo.build_memo(memo.Memo("é" * 283))) == memo.Memo("é" * 283)
    for text in ("é" * 284, "\ud800"):
        with pytest.raises(UsageError):
            memo.build_memo(memo.Memo(text))
    for data in (b"\xff", b"x" * 567):
        with pytest.raises(BadTransaction):
            memo.read_memo(Instruction(MEMO_PROGRAM, (), data))


@pytest.mark.guard("T20")
@pytest.mark.parametrize(("pack", "bits"), [(pack_u8, 8), (pack_u16, 16), (pack_u32, 32), (pack_u64, 64)])
def test_numbers_that_do_not_fit_are_refused(pack: Callable[[int], bytes], bits: int) -> None:
    """And bools and floats, which Python would pack."""
    assert pack(2**bits - 1) == b"\xff" * (bits // 8)
    assert pack(1) == b"\x01" + bytes(bits // 8 - 1)
    for wrong in (-1, 2**bits, True, 1.0, "1", None):
        with pytest.raises(UsageError):
            pack(wrong)  # type: ignore[arg-type]


@pytest.mark.guard("T20")
def test_signed_numbers_that_do_not_fit_are_refused() -> None:
    """Two's complement of 64 bits."""
    assert pack_i64(-1) == b"\xff" * 8
    for wrong in (2**63, -(2**63) - 1, True, 0.0):
        with pytest.raises(UsageError):
            pack_i64(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build",
    [
        lambda: token.build_transfer_checked(replace(TRANSFER, program=A)),
        lambda: token.build_close_account(replace(CLOSE, program=A)),
        lambda: token.build_transfer_checked(replace(TRANSFER, decimals=256)),
        lambda: token.build_transfer_checked(replace(TRANSFER, amount_units=2**64)),
        lambda: ed25519.build_ed25519(replace(SIGNED, signature=bytes(63))),
        lambda: ed25519.build_ed25519(replace(SIGNED, message=bytes(1025))),
        lambda: ed25519.build_ed25519(replace(SIGNED, signer=address_text(bytes(32))[:-1])),
    ],
)
def test_what_no_program_would_take_is_not_built(build: Callable[[], object]) -> None:
    """The mistake is the caller's, and is told before anything is signed."""
    with pytest.raises(UsageError):
        build()
