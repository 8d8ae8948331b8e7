"""Transactions that belong together, as one thing that is recorded, sent, and asked about.

Closing a channel is one transaction where it fits into 1232 bytes; with token accounts to be created first, or several
recipients, it is two or three that must land in order. All of them are built and signed before any is sent, on one
blockhash, and kept with what the chain said of the channels at that moment. F09

What transactions look up in a table is kept with them too: a payee's or a recipient's account must be read from them by
its address, when nobody has the table any more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import (
    Table,
    Transaction,
    build_message,
    read_transaction,
    resolved,
    sign_partially,
)
from coinslot.chains.solana.signature import Key
from coinslot.core.canonical import Json, canonical, parse_object
from coinslot.errors import BadTransaction, LedgerError, MalformedHeader, UsageError
from coinslot.intents.members import read_object
from coinslot.methods.solana.session.fields import read_address, read_units

# What the runtime grants a transaction at most: compute units, and instructions with those that they call in turn.
MAX_UNITS = 1_400_000
MAX_TRACE = 64


@dataclass(frozen=True, slots=True)
class Step:
    """Instructions that must stand together in one transaction, the compute units that they may take, and how many
    instructions they call at most."""

    instructions: tuple[Instruction, ...]
    units: int
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain said of a channel before: base units."""

    deposit_units: int
    settled_units: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """Signed transactions in the order in which they must land, and the channels that they are about.

    `tables` are those that its first transactions make and later ones use.
    """

    transactions: tuple[bytes, ...] = field(repr=False)
    seen: Mapping[str, Seen]
    tables: tuple[Table, ...] = ()

    @property
    def reference(self) -> str:
        """The signature of the last one: when that landed, all did."""
        return read_transaction(self.transactions[-1]).signature

    def encode(self) -> bytes:
        """As it is recorded; `read_parcel` reads the same."""
        seen: dict[str, Json] = {
            one: {"deposit": str(each.deposit_units), "settled": str(each.settled_units)}
            for one, each in self.seen.items()
        }
        raw: list[Json] = [base64.b64encode(each).decode("ascii") for each in self.transactions]
        told: dict[str, Json] = {"channels": seen, "transactions": raw}
        if self.tables:
            told["tables"] = {one.address: list(one.addresses) for one in self.tables}
        return canonical(told)


def read_parcel(raw: bytes) -> tuple[Parcel, tuple[Transaction, ...]]:
    """What was recorded, the accounts of its lookup tables by their addresses. Raises LedgerError if it is no parcel
    of ours.
    """
    try:
        told = parse_object(raw)
        texts = told.get("transactions")
        if not isinstance(texts, list) or not texts:
            raise UsageError("no transactions")
        transactions = tuple(base64.b64decode(str(each), validate=True) for each in texts)
        seen = {
            one: Seen(read_units(each.get("deposit"), "deposit"), read_units(each.get("settled"), "settled"))
            for one, each in ((one, read_object(each, one)) for one, each in read_object(told["channels"], "").items())
        }
        tables = {
            one: tuple(read_address(each, one) for each in _list(listed))
            for one, listed in read_object(told.get("tables", {}), "tables").items()
        }
        parcel = Parcel(transactions, seen, tuple(Table(one, listed) for one, listed in tables.items()))
        return parcel, tuple(resolved(read_transaction(each), tables) for each in transactions)
    except (MalformedHeader, UsageError, BadTransaction, KeyError, binascii.Error) as error:
        raise LedgerError(f"the recorded transactions can't be read: {error}") from None


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise UsageError("a table is a list of addresses")
    return value


@dataclass(frozen=True, slots=True)
class Paper:
    """What all transactions of a parcel are made on: who pays, who signs where it must, what is bid for a compute unit
    (millionths of a lamport), and the tables that they may use."""

    payer: Key = field(repr=False)
    signer: Key = field(repr=False)
    blockhash: str
    unit_price: int
    tables: tuple[Table, ...] = ()


def pack(steps: Sequence[Step], paper: Paper) -> tuple[bytes, ...]:
    """These steps in as few transactions as they fit into, in order.

    Raises UsageError for a step that is too large for any transaction.
    """
    packed: list[bytes] = []
    together: list[Step] = []
    whole: bytes | None = None
    for step in steps:
        try:
            whole = _message([*together, step], paper)
            together.append(step)
        except UsageError:
            if whole is None or not together:
                raise
            packed.append(_signed(whole, paper.payer, paper.signer))
            together, whole = [step], _message([step], paper)
    if whole is not None:
        packed.append(_signed(whole, paper.payer, paper.signer))
    return tuple(packed)


def fits(step: Step, paper: Paper) -> bool:
    """Whether a step is small enough for a transaction by itself."""
    try:
        _message([step], paper)
    except UsageError:
        return False
    return True


def _message(steps: Sequence[Step], paper: Paper) -> bytes:
    units = sum(step.units for step in steps)
    if units > MAX_UNITS:
        raise UsageError("more than one transaction may compute")
    budget = [build_unit_limit(units)]
    if paper.unit_price:
        budget.append(build_unit_price(paper.unit_price))
    instructions = [*budget, *(each for step in steps for each in step.instructions)]
    if len(instructions) + sum(step.calls for step in steps) > MAX_TRACE:
        raise UsageError("more instructions than one transaction may call")
    return build_message(paper.payer.address, instructions, paper.blockhash, tables=paper.tables)


def _signed(message: bytes, payer: Key, signer: Key) -> bytes:
    """By those of both whom the message names as signers: `settle` alone needs nobody but who pays."""
    try:
        keys = (payer,) if payer.address == signer.address else (payer, signer)
        return sign_partially(message, keys)
    except UsageError:
        return sign_partially(message, (payer,))
