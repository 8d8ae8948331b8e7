"""A SQLite file: made, opened with the settings that make it durable, brought to today's schema, its errors named."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

from coinslot.errors import ConfigError, StoreBroken, StoreBusy, StoreError, StoreNewer
from coinslot.store.rows import Row, Values
from coinslot.store.schema.steps import VERSION, Words, statements, version_table

# "PAY1": tells `file` and people whose database this is.
APPLICATION_ID = 0x50415931
# ON CONFLICT for any index, row values and window-free upserts.
MIN_SQLITE = (3, 35, 0)
# A log that a burst made larger is cut back to this.
MAX_IDLE_LOG_BYTES = 16 * 1024 * 1024
# Statements kept parsed: all of ours, and the pages of lists that differ by condition.
KEPT_STATEMENTS = 128

_PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = FULL",  # F18: fsync at every commit, not only at checkpoints
    "fullfsync = ON",  # macOS: through the disk's own cache, too
    "checkpoint_fullfsync = ON",
    f"journal_size_limit = {MAX_IDLE_LOG_BYTES}",
)
_WORDS = Words(serial="INTEGER PRIMARY KEY", blob="BLOB", real="REAL", units="TEXT")


# Where a statement takes a value. No statement of ours holds a colon otherwise.
_NAMED = re.compile(r":([a-z_0-9]+)")


@cache
def _translated(sql: str) -> tuple[str, Callable[[Values], Sequence[object]]]:
    """The statement as SQLite takes it, and its values in order: bound by their place they cost half of what they do by
    name. Whoever writes has locked the whole file, and rows need no lock of their own.
    """
    names = _NAMED.findall(sql)
    text = _NAMED.sub("?", sql.replace(" FOR UPDATE", ""))
    if len(names) > 1:
        return text, itemgetter(*names)
    return text, lambda values: [values[name] for name in names]


class SqliteDb:
    """operations.Db on a connection."""

    __slots__ = ("_connection", "clock")
    redo = False
    computes = False

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self.clock = clock

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """All rows; fetched whole, since an open cursor would hold an old snapshot."""
        text, in_order = _translated(sql)
        return self._connection.execute(text, in_order({**values, "now": self.clock()})).fetchall()

    def change(self, sql: str, values: Values) -> int:
        """How many rows changed."""
        text, in_order = _translated(sql)
        return self._connection.execute(text, in_order({**values, "now": self.clock()})).rowcount

    def journal_lock(self) -> None:
        """SQLite has one writer at a time."""


class _SumUnits:
    """SUM over decimal text of any length."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, units: str) -> None:
        """Add one."""
        self._sum += int(units)

    def finalize(self) -> str:
        """The sum as text: it may be wider than SQLite's integers."""
        return str(self._sum)


def name_error(error: sqlite3.Error) -> StoreError:
    """The error of ours that a SQLite error is."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", None) or str(error)
    if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"another process holds the file ({name}); nothing changed")
    return StoreBroken(f"SQLite: {name}")


def connect(path: str, wait_s: float, *, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing file. `wait_s` is how long SQLite waits for locks. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=wait_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=KEPT_STATEMENTS,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    connection.create_aggregate("SUM_UNITS", 1, _SumUnits)  # type: ignore[arg-type]  # units are text
    return connection


def create_or_upgrade(path: str, wait_s: float) -> None:
    """Make the file (0600) if it isn't there and bring its schema up to date, whoever else does so at the same time.

    Raises ConfigError, StoreNewer, StoreBusy, StoreBroken.
    """
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise ConfigError(
            f"SQLite {sqlite3.sqlite_version} is too old; {'.'.join(map(str, MIN_SQLITE))} or newer is needed"
        )
    _create(path)
    deadline = time.monotonic() + wait_s
    try:
        if _version(path, wait_s) < VERSION:
            _upgrade(path, deadline)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"{path} is not a SQLite database") from error
        raise name_error(error) from error


def _create(path: str) -> None:
    """An empty file that only we may read; SQLite gives its log and index the same rights."""
    if not Path(path).parent.is_dir():
        raise ConfigError(f"the folder of the store does not exist: {Path(path).parent}")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not Path(path).is_file():
            raise ConfigError(f"the store is not a file: {path}") from None
    except OSError as error:
        raise ConfigError(f"the store can't be created: {path}: {error.strerror}") from error


def _version(path: str, wait_s: float) -> int:
    """The schema's version, 0 for an empty file; read so that nothing is written. Raises StoreNewer. F22"""
    connection = connect(path, wait_s, read_only=True)
    try:
        return _checked_version(connection, path)
    finally:
        connection.close()


def _checked_version(connection: sqlite3.Connection, path: str) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'coinslot_schema'").fetchall():
        return 0
    found = connection.execute("SELECT version FROM coinslot_schema").fetchall()
    version = int(found[0][0]) if found else 0
    if version > VERSION:
        raise StoreNewer(f"{path} has schema {version}, this program knows {VERSION}; use the newer coinslot")
    return version


def _upgrade(path: str, deadline: float) -> None:
    connection = connect(path, max(0.0, deadline - time.monotonic()))
    try:
        _write_ahead(connection, deadline)
        connection.execute("BEGIN IMMEDIATE")
        version = _checked_version(connection, path)  # another process may have been here
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(version_table(_WORDS))
            connection.execute("INSERT INTO coinslot_schema (version, pinged_at) VALUES (0, 0)")
        for step in range(version, VERSION):
            for statement in statements(step, _WORDS):
                connection.execute(statement)
        connection.execute("UPDATE coinslot_schema SET version = ?", (VERSION,))
        connection.execute("COMMIT")
    finally:
        connection.close()


def _write_ahead(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch the log on. SQLite doesn't wait for locks here, so this asks again while others start up, too."""
    while True:
        try:
            ((mode,),) = connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if not isinstance(name_error(error), StoreBusy) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            if mode != "wal":
                raise ConfigError("this file system does not support SQLite's write-ahead log")
            return
