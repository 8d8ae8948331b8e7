"""Transactions of a Solana chain: read strictly, one spelling for each; built, signed and co-signed.

    transaction = signatures (compact list of 64 bytes) || message
    message     = [0x80 if v0] || signers, readonly signers, readonly others || keys || blockhash || instructions
                  || lookups (v0 only)

Every count is a compact-u16 in its shortest form. What is accepted here is spelt by solders to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta as NativeMeta
from solders.instruction import Instruction as NativeInstruction
from solders.message import Message, MessageV0, to_bytes_versioned

from coinslot.chains.solana.address import ADDRESS_BYTES, address_text, pubkey
from coinslot.chains.solana.instruction import AccountMeta, Instruction
from coinslot.chains.solana.signature import SIGNATURE_BYTES, Key, signature_text, verify
from coinslot.errors import BadSignature, BadTransaction, UsageError

Version: TypeAlias = Literal["legacy", 0]

# What fits in a packet of the network (IPv6 minimum of 1280 less headers): validators drop more.
MAX_BYTES = 1232
# An account index is one byte.
MAX_KEYS = 256
NO_SIGNATURE = bytes(SIGNATURE_BYTES)
_V0 = 0x80


@dataclass(frozen=True, slots=True)
class Lookup:
    """Accounts by their places in an on-chain table: which addresses these are, the transaction doesn't say."""

    table: str
    writable: bytes
    readonly: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table and what stands in it, in order."""

    address: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as it was read. Nothing is verified yet.

    `signatures` and `signers` belong together by place, and the first pays the fee; a signature not yet made is 64
    zero bytes. `accounts` are the keys that stand in the message; `lookups` is not empty where instructions use
    others, which no verifier can judge without asking the chain.
    """

    raw: bytes
    message: bytes
    version: Version
    signatures: tuple[bytes, ...]
    accounts: tuple[AccountMeta, ...]
    blockhash: str
    instructions: tuple[Instruction, ...]
    lookups: tuple[Lookup, ...]

    @property
    def signers(self) -> tuple[str, ...]:
        """Who must sign, in order."""
        return tuple(account.address for account in self.accounts[: len(self.signatures)])

    @property
    def payer(self) -> str:
        """Who pays the fee: the first signer."""
        return self.accounts[0].address

    @property
    def signature(self) -> str:
        """The base58 of the first signature, by which the chain knows the transaction. Raises BadSignature."""
        if self.signatures[0] == NO_SIGNATURE:
            raise BadSignature("the fee payer hasn't signed yet")
        return signature_text(self.signatures[0])

    @property
    def looked_up(self) -> tuple[str, ...]:
        """The accounts of its lookup tables as they are spelt here, in the order in which the runtime loads them."""
        return tuple(each.address for each in _looked_up(self.lookups))

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Who hasn't signed yet."""
        return tuple(
            signer for signer, signature in zip(self.signers, self.signatures, strict=True) if signature == NO_SIGNATURE
        )


def verify_signatures(transaction: Transaction, *, unsigned: Sequence[str] = ()) -> None:
    """Every signer signed this very message, except those of `unsigned`, whose slots must be empty.

    Raises BadSignature.
    """
    for signer, signature in zip(transaction.signers, transaction.signatures, strict=True):
        if signer not in unsigned:
            verify(signer, transaction.message, signature)
        elif signature != NO_SIGNATURE:
            raise BadSignature("a signature stands where none may be yet")


# --- reading -------------------------------------------------------------------------------------


def read_transaction(raw: bytes) -> Transaction:
    """The one transaction, legacy or v0, that `raw` spells, canonically and wholly. Raises BadTransaction.

    Signatures are not verified; see `verify_signatures`.
    """
    if len(raw) > MAX_BYTES:
        raise BadTransaction(f"more than {MAX_BYTES} bytes")
    reader = _Reader(raw)
    signatures = tuple(reader.take(SIGNATURE_BYTES) for _ in range(reader.count()))
    message = raw[reader.at :]
    version, accounts, blockhash, instructions, lookups = _message(reader)
    required = sum(account.signer for account in accounts)
    if len(signatures) != required:
        raise BadTransaction("there are not as many signatures as signers")
    return Transaction(raw, message, version, signatures, accounts, blockhash, instructions, lookups)


