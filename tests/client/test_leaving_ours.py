"""Streams of our own server that are left early: it is paid for all that it delivered, and trusts its payer on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.intents.owing import Owed, Wish
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import pay
from coinslot.transports.sse import Item
from support.lendingsite import LendingSite, lending
from support.toybank import Bank

Wallet = dict[str, Any]
# What the server sends before it waits, and what a reader takes of it.
SENT, READ = 8, 3
LIMITS: dict[str, Any] = {"max_deposit": "0.003", "prefer_sessions": True, "max_window": 100}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


async def words() -> AsyncIterator[Item]:
    """Some at once, and then one now and then, for as long as somebody listens."""
    for number in range(SENT):
        yield f"word {number}"
    for number in range(600):
        await asyncio.sleep(0.05)
        yield f"later {number}"


def read(kind: str, alice: Wallet, site: LendingSite, book: SqliteBook, times: int) -> None:
    """Leave so many streams, one after the other."""
    made, policy = wallet(toy=alice), Policy(**LIMITS)
    if kind == "requests":
        with requests.Session() as plain:
            plain.trust_env = False
            session = requests_door.pay(plain, made, policy, book=book)
            for _ in range(times):
                with session.get(site.stream, stream=True, timeout=20) as response:
                    assert response.status_code == 200
                    pieces = response.iter_lines(chunk_size=1)
                    for _ in range(READ):
                        next(pieces)
        return

    async def story() -> None:
        async with pay(httpx.AsyncClient(trust_env=False, timeout=20), made, policy, book=book) as client:
            for _ in range(times):
                async with client.stream("GET", site.stream) as answer:
                    assert answer.status_code == 200
                    lines = answer.aiter_lines()
                    for _ in range(READ):
                        await anext(lines)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    if kind == "httpx-async":
        asyncio.run(story())
        return
    with pay(httpx.Client(trust_env=False, timeout=20), made, policy, book=book) as client:
        for _ in range(times):
            with client.stream("GET", site.stream) as answer:
                assert answer.status_code == 200
                lines = answer.iter_lines()
                for _ in range(READ):
                    next(lines)


@pytest.mark.parametrize("kind", ["httpx", "httpx-async", "requests"])
def test_a_server_that_is_left_is_paid_and_trusts_on(kind: str, bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """What it counted, though that is more than was read; so its credit holds for ever."""
    with lending(bank, words, credit_units=100) as site:
        read(kind, alice, site, book, 3)
        (held,) = book.all().result()
        channel = site.slot.store.find_channel(held.key).result()
        assert channel is not None
        trusted = site.slot.store.set_aside(Wish(held.key, 100, 100, 100)).result()
    assert isinstance(trusted, Owed), trusted  # all of its credit, as before
    assert held.opening == b""
    assert 3 * SENT <= channel.spent <= 3 * (SENT + 40)
    assert held.spent_units <= channel.spent <= channel.accepted <= held.signed_units
    assert held.signed_units <= 3 * (SENT + 100)  # a window more each, at the most


def test_threads_that_leave_at_once_pay_each_delivery_once(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """One client, one channel, five streams."""
    with (
        lending(bank, words, credit_units=1_000) as site,
        pay(httpx.Client(trust_env=False, timeout=20), wallet(toy=alice), Policy(**LIMITS), book=book) as client,
    ):

        def leave() -> None:
            with client.stream("GET", site.stream) as answer:
                lines = answer.iter_lines()
                for _ in range(READ):
                    next(lines)

        threads = [threading.Thread(target=leave) for _ in range(5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        leave()  # what its server did not know to be over by then
        (held,) = book.all().result()
        channel = site.slot.store.find_channel(held.key).result()
        assert channel is not None
        trusted = site.slot.store.set_aside(Wish(held.key, 1_000, 1_000, 1_000)).result()
    assert isinstance(trusted, Owed), trusted
    assert held.opening == b""
    assert channel.spent <= held.signed_units
