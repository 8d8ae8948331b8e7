"""One thing to be written, and the promise of its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any

from coinslot import drive
from coinslot.errors import CoinslotError, StoreError
from coinslot.store.operations import Db

_ENDED = frozenset([CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED])


class Promise(Future[Any]):
    """A future whose waiter may block the very loop that would run it: `hurry` makes a thread do it instead."""

    hurry: Callable[[], None] | None = None

    def done(self) -> bool:
        """As Future.done, without its lock: the state is one word, and an end is for ever."""
        return self._state in _ENDED

    def result(self, timeout: float | None = None) -> Any:
        """As Future.result."""
        if self.hurry is not None and not self.done():
            self.hurry()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As Future.exception."""
        if self.hurry is not None and not self.done():
            self.hurry()
        return super().exception(timeout)


class Operation:
    """What to run, until when it may wait (monotonic seconds), its failpoint, and how it ended.

    `single`: it writes by one statement at most, so there is nothing to roll back if it fails.
    """

    __slots__ = ("clock", "deadline", "error", "future", "name", "result", "run", "single")

    def __init__(
        self,
        run: Callable[[Db], Any],
        name: str,
        deadline: float,
        clock: Callable[[], float],
        *,
        single: bool = False,
    ) -> None:
        self.run = run
        self.name = name
        self.deadline = deadline
        self.clock = clock
        self.single = single
        self.future = Promise()
        self.result: object = None
        self.error: CoinslotError | None = None

    def resolve(self) -> None:
        """Tell the waiting side. A failpoint strikes between the commit and its acknowledgement."""
        if self.error is None and self.name:
            try:
                drive.failpoint(self.name)
            except StoreError as error:
                self.error = error
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
