"""The Address Lookup Table program: a list of addresses on the chain, which transactions name by their places.

    create      at an address of its authority and a recent slot       extend      more addresses, at the end
    deactivate  no transaction may use it after this slot's hash aged  close       gone, and its rent comes back

Addresses can be used from the slot after the one that wrote them. A table can be closed when the slot in which it was
deactivated has left the 512 that the runtime remembers: until then something that uses it could still land.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.chains.solana.address import ADDRESS_BYTES, address_bytes, address_text, find_program_address
from coinslot.chains.solana.instruction import (
    U64_MAX,
    AccountMeta,
    Instruction,
    expect,
    expect_accounts,
    pack_u8,
    pack_u32,
    pack_u64,
    readonly,
    signer,
    unpack,
    writable,
    writable_signer,
)
from coinslot.chains.solana.programs import LOOKUP_PROGRAM, SYSTEM_PROGRAM
from coinslot.errors import BadTransaction, UsageError

# A place in a table is one byte.
MAX_ADDRESSES = 256
# What stands before a table's addresses.
HEAD_BYTES = 56
# Slot hashes that the runtime remembers.
COOL_DOWN_SLOTS = 513
# Where an account says that it is a table that somebody may still change, and then who.
AUTHORITY_AT = 21
HAS_AUTHORITY = b"\x01"
_TABLE = 1
_CREATE, _EXTEND, _DEACTIVATE, _CLOSE = 0, 2, 3, 4


@dataclass(frozen=True, slots=True)
class TableAccount:
    """A table as the chain has it. `deactivated_slot` is None while it can be used; `authority` None: for ever."""

    addresses: tuple[str, ...]
    authority: str | None
    extended_slot: int
    deactivated_slot: int | None


def derive_table(authority: str, slot: int) -> tuple[str, int]:
    """Where an authority's table of a slot is, and the bump of that address. Raises UsageError."""
    return find_program_address((address_bytes(authority), pack_u64(slot)), LOOKUP_PROGRAM)


def build_create_table(authority: str, slot: int) -> Instruction:
    """Make a table, which its authority pays for. `slot` is one of the last 512 that had a block. Raises UsageError."""
    table, bump = derive_table(authority, slot)
    data = pack_u32(_CREATE) + pack_u64(slot) + pack_u8(bump)
    accounts = (writable(table), signer(authority), writable_signer(authority), readonly(SYSTEM_PROGRAM))
    return Instruction(LOOKUP_PROGRAM, accounts, data)


def build_extend_table(table: str, authority: str, addresses: Sequence[str]) -> Instruction:
    """Add addresses, which the authority pays for. Raises UsageError."""
    if not 0 < len(addresses) <= MAX_ADDRESSES:
        raise UsageError(f"a table has from 1 to {MAX_ADDRESSES} addresses")
    data = pack_u32(_EXTEND) + pack_u64(len(addresses)) + b"".join(address_bytes(one) for one in addresses)
    accounts = (writable(table), signer(authority), writable_signer(authority), readonly(SYSTEM_PROGRAM))
    return Instruction(LOOKUP_PROGRAM, accounts, data)


def build_deactivate_table(table: str, authority: str) -> Instruction:
    """Let a table come to its end. Raises UsageError."""
    return Instruction(LOOKUP_PROGRAM, (writable(table), signer(authority)), pack_u32(_DEACTIVATE))


def build_close_table(table: str, authority: str) -> Instruction:
    """Give the rent of an ended table back to its authority. Raises UsageError."""
    accounts = (writable(table), signer(authority), writable(authority))
    return Instruction(LOOKUP_PROGRAM, accounts, pack_u32(_CLOSE))


def read_deactivate_table(instruction: Instruction) -> tuple[str, str]:
    """Exactly a deactivation: the table, and its authority. Raises BadTransaction."""
    return _two(instruction, "deactivateLookupTable", _DEACTIVATE, (writable(""), signer("")))


def read_close_table(instruction: Instruction) -> tuple[str, str]:
    """Exactly a closing that pays its own authority: the table, and that one. Raises BadTransaction."""
    table, authority = _two(instruction, "closeLookupTable", _CLOSE, (writable(""), signer(""), writable("")))
    if instruction.accounts[2].address != authority:
        raise BadTransaction("closeLookupTable: the rent goes to another")
    return table, authority


def _two(instruction: Instruction, name: str, number: int, shape: tuple[AccountMeta, ...]) -> tuple[str, str]:
    expect(instruction, LOOKUP_PROGRAM, name, pack_u32(number), 4)
    found = expect_accounts(instruction, name, shape)
    return found[0], found[1]


def read_table(owner: str, data: bytes) -> TableAccount:
    """A table from its account. Raises BadTransaction."""
    rest = len(data) - HEAD_BYTES
    if owner != LOOKUP_PROGRAM or rest < 0 or rest % ADDRESS_BYTES or rest // ADDRESS_BYTES > MAX_ADDRESSES:
        raise BadTransaction("not a lookup table's account")
    if unpack(data, 0, 4) != _TABLE or data[AUTHORITY_AT] > 1:
        raise BadTransaction("not a lookup table")
    deactivated = unpack(data, 4, 8)
    return TableAccount(
        tuple(address_text(data[at : at + ADDRESS_BYTES]) for at in range(HEAD_BYTES, len(data), ADDRESS_BYTES)),
        authority=address_text(data[22:54]) if data[AUTHORITY_AT] else None,
        extended_slot=unpack(data, 12, 8),
        deactivated_slot=None if deactivated == U64_MAX else deactivated,
    )
