"""The payer's book: totals that only grow, whoever asks, in memory and in a file."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.errors import ConfigError, LedgerError, PolicyRefused, StoreNewer
from coinslot.intents.acts import Held, Standing
from coinslot.store.book import SETTLED, Book, Draw, Limit, Pending, Scope, Word, scope_of
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_open import FILE, default_path, open_book
from coinslot.store.book_schema import VERSION
from coinslot.store.book_sqlite import SqliteBook

BIG = 2**200
HELD = Held(
    "net/0x1", "0x1", "net", "toy", "alice", "shop", "net/coin", "signer", BIG, standing=Standing.OPEN, state=b"s"
)


def draw(units: int, origin: str = "https://a", at_s: float = 1_000_000.0, *limits: Limit) -> Draw:
    """A draw on the budgets."""
    return Draw(origin, "net/coin", units, at_s, limits)


@pytest.fixture(params=["memory", "sqlite"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    """An empty book of each kind."""
    made: Book = MemoryBook() if request.param == "memory" else SqliteBook(tmp_path / "book.sqlite")
    yield made
    made.close()


@pytest.mark.guard("F01", "F02")
def test_a_signed_total_only_grows(book: Book) -> None:
    """An equal or lower one is refused and changes nothing; so is one above the deposit, or of an unknown channel."""
    book.begin(replace(HELD, deposit_units=100)).result()
    assert book.sign(HELD.key, 10, b"ten", draw(10)).result().voucher == b"ten"
    for total in (10, 9, 0, 101):
        with pytest.raises(LedgerError):
            book.sign(HELD.key, total, b"no", draw(1)).result()
    with pytest.raises(LedgerError):
        book.sign("net/other", 1, b"no", draw(1)).result()
    found = book.get(HELD.key).result()
    assert found is not None
    assert (found.signed_units, found.voucher) == (10, b"ten")
    assert book.drawn("net/coin", 0.0).result() == 10


@pytest.mark.guard("T24")
def test_a_servers_word_counts_up_to_what_was_signed(book: Book) -> None:
    """And never takes anything back."""
    book.begin(HELD).result()
    book.sign(HELD.key, 10, b"ten", draw(10)).result()
    noted = book.note(HELD.key, Word(acknowledged_units=BIG, spent_units=7, settled_units=99)).result()
    assert (noted.acknowledged_units, noted.spent_units, noted.settled_units, noted.signed_units) == (10, 7, 10, 10)
    again = book.note(HELD.key, Word(acknowledged_units=1, spent_units=1, deposit_units=1)).result()
    assert again == noted


@pytest.mark.guard("F05")
def test_a_found_channel_merges_upwards(book: Book) -> None:
    """What our own signature proves is adopted; an older word changes nothing; an ended channel stays ended."""
    book.adopt(replace(HELD, signed_units=5, voucher=b"five")).result()
    book.sign(HELD.key, 10, b"ten", draw(10)).result()
    assert book.adopt(replace(HELD, signed_units=7, voucher=b"seven")).result().voucher == b"ten"
    merged = book.adopt(replace(HELD, signed_units=50, voucher=b"fifty", spent_units=50)).result()
    assert (merged.signed_units, merged.voucher, merged.spent_units) == (50, b"fifty", 50)
    book.note(HELD.key, Word(standing=Standing.CLOSED)).result()
    assert book.adopt(replace(HELD, signed_units=60)).result().signed_units == 50
    with pytest.raises(LedgerError):
        book.note(HELD.key, Word(standing=Standing.OPEN)).result()


def test_a_channel_is_found_by_its_scope_until_it_ends(book: Book) -> None:
    """Used last first."""
    other = replace(HELD, key="net/0x2", channel_id="0x2", used_at_s=5.0)
    for one in (HELD, other, replace(HELD, key="net/0x3", payee="somebody")):
        book.begin(one).result()
    assert [one.key for one in book.find(scope_of(HELD)).result()] == ["net/0x2", "net/0x1"]
    book.note(other.key, Word(standing=Standing.LOST)).result()
    assert [one.key for one in book.find(scope_of(HELD)).result()] == ["net/0x1"]
    assert len(book.all().result()) == 3
    with pytest.raises(LedgerError):
        book.begin(HELD).result()


def test_what_is_pending_is_kept_word_for_word(book: Book) -> None:
    """Until its end is known; its reference stays."""
    book.begin(HELD).result()
    pending = book.note(HELD.key, Word(pending=Pending(b"Payment xyz", "0xabc", 99.5))).result()
    assert (pending.opening, pending.reference, pending.dead_after_s) == (b"Payment xyz", "0xabc", 99.5)
    done = book.note(HELD.key, Word(pending=SETTLED)).result()
    assert (done.opening, done.reference, done.dead_after_s) == (b"", "0xabc", None)
    assert "xyz" not in repr(pending)


def test_budgets_are_drawn_with_the_signature_or_not_at_all(book: Book) -> None:
    """Per origin and in all, in a window that moves on."""
    book.begin(HELD).result()
    here, total = Limit(10, 3600.0, "https://a"), Limit(15, 3600.0)
    book.sign(HELD.key, 8, b"8", draw(8, "https://a", 1_000_000.0, here, total)).result()
    with pytest.raises(PolicyRefused, match="budget"):
        book.sign(HELD.key, 11, b"11", draw(3, "https://a", 1_000_060.0, here, total)).result()
    book.sign(HELD.key, 15, b"15", draw(7, "https://b", 1_000_060.0, Limit(10, 3600.0, "https://b"), total)).result()
    with pytest.raises(PolicyRefused):
        book.sign(HELD.key, 16, b"16", draw(1, "https://c", 1_000_060.0, total)).result()
    found = book.get(HELD.key).result()
    assert found is not None
    assert found.signed_units == 15
    book.sign(HELD.key, 16, b"16", draw(1, "https://a", 1_010_000.0, here, total)).result()
    assert book.drawn("net/coin", 1_009_000.0, "https://a").result() == 1


@pytest.mark.guard("F25")
def test_one_at_a_time_has_the_turn(book: Book) -> None:
    """Threads exclude each other; whoever releases lets the next one in, once."""
    scope, other = Scope("net", "toy", "a", "b", "c"), Scope("net", "toy", "a", "x", "c")
    lease = book.try_lock(scope)
    assert lease is not None
    seen: list[object] = []
    asker = threading.Thread(target=lambda: seen.append(book.try_lock(scope)))
    asker.start()
    asker.join()
    assert seen == [None]
    elsewhere = book.try_lock(other)
    assert elsewhere is not None
    elsewhere.release()
    lease.release()
    lease.release()
    again = book.try_lock(scope)
    assert again is not None
    again.release()


@pytest.mark.guard("F01")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE channels SET signed = printf('%078d', 9)",
        "UPDATE channels SET spent = printf('%078d', 4)",
        "UPDATE channels SET deposit = printf('%078d', 99)",
        "UPDATE channels SET signed = printf('%078d', 101)",
        "DELETE FROM channels",
    ],
)
def test_the_database_itself_lets_no_total_go_down(tmp_path: Path, statement: str) -> None:
    """Not even to somebody who writes SQL."""
    book = SqliteBook(tmp_path / "book.sqlite")
    book.begin(replace(HELD, deposit_units=100)).result()
    book.sign(HELD.key, 10, b"ten", draw(10)).result()
    book.note(HELD.key, Word(spent_units=5)).result()
    with sqlite3.connect(tmp_path / "book.sqlite") as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)
    db.close()
    book.close()


def test_a_book_of_a_newer_program_is_not_touched(tmp_path: Path) -> None:
    """StoreNewer, and the file as it was."""
    path = tmp_path / "book.sqlite"
    SqliteBook(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(StoreNewer):
        SqliteBook(path)


def test_a_book_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file, its log, its locks and the folder that was made for it."""
    folder = tmp_path / "own"
    book = SqliteBook(folder / "book.sqlite")
    book.begin(HELD).result()
    lease = book.try_lock(scope_of(HELD))
    assert lease is not None
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    lease.release()
    book.close()


