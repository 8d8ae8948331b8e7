"""Channels on SQL databases: each promise as one operation for the store that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from typing import TypeVar, cast

from coinslot.intents import session
from coinslot.intents.session import Channel, Close, Refused, Rules
from coinslot.ledger import Entry
from coinslot.store import channel_operations, keyed, outbox_operations
from coinslot.store.channels import (
    SMALL_KEPT_BODY,
    ChannelQuery,
    Job,
    JobKind,
    JobLease,
    KeptKey,
    OpenResult,
    Order,
    OrderResult,
    Reservation,
    Reserved,
    ReserveResult,
)
from coinslot.store.operations import Db
from coinslot.store.protocol import Claim, Delivery
from coinslot.store.returns import Returns

T = TypeVar("T")

_numbers = count()


class SqlChannels(ABC):
    """channels.Channels, in the words of sql.SqlStore."""

    def __init__(self) -> None:
        self._written: channel_operations.Written = {}
        self._returns = Returns()

    @abstractmethod
    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]: ...

    @abstractmethod
    def _read(self, run: Callable[[Db], T]) -> Future[T]: ...

    @abstractmethod
    def _list(self, run: Callable[[Db], T]) -> Future[T]: ...

    @abstractmethod
    def _lively(self, run: Callable[[Db, str, str], T], name: str = "", *, atomic: bool) -> Future[T]: ...

    @abstractmethod
    def _give_back(
        self, name: tuple[object, ...], run: Callable[[Db], None], *, atomic: bool = True
    ) -> Future[None]: ...

    def _later(self, run: Callable[[Db], None]) -> Callable[[], Future[None]]:
        return lambda: self._write(run, atomic=False)

    @property
    @abstractmethod
    def _owner(self) -> str: ...

    def _token(self) -> str:
        """Like no other: the owner's id is random. Cheaper than randomness for each step."""
        return f"{self._owner}{next(_numbers):x}"

    # --- the record

    def open_channel(self, claim: Claim, channel: Channel, rules: Rules) -> Future[OpenResult]:
        """Use the opening's proof up and record the channel. Raises UsageError. T06 T08"""
        new = session.begin(channel, rules)
        return self._lively(
            lambda db, owner, token: channel_operations.open_channel(db, owner, token, claim, new),
            "store.channel.open",
            atomic=True,
        )

    def find_channel(self, key: str) -> Future[Channel | None]:
        """The record, as of now."""
        return self._read(lambda db: channel_operations.find(db, key))

    def list_channels(self, query: ChannelQuery) -> Future[Sequence[Channel]]:
        """Channels in the order of recording."""
        return self._list(lambda db: channel_operations.listed(db, query))

    def _change(
        self, key: str, step: Callable[[Channel], Channel | Refused], name: str, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        token = self._token()
        return self._write(lambda db: channel_operations.note(db, key, token, step, entry), name)

    def confirm_open(
        self, key: str, deposit_units: int, settled_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """opening -> open."""
        return self._change(
            key, lambda old: session.opened(old, deposit_units, settled_units, rules), "store.channel.confirm", entry
        )

    def top_up(
        self, key: str, deposit_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """A larger deposit."""
        token = self._token()
        return self._write(
            lambda db: channel_operations.top_up(db, key, token, deposit_units, rules, entry), "store.channel.top_up"
        )

    def note_settled(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """A settlement that the chain shows. Raises LedgerError."""
        return self._change(key, lambda old: session.note_settled(old, settled_units), "store.channel.settled", entry)

    def mark_closing(self, key: str, at_s: float) -> Future[Channel | Refused]:
        """open -> closing. T27"""
        return self._change(key, lambda old: session.request_close(old, at_s), "store.channel.closing")

    def mark_closed(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """-> closed. Raises LedgerError."""
        return self._change(key, lambda old: session.closed(old, settled_units), "store.channel.closed", entry)

    # --- buying

    def accept_and_spend(self, order: Order) -> Future[OrderResult]:
        """Accept and spend, in one step. T02 T22"""
        looked: list[str] = []
        if order.idempotency_key is not None:
            bought = self._lively(
                lambda db, owner, token: channel_operations.buy(db, owner, token, order, None, looked),
                "store.channel.spend",
                atomic=True,
            )
            return cast("Future[OrderResult]", bought)
        token, voucher = self._token(), order.voucher
        if voucher is not None:
            written = self._written
            return self._write(
                lambda db: channel_operations.buy_plain(db, token, order, voucher, written, looked),
                "store.channel.spend",
                atomic=False,  # one statement changes the row
            )
        owner = self._owner
        plain = self._write(
            lambda db: channel_operations.buy(db, owner, token, order, None, looked), "store.channel.spend"
        )
        return cast("Future[OrderResult]", plain)

    def keep_answer(self, key: str, idempotency_key: str, answer: Delivery | None) -> Future[None]:
        """Keep the answer to a keyed request."""
        large = answer is not None and answer.body is not None and len(answer.body) > SMALL_KEPT_BODY
        owner, name = self._owner, (key, idempotency_key)
        kept = self._write(lambda db: keyed.keep(db, *name, answer), "store.channel.answer", atomic=large)
        free = self._later(lambda db: keyed.free(db, owner, *name))
        self._returns.give(("answer", *name), kept, free)
        return kept

    def old_answers(self, kept_s: float, limit: int) -> Future[Sequence[KeptKey]]:
        """Keys on closed channels that may be forgotten."""
        return self._list(lambda db: keyed.old(db, kept_s, limit))

    def forget_answers(self, keys: Sequence[KeptKey], kept_s: float) -> Future[int]:
        """Forget those that are still old. F28"""
        return self._write(lambda db: keyed.forget(db, keys, kept_s), "store.channel.forget")

    # --- metered use

    def reserve(self, order: Order, least_units: int, most_units: int) -> Future[ReserveResult]:
        """Accept, spend, and set a window aside. T22"""
        window = (least_units, most_units)
        looked: list[str] = []
        reserved = self._lively(
            lambda db, owner, token: channel_operations.buy(db, owner, token, order, window, looked),
            "store.channel.reserve",
            atomic=True,
        )
        return cast("Future[ReserveResult]", reserved)

    def commit(
        self,
        reservation: Reservation,
        used_units: int,
        units: int = 0,
        more: tuple[int, int] | None = None,
        rules: Rules | None = None,
    ) -> Future[Reserved]:
        """Spend what was used, free the rest, set the next window aside. Raises LeaseLost, UsageError."""
        used = (used_units, units)
        return self._lively(
            lambda db, owner, token: channel_operations.commit(db, owner, token, reservation, used, more, rules),
            "store.channel.commit",
            atomic=True,
        )

    def abandoned(self, limit: int) -> Future[Sequence[Reservation]]:
        """Windows whose owner is dead."""
        return self._list(lambda db: channel_operations.abandoned(db, limit))

    def bill(self, reservation: Reservation) -> Future[Channel | None]:
        """Spend a dead owner's window, once. F08"""
        token = self._token()
        return self._write(lambda db: channel_operations.bill(db, token, reservation), "store.channel.bill")

    # --- the outbox

    def plan(self, key: str, kind: JobKind, close: Close) -> Future[Job | Refused]:
        """Put a job in the outbox, or get the live one."""
        return self._write(lambda db: outbox_operations.plan(db, key, kind, close), "store.channel.plan")

    def pending_jobs(self, limit: int) -> Future[Sequence[Job]]:
        """Live jobs on which nobody works."""
        return self._list(lambda db: outbox_operations.pending(db, limit))

    def jobs_of(self, key: str, limit: int) -> Future[Sequence[Job]]:
        """The jobs of a channel, newest first."""
        return self._list(lambda db: outbox_operations.jobs_of(db, key, limit))

    def take_job(self, job_id: int) -> Future[JobLease | None]:
        """Take a job that nobody works on."""
        return self._lively(lambda db, owner, token: outbox_operations.take(db, owner, token, job_id), atomic=True)

    def prepare_job(
        self, lease: JobLease, reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """planned -> prepared. Raises LeaseLost, StoreError. F09"""
        return self.prepare_jobs([lease], reference, raw, dead_after_s)

    def prepare_jobs(
        self, leases: Sequence[JobLease], reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """The same for all jobs of one transaction. F09"""
        owner = self._owner

        def run(db: Db) -> None:
            for lease in leases:
                outbox_operations.prepare(db, owner, lease, reference, raw, dead_after_s)

        return self._write(run, "store.channel.prepare", atomic=len(leases) > 1)

    def replan_job(self, lease: JobLease) -> Future[None]:
        """prepared -> planned. Raises LeaseLost, StoreError."""
        owner = self._owner
        return self._write(lambda db: outbox_operations.replan(db, owner, lease), atomic=False)

    def finish_job(self, lease: JobLease, settled_units: int, entry: Entry | None = None) -> Future[Channel]:
        """prepared -> done, with channel and entry. Raises LeaseLost, LedgerError. F10"""
        owner, token = self._owner, self._token()
        return self._write(
            lambda db: outbox_operations.finish(db, owner, token, lease, settled_units, entry), "store.channel.finish"
        )

    def fail_job(self, lease: JobLease, reason: str) -> Future[None]:
        """planned or prepared -> failed. Raises LeaseLost, StoreError."""
        owner = self._owner
        return self._write(lambda db: outbox_operations.fail(db, owner, lease, reason), atomic=False)

    def release_job(self, lease: JobLease) -> Future[None]:
        """Drop the lease; no error if it was lost."""
        owner = self._owner
        return self._give_back(("job", lease), lambda db: outbox_operations.release(db, owner, lease), atomic=False)

    # --- the watcher

    def note_watched(self, network: str) -> Future[None]:
        """A round is done."""
        return self._write(lambda db: channel_operations.note_watched(db, network), atomic=False)

    def watched_ago_s(self, network: str) -> Future[float | None]:
        """Seconds since the last round; None for never."""
        return self._read(lambda db: channel_operations.watched_ago_s(db, network))
