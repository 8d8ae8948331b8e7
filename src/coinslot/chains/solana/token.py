"""SPL Token and Token-2022: transferChecked and closeAccount, which both programs spell alike."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.solana.instruction import (
    Instruction,
    expect,
    expect_accounts,
    pack_u8,
    pack_u64,
    readonly,
    signer,
    unpack,
    writable,
)
from coinslot.chains.solana.programs import TOKEN_PROGRAMS
from coinslot.errors import BadTransaction, UsageError

_TRANSFER_CHECKED = b"\x0c"
_TRANSFER_CHECKED_SIZE = 10
_CLOSE_ACCOUNT = b"\x09"
_CLOSE_ACCOUNT_SIZE = 1


@dataclass(frozen=True, slots=True)
class TransferChecked:
    """Tokens from one token account to another; `authority` is the owner or delegate that signs, amount base units."""

    program: str
    source: str
    mint: str
    destination: str
    authority: str
    amount_units: int
    decimals: int


@dataclass(frozen=True, slots=True)
class CloseAccount:
    """An empty token account closed, its lamports to `destination`."""

    program: str
    account: str
    destination: str
    owner: str


def build_transfer_checked(transfer: TransferChecked) -> Instruction:
    """Move tokens. Raises UsageError: no token program, or a number out of range."""
    return Instruction(
        _token_program(transfer.program),
        (
            writable(transfer.source),
            readonly(transfer.mint),
            writable(transfer.destination),
            signer(transfer.authority),
        ),
        _TRANSFER_CHECKED + pack_u64(transfer.amount_units) + pack_u8(transfer.decimals),
    )


def read_transfer_checked(instruction: Instruction) -> TransferChecked:
    """Exactly a transferChecked of one authority: no multisig, no accounts for a transfer hook.

    Raises BadTransaction.
    """
    program = _called(instruction, "transferChecked")
    data = expect(instruction, program, "transferChecked", _TRANSFER_CHECKED, _TRANSFER_CHECKED_SIZE)
    shape = (writable(""), readonly(""), writable(""), signer(""))
    source, mint, destination, authority = expect_accounts(instruction, "transferChecked", shape)
    return TransferChecked(program, source, mint, destination, authority, unpack(data, 0, 8), unpack(data, 8, 1))


def build_close_account(close: CloseAccount) -> Instruction:
    """Close an empty token account. Raises UsageError: no token program."""
    accounts = (writable(close.account), writable(close.destination), signer(close.owner))
    return Instruction(_token_program(close.program), accounts, _CLOSE_ACCOUNT)


def read_close_account(instruction: Instruction) -> CloseAccount:
    """Exactly a closeAccount of one owner. Raises BadTransaction."""
    program = _called(instruction, "closeAccount")
    expect(instruction, program, "closeAccount", _CLOSE_ACCOUNT, _CLOSE_ACCOUNT_SIZE)
    shape = (writable(""), writable(""), signer(""))
    account, destination, owner = expect_accounts(instruction, "closeAccount", shape)
    return CloseAccount(program, account, destination, owner)


def _token_program(program: str) -> str:
    if program not in TOKEN_PROGRAMS:
        raise UsageError("a token program is SPL Token or Token-2022")
    return program


def _called(instruction: Instruction, name: str) -> str:
    if instruction.program not in TOKEN_PROGRAMS:
        raise BadTransaction(f"{name}: another program is called")
    return instruction.program
