"""What the stores on SQL databases share: the protocol's operations, the owner and its heart, forks.

A subclass says how a transaction is run: `_write` durably, `_read` for quick look-ups, `_list` for what takes longer.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from coinslot.core.receipt import Receipt
from coinslot.errors import StoreBroken, StoreError, UsageError
from coinslot.intents.charge import Prepared
from coinslot.ledger import Entry
from coinslot.store import operations
from coinslot.store.channels_sql import SqlChannels
from coinslot.store.deliveries_sql import SqlDeliveries
from coinslot.store.disowning import disown
from coinslot.store.heart import Heart
from coinslot.store.operations import Db
from coinslot.store.protocol import Claim, ClaimResult, Delivery, Lease, Payment, Query
from coinslot.store.returns import Returns

T = TypeVar("T")

# Shorter leases would need heartbeats faster than a busy disk can write them.
MIN_LEASE_S = 0.2


class SqlStore(SqlChannels, SqlDeliveries, ABC):
    """A Store on a SQL database; see protocol.Store for what each operation promises. Raises UsageError."""

    def __init__(self, lease_s: float, wait_s: float) -> None:
        super().__init__()
        if lease_s < MIN_LEASE_S or wait_s <= 0:
            raise UsageError(f"a lease lasts {MIN_LEASE_S} s or more, and waiting takes more than 0 s")
        self._lease_s = lease_s
        self._wait_s = wait_s
        self._closed = False
        self._handle_lock = threading.Lock()
        self._heart = Heart(self._write_beat, lease_s)
        _handles.add(self)

    # --- what a subclass brings

    @abstractmethod
    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]:
        """Run durably. `name` is its failpoint; not `atomic`: a single statement changes anything, if at all."""

    @abstractmethod
    def _read(self, run: Callable[[Db], T]) -> Future[T]:
        """Run a quick look-up."""

    @abstractmethod
    def _list(self, run: Callable[[Db], T]) -> Future[T]:
        """Run a query that may take long."""

    @abstractmethod
    def _close(self) -> None:
        """Finish what is queued and let go of the database."""

    @abstractmethod
    def _forked(self) -> None:
        """Forget, in a child process, what belongs to the parent."""

    @abstractmethod
    def backup(self, target: str) -> Future[None]:
        """A consistent copy; see the protocol."""

    # --- the owner

    @property
    def lease_s(self) -> float:
        """How long a silent owner keeps its leases, in seconds."""
        return self._lease_s

    @property
    def _owner(self) -> str:
        return self._heart.owner

    def _write_beat(self, owner: str) -> Future[None]:
        def run(db: Db) -> None:
            operations.beat(db, owner, self._lease_s)
            operations.sweep(db)

        beaten = self._write(run)
        beaten.add_done_callback(self._beaten)
        return beaten

    def _beaten(self, ended: Future[None]) -> None:
        if not ended.cancelled() and ended.exception() is None:
            self._returns.remind()  # F16

    def after_fork(self) -> None:
        """In a child: be a new owner, so that parent and child never hold one lease both."""
        self._handle_lock = threading.Lock()
        self._returns = Returns()
        self._heart = Heart(self._write_beat, self._lease_s)
        self._forked()

    def _lively(self, run: Callable[[Db, str, str], T], name: str = "", *, atomic: bool) -> Future[T]:
        """Run what gives a lease, with the owner's id and a token for it; the heart beats from then on."""
        heart, token = self._heart, secrets.token_hex(8)
        heart.start()

        def lively(db: Db) -> T:
            if heart.due():  # now, and not when it was asked: the queue may have been long
                operations.beat(db, heart.owner, self._lease_s)
            return run(db, heart.owner, token)

        granted = self._write(lively, name, atomic=atomic)
        granted.add_done_callback(lambda ended: self._disown(heart.owner, token, ended))
        return granted

    def _disown(self, owner: str, token: str, ended: Future[Any]) -> None:
        """After a commit that failed, or did not: what it granted is nobody's. F17 F19"""
        if ended.cancelled() or not isinstance(ended.exception(), StoreBroken):
            return
        with suppress(StoreError):  # closed: what its owner held ended with it
            self._give_back(("step", token), lambda db: disown(db, owner, token))

    def _give_back(self, name: tuple[object, ...], run: Callable[[Db], None], *, atomic: bool = True) -> Future[None]:
        """Run what gives something back: now, or once the store can be written. F16 F17"""

        def ask() -> Future[None]:
            return self._write(run, atomic=atomic)

        given = ask()
        self._returns.give(name, given, ask)
        return given

    # --- the protocol

    def find(self, challenge_id: str) -> Future[Payment | None]:
        """The payment that used a challenge, as of now."""
        return self._read(lambda db: operations.find(db, challenge_id))

    def find_keyed(self, payer: str, idempotency_key: str) -> Future[Payment | None]:
        """The payment that holds a payer's Idempotency-Key; a failed one holds none."""
        return self._read(lambda db: operations.find_keyed(db, payer, idempotency_key))

    def claim(self, claim: Claim) -> Future[ClaimResult]:
        """Use a challenge id and a proof, once, for ever, and draw on the budgets. T01 T06"""
        return self._lively(
            lambda db, owner, token: operations.claim(db, owner, token, claim),
            "store.claim",
            atomic=bool(claim.budgets),
        )

    def take(self, challenge_id: str) -> Future[Lease | None]:
        """Take over the lease of a payment nobody works on."""
        return self._lively(lambda db, owner, token: operations.take(db, owner, token, challenge_id), atomic=True)

    def prepare(self, lease: Lease, prepared: Prepared) -> Future[None]:
        """claimed -> prepared. Raises LeaseLost; UsageError if it is for another payment. F09"""
        if prepared.challenge.id != lease.challenge_id:
            raise UsageError("prepared for another payment than the lease is for")
        owner = self._heart.owner
        return self._write(lambda db: operations.prepare(db, owner, lease, prepared), "store.prepare", atomic=False)

    def settle(self, lease: Lease, receipt: Receipt, entry: Entry | None) -> Future[None]:
        """prepared or failed -> settled, with receipt and entry. Raises LeaseLost, LedgerError. F10"""
        owner = self._heart.owner
        return self._write(lambda db: operations.settle(db, owner, lease, receipt, entry), "store.settle")

    def fail(self, lease: Lease, reason: str) -> Future[None]:
        """claimed or prepared -> failed. Raises LeaseLost."""
        owner = self._heart.owner
        return self._write(lambda db: operations.fail(db, owner, lease, reason))

    def deliver(self, lease: Lease, delivery: Delivery) -> Future[None]:
        """settled -> delivered. Raises LeaseLost."""
        owner = self._heart.owner
        return self._write(lambda db: operations.deliver(db, owner, lease, delivery), "store.deliver")

    def release(self, lease: Lease) -> Future[None]:
        """Drop the lease; no error if it was lost."""
        owner = self._heart.owner
        return self._give_back(("lease", lease), lambda db: operations.release(db, owner, lease), atomic=False)

    def unresolved(self, limit: int) -> Future[Sequence[Payment]]:
        """Payments in stage `prepared` on which nobody works, oldest first."""
        return self._list(lambda db: operations.unresolved(db, limit))

    def payments(self, query: Query) -> Future[Sequence[Payment]]:
        """Payments, newest first, without bodies. Raises UsageError if `before` is unknown."""
        return self._list(lambda db: operations.payments(db, query))

    def entries(self, after: str | None, limit: int) -> Future[Sequence[Entry]]:
        """The journal in the order of posting. Raises UsageError if `after` is unknown."""
        return self._list(lambda db: operations.entries(db, after, limit))

    def balances(self) -> Future[dict[str, dict[str, int]]]:
        """Base units per asset key per account."""
        return self._list(operations.balances)

    def ping(self) -> Future[None]:
        """A durable write of nothing. Raises StoreError."""
        return self._write(operations.ping, atomic=False)

    def close(self) -> None:
        """Finish what is queued, drop this owner's leases, close. A second time does nothing."""
        with self._handle_lock:
            if self._closed:
                return
            self._heart.stop()
            owner = self._heart.owner
            try:
                self._write(lambda db: operations.resign(db, owner)).result()
            except StoreError:  # then the leases lapse by themselves
                pass
            finally:
                self._closed = True
                self._close()

    def _open_for_work(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")


_handles: weakref.WeakSet[SqlStore] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for handle in list(_handles):
        handle.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
