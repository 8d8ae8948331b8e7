"""The chain itself: LiteSVM with slots, recent blockhashes, a past, and commitments that take time.

LiteSVM executes; what a cluster adds is done here. Its own checks of blockhash, signature and repetition are off,
because it knows only one blockhash and no past.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from coinslot.devnet.svm import failures
from coinslot.devnet.svm.apart import Apart
from coinslot.devnet.svm.failures import Failure
from coinslot.devnet.svm.faults import Faults
from coinslot.devnet.svm.record import InnerInstruction, Record, Snapshot, TokenBalance, is_token_account, token_units
from coinslot.devnet.svm.slots import FINAL_SLOTS, HASH_AGE, REMEMBERED_SLOTS, SLOT_S, SLOTS_PER_EPOCH, Slots
from coinslot.errors import UsageError

# Transactions that are remembered, of 5 kB each: half a gigabyte. A node of a cluster keeps two days.
MAX_RECORDS = 100_000
# Where an instruction stands that another one called, if the runtime doesn't say it.
INNER_HEIGHT = 2
AnyMessage: TypeAlias = Message | MessageV0
Commitment: TypeAlias = Literal["processed", "confirmed", "finalized"]

_SYSVARS = Pubkey.from_string("Sysvar1111111111111111111111111111111111111")
# An address lookup table's addresses begin here.
_TABLE_HEAD = 56


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a transaction that was tried out: nothing moved."""

    failure: Failure | None
    logs: tuple[str, ...] = ()
    units: int = 0
    fee: int = 0
    returned: tuple[str, bytes] | None = None
    inner: tuple[tuple[InnerInstruction, ...], ...] = ()
    after: dict[Pubkey, Account] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The accounts of a transaction, those of lookup tables included, and which of them it may write."""

    all: tuple[Pubkey, ...]
    writable: frozenset[Pubkey]
    loaded: tuple[int, int]


class Chain:
    """One chain. Its methods may be called from any thread; each sees and leaves a whole state."""

    def __init__(
        self,
        *,
        slot_s: float = SLOT_S,
        confirm_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        slots: Slots | None = None,
    ) -> None:
        """An empty chain: no accounts but those of the runtime."""
        self._lock = threading.RLock()
        self._apart = Apart()
        self._monotonic, self._wall = monotonic, wall
        self.slots = slots or Slots(secrets.token_bytes(32), monotonic, slot_s)
        self.confirm_s = confirm_s
        self.skew_s = 0
        self._svm = LiteSVM().with_blockhash_check(False).with_sigverify(False).with_transaction_history(0)
        self._clock = (-1, -1)
        self._accounts: dict[Pubkey, Account | None] = {}  # of every account that was ever written; None: gone
        self.faults = Faults()
        self._underway: list[tuple[int, VersionedTransaction, bytes]] = []  # with the slot in which they land
        self.records: dict[str, Record] = {}
        self.by_account: dict[str, deque[Record]] = {}
        self._unsettled: deque[tuple[Record, tuple[Pubkey, ...]]] = deque()
        self._past: dict[Pubkey, deque[tuple[Record, Account | None]]] = {}

    # --- time ------------------------------------------------------------------------------------

    @contextmanager
    def now(self) -> Iterator[Chain]:
        """Hold the chain still, with slots and clock as they should be at this moment."""
        with self._lock:
            self.slots.catch_up()
            self._set_clock()
            yield self

    def _set_clock(self) -> None:
        clock = (self.slots.slot, int(self._wall()) + self.skew_s)
        if clock == self._clock:
            return
        is_new_slot = clock[0] != self._clock[0]
        self._clock = clock
        epoch = self.slots.slot // SLOTS_PER_EPOCH
        self._svm.set_clock(Clock(self.slots.slot, clock[1], epoch, epoch + 1, clock[1]))
        if is_new_slot:
            # The program of lookup tables takes slots that were, and lets a table end when its slot is forgotten. The
            # slot that nodes tell of is one of them: here the next transaction is executed in it.
            told = range(clock[0], clock[0] - REMEMBERED_SLOTS, -1)
            self._svm.set_slot_hashes([(slot, Hash.default()) for slot in told])
            self._forget_final()
            self._land_due()

    @property
    def time_s(self) -> int:
        """The time that programs see: seconds since 1970."""
        with self.now():
            return self._clock[1]

    def time_of(self, slot: int) -> int:
        """When a slot was, reckoned back from now at the main network's pace."""
        with self.now():
            return self._clock[1] - round((self.slots.slot - slot) * SLOT_S)

    def advance(self, slots: int) -> int:
        """Let slots pass at once; the newest."""
        with self.now():
            self.slots.advance(slots)
            self._set_clock()
            return self.slots.slot

    def warp(self, seconds: int) -> int:
        """Set the clock that programs see this much ahead; the time it shows then."""
        with self.now():
            self.skew_s += seconds
            self._set_clock()
            return self._clock[1]

    def expire_blockhashes(self) -> None:
        """No transaction signed so far will be taken any more."""
        with self.now():
            self.slots.expire()
            self._underway.clear()
            self._set_clock()

    def reached(self, record: Record) -> Commitment:
        """How far a transaction is confirmed by now."""
        if record.final or self.slots.slot - record.slot >= FINAL_SLOTS:
            return "finalized"
        return "confirmed" if self._monotonic() - record.landed_at >= self.confirm_s else "processed"

    def is_reached(self, record: Record, commitment: Commitment) -> bool:
        """Whether it is confirmed at least so far."""
        return commitment == "processed" or self.reached(record) in {"finalized", commitment}

    # --- accounts --------------------------------------------------------------------------------

    def account(self, address: Pubkey, commitment: Commitment = "processed") -> Account | None:
        """An account as it is at a commitment."""
        with self.now():
            for record, before in self._past.get(address, ()) if commitment != "processed" else ():
                if not self.is_reached(record, commitment):
                    return before
            return self._newest(address)

    def _newest(self, address: Pubkey) -> Account | None:
        return self._accounts[address] if address in self._accounts else self._read(address)

    def _read(self, address: Pubkey) -> Account | None:
        """Without lamports an account is gone, whatever the library still knows of it."""
        found = self._svm.get_account(address)
        return found if found and found.lamports else None

    def owned_by(self, program: Pubkey, commitment: Commitment = "processed") -> list[tuple[Pubkey, Account]]:
        """Every account that a program owns."""
        with self.now():
            told = {address for address, _ in self._svm.get_program_accounts(program)} | set(self._past)
            found = ((address, self.account(address, commitment)) for address in told)
            return [(address, account) for address, account in found if account and account.owner == program]

    def put(self, address: Pubkey, account: Account) -> None:
        """Place an account, past all rules and at every commitment.

        Raises UsageError for programs and sysvars that are there, and for a program whose bytes are none.
        """
        with self.now():
            old = self._newest(address)
            if old and (old.executable or old.owner == _SYSVARS):
                raise UsageError("programs and sysvars can't be replaced")  # without them the runtime itself breaks
            try:
                self._svm.set_account(address, account)
            except Exception as error:  # of a class that the library doesn't export
                raise UsageError(f"no such account can be: {error}") from error
            self._past.pop(address, None)
            self._accounts[address] = self._read(address)

    def add_program(self, address: Pubkey, elf: bytes) -> None:
        """Install a program."""
        with self.now():
            self._svm.add_program(address, elf)

    def rent(self, size: int) -> int:
        """The least lamports of an account with so many bytes."""
        return self._svm.minimum_balance_for_rent_exemption(size)

    def written(self) -> dict[Pubkey, Account]:
        """Every account that was ever written and is still there."""
        with self.now():
            return {address: account for address, account in self._accounts.items() if account}

    # --- transactions ----------------------------------------------------------------------------

    def check(self, transaction: VersionedTransaction, *, is_recent: bool = False) -> Failure | None:
        """Why the chain won't even begin with a transaction: its blockhash is not recent, or it was there before.

        `is_recent`: its blockhash is known to be good.
        """
        with self.now():
            if not is_recent and not self.slots.is_valid(bytes(transaction.message.recent_blockhash)):
                return failures.BLOCKHASH_NOT_FOUND
            return failures.ALREADY_PROCESSED if str(transaction.signatures[0]) in self.records else None

    def simulate(self, transaction: VersionedTransaction) -> Trial:
        """Try a transaction out, whatever its blockhash and signatures."""
        with self.now():
            result = self._apart(self._svm.simulate_transaction, transaction)
            if isinstance(result, FailedTransactionMetadata):
                return _trial(result.meta(), failures.failure_json(result.err()), {})
            return _trial(result.meta(), None, dict(result.post_accounts()))

    def fee(self, message: AnyMessage) -> int:
        """The lamports that a message costs its fee payer."""
        unsigned = [Signature.default()] * message.header.num_required_signatures
        return self.simulate(VersionedTransaction.populate(message, unsigned)).fee

    def land(
        self, transaction: VersionedTransaction, raw: bytes, *, final: bool = False, is_recent: bool = False
    ) -> Record | None:
        """Execute a transaction whose signatures are good. None: it can't land, and nothing moved.

        A transaction that fails lands as well, for its fee.
        """
        with self.now():
            keys = self._keys(transaction)
            if keys is None or self.check(transaction, is_recent=is_recent) is not None:
                return None
            before = {key: self._newest(key) for key in keys.all}
            result = self._apart(self._svm.send_transaction, transaction)
            failed = isinstance(result, FailedTransactionMetadata)
            meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
            after = {key: self._read(key) if key in keys.writable else before[key] for key in keys.all}
            payer = keys.all[0]
            if failed and _lamports(after[payer]) == _lamports(before[payer]):
                return None
            record = Record(
                signature=str(transaction.signatures[0]),
                raw=raw,
                slot=self.slots.slot,
                time_s=self._clock[1],
                landed_at=self._monotonic(),
                error=failures.failure_json(result.err()) if isinstance(result, FailedTransactionMetadata) else None,
                fee=meta.fee(),
                units=meta.compute_units_consumed(),
                logs=tuple(meta.logs()),
                keys=tuple(map(str, keys.all)),
                loaded=keys.loaded,
                inner=_inner(meta),
                returned=_returned(meta),
                before=self._snapshot(keys.all, before),
                after=self._snapshot(keys.all, after),
                final=final,
            )
            self._keep(record, {key: before[key] for key in keys.writable}, after)
            return record

    def land_after(self, slots: int, transaction: VersionedTransaction, raw: bytes) -> None:
        """Execute a transaction when so many slots have passed, if its blockhash is good until then."""
        with self.now():
            if not slots:
                self.land(transaction, raw)
                return
            made_at, due = self.slots.hashes.get(bytes(transaction.message.recent_blockhash)), self.slots.slot + slots
            if made_at is not None and due - made_at <= HASH_AGE:
                self._underway.append((due, transaction, raw))

    def _land_due(self) -> None:
        """Land what was under way: its blockhash was good when it was due, long ago perhaps, if nobody looked."""
        due = [each for each in self._underway if each[0] <= self.slots.slot]
        self._underway = [each for each in self._underway if each[0] > self.slots.slot]
        for _, transaction, raw in due:
            self.land(transaction, raw, is_recent=True)

    def _keep(self, record: Record, before: dict[Pubkey, Account | None], after: dict[Pubkey, Account | None]) -> None:
        self.remember(record)
        changed = tuple(key for key, account in before.items() if account != after[key])
        for key in changed:
            self._accounts[key] = after[key]
            if record.final:
                self._past.pop(key, None)
            else:
                self._past.setdefault(key, deque()).append((record, before[key]))
        if not record.final:
            self._unsettled.append((record, changed))

    def remember(self, record: Record) -> None:
        """Tell of a transaction from now on."""
        self.records[record.signature] = record
        for key in set(record.keys):
            self.by_account.setdefault(key, deque()).append(record)
        oldest = next(iter(self.records.values()))
        # what could still be sent again is never forgotten
        if len(self.records) > MAX_RECORDS and oldest.slot < self.slots.slot - HASH_AGE:
            del self.records[oldest.signature]
            for key in set(oldest.keys):
                self.by_account[key].popleft()

    def _forget_final(self) -> None:
        """Drop what accounts were before transactions that can't be undone any more."""
        while self._unsettled and self.reached(self._unsettled[0][0]) == "finalized":
            record, changed = self._unsettled.popleft()
            for key in changed:
                past = self._past.get(key)
                while past and past[0][0].slot <= record.slot:
                    past.popleft()
                if past is not None and not past:
                    del self._past[key]

    def _keys(self, transaction: VersionedTransaction) -> _Keys | None:
        """The accounts of a transaction, or None where a lookup table doesn't have them."""
        message = message_of(transaction)
        own = tuple(message.account_keys)
        writable = {key for place, key in enumerate(own) if is_writable(message, place)}
        written: list[Pubkey] = []
        read: list[Pubkey] = []
        for lookup in message.address_table_lookups if isinstance(message, MessageV0) else ():
            table = self._newest(lookup.account_key)
            data = table.data[_TABLE_HEAD:] if table else b""
            listed = [Pubkey.from_bytes(data[at : at + 32]) for at in range(0, len(data) - 31, 32)]
            if max(lookup.writable_indexes + lookup.readonly_indexes, default=-1) >= len(listed):
                return None
            written += [listed[place] for place in lookup.writable_indexes]
            read += [listed[place] for place in lookup.readonly_indexes]
        return _Keys((*own, *written, *read), frozenset(writable.union(written)), (len(written), len(read)))

    def _snapshot(self, keys: tuple[Pubkey, ...], accounts: dict[Pubkey, Account | None]) -> Snapshot:
        tokens = []
        for index, key in enumerate(keys):
            account = accounts[key]
            if account is None or not is_token_account(account, data := account.data):
                continue
            mint = Pubkey.from_bytes(data[:32])
            told = self._newest(mint)
            decimals = told.data[44] if told else 0
            owner = str(Pubkey.from_bytes(data[32:64]))
            tokens.append(TokenBalance(index, str(mint), owner, str(account.owner), token_units(data), decimals))
        return Snapshot(tuple(_lamports(accounts[key]) for key in keys), tuple(tokens))


