"""A stream whose answer was lost, and that is asked for again: paid while it comes, and paid once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from coinslot.client.events import Declined, Event
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentOutcomeUnknown, PolicyRefused
from coinslot.intents.acts import Held
from coinslot.server.price import Metering
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import AsyncClient, pay
from support.meterer import Meterer
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

COST = 1_000
WINDOW = 4
WORDS = 22
WHOLE = b"".join(b"data: word %d\n\n" % n for n in range(WORDS))
LIMITS = Policy(max_deposit="0.5", max_window=WINDOW)
Wallet = dict[str, Any]


@dataclass
class Repeating:
    """A shop that has served `cut` events of a stream when its line breaks (0: before the answer began), and repeats
    what it served to who comes again under the same key, then goes on with the same stream.
    """

    shop: SessionShop
    cut: int = 0
    served: list[bytes] = field(default_factory=list)
    key: str | None = None
    reply: Reply | None = None

    def __call__(self, seen: Seen) -> Reply:
        """An honest answer, but for the line."""
        if self.reply is not None and seen.headers.get("Idempotency-Key") == self.key:
            return Reply(200, b"", self.reply.headers, chunks=self._rest(self.reply))
        told = self.shop(seen)
        if told.chunks is None or self.reply is not None:
            return told
        self.reply, self.key = told, seen.headers.get("Idempotency-Key")
        if not self.cut:
            self.served.append(next(told.chunks))
            return Reply(drop="all")
        return Reply(200, b"", (*told.headers, ("Connection", "close")), chunks=self._broken(told))

    def _broken(self, told: Reply) -> Iterator[bytes]:
        assert told.chunks is not None
        for chunk in told.chunks:
            if chunk.startswith(b"data:"):
                self.served.append(chunk)
            yield chunk
            if len(self.served) == self.cut:
                raise BrokenPipeError

    def _rest(self, told: Reply) -> Iterator[bytes]:
        assert told.chunks is not None
        yield from self.served
        yield from told.chunks


def repeating(bank: Bank, alice: Wallet, cut: int = 0) -> Repeating:
    """One that sells words by a window of four."""
    till = SessionTill(bank, alice, metering=Metering("word", window=WINDOW, patience_s=20))
    return Repeating(SessionShop(till, events=WORDS), cut)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def only(book: SqliteBook) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


def sync_again(url: str, alice: Wallet, book: SqliteBook) -> bytes:
    """With httpx."""
    with pay(httpx.Client(trust_env=False, timeout=20), wallet(toy=alice), LIMITS, book=book) as client:
        with pytest.raises(PaymentOutcomeUnknown) as lost:
            client.get(url)
        return client.get(url, extensions={"coinslot_resume": lost.value.resume}).content


def async_again(url: str, alice: Wallet, book: SqliteBook) -> bytes:
    """With httpx under asyncio."""

    async def story() -> bytes:
        async with AsyncClient(wallet(toy=alice), LIMITS, book=book, trust_env=False, timeout=20) as client:
            with pytest.raises(PaymentOutcomeUnknown) as lost:
                await client.get(url)
            return (await client.get(url, extensions={"coinslot_resume": lost.value.resume})).content

    return asyncio.run(story())


def requests_again(url: str, alice: Wallet, book: SqliteBook) -> bytes:
    """With requests."""
    with requests.Session() as plain:
        plain.trust_env = False
        client = requests_door.pay(plain, wallet(toy=alice), LIMITS, book=book)
        with pytest.raises(PaymentOutcomeUnknown) as lost:
            client.get(url, timeout=20)
        return client.get(url, auth=requests_door.Resuming(lost.value.resume), timeout=20).content


DOORS = {"httpx": sync_again, "httpx-async": async_again, "requests": requests_again}


@pytest.mark.guard("T24", "F03")
@pytest.mark.parametrize("cut", [0, 11])
@pytest.mark.parametrize("door", DOORS)
def test_a_lost_stream_that_comes_again_is_paid_once(
    bank: Bank, alice: Wallet, book: SqliteBook, door: str, cut: int
) -> None:
    """Lost as a whole or in its midst: every byte comes, each word is paid for once, and a window ahead is signed at
    most."""
    shop = repeating(bank, alice, cut)
    with Site(shop) as site:
        assert DOORS[door](site.url, alice, book) == WHOLE
    held = only(book)
    record = shop.shop.till.store.find_channel(held.key).result()
    assert record is not None
    assert (record.spent, held.spent_units) == (WORDS * COST, WORDS * COST)
    assert held.signed_units <= (WORDS + WINDOW) * COST
    assert [one.method for one in site.paid].count("GET") == 2


@pytest.mark.guard("T24")
def test_what_was_agreed_to_before_the_loss_is_not_agreed_to_again(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """A server that charges anew for words that were paid for before gets the old ones and a window, and no more."""
    shop, cut = repeating(bank, alice, 11), 11

    def answer(seen: Seen) -> Reply:
        told = shop(seen)
        return told if len(shop.served) < cut or told.chunks is None else replace(told, chunks=asking(told.chunks))

    def asking(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for _ in range(cut):
            yield next(chunks)
        till = shop.shop.till
        record = till.store.find_channel(only(book).key).result()
        assert record is not None
        need = dict(till.seller.need(record, (cut + WINDOW) * COST + 1))
        yield b"event: payment-need-voucher\ndata: " + json.dumps(need).encode() + b"\n\n"

    with Site(answer) as site, pay(httpx.Client(trust_env=False), wallet(toy=alice), LIMITS, book=book) as client:
        with pytest.raises(PaymentOutcomeUnknown) as lost:
            client.get(site.url)
        signed = only(book).signed_units
        with pytest.raises(PolicyRefused, match="Nothing was signed"):
            client.get(site.url, extensions={"coinslot_resume": lost.value.resume})
    assert cut * COST <= signed == only(book).signed_units <= (cut + WINDOW) * COST


@pytest.mark.guard("T24")
@pytest.mark.parametrize("lost_after", ["commit", "directive"])
def test_a_delivery_that_was_paid_before_the_loss_is_not_paid_again(
    bank: Bank, alice: Wallet, book: SqliteBook, lost_after: str
) -> None:
    """Its directive and usage come again with the answer: paid once, whichever way the first one ended."""
    theirs = Meterer(SessionShop(SessionTill(bank, alice, counting=True)))
    theirs.events = [
        theirs.directive(),
        ("", {"word": 1}),
        ("mpp.usage", {"deliveryId": "d1", "amount": "2000"}),
        theirs.directive("1000", deliveryId="d2", sequence=2),
        ("", {"word": 2}),
    ]
    first: list[Reply] = []

    def answer(seen: Seen) -> Reply:
        if first and seen.method == "GET":
            return first[0]
        told = theirs(seen)
        if seen.method != "GET" or told.status != 200:
            return told
        first.append(told)
        pieces = told.body.split(b"\n\n")
        came = pieces[: 4 if lost_after == "commit" else 1]

        def broken() -> Iterator[bytes]:
            yield b"\n\n".join(came) + b"\n\n"
            raise BrokenPipeError

        return Reply(200, b"", (*told.headers, ("Connection", "close")), chunks=broken())

    with Site(answer) as site:
        plain = httpx.Client(trust_env=False, timeout=20)
        with pay(plain, wallet(toy=alice), Policy(max_deposit="0.5"), book=book) as client:
            with pytest.raises(PaymentOutcomeUnknown) as lost:
                client.get(f"{site.url}/words")
            assert len(theirs.commits) == (lost_after == "commit")
            text = client.get(f"{site.url}/words", extensions={"coinslot_resume": lost.value.resume}).text
    assert text == 'data: {"word": 1}\n\ndata: {"word": 2}\n\ndata: [DONE]\n\n'
    assert [json.loads(one.body)["deliveryId"] for one in theirs.commits] == ["d1", "d2"]
    assert only(book).signed_units == COST + 1 + 2_000 + 1_000


def test_a_policy_that_forbids_it_pays_nothing_more_of_a_stream_that_comes_again(
    bank: Bank, alice: Wallet, book: SqliteBook
) -> None:
    """What was paid for is fetched; beside it nothing is signed, and the observer is told why."""
    shop, events = repeating(bank, alice), list[Event]()
    shop.shop.till.price = replace(shop.shop.till.price, metering=Metering("word", window=WINDOW, patience_s=0.2))
    strict = replace(LIMITS, max_per_request="0.0001")
    first = pay(httpx.Client(trust_env=False), wallet(toy=alice), LIMITS, book=book)
    second = pay(httpx.Client(trust_env=False), wallet(toy=alice), strict, events.append, book)
    with Site(shop) as site, first, second:
        with pytest.raises(PaymentOutcomeUnknown) as lost:
            first.get(site.url)
        signed = only(book).signed_units
        answer = second.get(site.url, extensions={"coinslot_resume": lost.value.resume})
    assert answer.content.startswith(b"data: word 0\n\n")
    assert only(book).signed_units == signed
    assert any(isinstance(one, Declined) for one in events)
