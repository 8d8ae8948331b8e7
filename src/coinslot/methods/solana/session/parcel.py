"""Transactions that belong together, as one thing that is recorded, sent, and asked about.

Closing a channel is one transaction where it fits into 1232 bytes; with token accounts to be created first, or several
recipients, it is two or three that must land in order. All of them are built and signed before any is sent, on one
blockhash, and kept with what the chain said of the channels at that moment. F09
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import Transaction, build_message, read_transaction, sign_partially
from coinslot.chains.solana.signature import Key
from coinslot.core.canonical import Json, canonical, parse_object
from coinslot.errors import BadTransaction, LedgerError, MalformedHeader, UsageError
from coinslot.methods.solana.session.fields import read_object, read_units


@dataclass(frozen=True, slots=True)
class Step:
    """Instructions that must stand together in one transaction, and the compute units that they may take."""

    instructions: tuple[Instruction, ...]
    units: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain said of a channel before: base units."""

    deposit_units: int
    settled_units: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """Signed transactions in the order in which they must land, and the channels that they are about."""

    transactions: tuple[bytes, ...] = field(repr=False)
    seen: Mapping[str, Seen]

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
        return canonical({"channels": seen, "transactions": raw})


def read_parcel(raw: bytes) -> tuple[Parcel, tuple[Transaction, ...]]:
    """What was recorded. Raises LedgerError if it is no parcel of ours."""
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
        return Parcel(transactions, seen), tuple(read_transaction(each) for each in transactions)
    except (MalformedHeader, UsageError, BadTransaction, KeyError, binascii.Error) as error:
        raise LedgerError(f"the recorded transactions can't be read: {error}") from None


def pack(steps: Sequence[Step], payer: Key, signer: Key, blockhash: str, unit_price: int) -> tuple[bytes, ...]:
    """These steps in as few transactions as they fit into, in order: `payer` pays, `signer` signs where it must.

    Raises UsageError for a step that is too large for any transaction.
    """
    packed: list[bytes] = []
    together: list[Step] = []
    fits: bytes | None = None
    for step in steps:
        try:
            fits = _message([*together, step], payer, blockhash, unit_price)
            together.append(step)
        except UsageError:
            if fits is None or not together:
                raise
            packed.append(_signed(fits, payer, signer))
            together, fits = [step], _message([step], payer, blockhash, unit_price)
    if fits is not None:
        packed.append(_signed(fits, payer, signer))
    return tuple(packed)


def _message(steps: Sequence[Step], payer: Key, blockhash: str, unit_price: int) -> bytes:
    budget = [build_unit_limit(sum(step.units for step in steps))]
    if unit_price:
        budget.append(build_unit_price(unit_price))
    instructions = [*budget, *(each for step in steps for each in step.instructions)]
    return build_message(payer.address, instructions, blockhash)


def _signed(message: bytes, payer: Key, signer: Key) -> bytes:
    """By those of both whom the message names as signers: `settle` alone needs nobody but who pays."""
    try:
        keys = (payer,) if payer.address == signer.address else (payer, signer)
        return sign_partially(message, keys)
    except UsageError:
        return sign_partially(message, (payer,))
