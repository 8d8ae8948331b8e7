"""The payer's book in a SQLite file, shared by all its processes: write-ahead log, flushed to the disk at every commit.

One thread per process and book writes; a fork starts its own. Files and locks are for their owner only (0600).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from coinslot.errors import ConfigError, LedgerError, StoreBusy, StoreError
from coinslot.intents.acts import Held
from coinslot.store import book_charges, book_rules
from coinslot.store.book import MAX_WINDOW_S, Draw, Lease, Named, PushedCharge, Scope, Survey, Word, charge_name
from coinslot.store.book_lock import forget, try_lock
from coinslot.store.book_schema import COLUMNS, VERSION, held_of, text_of, upgrade, values_of, version
from coinslot.store.book_survey import surveyed
from coinslot.store.sqlite_file import connect, name_error

T = TypeVar("T")

# A commit of another process takes milliseconds; who waits longer is told that the book is busy.
WAIT_S = 10.0
# Draws are summed up per minute: a window is exact to that, and a file stays small.
SLOT_S = 60

_PLACES = ", ".join(["?"] * len(COLUMNS.split(",")))
_SET = ", ".join(f"{name.strip()} = ?" for name in COLUMNS.split(",")[1:])


class SqliteBook:
    """book.Book in a file, made where it is missing. Raises ConfigError, StoreNewer, StoreBusy, StoreBroken."""

    def __init__(self, path: Path | str, *, wait_s: float = WAIT_S) -> None:
        self._path = Path(path)
        self._wait_s = wait_s
        self._guard = threading.Lock()
        self._pid = 0
        self._worker: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._submit(self._prepare).result()

    def __repr__(self) -> str:
        return f"SqliteBook({str(self._path)!r})"

    # --- the writing thread

    def _submit(self, step: Callable[[], T]) -> Future[T]:
        with self._guard:
            if self._worker is None or self._pid != os.getpid():  # a fork has neither the thread nor the connection
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="coinslot-book")
                self._pid, self._connection = os.getpid(), None
            return self._worker.submit(self._named, step)

    def _named(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except sqlite3.IntegrityError as error:
            raise LedgerError(f"the book refuses: {error}") from error
        except sqlite3.Error as error:
            raise name_error(error) from error

    def _prepare(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise ConfigError(f"the book can't be opened: {self._path}: {error.strerror}") from error
        try:
            with closing(connect(str(self._path), self._wait_s, read_only=True)) as look:
                found = version(look, str(self._path))
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise ConfigError(f"{self._path} is not a SQLite database") from error
            raise
        if found == VERSION:
            return
        self._write_ahead()
        self._transaction(lambda db: upgrade(db, str(self._path)))

    def _write_ahead(self) -> None:
        """Switch the log on. SQLite doesn't wait for locks here, so this asks again while others start up, too."""
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                self._open().execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not isinstance(name_error(error), StoreBusy) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(str(self._path), self._wait_s)
            # A book that nobody closed lets go of its file when it is forgotten. A __del__ would come too late where
            # book and connection are found in one cycle: the connection's may be the first, and complains.
            weakref.finalize(self, _let_go, self._connection, os.getpid()).atexit = False
        return self._connection

    def _transaction(self, step: Callable[[sqlite3.Connection], T]) -> T:
        db = self._open()
        db.execute("BEGIN IMMEDIATE")
        try:
            result = step(db)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
        return result

    def _write(self, step: Callable[[sqlite3.Connection], T]) -> Future[T]:
        return self._submit(lambda: self._transaction(step))

    # --- the book

    @property
    def _locks(self) -> Path:
        return self._path.with_name(f"{self._path.name}.locks")

    def try_lock(self, what: Named) -> Lease | None:
        """See book.Book."""
        return try_lock(self._locks, what)

    def begin(self, held: Held, draw: Draw | None = None) -> Future[None]:
        """See book.Book."""

        def step(db: sqlite3.Connection) -> None:
            if draw is not None:
                if draw.most_locked_units is not None:
                    book_rules.unlocked(_list(db, "WHERE asset = ?", (held.asset,)), held, draw)
                _draw(db, draw)
            _insert(db, book_rules.begun(held))

        return self._write(step)

    def get(self, key: str) -> Future[Held | None]:
        """See book.Book."""
        return self._submit(lambda: _get(self._open(), key))

    def find(self, scope: Scope) -> Future[Sequence[Held]]:
        """See book.Book."""
        return self._submit(
            lambda: _list(
                self._open(),
                "WHERE network = ? AND method = ? AND payer = ? AND payee = ? AND asset = ?"
                " AND standing NOT IN ('closed', 'lost') ORDER BY used_at DESC",
                (scope.network, scope.method, scope.payer, scope.payee, scope.asset),
            )
        )

    def all(self) -> Future[Sequence[Held]]:
        """See book.Book."""
        return self._submit(lambda: _list(self._open(), "ORDER BY opened_at DESC", ()))

    def survey(self) -> Future[Survey]:
        """See book.Book."""
        return self._submit(lambda: surveyed(self._open()))

    def sign(self, key: str, total_units: int, voucher: bytes, draw: Draw) -> Future[Held]:
        """See book.Book."""

        def step(db: sqlite3.Connection) -> Held:
            held = book_rules.signed(_get(db, key), total_units, voucher, draw.at_s)
            _draw(db, draw)
            return _update(db, held)

        return self._write(step)

    def note(self, key: str, word: Word) -> Future[Held]:
        """See book.Book."""
        return self._write(lambda db: _update(db, book_rules.noted(_get(db, key), word)))

    def adopt(self, held: Held) -> Future[Held]:
        """See book.Book."""

        def step(db: sqlite3.Connection) -> Held:
            old = _get(db, held.key)
            new = book_rules.merged(old, held)
            if old is None:
                _insert(db, new)
            elif new != old:
                _update(db, new)
            return new

        return self._write(step)

    def drawn(self, asset: str, since_s: float, origin: str | None = None) -> Future[int]:
        """See book.Book."""
        return self._submit(lambda: _drawn(self._open(), asset, since_s, origin))

    def begin_charge(self, charge: PushedCharge) -> Future[None]:
        """See book.Book."""
        return self._write(lambda db: book_charges.insert(db, charge))

    def find_charges(self, request: str | None = None) -> Future[Sequence[PushedCharge]]:
        """See book.Book."""
        return self._submit(lambda: book_charges.listed(self._open(), request))

    def end_charge(self, charge_id: str) -> Future[None]:
        """See book.Book."""

        def step() -> None:
            try:
                self._transaction(lambda db: book_charges.delete(db, charge_id))
            finally:
                forget(self._locks, charge_name(charge_id))  # F28

        return self._submit(step)

    def close(self) -> None:
        """See book.Book."""
        with self._guard:
            worker, self._worker = self._worker, None
            mine = worker is not None and self._pid == os.getpid()
        if worker is not None and mine:
            worker.submit(self._shut)
            worker.shutdown()

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _let_go(connection: sqlite3.Connection, pid: int) -> None:
    """Close it, but not in a child of the process that opened it."""
    if pid == os.getpid():
        with suppress(sqlite3.Error):
            connection.close()