def test_what_is_no_book_is_said_so(tmp_path: Path) -> None:
    """A file of something else, or a place that can't be written."""
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(ConfigError):
        SqliteBook(tmp_path / "text")
    with pytest.raises(ConfigError):
        SqliteBook("/proc/no/such")


def test_the_default_book_is_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$COINSLOT_HOME, $XDG_DATA_HOME, ~/.local/share."""
    assert default_path({"COINSLOT_HOME": "/x"}) == Path("/x") / FILE
    assert default_path({"XDG_DATA_HOME": "/d"}) == Path("/d/coinslot") / FILE
    assert default_path({"XDG_DATA_HOME": "d"}).parts[-4:] == (".local", "share", "coinslot", FILE)
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    book = open_book()
    assert (tmp_path / "home" / FILE).exists()
    book.close()


@pytest.mark.guard("F25")
def test_a_fork_takes_no_turn_along(tmp_path: Path) -> None:
    """A child that lives on after its parent let go holds nothing, and writes through a connection of its own."""
    book = SqliteBook(tmp_path / "book.sqlite")
    book.begin(HELD).result()
    lease = book.try_lock(scope_of(HELD))
    assert lease is not None
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            book.sign(HELD.key, 3, b"three", draw(3)).result()
        finally:
            os._exit(0)
    os.read(ready[0], 1)
    lease.release()
    again = book.try_lock(scope_of(HELD))
    assert again is not None
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    found = book.get(HELD.key).result()
    assert found is not None
    assert found.signed_units == 3
    again.release()
    book.close()


class _Client:
    """Something that has a book, and is in a cycle with it."""

    book: SqliteBook | None = None


@pytest.mark.filterwarnings("error")
def test_a_forgotten_book_in_a_cycle_leaves_nothing_to_complain_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its connection comes first among what is collected, as after a collection while it was at work."""
    complaints: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", complaints.append)
    client = _Client()
    client.book = SqliteBook(tmp_path / "forgotten.db")
    connection = client.book._connection
    client.book.client = client  # type: ignore[attr-defined]
    last = _Client()
    last.book, client = client.book, last
    gc.collect()
    del connection, client, last
    gc.collect()
    assert complaints == []


@pytest.mark.filterwarnings("error")
def test_a_book_that_nobody_closed_lets_go_of_its_file(tmp_path: Path) -> None:
    """Forgotten by its program, it closes its connection instead of leaving that to the interpreter."""
    book = SqliteBook(tmp_path / "forgotten.db")
    connection = book._connection
    assert connection is not None
    del book
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
