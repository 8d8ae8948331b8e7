"""The Compute Budget program: how much a transaction may compute, and what it bids for a unit of it."""

from __future__ import annotations

from coinslot.chains.solana.instruction import (
    Instruction,
    expect,
    expect_accounts,
    pack_u32,
    pack_u64,
    unpack,
)
from coinslot.chains.solana.programs import BUDGET_PROGRAM

_UNIT_LIMIT = b"\x02"
_UNIT_LIMIT_SIZE = 5
_UNIT_PRICE = b"\x03"
_UNIT_PRICE_SIZE = 9


def build_unit_limit(units: int) -> Instruction:
    """At most so many compute units. Raises UsageError outside of u32."""
    return Instruction(BUDGET_PROGRAM, (), _UNIT_LIMIT + pack_u32(units))


def read_unit_limit(instruction: Instruction) -> int:
    """The compute units of exactly a setComputeUnitLimit. Raises BadTransaction."""
    data = expect(instruction, BUDGET_PROGRAM, "setComputeUnitLimit", _UNIT_LIMIT, _UNIT_LIMIT_SIZE)
    expect_accounts(instruction, "setComputeUnitLimit", ())
    return unpack(data, 0, 4)


def build_unit_price(micro_lamports: int) -> Instruction:
    """The priority fee per compute unit, in millionths of a lamport. Raises UsageError outside of u64."""
    return Instruction(BUDGET_PROGRAM, (), _UNIT_PRICE + pack_u64(micro_lamports))


def read_unit_price(instruction: Instruction) -> int:
    """The micro-lamports per unit of exactly a setComputeUnitPrice. Raises BadTransaction."""
    data = expect(instruction, BUDGET_PROGRAM, "setComputeUnitPrice", _UNIT_PRICE, _UNIT_PRICE_SIZE)
    expect_accounts(instruction, "setComputeUnitPrice", ())
    return unpack(data, 0, 8)