def blockhash_text(blockhash: bytes) -> str:
    """As nodes tell it."""
    return str(Hash.from_bytes(blockhash))


def message_of(transaction: VersionedTransaction) -> AnyMessage:
    """The message of a transaction. Raises UsageError for a version that clusters don't take yet."""
    message = transaction.message
    if isinstance(message, Message | MessageV0):
        return message
    raise UsageError("the transaction's version is not supported")


def is_writable(message: AnyMessage, place: int) -> bool:
    """Whether a transaction may write the account at a place among its message's own keys."""
    if not isinstance(message, Message):
        return message.is_maybe_writable(place)
    header, count = message.header, len(message.account_keys)
    if place < header.num_required_signatures:
        return place < header.num_required_signatures - header.num_readonly_signed_accounts
    return place < count - header.num_readonly_unsigned_accounts and not message.demote_program_id(place)


def _lamports(account: Account | None) -> int:
    return account.lamports if account else 0


def _trial(meta: TransactionMetadata, failure: Failure | None, after: dict[Pubkey, Account]) -> Trial:
    return Trial(
        failure,
        tuple(meta.logs()),
        meta.compute_units_consumed(),
        meta.fee(),
        _returned(meta),
        _inner(meta),
        after,
    )


def _inner(meta: TransactionMetadata) -> tuple[tuple[InnerInstruction, ...], ...]:
    return tuple(
        tuple(
            InnerInstruction(
                made.instruction().program_id_index,
                bytes(made.instruction().accounts),
                bytes(made.instruction().data),
                made.stack_height() or INNER_HEIGHT,
            )
            for made in group
        )
        for group in meta.inner_instructions()
    )


def _returned(meta: TransactionMetadata) -> tuple[str, bytes] | None:
    returned = meta.return_data()
    return (str(returned.program_id), bytes(returned.data)) if returned.data else None
