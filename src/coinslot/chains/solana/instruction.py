"""One instruction: a program, the accounts it is given with their roles, and its data. And how its numbers are packed.

Builders and readers of the single programs stand side by side in their own files (system, token, ata, memo, budget,
ed25519). A reader says exactly which instruction it has before it, or raises BadTransaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.errors import BadTransaction, UsageError

U16_MAX = 2**16 - 1
U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
I64_MIN = -(2**63)
I64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AccountMeta:
    """An account as an instruction takes it. Read from a transaction, the roles are those of the whole transaction.

    `address` is base58; an account of a lookup table, whose address is not in the transaction, is spelt
    "<table>[<index>]" and so equals no address.
    """

    address: str
    signer: bool = False
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """What one program is told to do."""

    program: str
    accounts: tuple[AccountMeta, ...]
    data: bytes


def signer(address: str) -> AccountMeta:
    """An account that signs and isn't written."""
    return AccountMeta(address, signer=True)


def writable(address: str) -> AccountMeta:
    """An account that is written and doesn't sign."""
    return AccountMeta(address, writable=True)


def writable_signer(address: str) -> AccountMeta:
    """An account that signs and is written."""
    return AccountMeta(address, signer=True, writable=True)


def readonly(address: str) -> AccountMeta:
    """An account that is only read."""
    return AccountMeta(address)


def pack_u8(value: int) -> bytes:
    """One byte. Raises UsageError outside 0..255."""
    return _pack(value, 1, "a u8")


def pack_u16(value: int) -> bytes:
    """Two bytes, little-endian. Raises UsageError outside 0..2**16-1."""
    return _pack(value, 2, "a u16")


def pack_u32(value: int) -> bytes:
    """Four bytes, little-endian. Raises UsageError outside 0..2**32-1."""
    return _pack(value, 4, "a u32")


def pack_u64(value: int) -> bytes:
    """Eight bytes, little-endian. Raises UsageError outside 0..2**64-1."""
    return _pack(value, 8, "a u64")


def _pack(value: int, size: int, name: str) -> bytes:
    # T20: a bool, a float or a number that is too large must not become other bytes than those meant
    if type(value) is not int or not 0 <= value < 1 << 8 * size:
        raise UsageError(f"{name} is an integer from 0 to 2**{8 * size} - 1")
    return value.to_bytes(size, "little")


def pack_i64(value: int) -> bytes:
    """Eight bytes, little-endian two's complement. Raises UsageError outside -2**63..2**63-1."""
    if type(value) is not int or not I64_MIN <= value <= I64_MAX:  # T20
        raise UsageError("an i64 is an integer from -2**63 to 2**63 - 1")
    return value.to_bytes(8, "little", signed=True)


def unpack(data: bytes, start: int, size: int) -> int:
    """The unsigned little-endian number of `size` bytes at `start`. Raises BadTransaction where they are not there."""
    part = data[start : start + size]
    if len(part) != size:
        raise BadTransaction("the data ends too early")
    return int.from_bytes(part, "little")


def expect(instruction: Instruction, program: str, name: str, head: bytes, size: int) -> bytes:
    """The data after its discriminator `head`, if this is that instruction and `size` bytes long in whole.

    Raises BadTransaction.
    """
    if instruction.program != program:
        raise BadTransaction(f"{name}: another program is called")
    if len(instruction.data) != size or not instruction.data.startswith(head):  # T31: no byte more, no byte less
        raise BadTransaction(f"{name}: this is not the data of that instruction")
    return instruction.data[len(head) :]


def expect_accounts(instruction: Instruction, name: str, shape: tuple[AccountMeta, ...]) -> tuple[str, ...]:
    """The addresses, if there are as many accounts as in `shape` and each has at least the role it has there.

    An account may have more than it needs: roles are one for the whole transaction. An empty address in the shape
    stands for any, another must be met. Raises BadTransaction.
    """
    if len(instruction.accounts) != len(shape):  # T31
        raise BadTransaction(f"{name}: takes {len(shape)} accounts")
    for found, wanted in zip(instruction.accounts, shape, strict=True):
        if (wanted.signer and not found.signer) or (wanted.writable and not found.writable):
            raise BadTransaction(f"{name}: an account doesn't have the role it needs")
        if wanted.address and found.address != wanted.address:
            raise BadTransaction(f"{name}: an account is not the one it must be")
    return tuple(account.address for account in instruction.accounts)
