"""A server that says what a payer likes to hear, so that the payer forgets its deposit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.drive import RealWorld, run
from coinslot.errors import PaymentOutcomeUnknown
from coinslot.intents.acts import Standing
from coinslot.services import leaving
from coinslot.services.cooperation import Cooperation
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.till import token_of
from support.toybank import Bank


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


@pytest.mark.guard("T24")
def test_a_close_that_did_not_happen_loses_no_deposit(bank: Bank, alice: dict[str, Any], book: SqliteBook) -> None:
    """ "204, closed", says the server, and keeps the channel open: it stays on record, and can be left without it."""
    shop = SessionShop(SessionTill(bank, alice))

    def answer(seen: Seen) -> Reply:
        if seen.credential and token_of(seen.credential).payload_object()["action"] == "close":
            return Reply(204)
        return shop(seen)

    purse, limits = wallet(toy=alice), Policy(max_deposit="0.5")
    with Site(answer) as site:
        with pay(httpx.Client(trust_env=False, timeout=20), purse, limits, book=book) as client:
            client.get(site.url)
        (held,) = book.all().result()
        with Cooperation(purse, book, limits) as asking, pytest.raises(PaymentOutcomeUnknown, match="chain"):
            asking.close(held, site.url)
    (held,) = book.all().result()
    assert held.standing is Standing.CLOSING
    left = run(leaving.ask_to_close(book, shop.till.payer, held), RealWorld())
    assert left.state.closing_at_s is not None, "the deposit is on its way back"
