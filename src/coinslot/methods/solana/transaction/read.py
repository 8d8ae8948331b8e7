"""What the instructions of a transaction do, as far as a payment may be made of them (SCHG "Pull Mode Verification").

    System transfer, transferChecked    move money
    createIdempotent                    a token account for somebody
    memo                                says something
    setComputeUnitLimit / Price         what it may cost

Nothing else is a part of a payment: not even instructions that would do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.solana.ata import CreateAta, read_create_idempotent
from coinslot.chains.solana.budget import read_unit_limit, read_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.memo import Memo, read_memo
from coinslot.chains.solana.message import Transaction
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    BUDGET_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
)
from coinslot.chains.solana.system import read_transfer
from coinslot.chains.solana.token import read_transfer_checked
from coinslot.errors import BadTransaction

# What the runtime gives an instruction where a transaction sets no limit, and the most that it gives to all.
DEFAULT_UNITS = 200_000
MAX_UNITS = 1_400_000
LAMPORTS_PER_SIGNATURE = 5_000
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money that moves. Of lamports, `mint` and `program` are None and the accounts are the owners' own."""

    source: str
    destination: str
    authority: str
    amount_units: int
    mint: str | None = None
    program: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The instructions of a payment by kind, in their order. `signatures` are how many the network charges for.

    `unit_limit` and `unit_price` (micro-lamports) are None where the transaction doesn't set them; `instructions` is
    how many there are besides those two.
    """

    transfers: tuple[Transfer, ...]
    creates: tuple[CreateAta, ...]
    memos: tuple[Memo, ...]
    unit_limit: int | None
    unit_price: int | None
    instructions: int
    signatures: int

    @property
    def units(self) -> int:
        """Compute units that it may use."""
        limit = DEFAULT_UNITS * self.instructions if self.unit_limit is None else self.unit_limit
        return min(limit, MAX_UNITS)

    @property
    def fee_lamports(self) -> int:
        """The most that it can cost whoever pays the fee, without the rent of new accounts."""
        bid = -(-self.units * (self.unit_price or 0) // _MICRO)
        return LAMPORTS_PER_SIGNATURE * self.signatures + bid


def read_parts(transaction: Transaction) -> Parts:
    """The parts, if there is nothing else in it. Raises BadTransaction for any other instruction. T30"""
    return _sorted(transaction, transaction.instructions)


def find_parts(transaction: Transaction) -> Parts:
    """The parts that are in it, whatever else its payer did at its own cost."""
    return _sorted(transaction, tuple(each for each in transaction.instructions if _is_part(each)))


def _sorted(transaction: Transaction, instructions: tuple[Instruction, ...]) -> Parts:
    transfers, creates, memos = [], [], []
    limits, prices = [], []
    for each in instructions:
        if each.program == BUDGET_PROGRAM:
            if each.data[:1] == b"\x02":
                limits.append(read_unit_limit(each))
            else:
                prices.append(read_unit_price(each))
        elif each.program == ATA_PROGRAM:
            creates.append(read_create_idempotent(each))
        elif each.program == MEMO_PROGRAM:
            memos.append(read_memo(each))
        else:
            transfers.append(_transfer(each))
    if len(limits) > 1 or len(prices) > 1:  # T30: the runtime refuses it, too
        raise BadTransaction("a compute budget is set twice")
    return Parts(
        tuple(transfers),
        tuple(creates),
        tuple(memos),
        limits[0] if limits else None,
        prices[0] if prices else None,
        len(instructions) - len(limits) - len(prices),
        len(transaction.signatures),
    )


def _transfer(instruction: Instruction) -> Transfer:
    if instruction.program == SYSTEM_PROGRAM:
        plain = read_transfer(instruction)
        return Transfer(plain.source, plain.destination, plain.source, plain.lamports)
    if instruction.program not in TOKEN_PROGRAMS:
        raise BadTransaction(f"a program that is no part of a payment is called: {instruction.program}")
    told = read_transfer_checked(instruction)
    return Transfer(told.source, told.destination, told.authority, told.amount_units, told.mint, told.program)


def _is_part(instruction: Instruction) -> bool:
    try:
        if instruction.program == MEMO_PROGRAM:
            read_memo(instruction)
        else:
            _transfer(instruction)
    except BadTransaction:
        return False
    return True
