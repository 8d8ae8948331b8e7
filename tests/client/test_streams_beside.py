"""Two streams on one channel, whose readers are not equally fast."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

COST = 1_000
WINDOW = 4
LIMITS = Policy(max_deposit="0.5", max_window=WINDOW)
Wallet = dict[str, Any]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def test_a_stream_is_not_refused_for_what_another_reader_has_not_read_yet(
    bank: Bank, alice: Wallet, book: SqliteBook
) -> None:
    """A server counts what it has sent on both: the one that asks waits for the reader of the other, who is behind."""
    shop, asked, posted = SessionShop(SessionTill(bank, alice, counting=True)), threading.Event(), threading.Event()
    words = [b"data: word %d\n\n" % n for n in range(6)]

    def answer(seen: Seen) -> Reply:
        told = shop(seen)
        if seen.method == "HEAD" and asked.is_set():
            posted.set()
        if seen.method != "GET" or told.status != 200:
            return told
        headers = tuple(pair for pair in told.headers if pair[0] != "content-type")
        chunks = iter(words) if seen.path == "/behind" else asking(told)
        return Reply(200, b"", (*headers, ("content-type", "text/event-stream")), chunks=chunks)

    def asking(told: Reply) -> Iterator[bytes]:
        record = shop.till.store.find_channel(book.all().result()[0].key).result()
        assert record is not None
        need = dict(shop.till.seller.need(record, (len(words) + WINDOW) * COST))
        yield b"event: payment-need-voucher\ndata: " + json.dumps(need).encode() + b"\n\n"
        asked.set()
        assert posted.wait(20)
        yield b"data: paid\n\n"

    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        Site(answer) as site,
        pay(plain, wallet(toy=alice), LIMITS, book=book) as client,
        client.stream("GET", f"{site.url}/behind") as behind,
        ThreadPoolExecutor(1) as pool,
    ):
        asks = pool.submit(client.get, f"{site.url}/asks")
        assert asked.wait(20)
        assert not wait_for([asks], timeout=0.2).done
        assert behind.read() == b"".join(words)
        assert asks.result(20).content == b"data: paid\n\n"
