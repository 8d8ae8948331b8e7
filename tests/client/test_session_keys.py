"""Several requests at once over one channel, their answers lost after they were served: each is paid and got once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentOutcomeUnknown
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import AsyncClient, pay
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

COST = 1_000
LIMITS = Policy(max_deposit="0.05")
AT_ONCE = 6
Wallet = dict[str, Any]


@dataclass
class Forgetful:
    """Serves each request, and drops the first answer to it."""

    shop: SessionShop
    dropped: set[str] = field(default_factory=set)
    keys: dict[str, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, seen: Seen) -> Reply:
        """As the shop, or nothing."""
        reply = self.shop(seen)
        if seen.method != "GET" or not seen.credential or seen.path == "/first":
            return reply
        with self.lock:
            self.keys.setdefault(seen.path, set()).add(str(seen.headers["Idempotency-Key"]))
            if reply.status == 200 and seen.path not in self.dropped:
                self.dropped.add(seen.path)
                return Reply(drop="all")
        return reply

    def check(self, texts: list[str], book: SqliteBook) -> None:
        """Each was served once, got once, and paid once."""
        assert sorted(text.split()[2] for text in texts) == [f"/{n}" for n in range(AT_ONCE)]
        assert sorted(self.shop.runs) == sorted(["/first", *(f"/{n}" for n in range(AT_ONCE))])
        assert [len(keys) for keys in self.keys.values()] == [1] * AT_ONCE
        (held,) = book.all().result()
        record = self.shop.till.store.find_channel(held.key).result()
        assert record is not None
        assert record.spent == (1 + AT_ONCE) * COST


@pytest.fixture
def site(bank: Bank, alice: Wallet) -> Forgetful:
    """Sells every GET for a thousandth of a coin, from channels only."""
    return Forgetful(SessionShop(SessionTill(bank, alice)))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def again(n: int, how: str, error: PaymentOutcomeUnknown) -> dict[str, Any]:
    """How a program repeats what was lost: by what the error holds, or the same request under the key it gave it."""
    return {"extensions": {"coinslot_resume": error.resume}} if how == "resume" else given(n, how)


def given(n: int, how: str) -> dict[str, Any]:
    """The request's own key, or none."""
    return {"headers": {"Idempotency-Key": f'"thing {n}"'}} if how == "key" else {}


@pytest.mark.guard("T02", "F03", "F14")
@pytest.mark.spec("SSES-204", "TSES-161", "TSES-163")
@pytest.mark.parametrize("how", ["resume", "key"])
def test_lost_answers_of_threads_are_paid_once(site: Forgetful, book: SqliteBook, how: str) -> None:
    """All are lost before any is repeated: each repeat gets its own answer and is not charged again."""
    meeting = threading.Barrier(AT_ONCE)

    def one(client: httpx.Client, url: str, n: int) -> str:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            client.get(f"{url}/{n}", **given(n, how))
        meeting.wait(60)
        return client.get(f"{url}/{n}", **again(n, how, caught.value)).text

    plain = httpx.Client(trust_env=False, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
    with (
        Site(site) as server,
        pay(plain, wallet(toy=site.shop.till.wallet), LIMITS, book=book) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        client.get(f"{server.url}/first")
        texts = list(pool.map(lambda n: one(client, server.url, n), range(AT_ONCE)))
    site.check(texts, book)


@pytest.mark.guard("T02", "F03", "F14")
@pytest.mark.parametrize("how", ["resume", "key"])
def test_lost_answers_of_tasks_are_paid_once(site: Forgetful, book: SqliteBook, how: str) -> None:
    """The same on an event loop."""

    async def one(client: httpx.AsyncClient, url: str, n: int) -> PaymentOutcomeUnknown:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            await client.get(f"{url}/{n}", **given(n, how))
        return caught.value

    async def story(url: str) -> list[str]:
        plain: dict[str, Any] = {"trust_env": False, "limits": httpx.Limits(max_keepalive_connections=0)}
        async with AsyncClient(wallet(toy=site.shop.till.wallet), LIMITS, book=book, **plain) as client:
            await client.get(f"{url}/first")
            lost = await asyncio.gather(*(one(client, url, n) for n in range(AT_ONCE)))
            asked = (client.get(f"{url}/{n}", **again(n, how, error)) for n, error in enumerate(lost))
            return [answer.text for answer in await asyncio.gather(*asked)]

    with Site(site) as server:
        texts = asyncio.run(story(server.url))
    site.check(texts, book)
