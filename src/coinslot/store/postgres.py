"""The store for several machines: a PostgreSQL database, by psycopg 3 on a few threads.

Each operation is a transaction of its own; the server commits many together by itself. All times are the database's, so
that machines with different clocks agree. A connection that breaks may have committed: the operation runs again on
another one and looks for what its first run left (operations.py, `redo`). F19
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg

from coinslot import drive
from coinslot.errors import StoreBroken, StoreBusy, StoreError, UsageError
from coinslot.store.operations import Db, Undo
from coinslot.store.postgres_pool import Pool, Session, open_session
from coinslot.store.postgres_schema import upgrade
from coinslot.store.protocol import LEASE_S, WAIT_S
from coinslot.store.rows import Row, Values
from coinslot.store.sql import SqlStore

T = TypeVar("T")

# Enough that the server's group commit has something to group; more than a few cores' worth only queues elsewhere.
THREADS = 8
# A list may read much; nobody waits for it to be paid.
LIST_WAIT_S = 60.0
# Between attempts to connect again: a server that restarts needs seconds, not a storm of connections.
RECONNECT_PAUSE_S = 0.1
# Collisions end after one or two rounds; more is a fault, and must not become a busy loop.
MAX_COLLISIONS = 10
# Any number; every coinslot posts its entries under this one.
JOURNAL_LOCK = 0x636F696E

_NOW = "extract(epoch from clock_timestamp())::float8"
_VALUE = re.compile(r"(?<!:):([a-z_][a-z_0-9]*)")
# Two transactions got in each other's way and one was rolled back: it simply runs again.
_COLLISIONS = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure)
_TIMED_OUT = (pg.QueryCanceled, pg.LockNotAvailable, pg.IdleInTransactionSessionTimeout)
# This server can't write any more: it shuts down, or became a standby.
_GONE = (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow, pg.ReadOnlySqlTransaction)


@cache
def _translated(sql: str) -> str:
    named = _VALUE.sub(lambda match: _NOW if match[1] == "now" else f"%({match[1]})s", sql)
    return named.replace("SUM_UNITS(", "sum(")


# A frozen connection is cut two to three seconds after its deadline; then its thread ends.
CLOSE_GRACE_S = 5.0


class PostgresDb:
    """operations.Db on a connection."""

    computes = True

    def __init__(self, connection: psycopg.Connection[Any], *, redo: bool) -> None:
        self._connection = connection
        self.redo = redo

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """All rows of a query."""
        return self._connection.execute(_translated(sql).encode(), values).fetchall()

    def change(self, sql: str, values: Values) -> int:
        """How many rows changed."""
        return self._connection.execute(_translated(sql).encode(), values).rowcount

    def journal_lock(self) -> None:
        """Held until the commit is visible: who has read the journal to its end finds no entry further up later."""
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (JOURNAL_LOCK,))


class PostgresStore(SqlStore):
    """A Store in the database at a libpq URL.

    Raises ConfigError (never repeating the URL), StoreNewer; StoreError if the server can't be reached.
    """

    def __init__(self, url: str, *, lease_s: float = LEASE_S, wait_s: float = WAIT_S) -> None:
        super().__init__(lease_s, wait_s)
        self._url = url
        session = open_session(url, wait_s)
        try:
            upgrade(session.connection)
        finally:
            session.close()
        self._build()

    def _build(self) -> None:
        self._pool = Pool(self._url, self._wait_s)
        self._workers = ThreadPoolExecutor(THREADS, thread_name_prefix="coinslot-postgres")
        self._lister = ThreadPoolExecutor(1, thread_name_prefix="coinslot-lists")

    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]:
        self._open_for_work()
        attempts = _Attempts(self._pool, time.monotonic() + self._wait_s)

        def work() -> T:
            result = attempts.run(run, atomic=atomic)
            if name:
                drive.failpoint(name)
            return result

        return self._workers.submit(work)

    def _read(self, run: Callable[[Db], T]) -> Future[T]:
        return self._write(run, atomic=False)

    def _list(self, run: Callable[[Db], T]) -> Future[T]:
        self._open_for_work()

        def patiently(db: Db) -> T:
            db.rows(f"SELECT set_config('statement_timeout', '{int(LIST_WAIT_S * 1000)}', true)", {})
            return run(db)

        attempts = _Attempts(self._pool, time.monotonic() + LIST_WAIT_S)
        return self._lister.submit(lambda: attempts.run(patiently, atomic=True))

    def backup(self, target: str) -> Future[None]:
        """Always StoreError: pg_dump and base backups do this better."""
        raise StoreError("a PostgreSQL store is backed up with pg_dump, or with the server's own base backups")

    def _forked(self) -> None:
        _inherited.append((self._pool, self._workers, self._lister))
        self._build()

    def _close(self) -> None:
        """Wait for what runs, but no longer than it may take: a frozen line must not hold up the end of a program."""
        until = time.monotonic() + self._wait_s + CLOSE_GRACE_S
        for pool in (self._workers, self._lister):
            pool.shutdown(wait=False)  # F19
            for worker in list(pool._threads):
                worker.join(max(0.0, until - time.monotonic()))
        self._pool.close()


# What a child must neither use nor collect: its sockets are the parent's.
_inherited: list[object] = []


class _Attempts:
    """One operation until it is done, or until `deadline` (monotonic seconds)."""

    def __init__(self, pool: Pool, deadline: float) -> None:
        self._pool = pool
        self._deadline = deadline
        self._redo = False
        self._collisions = 0

    def run(self, run: Callable[[Db], T], *, atomic: bool) -> T:
        """The result. Raises StoreBusy (nothing changed), StoreBroken (unknown), or the operation's own error."""
        while time.monotonic() < self._deadline:
            session = self._connected()
            if session is None:
                time.sleep(RECONNECT_PAUSE_S)
                continue
            try:
                with session.watched(self._deadline):
                    return self._once(session.connection, run, atomic=atomic)
            except _COLLISIONS as error:
                self._collisions += 1
                if self._collisions > MAX_COLLISIONS:
                    raise self._too_late() from error
            except _TIMED_OUT as error:
                raise self._too_late() from error
            except (psycopg.DataError, ValueError, OverflowError) as error:
                raise UsageError(f"can't be stored: {type(error).__name__}") from error
            except psycopg.Error as error:
                if not session.connection.broken and not isinstance(error, _GONE):
                    raise StoreBroken(f"PostgreSQL: {type(error).__name__}; look this operation up") from error
                session.close()
                self._redo = True
            finally:
                self._pool.give_back(session)
        raise self._too_late()

    def _connected(self) -> Session | None:
        try:
            return self._pool.take()
        except StoreError:
            return None

    def _once(self, connection: psycopg.Connection[Any], run: Callable[[Db], T], *, atomic: bool) -> T:
        db = PostgresDb(connection, redo=self._redo)
        if not atomic:
            return run(db)
        try:
            with connection.transaction():
                return run(db)
        except Undo as undo:
            return undo.result  # type: ignore[return-value]  # who raises Undo does so with one of its results

    def _too_late(self) -> StoreError:
        if self._redo:
            return StoreBroken("the connection broke and the outcome is not known; look this operation up")
        return StoreBusy("the store could not be written in time; nothing changed")
