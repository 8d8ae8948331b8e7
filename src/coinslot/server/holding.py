"""Holding a lease: whoever gets one either passes it on or gives it back, whatever happens meanwhile.

A lease lasts as long as its owner's process lives, so one that is forgotten blocks its payment until a restart.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

from coinslot.drive import Flow, wait
from coinslot.errors import StoreError
from coinslot.store.channels import Opened
from coinslot.store.protocol import Lease, Store

T = TypeVar("T")

# Each try waits in the store for as long as the store waits for its disk: minutes in all, longer than any stall that
# the process itself survives.
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


def let_go(store: Store, lease: Lease, tries: int = RELEASE_TRIES) -> None:
    """Give a lease back. Never waits, never fails: a store that is busy is asked again. F16"""
    try:
        future = store.release(lease)
    except StoreError:  # closed: its leases ended with it
        return

    def again(done: Future[None]) -> None:
        if tries > 1 and not done.cancelled() and isinstance(done.exception(), StoreError):
            let_go(store, lease, tries - 1)

    future.add_done_callback(again)


def obtain(store: Store, future: Future[T]) -> Flow[T]:
    """The answer to a claim or a take. Raises StoreError.

    Who stops waiting (a cancelled request, a timeout) still owns a lease that the store grants afterwards: it is given
    back when it comes. F29
    """
    answered = False
    try:
        answer = yield from wait(future)
        answered = True
        return answer
    finally:
        if not answered:
            future.add_done_callback(lambda late: _give_back(store, late))


def _give_back(store: Store, late: Future[T]) -> None:
    if late.cancelled() or late.exception() is not None:
        return
    granted = late.result()
    lease = granted.lease if isinstance(granted, Opened) else granted
    if isinstance(lease, Lease):
        let_go(store, lease)
