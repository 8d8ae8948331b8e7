"""A future that costs little: one is made for every step that is asked of a store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from threading import Condition, RLock
from typing import Any

_ENDED = frozenset([CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED])


class Promise(Future[Any]):
    """A future whose waiter may block the very loop that would run it: `hurry` makes a thread do it instead.

    Tasks wait for it by a callback and threads seldom do: its condition, which costs more than all the rest, is made
    for the first thread that waits.
    """

    hurry: Callable[[], None] | None = None
    _made: Condition | None = None
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None

    def __init__(self) -> None:  # what Future's does, but for the condition
        self._lock = RLock()  # as a condition has: Future shows itself in errors while it holds it
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Future[Any]], object]] = []

    @property
    def _condition(self) -> Condition:  # type: ignore[override]  # Future's other methods find one when they ask
        if self._made is None:
            self.__dict__.setdefault("_made", Condition(self._lock))  # one, whoever asks at the same time
        assert self._made is not None  # noqa: S101 - for the type checker
        return self._made

    def set_running_or_notify_cancel(self) -> bool:
        """As Future's."""
        with self._lock:
            if self._state == PENDING:
                self._state = RUNNING
                return True
        return super().set_running_or_notify_cancel()

    def set_result(self, result: Any) -> None:
        """As Future's."""
        with self._lock:
            if self._state in _ENDED:
                raise InvalidStateError(f"{self._state}: {self!r}")
            self._result, self._state = result, FINISHED
            for waiter in self._waiters:
                waiter.add_result(self)
            if self._made is not None:
                self._made.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # Future's own

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """As Future's."""
        with self._lock:
            if self._state not in _ENDED:
                self._done_callbacks.append(fn)
                return
        super().add_done_callback(fn)

    def done(self) -> bool:
        """As Future.done, without its lock: the state is one word, and an end is for ever."""
        return self._state in _ENDED

    def result(self, timeout: float | None = None) -> Any:
        """As Future.result."""
        if self._state == FINISHED and self._exception is None:
            return self._result
        if self.hurry is not None and not self.done():
            self.hurry()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As Future.exception."""
        if self.hurry is not None and not self.done():
            self.hurry()
        return super().exception(timeout)
