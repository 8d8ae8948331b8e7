"""`coinslot sent`: payments that a wallet sent itself and whose answer nobody saw."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from coinslot.cli import sent
from coinslot.cli.main import main
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentOutcomeUnknown
from coinslot.store.book import PushedCharge
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.shop import Shop, losing
from support.site import Site
from support.toybank import Bank

Output = pytest.CaptureFixture[bytes]
Buy = Callable[[], int]


@pytest.fixture
def book(key: list[str], tmp_path: Path) -> Iterator[SqliteBook]:
    """The book at home."""
    with closing(SqliteBook(tmp_path / "home" / "channels.sqlite")) as made:
        yield made


@pytest.fixture
def shop(bank: Bank) -> Iterator[Site]:
    """One whose first two answers get lost."""
    with Site(losing(Shop(bank), 2)) as site:
        yield site


@pytest.fixture
def buy(shop: Site, alice: dict[str, object], book: SqliteBook) -> Buy:
    """A purchase that is paid by the client itself; its status, 0 where its answer was lost."""

    def bought() -> int:
        with pay(httpx.Client(trust_env=False), wallet(toy={**alice, "push": True}), book=book) as client:
            try:
                return client.get(f"{shop.url}/page?key=hidden").status_code
            except PaymentOutcomeUnknown:
                return 0

    return bought


def told(output: Output, *arguments: str, code: int = 0) -> Any:
    """What `coinslot sent ... --json` says."""
    output.readouterr()
    assert main(["sent", *arguments, "--json"]) == code
    return json.loads(output.readouterr().out)


@pytest.mark.guard("T38")
def test_what_was_sent_and_not_answered_is_listed(
    buy: Buy, shop: Site, book: SqliteBook, capfdbinary: Output, bank: Bank
) -> None:
    """What, to whom, for what and when, as a table and as JSON; never what would pay."""
    assert (buy(), bank.settled()) == (0, 1)
    (charge,) = book.find_charges().result()
    (one,) = told(capfdbinary, "list")
    assert (one["id"], one["method"], one["payer"]) == (charge.id, "toy", "toy:alice")
    assert (one["recipient"], one["amount_units"], one["symbol"], one["decimals"]) == ("shop", "10000", "COIN", 6)
    assert (one["origin"], one["request"]) == (shop.url, f"GET {shop.url}/page?...")
    assert (one["reference"], one["on_chain"]) == (charge.reference, None)
    assert main(["sent", "list"]) == 0
    shown = capfdbinary.readouterr().out.decode()
    for part in (charge.id, "0.01 COIN", "shop", f"GET {shop.url}/page", str(charge.reference), "not asked"):
        assert part in shown
    for secret in (charge.header[1], charge.header[1].partition(" ")[2], charge.raw.hex(), "hidden"):
        assert secret not in shown + json.dumps(one)
    assert main(["channels", "list"]) == 0
    assert b"nobody saw: 1 (`coinslot sent list`)" in capfdbinary.readouterr().err


def test_nothing_to_list_is_said(key: list[str], capfdbinary: Output, tmp_path: Path) -> None:
    """Also where there is no book, and none is made for that."""
    assert told(capfdbinary, "list") == []
    assert main(["sent", "list"]) == 0
    assert b"Nothing was sent" in capfdbinary.readouterr().err
    assert main(["sent", "forget", "12345678", "--force", "--yes"]) == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("order", "later_s", "fate"),
    [("", 0, "paid"), ("drop", 0, "not yet"), ("drop", 4_000, "never"), ("revert", 0, "never")],
)
def test_the_chain_says_what_became_of_it(
    buy: Buy, key: list[str], bank: Bank, capfdbinary: Output, order: str, later_s: float, fate: str
) -> None:
    """With --look, by a wallet of the same account; nothing is sent for that."""
    if order:
        bank.order(order)
        bank.order("lost-answer")
    assert buy() == 0
    bank.advance(later_s)
    before = bank.submissions()
    (one,) = told(capfdbinary, "list", "--look", *key)
    assert one["on_chain"] == fate
    bank.order("down")
    (one,) = told(capfdbinary, "list", "--look", *key)
    assert one["on_chain"] == "nobody knows"
    secret = bank.open("bob", coin=1)
    bob = ["--method", "toy", "--bank", bank.path, "--account", "bob", "--secret", secret]
    (one,) = told(capfdbinary, "list", "--look", *bob)
    assert (one["on_chain"], bank.submissions()) == ("not asked", before)


@pytest.mark.guard("F03")
def test_what_the_chain_may_still_take_is_not_forgotten(
    buy: Buy, key: list[str], bank: Bank, book: SqliteBook, capfdbinary: Output
) -> None:
    """Unless by force; when it can't be taken any more it may be, without a question, and nothing was ever paid."""
    bank.order("drop")
    bank.order("lost-answer")
    assert buy() == 0
    (charge,) = book.find_charges().result()
    assert main(["sent", "forget", charge.id, "--yes", *key]) == 5
    assert b"may still take it; nothing was forgotten" in capfdbinary.readouterr().err
    assert book.find_charges().result() == [charge]
    bank.advance(4_000)
    assert main(["sent", "forget", charge.id[:8], *key]) == 0
    assert (book.find_charges().result(), bank.settled()) == ([], 0)


