"""Writing on an event loop: what was asked in one turn of the loop is run at its end, and a thread waits for the disk.

While that thread commits, the next turns' operations queue up; when it is done they are run together. What can't be
begun at once (another process writes, the committer's own thread is at it, the file must be opened first) goes to the
committer's thread, so that no loop ever waits for a lock or the disk. One loop at a time writes so: whoever asks on
another one is served by the thread as well.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from queue import SimpleQueue
from typing import Protocol

from coinslot.errors import StoreBroken
from coinslot.store.sqlite_operation import Operation

# A turn runs for about 5 ms at most, a blink to whoever else is on the loop.
MAX_TURN = 128


class Writer(Protocol):
    """The committer, as turns need it."""

    def try_lock(self) -> bool:
        """Get the connection for oneself, at once or not at all."""

    def unlock(self) -> None:
        """Let others have it."""

    def begin_now(self) -> bool:
        """Get the file's write lock, at once or not at all."""

    def run_each(self, batch: Sequence[Operation]) -> None:
        """Run each by itself."""

    def commit(self, batch: Sequence[Operation]) -> None:
        """Commit them."""

    def broken(self, batch: Sequence[Operation], error: sqlite3.Error) -> None:
        """Tell everybody that nothing was written."""

    def enqueue(self, operations: Iterable[Operation]) -> None:
        """Hand them to the thread."""


class Turns:
    """What an event loop is to write. Its lock is never held while anything is waited for."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.RLock()
        self._waiting: list[Operation] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._flushing = False
        self._disk: threading.Thread | None = None
        self._commits: SimpleQueue[tuple[list[Operation], asyncio.AbstractEventLoop] | None] = SimpleQueue()

    def take(self, operation: Operation) -> bool:
        """Take it for the running loop; False where no loop runs, or another one writes at the moment."""
        loop = asyncio._get_running_loop()
        with self._lock:
            if self._loop is not None and self._loop is not loop:
                if not self._loop.is_running():  # it may never run again
                    self.pass_on()
                if self._waiting or self._flushing:
                    return False
            if loop is None:
                return False
            if self._loop is not loop:  # F16: a turn that was asked of another loop is none of this one's
                self._loop, self._scheduled = loop, False
            operation.future.hurry = self.pass_on
            self._waiting.append(operation)
            if not self._scheduled and not self._flushing:
                self._scheduled = True
                loop.call_soon(self._run, loop)
            return True

    def pass_on(self) -> None:
        """Let the committer's thread write what waits: somebody blocks the loop, or it ended."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._writer.enqueue(waiting)

    def stop(self) -> None:
        """End the thread; what it commits is committed before."""
        with self._lock:
            disk, self._disk = self._disk, None
        if disk is not None:
            self._commits.put(None)
            disk.join()

    # --- on the loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self._loop is not loop:
                return
            self._scheduled = False
            if not self._waiting or self._flushing:
                return
            if not self._writer.try_lock():
                self.pass_on()
                return
            batch, self._waiting = self._waiting[:MAX_TURN], self._waiting[MAX_TURN:]
            self._flushing = True
        begun = False
        try:
            begun = self._begin(batch)
        finally:
            if not begun:
                self._end_flush()
                self._landed(loop)
        if begun:
            self._thread().put((batch, loop))

    def _begin(self, batch: list[Operation]) -> bool:
        """Run a batch, not committed; False if that went otherwise: to the thread, or into an error."""
        try:
            if not self._writer.begin_now():
                with self._lock:
                    self._waiting = batch + self._waiting
                    self.pass_on()
                return False
            batch[:] = [one for one in batch if one.future.set_running_or_notify_cancel()]
            self._writer.run_each(batch)
        except sqlite3.Error as error:
            self._writer.broken(batch, error)
            _resolve(batch)
            return False
        return True

    def _end_flush(self) -> None:
        with self._lock:
            self._flushing = False
        self._writer.unlock()

    def _landed(self, loop: asyncio.AbstractEventLoop) -> None:
        """The connection is free again; what came meanwhile is the next turn's."""
        with self._lock:
            if self._waiting and not self._scheduled and self._loop is loop:
                self._scheduled = True
                loop.call_soon(self._run, loop)

    # --- on the thread

    def _thread(self) -> SimpleQueue[tuple[list[Operation], asyncio.AbstractEventLoop] | None]:
        with self._lock:
            if self._disk is None or not self._disk.is_alive():
                self._disk = threading.Thread(target=self._work, name="coinslot-disk", daemon=True)
                self._disk.start()
        return self._commits

    def _work(self) -> None:
        while (item := self._commits.get()) is not None:
            batch, loop = item
            try:
                self._writer.commit(batch)
            finally:
                self._end_flush()
                _resolve(batch)
            try:
                loop.call_soon_threadsafe(self._landed, loop)
            except RuntimeError:  # the loop was closed: what waits is the other thread's
                self.pass_on()


def _resolve(batch: Sequence[Operation]) -> None:
    """Tell everybody; also if one of them ends this thread."""
    try:
        for operation in batch:
            if not operation.future.done():
                operation.resolve()
    finally:
        for operation in batch:
            if not operation.future.done():
                operation.error = StoreBroken("the committer ended; look this operation up")
                operation.resolve()
