"""The end of a session that used several channels: one that can't be closed keeps no other open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import ChannelsNotClosed, NoPayableOffer, PaymentError
from coinslot.intents.acts import Standing
from coinslot.store.book_memory import MemoryBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import AsyncClient, Client, session
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

LIMITS = Policy(max_deposit="0.01")
DOORS = ["sync", "async", "requests"]
Wallet = dict[str, Any]


class Mall:
    """Three shops at one address, each paid to another account."""

    def __init__(self, bank: Bank, alice: Wallet) -> None:
        names = ("shop", "bakery", "cinema")
        self.shops = {name: SessionShop(SessionTill(bank, alice, recipient=name)) for name in names}
        for name in names[1:]:
            bank.open(name)

    def __call__(self, seen: Seen) -> Reply:
        """The one whose name the path begins with."""
        return self.shops[seen.path.split("/")[1]](seen)


def spend(door: str, url: str, alice: Wallet, book: MemoryBook, *, first: str) -> PaymentError | None:
    """Buy in each of the shops, beginning with one; then close at the bakery. What that raised."""
    order = [first, *(name for name in ("shop", "bakery", "cinema") if name != first)]
    purse = wallet(toy=alice)

    async def visit() -> None:
        async with AsyncClient(purse, LIMITS, book=book, trust_env=False, timeout=20) as client:
            paid = session(client, f"{url}/bakery/", max_deposit="0.01")
            for name in order:
                assert (await paid.get(f"{url}/{name}/a")).status_code == 200
            await paid.close()

    try:
        if door == "async":
            asyncio.run(visit())
        elif door == "sync":
            with Client(purse, LIMITS, book=book, trust_env=False, timeout=20) as client:
                at_hand = session(client, f"{url}/bakery/", max_deposit="0.01")
                for name in order:
                    assert at_hand.get(f"{url}/{name}/a").status_code == 200
                at_hand.close()
        else:
            with requests_door.pay(requests.Session(), purse, LIMITS, book=book) as plain:
                other = requests_door.session(plain, f"{url}/bakery/", max_deposit="0.01")
                for name in order:
                    assert other.get(f"{url}/{name}/a").status_code == 200
                other.close()
    except PaymentError as error:
        return error
    return None


@pytest.mark.parametrize("door", DOORS)
def test_all_channels_are_closed_that_can_be(door: str, bank: Bank, alice: Wallet) -> None:
    """The bakery closes its own, though it comes last; the error names the two that it knows nothing of."""
    book = MemoryBook()
    with Site(Mall(bank, alice)) as site:
        error = spend(door, site.url, alice, book, first="shop")
    standing = {one.payee: one.standing for one in book.all().result()}
    assert standing == {"bakery": Standing.CLOSED, "shop": Standing.OPEN, "cinema": Standing.OPEN}
    assert isinstance(error, ChannelsNotClosed)
    left = {one.key for one in book.all().result() if one.standing is Standing.OPEN}
    assert set(error.failures) == left
    assert {type(one) for one in error.failures.values()} == {NoPayableOffer}
    assert all(key in str(error) for key in left)


def test_the_error_of_one_channel_is_its_own(bank: Bank, alice: Wallet) -> None:
    """Also where another channel was closed after it."""
    book = MemoryBook()
    mall = Mall(bank, alice)
    with Site(mall) as site, Client(wallet(toy=alice), LIMITS, book=book, trust_env=False) as client:
        paid = session(client, f"{site.url}/bakery/", max_deposit="0.01")
        paid.get(f"{site.url}/shop/a")
        paid.get(f"{site.url}/bakery/a")
        with pytest.raises(NoPayableOffer):
            paid.close()
        standing = {one.payee: one.standing for one in book.all().result()}
        assert standing == {"bakery": Standing.CLOSED, "shop": Standing.OPEN}
        paid.close(f"{site.url}/shop/")
    assert {one.standing for one in book.all().result()} == {Standing.CLOSED}