_Parts: TypeAlias = tuple[Version, tuple[AccountMeta, ...], str, tuple[Instruction, ...], tuple[Lookup, ...]]


def _message(reader: _Reader) -> _Parts:
    version: Version = "legacy"
    first = reader.byte()
    if first & _V0:
        if first != _V0:
            raise BadTransaction("a version of transactions that we don't know")
        version, first = 0, reader.byte()
    accounts = _keys(reader, first)
    blockhash = address_text(reader.take(ADDRESS_BYTES))  # 32 bytes in base58, too
    compiled = [_compiled(reader) for _ in range(reader.count())]
    lookups = tuple(_lookup(reader) for _ in range(reader.count())) if version == 0 else ()
    reader.end()
    table = accounts + _looked_up(lookups)
    if len(table) > MAX_KEYS:
        raise BadTransaction(f"more than {MAX_KEYS} accounts")
    instructions = tuple(_resolved(parts, accounts, table) for parts in compiled)
    return version, accounts, blockhash, instructions, lookups


def _keys(reader: _Reader, required: int) -> tuple[AccountMeta, ...]:
    """The keys with the roles that the header gives to their places."""
    readonly_signers, readonly_others = reader.byte(), reader.byte()
    count = reader.count()
    if not readonly_signers < required or required + readonly_others > count:
        raise BadTransaction("the header doesn't fit the accounts")
    keys = [address_text(reader.take(ADDRESS_BYTES)) for _ in range(count)]
    if len(set(keys)) != count:  # T31: validators refuse it, and a role could hide behind the other
        raise BadTransaction("an account stands twice in the list")
    last_writable_signer, last_writable = required - readonly_signers, count - readonly_others
    return tuple(
        AccountMeta(
            key,
            signer=place < required,
            writable=place < last_writable_signer if place < required else place < last_writable,
        )
        for place, key in enumerate(keys)
    )


def _compiled(reader: _Reader) -> tuple[int, bytes, bytes]:
    program = reader.byte()
    accounts = reader.take(reader.count())
    return program, accounts, reader.take(reader.count())


def _lookup(reader: _Reader) -> Lookup:
    table = address_text(reader.take(ADDRESS_BYTES))
    writable = reader.take(reader.count())
    readonly = reader.take(reader.count())
    if not writable and not readonly:
        raise BadTransaction("a lookup looks nothing up")
    return Lookup(table, writable, readonly)


def _looked_up(lookups: tuple[Lookup, ...]) -> tuple[AccountMeta, ...]:
    """The accounts of the tables in the order of the runtime: all writable ones, then the others."""
    written = [AccountMeta(_place(look, at), writable=True) for look in lookups for at in look.writable]
    return (*written, *(AccountMeta(_place(look, at)) for look in lookups for at in look.readonly))


def _place(look: Lookup, at: int) -> str:
    return f"{look.table}[{at}]"


def _resolved(
    compiled: tuple[int, bytes, bytes], accounts: tuple[AccountMeta, ...], table: tuple[AccountMeta, ...]
) -> Instruction:
    program, places, data = compiled
    # The fee payer can't be a program, and the runtime takes no program from a table.
    if not 0 < program < len(accounts) or any(place >= len(table) for place in places):
        raise BadTransaction("an instruction names an account that isn't there")
    return Instruction(accounts[program].address, tuple(table[place] for place in places), data)


def resolved(transaction: Transaction, tables: Mapping[str, Sequence[str]]) -> Transaction:
    """The same with the accounts of its lookup tables by their addresses; whose word that is, is the caller's to know.

    Raises BadTransaction for a table that is not among them, or that has no such place.
    """
    names: dict[str, str] = {}
    for look in transaction.lookups:
        listed = tables.get(look.table, ())
        for place in look.writable + look.readonly:
            if place >= len(listed):
                raise BadTransaction("a lookup table doesn't have what the transaction looks up")
            names[_place(look, place)] = listed[place]
    return named(transaction, names)


