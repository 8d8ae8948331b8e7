"""Charges in the payer's book: there before they are sent, each with one owner, gone when they have ended."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.errors import LedgerError, StoreBroken, StoreNewer
from coinslot.intents.acts import Held, Standing
from coinslot.store import book_schema
from coinslot.store.book import Book, Draw, PushedCharge
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_schema import VERSION
from coinslot.store.book_sqlite import SqliteBook

CHARGE = PushedCharge(
    "id 1", "request", "https://a", "toy", "toy:alice", "net/coin", 2**200, ("Authorization", "Payment xyz"),
    b"\x00raw", 1_900_000_000, "0xabc", 1_000_000.5,
)  # fmt: skip
HELD = Held("net/0x1", "0x1", "net", "toy", "alice", "shop", "net/coin", "signer", 100, standing=Standing.OPEN)
# What the first released version of the file was made with; a released step is never edited.
FIRST_STEP = "b1db9b5102e996790a43ab1e"


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    """An empty book of each kind."""
    made: Book = MemoryBook() if request.param == "memory" else SqliteBook(tmp_path / "book.sqlite")
    yield made
    made.close()


@pytest.mark.guard("F01")
def test_a_charge_is_kept_word_for_word(book: Book) -> None:
    """Until it ends; found by its request, the oldest first."""
    older = replace(CHARGE, id="id 0", made_at_s=5.0, reference=None)
    book.begin_charge(older).result()
    book.begin_charge(CHARGE).result()
    book.begin_charge(replace(CHARGE, id="id 2", request="another")).result()
    assert book.find_charges("request").result() == [older, CHARGE]
    assert len(book.find_charges().result()) == 3
    with pytest.raises(LedgerError):
        book.begin_charge(CHARGE).result()
    for _ in range(2):
        book.end_charge(CHARGE.id).result()
    assert book.find_charges("request").result() == [older]
    assert "xyz" not in repr(CHARGE)
    assert "raw" not in repr(CHARGE)


@pytest.mark.guard("F25")
def test_a_charge_has_one_owner(book: Book) -> None:
    """Another charge has another; whoever lets go lets the next one in."""
    lease = book.try_lock(CHARGE)
    assert lease is not None
    assert book.try_lock(CHARGE) is None
    other = book.try_lock(replace(CHARGE, id="id 2"))
    assert other is not None
    other.release()
    lease.release()
    lease.release()
    again = book.try_lock(CHARGE)
    assert again is not None
    again.release()


@pytest.mark.guard("F28")
def test_what_has_ended_leaves_no_file(tmp_path: Path) -> None:
    """Nor does it let anybody in while its owner holds on to it who would find a record."""
    with closing(SqliteBook(tmp_path / "book.sqlite")) as book:
        lease = book.try_lock(CHARGE)
        assert lease is not None
        book.begin_charge(CHARGE).result()
        assert len([*tmp_path.rglob("*.lock")]) == 1
        book.end_charge(CHARGE.id).result()
        assert [*tmp_path.rglob("*.lock")] == []
        lease.release()


def test_what_may_have_been_sent_is_not_changed(tmp_path: Path) -> None:
    """Not even by somebody who writes SQL; and it is for its owner only."""
    with closing(SqliteBook(tmp_path / "own" / "book.sqlite")) as book:
        book.begin_charge(CHARGE).result()
        for path in (tmp_path / "own").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0
        with closing(sqlite3.connect(tmp_path / "own" / "book.sqlite")) as db, pytest.raises(sqlite3.IntegrityError):
            db.execute("UPDATE charges SET raw = x'00'")


@pytest.mark.parametrize("damage", ["units = printf('%077d', 1) || 'x'", "raw = 'text'"])
def test_what_was_damaged_is_not_read_as_something_else(tmp_path: Path, damage: str) -> None:
    """Whether it was paid can't be known: whoever asks hears that the book is broken."""
    with closing(SqliteBook(tmp_path / "book.sqlite")) as book:
        book.begin_charge(CHARGE).result()
        with closing(sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None)) as db:
            db.execute("DROP TRIGGER sent_stays_as_it_was")
            db.execute(f"UPDATE charges SET {damage}")
        with pytest.raises(StoreBroken, match="can't be read"):
            book.find_charges("request").result()


def first_version(path: Path) -> None:
    """A file as the first version made it, with a channel and a draw in it."""
    steps, version = book_schema._STEPS, book_schema.VERSION
    book_schema._STEPS, book_schema.VERSION = steps[:1], 1
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN")
            book_schema.upgrade(db, str(path))
            places = ", ".join("?" * len(book_schema.COLUMNS.split(",")))
            db.execute(
                f"INSERT INTO channels ({book_schema.COLUMNS}) VALUES ({places})",
                book_schema.values_of(replace(HELD, signed_units=10, voucher=b"ten")),
            )
            db.execute(
                "INSERT INTO draws VALUES (?, ?, ?, ?)", ("net/coin", "https://a", 16_666, book_schema.text_of(10))
            )
            db.execute("COMMIT")
    finally:
        book_schema._STEPS, book_schema.VERSION = steps, version


@pytest.mark.guard("F22")
def test_a_file_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Its channels and draws are what they were, and charges find room in it."""
    path = tmp_path / "book.sqlite"
    first_version(path)
    with closing(SqliteBook(path)) as book:
        found = book.get(HELD.key).result()
        assert found is not None
        assert (found.signed_units, found.voucher) == (10, b"ten")
        assert book.drawn("net/coin", 0.0).result() == 10
        assert book.sign(HELD.key, 20, b"twenty", Draw("https://a", "net/coin", 10, 1e6)).result().signed_units == 20
        book.begin_charge(CHARGE).result()
    with closing(SqliteBook(path)) as book:
        assert book.find_charges().result() == [CHARGE]


@pytest.mark.guard("F22")
def test_a_program_of_the_first_version_leaves_a_newer_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and the file stays as it is."""
    path = tmp_path / "book.sqlite"
    SqliteBook(path).close()
    monkeypatch.setattr(book_schema, "VERSION", 1)
    monkeypatch.setattr("coinslot.store.book_sqlite.VERSION", 1)
    with pytest.raises(StoreNewer):
        SqliteBook(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchall() == [(VERSION,)]


def test_a_released_step_is_not_edited() -> None:
    """The first step is what files out there were made with."""
    assert hashlib.sha256(book_schema._STEPS[0].encode()).hexdigest()[:24] == FIRST_STEP
