"""A site that wants another payee paid for each request, all at once: the session's budget holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.wallet import wallet
from coinslot.errors import PolicyRefused
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


@pytest.mark.guard("T22")
def test_a_budget_holds_over_payees_that_are_paid_at_once(bank: Bank, alice: dict[str, Any], book: SqliteBook) -> None:
    """Requests to one payee take turns; those to several sign at the same time, and share the budget all the same."""
    shops = [SessionShop(SessionTill(bank, alice, recipient=f"shop{n}")) for n in range(AT_ONCE)]

    def answer(seen: Seen) -> Reply:
        return shops[int(seen.path.strip("/"))](seen)

    async def rush(url: str) -> list[Any]:
        async with pay(httpx.AsyncClient(trust_env=False, timeout=20), wallet(toy=alice), book=book) as client:
            paid = session(client, url, max_deposit="0.5", budget=BUDGET)
            asked = [paid.get(f"/{n}") for n in range(AT_ONCE)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with Site(answer) as site:
        ends = asyncio.run(rush(site.url))
    signed = sum(one.signed_units for one in book.all().result())
    assert signed <= BUDGET_UNITS, f"{signed} base units signed with a budget of {BUDGET_UNITS}"
    assert any(isinstance(one, httpx.Response) and one.status_code == 200 for one in ends)
    assert all(isinstance(one, (httpx.Response, PolicyRefused)) for one in ends), ends