def named(transaction: Transaction, names: Mapping[str, str]) -> Transaction:
    """The same with the accounts of lookup tables, which are spelt "<table>[<index>]", by other names."""
    if not transaction.lookups:
        return transaction
    calls = tuple(
        replace(
            call, accounts=tuple(replace(one, address=names.get(one.address, one.address)) for one in call.accounts)
        )
        for call in transaction.instructions
    )
    return replace(transaction, instructions=calls)


class _Reader:
    """Walks over the bytes once; nothing is read past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        part = self._data[self.at : self.at + size]
        if len(part) != size:
            raise BadTransaction("it ends too early")
        self.at += size
        return part

    def count(self) -> int:
        """A compact-u16: seven bits a byte, low ones first. Two bytes are enough for all that fits in 1232."""
        low = self.byte()
        if low < 0x80:
            return low
        high = self.byte()
        if not 0 < high < 0x80:
            raise BadTransaction("a count is not in its shortest form, or too large for any transaction")
        return low & 0x7F | high << 7

    def end(self) -> None:
        if self.at != len(self._data):
            raise BadTransaction("bytes follow the end")


# --- building and signing ------------------------------------------------------------------------


def build_message(
    payer: str,
    instructions: Sequence[Instruction],
    blockhash: str,
    version: Version = 0,
    tables: Sequence[Table] = (),
) -> bytes:
    """The bytes to sign. `payer` signs first and pays the fee. Of `tables` (v0 only) what is in them is looked up.

    Raises UsageError: an address or blockhash that is none, or more than a transaction holds.
    """
    natives = [_native(instruction) for instruction in instructions]
    recent = Hash.from_bytes(bytes(pubkey(blockhash)))
    try:
        if version == 0:
            listed = [
                AddressLookupTableAccount(pubkey(one.address), list(map(pubkey, one.addresses))) for one in tables
            ]
            message = to_bytes_versioned(MessageV0.try_compile(pubkey(payer), natives, listed, recent))
        else:
            message = bytes(Message.new_with_blockhash(natives, pubkey(payer), recent))
    except ValueError as error:
        raise UsageError("these instructions don't fit in one transaction") from error
    signers = message[1] if version == 0 else message[0]
    if 1 + signers * SIGNATURE_BYTES + len(message) > MAX_BYTES:
        raise UsageError(f"these instructions don't fit in one transaction of {MAX_BYTES} bytes")
    return message


def _native(instruction: Instruction) -> NativeInstruction:
    metas = [NativeMeta(pubkey(each.address), each.signer, each.writable) for each in instruction.accounts]
    return NativeInstruction(pubkey(instruction.program), instruction.data, metas)


def sign_partially(message: bytes, keys: Sequence[Key]) -> bytes:
    """A transaction of `message`, signed by these keys; the slots of other signers stay empty.

    Raises UsageError: a key that need not sign. Raises BadTransaction: bytes that are no message.
    """
    parsed = _message(_Reader(message))
    signers = [account.address for account in parsed[1] if account.signer]
    slots = [NO_SIGNATURE] * len(signers)
    for key in keys:
        slots[_slot(signers, key)] = key.sign(message)
    return bytes((len(slots),)) + b"".join(slots) + message


def with_signature(raw: bytes, key: Key) -> bytes:
    """The same transaction with the slot of `key` signed; the message and all other slots stay as they are.

    Raises UsageError: the key need not sign. Raises BadTransaction.
    """
    transaction = read_transaction(raw)
    start = 1 + SIGNATURE_BYTES * _slot(transaction.signers, key)  # fewer than 128 signers fit: the count is one byte
    return raw[:start] + key.sign(transaction.message) + raw[start + SIGNATURE_BYTES :]


def _slot(signers: Sequence[str], key: Key) -> int:
    if key.address not in signers:
        raise UsageError("this key is no signer of the transaction")
    return signers.index(key.address)