# --- rows ----------------------------------------------------------------------------------------


def _get(db: sqlite3.Connection, key: str) -> Held | None:
    found = _list(db, "WHERE key = ?", (key,))
    return found[0] if found else None


def _list(db: sqlite3.Connection, where: str, values: tuple[str, ...]) -> list[Held]:
    return [held_of(row) for row in db.execute(f"SELECT {COLUMNS} FROM channels {where}", values).fetchall()]  # noqa: S608


def _insert(db: sqlite3.Connection, held: Held) -> None:
    db.execute(f"INSERT INTO channels ({COLUMNS}) VALUES ({_PLACES})", values_of(held))  # noqa: S608


def _update(db: sqlite3.Connection, held: Held) -> Held:
    key, *rest = values_of(held)
    if db.execute(f"UPDATE channels SET {_SET} WHERE key = ?", (*rest, key)).rowcount != 1:  # noqa: S608
        raise StoreError("the channel's row is gone")
    return held


def _drawn(db: sqlite3.Connection, asset: str, since_s: float, origin: str | None) -> int:
    rows = db.execute(
        "SELECT units FROM draws WHERE asset = ? AND slot >= ? AND (? IS NULL OR origin = ?)",
        (asset, int(since_s) // SLOT_S, origin, origin),
    ).fetchall()
    return sum(int(units) for (units,) in rows)


def _draw(db: sqlite3.Connection, draw: Draw) -> None:
    """Raises PolicyRefused."""
    drawn = [(one, _drawn(db, draw.asset, draw.at_s - one.window_s, one.origin)) for one in draw.limits]
    book_rules.within(drawn, draw)
    slot = int(draw.at_s) // SLOT_S
    same = (draw.asset, draw.origin, slot)
    found = db.execute("SELECT units FROM draws WHERE asset = ? AND origin = ? AND slot = ?", same).fetchall()
    total = draw.units + sum(int(units) for (units,) in found)
    db.execute("INSERT OR REPLACE INTO draws (asset, origin, slot, units) VALUES (?, ?, ?, ?)", (*same, text_of(total)))
    db.execute("DELETE FROM draws WHERE slot < ?", (int(draw.at_s - MAX_WINDOW_S) // SLOT_S,))