def test_what_was_paid_is_forgotten_only_by_who_says_so(
    buy: Buy, key: list[str], bank: Bank, book: SqliteBook, capfdbinary: Output
) -> None:
    """Nobody to ask: it stays, and the warning is given; then the same request pays once more, as was said."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    assert main(["sent", "forget", charge.id, *key]) == 2
    warned = capfdbinary.readouterr().err.decode()
    assert "was paid" in warned
    assert "may then pay again" in warned
    assert book.find_charges().result() == [charge]
    assert told(capfdbinary, "forget", charge.id, "--yes", *key) == {"forgotten": charge.id, "on_chain": "paid"}
    assert book.find_charges().result() == []
    assert (buy(), bank.settled()) == (0, 2)
    assert (buy(), bank.settled()) == (200, 2)


def test_force_asks_no_chain(buy: Buy, key: list[str], bank: Bank, book: SqliteBook, capfdbinary: Output) -> None:
    """Nor does it want a wallet, but a yes."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    bank.order("down", 100)
    assert main(["sent", "forget", charge.id, "--yes", *key]) == 3
    assert main(["sent", "forget", charge.id, "--force"]) == 2
    assert book.find_charges().result() == [charge]
    assert told(capfdbinary, "forget", charge.id, "--force", "--yes") == {"forgotten": charge.id, "on_chain": None}


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1)])
def test_a_person_is_asked(
    buy: Buy, key: list[str], book: SqliteBook, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    """And heard."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    monkeypatch.setattr(sent, "_somebody_there", lambda: True)
    done = CliRunner().invoke(sent.app, ["forget", charge.id, *key], input=answer)
    assert "may then pay again. Forget it?" in done.output
    assert (done.exit_code, len(book.find_charges().result())) == (1 - (left == 0), left)


def test_shells_complete_ids(buy: Buy, book: SqliteBook, key: list[str]) -> None:
    """From the book."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    assert (list(sent._ids(charge.id[:3])), list(sent._ids("no"))) == ([charge.id], [])


@pytest.mark.guard("F25")
def test_what_a_program_goes_on_with_is_left_alone(
    buy: Buy, key: list[str], book: SqliteBook, capfdbinary: Output
) -> None:
    """Not even by force: it may be presented right now."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    lease = book.try_lock(charge)
    assert lease is not None
    assert main(["sent", "forget", charge.id, "--force", "--yes"]) == 1
    assert b"right now; nothing was forgotten" in capfdbinary.readouterr().err
    lease.release()
    assert book.find_charges().result() == [charge]


def test_a_name_must_be_one_of_them(buy: Buy, book: SqliteBook, key: list[str], capfdbinary: Output) -> None:
    """Not none, not several, not a letter."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    book.begin_charge(_like(charge, charge.id[:-1] + "x")).result()
    for name in ("nothing", charge.id[:8], charge.id[:3]):
        assert main(["sent", "forget", name, "--force", "--yes"]) == 2
    assert len(book.find_charges().result()) == 2
    assert main(["sent", "forget", charge.id, "--force", "--yes"]) == 0


def _like(charge: PushedCharge, other: str) -> PushedCharge:
    return PushedCharge(
        other, "another", charge.origin, charge.method, charge.payer, charge.asset, charge.units, charge.header,
        charge.raw, charge.valid_until, charge.reference, charge.made_at_s,
    )  # fmt: skip


@pytest.mark.guard("F04")
def test_a_damaged_record_is_named_and_hides_no_other(
    buy: Buy, key: list[str], book: SqliteBook, bank: Bank, capfdbinary: Output, tmp_path: Path
) -> None:
    """It keeps who asks for the same from paying again, until it is forgotten by force."""
    assert buy() == 0
    (charge,) = book.find_charges().result()
    book.begin_charge(_like(charge, "feedfeed")).result()
    with closing(sqlite3.connect(tmp_path / "home" / "channels.sqlite", isolation_level=None)) as db:
        db.execute("DROP TRIGGER sent_stays_as_it_was")
        db.execute("UPDATE charges SET raw = 'torn' WHERE id = ?", (charge.id,))
    assert [one["id"] for one in told(capfdbinary, "list", code=1)] == ["feedfeed"]
    assert main(["sent", "list"]) == 1
    shown = capfdbinary.readouterr()
    assert (charge.id in shown.err.decode(), b"sent forget ID --force" in shown.err) == (True, True)
    assert main(["sent", "forget", charge.id, "--yes", *key]) == 1
    with pytest.raises(Exception, match="can't be read"):
        buy()
    assert bank.settled() == 1
    assert main(["sent", "forget", charge.id, "--force", "--yes"]) == 0
    assert [one["id"] for one in told(capfdbinary, "list")] == ["feedfeed"]
    assert main(["channels", "list"]) == 0
