"""A site that wants another payee paid for each request, all at once: budgets and limits of deposits hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PolicyRefused
from coinslot.intents.acts import Held, Standing
from coinslot.store.book import Book, Draw, Limit, Word
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay, session
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

AT_ONCE = 8
BUDGET, BUDGET_UNITS = "0.0035", 3_500


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def rush(book: SqliteBook, bank: Bank, alice: dict[str, Any], policy: Policy, budget: str | None) -> list[Any]:
    """How requests to several payees end that are made at once."""
    shops = [SessionShop(SessionTill(bank, alice, recipient=f"shop{n}")) for n in range(AT_ONCE)]

    def answer(seen: Seen) -> Reply:
        return shops[int(seen.path.strip("/"))](seen)

    async def ask(url: str) -> list[Any]:
        async with pay(httpx.AsyncClient(trust_env=False, timeout=20), wallet(toy=alice), policy, book=book) as client:
            paid = session(client, url, max_deposit="0.5", budget=budget)
            asked = [paid.get(f"/{n}") for n in range(AT_ONCE)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with Site(answer) as site:
        ends = asyncio.run(ask(site.url))
    assert any(isinstance(one, httpx.Response) and one.status_code == 200 for one in ends)
    assert all(isinstance(one, (httpx.Response, PolicyRefused)) for one in ends), ends
    return ends


@pytest.mark.guard("T22")
def test_a_budget_holds_over_payees_that_are_paid_at_once(bank: Bank, alice: dict[str, Any], book: SqliteBook) -> None:
    """Requests to one payee take turns; those to several sign at the same time, and share the budget all the same."""
    rush(book, bank, alice, Policy(), BUDGET)
    signed = sum(one.signed_units for one in book.all().result())
    assert signed <= BUDGET_UNITS, f"{signed} base units signed with a budget of {BUDGET_UNITS}"


@pytest.mark.guard("T22")
def test_deposits_at_several_payees_at_once_keep_their_limit(
    bank: Bank, alice: dict[str, Any], book: SqliteBook
) -> None:
    """What all channels may hold together is looked at in the step that writes a new one down, whoever else opens."""
    rush(book, bank, alice, Policy(max_locked="1"), None)
    locked = sum(one.deposit_units for one in book.all().result())
    assert locked <= 1_000_000, f"{locked} base units are locked up, 1000000 may be"


@pytest.mark.guard("T22")
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_new_channel_is_counted_with_all_others_as_it_is_written(tmp_path: Path, kind: str) -> None:
    """Two programs that both looked before: the second one to write is refused, and nothing of it is written."""
    made: Book = MemoryBook() if kind == "memory" else SqliteBook(tmp_path / "channels.sqlite")

    def opening(name: str) -> tuple[Held, Draw]:
        held = Held(f"toy:main/{name}", name, "toy:main", "toy", "alice", name, "toy:main/coin", "alice", 600)
        return held, Draw("https://shop.example", held.asset, 1, 1_000.0, (Limit(1, 60.0),), most_locked_units=1_000)

    made.begin(*opening("one")).result()
    with pytest.raises(PolicyRefused, match="max_locked"):
        made.begin(*opening("two")).result()
    assert len(made.all().result()) == 1
    made.note("toy:main/one", Word(standing=Standing.LOST)).result()
    with pytest.raises(PolicyRefused, match="budget"):  # the first one's draw counts, the refused one's doesn't
        made.begin(*opening("three")).result()
    assert made.drawn("toy:main/coin", 0.0).result() == 1
    made.close()
