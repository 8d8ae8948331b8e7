"""The System program: moving lamports."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.solana.instruction import (
    Instruction,
    expect,
    expect_accounts,
    pack_u64,
    unpack,
    writable,
    writable_signer,
)
from coinslot.chains.solana.programs import SYSTEM_PROGRAM

_TRANSFER = (2).to_bytes(4, "little")
_SIZE = 12


@dataclass(frozen=True, slots=True)
class SystemTransfer:
    """Lamports from one account to another."""

    source: str
    destination: str
    lamports: int


def build_transfer(source: str, destination: str, lamports: int) -> Instruction:
    """Move lamports; `source` signs. Raises UsageError outside of u64."""
    return Instruction(SYSTEM_PROGRAM, (writable_signer(source), writable(destination)), _TRANSFER + pack_u64(lamports))


def read_transfer(instruction: Instruction) -> SystemTransfer:
    """Exactly a transfer. Raises BadTransaction."""
    data = expect(instruction, SYSTEM_PROGRAM, "transfer", _TRANSFER, _SIZE)
    source, destination = expect_accounts(instruction, "transfer", (writable_signer(""), writable("")))
    return SystemTransfer(source, destination, unpack(data, 0, 8))
