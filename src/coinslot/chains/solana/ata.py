"""Associated token accounts: the one account an owner has for a mint, derived and created."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.solana.address import address_bytes, find_program_address
from coinslot.chains.solana.instruction import (
    Instruction,
    expect,
    expect_accounts,
    readonly,
    writable,
    writable_signer,
)
from coinslot.chains.solana.programs import ATA_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAMS
from coinslot.errors import BadTransaction, UsageError

_CREATE_IDEMPOTENT = b"\x01"
_NAME = "createIdempotent"


@dataclass(frozen=True, slots=True)
class CreateAta:
    """Create `account` of `owner` for `mint` where it doesn't exist; `funder` pays its rent."""

    funder: str
    account: str
    owner: str
    mint: str
    token_program: str


def derive_ata(owner: str, mint: str, token_program: str) -> str:
    """The associated token account of an owner. Raises UsageError: no token program or no address."""
    if token_program not in TOKEN_PROGRAMS:
        raise UsageError("a token program is SPL Token or Token-2022")
    seeds = (address_bytes(owner), address_bytes(token_program), address_bytes(mint))
    return find_program_address(seeds, ATA_PROGRAM)[0]


def build_create_idempotent(funder: str, owner: str, mint: str, token_program: str) -> Instruction:
    """Create an owner's account for a mint, or do nothing where it is there. Raises UsageError."""
    accounts = (
        writable_signer(funder),
        writable(derive_ata(owner, mint, token_program)),
        readonly(owner),
        readonly(mint),
        readonly(SYSTEM_PROGRAM),
        readonly(token_program),
    )
    return Instruction(ATA_PROGRAM, accounts, _CREATE_IDEMPOTENT)


def read_create_idempotent(instruction: Instruction) -> CreateAta:
    """Exactly a createIdempotent of the account that belongs to its owner and mint. Raises BadTransaction."""
    expect(instruction, ATA_PROGRAM, _NAME, _CREATE_IDEMPOTENT, len(_CREATE_IDEMPOTENT))
    shape = (
        writable_signer(""),
        writable(""),
        readonly(""),
        readonly(""),
        readonly(SYSTEM_PROGRAM),
        readonly(""),
    )
    funder, account, owner, mint, _, token_program = expect_accounts(instruction, _NAME, shape)
    try:
        derived = derive_ata(owner, mint, token_program)
    except UsageError as error:  # an account of a lookup table, or no token program
        raise BadTransaction(f"{_NAME}: {error}") from error
    if derived != account:
        raise BadTransaction(f"{_NAME}: the account is not the one of this owner and mint")
    return CreateAta(funder, account, owner, mint, token_program)
