"""Holding a lease: whoever gets one either passes it on or gives it back, whatever happens meanwhile.

A lease lasts as long as its owner's process lives, so one that is forgotten blocks its payment until a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from coinslot.drive import Flow, Wait
from coinslot.errors import StoreBroken, StoreBusy, StoreError
from coinslot.store.channels import Opened
from coinslot.store.protocol import Lease, Store

T = TypeVar("T")

# Where a store is busy each try waits for as long as the store does: minutes in all, longer than any stall that the
# process itself survives. What fails at once, as on a full disk, the store asks for again later (store/returns.py).
RELEASE_TRIES = 20


class Hold:
    """A lease as a `with` block: given back at its end, unless it was passed on (or ended with its stage)."""

    __slots__ = ("_passed_on", "_store", "lease")

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._passed_on = False
        self.lease = lease

    def pass_on(self) -> Lease:
        """The lease, for whoever gives it back from now on."""
        self._passed_on = True
        return self.lease

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._passed_on:
            let_go(self._store, self.lease)


def let_go(store: Store, lease: Lease) -> None:
    """Give a lease back. Never waits, never fails."""
    insist(lambda: store.release(lease))


def insist(ask: Callable[[], Future[Any]], tries: int = RELEASE_TRIES) -> None:
    """Ask the store for a step that nobody waits for, and ask again while it can't. Never waits, never fails. F16"""
    try:
        future = ask()
    except StoreError:  # closed: what its owner held ended with it
        return

    def again(done: Future[Any]) -> None:
        if tries > 1 and not done.cancelled() and isinstance(done.exception(), StoreBusy | StoreBroken):
            insist(ask, tries - 1)

    future.add_done_callback(again)


def obtain(store: Store, future: Future[T]) -> Flow[T]:
    """The answer to a claim or a take. Raises StoreError. A lease that comes too late is given back. F29"""

    def give_back(granted: T) -> None:
        lease = granted.lease if isinstance(granted, Opened) else granted
        if isinstance(lease, Lease):
            let_go(store, lease)

    return (yield from unless_given_up(future, give_back))


def unless_given_up(future: Future[T], give_back: Callable[[T], None]) -> Flow[T]:
    """The answer to a step that grants something. Raises StoreError.

    Who stops waiting (a cancelled request, a timeout) still owns what the store grants afterwards: `give_back` is
    called with it when it comes, in the store's thread. F29
    """
    answered = False
    try:
        answer = future.result() if future.done() else (yield Wait(future))  # as `wait`, without a generator more
        answered = True
        return answer
    finally:
        if not answered:
            future.add_done_callback(lambda late: _late(late, give_back))


def _late(late: Future[T], give_back: Callable[[T], None]) -> None:
    if not late.cancelled() and late.exception() is None:
        give_back(late.result())
