"""Everything in a book, row by row: what was damaged in one of them hides no other.

Each row is read by itself, so that what SQLite itself can't make sense of in one (text that is no UTF-8, a page that
was overwritten) is that one's matter, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from coinslot.errors import StoreBroken, StoreBusy
from coinslot.store.book import Damaged, Survey
from coinslot.store.book_charges import COLUMNS as CHARGE_COLUMNS
from coinslot.store.book_charges import charge_of
from coinslot.store.book_schema import COLUMNS, held_of
from coinslot.store.sqlite_file import name_error

T = TypeVar("T")


def surveyed(db: sqlite3.Connection) -> Survey:
    """All of it. Raises sqlite3.Error where not even the rows can be counted."""
    channels, bad = _rows(db, "channels", COLUMNS, "opened_at DESC, rowid DESC", held_of)
    charges, worse = _rows(db, "charges", CHARGE_COLUMNS, "made_at, id", charge_of)
    damaged = [Damaged(*_names(db, "channels", "key", "channel_id", each), reason) for each, reason in bad]
    damaged += [Damaged(*_names(db, "charges", "id", "id", each), reason, charge=True) for each, reason in worse]
    return Survey(tuple(channels), tuple(charges), tuple(damaged))


def _rows(
    db: sqlite3.Connection, table: str, columns: str, order: str, read: Callable[[tuple[object, ...]], T]
) -> tuple[list[T], list[tuple[int, str]]]:
    """The records of a table, and the row ids of what can't be read, with the reason."""
    found: list[T] = []
    damaged: list[tuple[int, str]] = []
    for (place,) in db.execute(f"SELECT rowid FROM {table} ORDER BY {order}").fetchall():  # noqa: S608 - our names
        try:
            (row,) = db.execute(f"SELECT {columns} FROM {table} WHERE rowid = ?", (place,)).fetchall()  # noqa: S608
            found.append(read(row))
        except StoreBroken as error:  # F04
            damaged.append((place, str(error)))
        except sqlite3.DatabaseError as error:
            if isinstance(name_error(error), StoreBusy):
                raise
            damaged.append((place, "a record in the book can't be read: its bytes"))
    return found, damaged


def _names(db: sqlite3.Connection, table: str, key: str, name: str, place: int) -> tuple[str, str]:
    """What a damaged row is called, as far as it says so."""
    sql = f"SELECT CAST({key} AS BLOB), CAST({name} AS BLOB) FROM {table} WHERE rowid = ?"  # noqa: S608 - our names
    with suppress(sqlite3.DatabaseError):
        ((key_bytes, name_bytes),) = db.execute(sql, (place,)).fetchall()
        return _readable(key_bytes), _readable(name_bytes)
    return "", ""


def _readable(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
