"""One committer per process and SQLite file writes for everybody: one BEGIN, many operations, one COMMIT, one fsync.

While a commit waits for the disk, the next operations queue up; together they cost one fsync again. An operation that
fails is rolled back alone; a COMMIT that fails takes its whole batch with it, and the file is opened anew before
anything else is answered (after a failed fsync the page cache can't be trusted to be on the disk).

Threads hand their operations to the committer's own thread. What is asked on an event loop is run by that loop at the
end of its turn (sqlite_turns.py): two threads that compute at once only get in each other's way in Python.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from coinslot.errors import CoinslotError, StoreBroken, StoreBusy, StoreError, UsageError
from coinslot.store.futures import done, failed
from coinslot.store.operations import Db, Undo
from coinslot.store.sqlite_file import SqliteDb, connect, create_or_upgrade, name_error
from coinslot.store.sqlite_operation import Operation
from coinslot.store.sqlite_turns import Turns

T = TypeVar("T")

# A batch writes for about 10 ms at most: its first operation waits for its last, and other processes for the lock.
MAX_BATCH = 256
# SQLite waits for another process's lock by asking after 1, 2, 5 ... 100 ms. Asked anew every 10 ms, it finds the gap
# between two commits of a busy process much sooner: four busy processes waited 2.6 s at worst with its own long waits.
ASK_S = 0.01
_ASK = f"PRAGMA busy_timeout = {int(ASK_S * 1000)}"
# How long readers wait (only ever for a recovery), and the writing out of the log after a failure.
PATIENT_S = 1.0

# What one operation did wrong by itself: text that isn't Unicode, a number beyond its column, a broken constraint.
_OWN_FAULT = (
    ValueError,
    OverflowError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class Committer:
    """The writing thread of one file, and the connection for quick look-ups. Made by `attach` only."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._gate = threading.Lock()  # submitting against stopping
        self._starting = threading.Lock()
        self._work_lock = threading.Lock()  # holds while the connection is in use; a fork waits for it
        self._read_lock = threading.Lock()
        self._list_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._suspect = False
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._turns = Turns(self)
        self.handles = 0

    # --- asked from any thread

    def submit(self, operation: Operation) -> None:
        """Queue an operation. Raises StoreError after the last handle was closed."""
        with self._gate:
            if self._stopping:
                raise StoreError("the store is closed")
            if not self._turns.take(operation):
                self.enqueue([operation])

    def enqueue(self, operations: Iterable[Operation]) -> None:
        """Hand operations to the thread."""
        with self._starting:  # asked by threads and by turns of a loop
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="coinslot-committer", daemon=True)
                self._thread.start()
        for operation in operations:
            self._queue.put(operation)

    @property
    def suspect(self) -> bool:
        """Whether a commit failed and the file has not been opened anew since."""
        return self._suspect

    def read(self, run: Callable[[Db], T], clock: Callable[[], float]) -> Future[T]:
        """Look something up in the calling thread: a snapshot that holds all that was acknowledged.

        A few tens of microseconds; handing it to another thread and back would cost more than it takes.
        """
        try:
            with self._read_lock:
                if self._reader is None:
                    self._reader = connect(self._path, PATIENT_S, read_only=True)
                return done(run(SqliteDb(self._reader, clock)))
        except CoinslotError as error:
            return failed(error)
        except sqlite3.Error as error:
            return failed(name_error(error))
        except (ValueError, OverflowError) as error:  # text that isn't Unicode: nothing can be stored under it
            return failed(UsageError(f"can't be looked up: {type(error).__name__}"))

    def aside(self, work: Callable[[sqlite3.Connection], T], wait_s: float) -> T:
        """Do what may take long on a connection of its own, in the calling thread. Raises StoreError."""
        try:
            with self._list_lock:
                connection = connect(self._path, wait_s, read_only=True)
                try:
                    return work(connection)
                finally:
                    connection.close()
        except sqlite3.Error as error:
            raise name_error(error) from error

    def stop(self) -> None:
        """Finish the queue and close."""
        with self._gate:
            self._turns.pass_on()
            self._stopping = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        self._turns.stop()
        with self._work_lock, self._read_lock:
            self.disconnect()

    def disconnect(self) -> None:
        """Close both connections; they are opened again when needed. The caller holds both locks."""
        for connection in (self._connection, self._reader):
            if connection is not None:
                _close(connection)
        self._connection = self._reader = None

    def hold(self) -> None:
        """Before a fork: let no connection exist, since SQLite's locks don't survive in the child."""
        for lock in (self._list_lock, self._work_lock, self._read_lock):
            lock.acquire()
        self.disconnect()

    def let_go(self) -> None:
        """After a fork, in the parent."""
        for lock in (self._read_lock, self._work_lock, self._list_lock):
            lock.release()

    # --- for turns of an event loop, which hold the work lock

    def try_lock(self) -> bool:
        """Get the connection for oneself, at once or not at all."""
        return self._work_lock.acquire(blocking=False)

    def unlock(self) -> None:
        """Let others have it."""
        self._work_lock.release()

    def begin_now(self) -> bool:
        """Get the write lock of the file, at once or not at all. Never opens a file. Raises sqlite3.Error."""
        connection = self._connection
        if connection is None or self._suspect:
            return False
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not isinstance(name_error(error), StoreBusy):
                raise
            return False
        finally:
            connection.execute(_ASK)
        return True

    def run_each(self, batch: Sequence[Operation]) -> None:
        """Run each by itself; a failed one is rolled back alone. Raises sqlite3.Error."""
        connection = self._connection
        if connection is None:
            return
        db: SqliteDb | None = None
        for operation in batch:
            if db is None or operation.clock is not db.clock:
                db = SqliteDb(connection, operation.clock)
            if not operation.single:
                connection.execute("SAVEPOINT operation")
            try:
                operation.result = operation.run(db)
            except Undo as undo:
                operation.result = undo.result
                connection.execute("ROLLBACK TO operation")
            except CoinslotError as error:
                operation.error = error
            except _OWN_FAULT as error:
                operation.error = UsageError(f"can't be stored: {type(error).__name__}")
            if not operation.single:
                if operation.error is not None:
                    connection.execute("ROLLBACK TO operation")
                connection.execute("RELEASE operation")

    def commit(self, batch: Sequence[Operation]) -> None:
        """Commit what was run, or tell everybody that it failed. The futures are not resolved."""
        try:
            if self._connection is not None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.broken(batch, error)

    # --- the thread

    def _work(self) -> None:
        stopping = False
        while not stopping:
            batch: list[Operation] = []
            first = self._queue.get()
            stopping = first is None or self._gather(first, batch)
            try:
                with self._work_lock:
                    self._serve(batch)
            finally:  # also if a bug ends this thread: nobody waits for an answer that never comes
                for operation in batch:
                    if not operation.future.done():
                        operation.error = StoreBroken("the committer ended; look this operation up")
                        operation.resolve()

    def _gather(self, first: Operation, batch: list[Operation]) -> bool:
        """Fill the batch with what waits; whether the end of the queue was reached."""
        waiting: Operation | None = first
        while waiting is not None:
            if waiting.future.set_running_or_notify_cancel():
                batch.append(waiting)
            if len(batch) >= MAX_BATCH:
                return False
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                return False
        return True

    def _serve(self, batch: list[Operation]) -> None:
        """Write a batch and resolve its futures."""
        try:
            ready = self._begin(self._writer(), batch) if batch else []
            self._run_all(ready)
        except sqlite3.Error as error:
            self.broken(batch, error)
            ready = batch
        for operation in ready:
            if not operation.future.done():
                operation.resolve()

    def _writer(self) -> sqlite3.Connection:
        """The connection. After a failure the file is opened anew and all of its log is written out again.

        What a failed fsync left in the cache only would otherwise be shown, and be lost later. F17
        """
        if self._connection is None:
            self._connection = connect(self._path, PATIENT_S)
            if self._suspect:
                ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
                if busy:
                    raise sqlite3.OperationalError("the log could not be written out after a failure")
                self._suspect = False
            self._connection.execute(_ASK)
        return self._connection

    def _begin(self, connection: sqlite3.Connection, batch: list[Operation]) -> list[Operation]:
        """Get the write lock for those who are returned; whose time is over meanwhile gets StoreBusy. F16"""
        waiting = batch
        while True:
            now = time.monotonic()
            for operation in waiting:
                if operation.deadline <= now:
                    operation.error = StoreBusy("the store could not be written in time; nothing changed")
                    operation.resolve()
            waiting = [operation for operation in waiting if not operation.future.done()]
            if not waiting:
                return []
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not isinstance(name_error(error), StoreBusy):
                    raise
            else:
                return waiting

    def _run_all(self, batch: list[Operation]) -> None:
        """Run each and commit them together. Raises sqlite3.Error if that fails."""
        if self._connection is not None and batch:
            self.run_each(batch)
            self._connection.execute("COMMIT")

    def broken(self, batch: Sequence[Operation], error: sqlite3.Error) -> None:
        """Nobody in this batch may believe anything: even who was refused was refused by what is now undone."""
        self._suspect = True
        with self._read_lock:
            self.disconnect()
        for operation in batch:
            if not operation.future.done():
                operation.error = StoreBroken(f"the commit failed ({name_error(error)}); look this operation up")


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # a broken disk; there is nothing more to do with this connection
        connection.close()


# --- one committer per process and file ----------------------------------------------------------

_registry: dict[str, Committer] = {}
_registry_lock = threading.Lock()


def attach(path: str, wait_s: float) -> Committer:
    """The committer of a file, for one more handle; the file is made or brought up to date. `path` is a real path.

    Raises ConfigError, StoreNewer, StoreBusy, StoreBroken.
    """
    with _registry_lock:  # also so that no fork happens while the file is open here
        create_or_upgrade(path, wait_s)
        committer = _registry.get(path)
        if committer is None:
            committer = _registry[path] = Committer(path)
        committer.handles += 1
        return committer


def detach(committer: Committer) -> None:
    """One handle less; the last one stops the thread, after all that is queued."""
    with _registry_lock:
        committer.handles -= 1
        if committer.handles:
            return
        for path in [path for path, each in _registry.items() if each is committer]:
            del _registry[path]
    committer.stop()


def _before_fork() -> None:
    _registry_lock.acquire()
    for committer in _registry.values():
        committer.hold()


def _after_fork_in_parent() -> None:
    for committer in _registry.values():
        committer.let_go()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    global _registry_lock  # noqa: PLW0603 - the inherited lock is held for ever
    _registry_lock = threading.Lock()
    _registry.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
