"""A damaged row of the payer's book: it hides no other, and nothing is taken for what it is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.errors import StoreBroken
from coinslot.intents.acts import Held, Standing
from coinslot.store.book import Draw, PushedCharge, Survey, Word, scope_of
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook

GOOD = Held(
    "net/0x1", "0x1", "net", "toy", "alice", "shop", "net/coin", "signer", 100, 10, standing=Standing.OPEN,
    voucher=b"ten", opened_at_s=1.0,
)  # fmt: skip
BAD = replace(GOOD, key="net/0x2", channel_id="0x2", payee="another", opened_at_s=2.0)
CHARGE = PushedCharge(
    "id 1", "request", "https://a", "toy", "toy:alice", "net/coin", 5, ("Authorization", "Payment xyz"), b"raw", 9,
    "0xab", 1.0, "GET https://a/x",
)  # fmt: skip
DRAW = Draw("https://a", "net/coin", 1, 5.0)
CHANNEL_DAMAGE = [
    "deposit = printf('%077d', 1) || 'x'",
    "deposit = '100'",
    "signed = printf('%078d', 11), settled = printf('%078d', 12)",
    "deposit = printf('%078d', 9)",
    "standing = 'opened'",
    "voucher = 'ten'",
    "state = 7",
    "opening = 'x'",
    "payer = x'00ff'",
    "payee = CAST(x'fffe' AS TEXT)",
    "channel_id = ''",
    "opened_at = 'yesterday'",
    "dead_after = 9e999",
    "closing_at = 'x'",
]
CHARGE_DAMAGE = [
    "units = printf('%077d', 1) || 'x'",
    "raw = 'text'",
    "request = x'00'",
    "credential = ''",
    "credential = CAST(x'ff' AS TEXT)",
    "valid_until = 'soon'",
    "made_at = 'then'",
    "reference = x'00'",
]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """Two channels and a charge."""
    made = SqliteBook(tmp_path / "book.sqlite")
    made.begin(GOOD).result()
    made.begin(BAD).result()
    made.begin_charge(CHARGE).result()
    yield made
    made.close()


def damage(tmp_path: Path, table: str, damage: str, key: str) -> None:
    """What a disk, or a person with an editor, may do to a row."""
    with closing(sqlite3.connect(tmp_path / "book.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute(f"UPDATE {table} SET {damage} WHERE {'key' if table == 'channels' else 'id'} = ?", (key,))


@pytest.mark.guard("F04")
@pytest.mark.parametrize("how", CHANNEL_DAMAGE)
def test_a_damaged_channel_hides_no_other(tmp_path: Path, book: SqliteBook, how: str) -> None:
    """It is named, whatever was damaged; the others are there, and may be paid from."""
    damage(tmp_path, "channels", how, BAD.key)
    survey = book.survey().result()
    assert (survey.channels, survey.charges) == ((GOOD,), (CHARGE,))
    (bad,) = survey.damaged
    assert (bad.key, bad.charge, "can't be read" in bad.reason) == (BAD.key, False, True)
    assert bad.id == ("" if how.startswith("channel_id") else BAD.channel_id)
    assert book.find(scope_of(GOOD)).result() == [GOOD]
    assert book.sign(GOOD.key, 11, b"eleven", DRAW).result().signed_units == 11


@pytest.mark.guard("F04")
@pytest.mark.parametrize("how", CHANNEL_DAMAGE)
def test_nothing_is_paid_by_a_damaged_channel(tmp_path: Path, book: SqliteBook, how: str) -> None:
    """Whoever asks for it hears that the book is broken, also who wants to know what is locked up; nothing changes."""
    damage(tmp_path, "channels", how, BAD.key)
    before = book.survey().result()
    for refused in (
        lambda: book.get(BAD.key),
        book.all,
        lambda: book.sign(BAD.key, 50, b"fifty", DRAW),
        lambda: book.note(BAD.key, Word(spent_units=1)),
        lambda: book.adopt(replace(BAD, signed_units=90)),
        lambda: book.begin(replace(GOOD, key="net/0x3"), replace(DRAW, most_locked_units=10_000)),
    ):
        with pytest.raises(StoreBroken):
            refused().result()
    if not how.startswith("payee"):
        with pytest.raises(StoreBroken):
            book.find(scope_of(BAD)).result() if not how.startswith("payer") else book.all().result()
    assert book.survey().result() == before


@pytest.mark.guard("F04")
@pytest.mark.parametrize("how", CHARGE_DAMAGE)
def test_a_damaged_charge_hides_no_other(tmp_path: Path, book: SqliteBook, how: str) -> None:
    """It is named, and can be taken out; others are found by their requests."""
    other = replace(CHARGE, id="id 2", request="another", made_at_s=2.0)
    book.begin_charge(other).result()
    damage(tmp_path, "charges", how, CHARGE.id)
    survey = book.survey().result()
    assert (survey.channels, survey.charges) == ((BAD, GOOD), (other,))
    (bad,) = survey.damaged
    assert (bad.id, bad.charge, bad.name()) == (CHARGE.id, True, CHARGE.name())
    assert book.find_charges("another").result() == [other]
    if not how.startswith("request"):
        with pytest.raises(StoreBroken):
            book.find_charges(CHARGE.request).result()
    book.end_charge(bad.id).result()
    assert book.survey().result().damaged == ()


def test_a_book_in_memory_is_whole() -> None:
    """It says the same of what is in it."""
    book = MemoryBook()
    book.begin(GOOD).result()
    book.begin(BAD).result()
    book.begin_charge(CHARGE).result()
    assert book.survey().result() == Survey((BAD, GOOD), (CHARGE,))
