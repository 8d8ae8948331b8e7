"""The embedded store: one SQLite file, shared by threads and by processes on one machine."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from coinslot.errors import StoreError
from coinslot.store.operations import Db
from coinslot.store.protocol import LEASE_S, WAIT_S
from coinslot.store.sql import SqlStore
from coinslot.store.sqlite_committer import Committer, attach, detach
from coinslot.store.sqlite_file import SqliteDb
from coinslot.store.sqlite_operation import Operation

T = TypeVar("T")


class SqliteStore(SqlStore):
    """A Store in the file at `path`; made 0600 if it isn't there, in a folder that must be.

    `clock` tells seconds since 1970. Raises ConfigError, StoreNewer, StoreBusy, StoreBroken.
    """

    def __init__(
        self, path: str, *, lease_s: float = LEASE_S, wait_s: float = WAIT_S, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(lease_s, wait_s)
        self._path = os.path.realpath(path)
        self._clock = clock
        self._attach_lock = threading.Lock()
        self._committer: Committer | None = attach(self._path, wait_s)
        self._lister: ThreadPoolExecutor | None = None

    def _attached(self) -> Committer:
        """The file's committer; after a fork, the child's own."""
        committer = self._committer
        if committer is not None:
            return committer
        with self._attach_lock:
            self._open_for_work()
            if self._committer is None:
                self._committer = attach(self._path, self._wait_s)
            return self._committer

    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]:
        self._open_for_work()
        operation = Operation(run, name, time.monotonic() + self._wait_s, self._clock, not atomic)
        (self._committer or self._attached()).submit(operation)
        return operation.future

    def _read(self, run: Callable[[Db], T]) -> Future[T]:
        self._open_for_work()
        committer = self._attached()
        if committer.suspect:  # what the file shows may not be on the disk: the committer mends that first
            return self._write(run)
        return committer.read(run, self._clock)

    def _list(self, run: Callable[[Db], T]) -> Future[T]:
        """On a thread and a connection of their own: they may take long, and hold nobody up."""
        return self._aside(lambda connection: run(SqliteDb(connection, self._clock)))

    def _aside(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        self._open_for_work()
        committer = self._attached()
        with self._attach_lock:
            if self._lister is None:
                self._lister = ThreadPoolExecutor(1, thread_name_prefix="coinslot-lists")
            return self._lister.submit(committer.aside, work, self._wait_s)

    def backup(self, target: str) -> Future[None]:
        """A consistent copy in a new file (0600). Raises StoreError if the target exists or can't be written."""

        def work(source: sqlite3.Connection) -> None:
            path = Path(target)
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                raise StoreError(f"the target of the backup exists: {target}") from None
            except OSError as error:
                raise StoreError(f"the target of the backup can't be made: {error.strerror}") from error
            try:
                copy = sqlite3.connect(path)
                try:
                    copy.execute("PRAGMA synchronous = FULL")
                    source.backup(copy)
                finally:
                    copy.close()
            except sqlite3.Error:
                path.unlink(missing_ok=True)  # half a copy is worse than none
                raise

        return self._aside(work)

    def _forked(self) -> None:
        self._committer = None
        self._lister = None
        self._attach_lock = threading.Lock()

    def _close(self) -> None:
        if self._lister is not None:
            self._lister.shutdown()
        if self._committer is not None:
            detach(self._committer)
