"""Streams that ask for vouchers while they come, and for the same words once more when they came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PolicyRefused
from coinslot.intents.deliveries import COMMIT_PATH
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

COST = 1_000
WORDS, WINDOW = 6, 4
MOST = (WORDS + WINDOW) * COST


class Doubling:
    """A shop that does both; `asks` are the totals beyond its price that it wants while the words come."""

    def __init__(self, shop: SessionShop, ask: int, due: int) -> None:
        self.shop, self.ask, self.due = shop, ask, due
        self.posted: list[Seen] = []

    def __call__(self, seen: Seen) -> Reply:
        """Words for a GET, a receipt for a commit; all else from the shop."""
        if seen.path.startswith(COMMIT_PATH):
            self.posted.append(seen)
            told = json.loads(seen.body)
            receipt = {
                "deliveryId": told["deliveryId"],
                "sessionId": told["channelId"],
                "amount": str(self.due),
                "cumulative": told["cumulativeAmount"],
                "status": "committed",
            }
            return Reply(200, json.dumps(receipt).encode(), (("content-type", "application/json"),))
        reply = self.shop(seen)
        if seen.method != "GET" or reply.status != 200:
            return reply
        channel = dict(reply.headers)["payment-session"]
        kept = tuple(pair for pair in reply.headers if pair[0] != "content-type")
        return Reply(200, b"".join(self.events(channel)), (*kept, ("content-type", "text/event-stream")))

    def events(self, channel: str) -> Iterator[bytes]:
        """The words, then what is asked while they come, then what is due for them."""
        for number in range(WORDS):
            yield b"data: %d\n\n" % number
        need = {"channelId": channel, "requiredCumulative": str(self.ask), "acceptedCumulative": "0"}
        yield b"event: payment-need-voucher\ndata: %s\n\n" % json.dumps({**need, "deposit": "500000"}).encode()
        directive = {
            "deliveryId": "d1",
            "sessionId": channel,
            "amount": str(self.due),
            "currency": "coin",
            "sequence": 1,
            "expiresAt": int(time()) + 600,
        }
        yield b"event: mpp.metering\ndata: %s\n\ndata: [DONE]\n\n" % json.dumps(directive).encode()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


@pytest.mark.guard("T24")
@pytest.mark.parametrize(("counting", "most"), [(True, MOST), (False, 0)])
def test_words_that_were_signed_for_while_they_came_are_not_due_once_more(
    bank: Bank, alice: dict[str, Any], book: SqliteBook, counting: bool, most: int
) -> None:
    """All that one stream gets signed is what came and one window, whichever way it asks, or both; and where the price
    is that of the whole answer, nothing beside it.
    """
    doubling = Doubling(SessionShop(SessionTill(bank, alice, counting=counting)), COST + WORDS * COST, MOST)
    policy = Policy(max_deposit="0.5", max_window=WINDOW)
    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        Site(doubling) as site,
        pay(plain, wallet(toy=alice), policy, book=book) as client,
        pytest.raises(PolicyRefused, match="Nothing was signed"),
    ):
        client.get(site.url)
    (held,) = book.all().result()
    assert held.signed_units <= COST + 1 + most
    assert not doubling.posted
