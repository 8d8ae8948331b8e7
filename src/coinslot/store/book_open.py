"""Where the payer's book is, unless told otherwise: `channels.sqlite` in coinslot's own folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from coinslot.errors import ConfigError
from coinslot.store.book import Book
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook

FILE = "channels.sqlite"
HOME_VARIABLE = "COINSLOT_HOME"


def default_path(environ: Mapping[str, str]) -> Path:
    """$COINSLOT_HOME, else the user's data folder. Raises ConfigError."""
    if own := environ.get(HOME_VARIABLE):
        return Path(own) / FILE
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):  # the XDG specification: a relative path is to be ignored
        return Path(data) / "coinslot" / FILE
    try:
        return Path.home() / ".local" / "share" / "coinslot" / FILE
    except RuntimeError:
        raise ConfigError(f"there is no home directory; set {HOME_VARIABLE}") from None


def open_book(where: Book | Path | str | None = None) -> Book:
    """A book: one that is open already, `memory:`, a file, or the default file.

    Raises ConfigError, StoreNewer, StoreBusy, StoreBroken.
    """
    if where is None:
        return SqliteBook(default_path(os.environ))
    if where == "memory:":
        return MemoryBook()
    return SqliteBook(where) if isinstance(where, (str, Path)) else where


def book_opener(where: Book | Path | str | None = None) -> Callable[[], Book]:
    """What opens that book when it is first needed; a memory book is the same one every time."""
    if where == "memory:":
        made = MemoryBook()
        return lambda: made
    return lambda: open_book(where)
