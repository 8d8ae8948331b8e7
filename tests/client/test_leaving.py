"""Streams whose reader leaves early: what came by then is paid, once, and no more than was agreed to."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from coinslot.client import committing, owing
from coinslot.client.debts import MAX_DEBTS, Debt, Debts
from coinslot.client.events import Declined, Event, Refused, Unknown
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.client.watermark import Agreed
from coinslot.errors import PaymentOutcomeUnknown, PaymentRefused
from coinslot.intents.deliveries import COMMIT_PATH
from coinslot.store.book import scope_of
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import PayingTransport, pay, session
from support.cancel import task_cancelled_at
from support.meterer import COST, Meterer, only, watermark
from support.sessionsite import SessionShop
from support.sessiontill import Counting, SessionTill
from support.site import Reply, Seen, Site
from support.toybank import Bank

Wallet = dict[str, Any]
DOORS = ["httpx", "httpx-async", "requests"]


@pytest.fixture
def theirs(bank: Bank, alice: Wallet) -> Iterator[Meterer]:
    """One that streams three words, wants up to five thousand units for them, and does not end."""
    released = threading.Event()
    made = Meterer(SessionShop(SessionTill(bank, alice, counting=True)), released=released)
    made.events = [made.directive("5000"), *(("", {"word": number}) for number in (1, 2, 3))]
    yield made
    released.set()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


class Leaver:
    """A client that reads so many words of a stream and leaves it."""

    def __init__(self, kind: str, theirs: Meterer, book: SqliteBook, **limits: Any) -> None:
        self.kind, self.wallet, self.book = kind, wallet(toy=theirs.shop.till.wallet), book
        self.policy = Policy(**{"max_deposit": "0.5", **limits})
        self.events: list[Event] = []

    def read(self, url: str, words: int, then: Callable[[], None] = lambda: None, *after: str) -> None:
        """Read them, do something, leave; `after`: then requests of the same client."""
        if self.kind == "httpx-async":
            asyncio.run(self._async(url, words, then, after))
            return
        if self.kind == "requests":
            self._requests(url, words, then, after)
            return
        plain = httpx.Client(trust_env=False, timeout=20)
        with pay(plain, self.wallet, self.policy, self.events.append, self.book) as client:
            with client.stream("GET", url) as answer:
                lines = answer.iter_lines()
                for _ in range(words):
                    _word(lines)
                then()
            for each in after:
                assert client.get(each).status_code == 200

    async def _async(self, url: str, words: int, then: Callable[[], None], after: Sequence[str]) -> None:
        plain = httpx.AsyncClient(trust_env=False, timeout=20)
        async with pay(plain, self.wallet, self.policy, self.events.append, self.book) as client:
            async with client.stream("GET", url) as answer:
                left, lines = words, answer.aiter_lines()
                while left:
                    left -= (await anext(lines)).startswith("data:")
                then()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for each in after:
                assert (await client.get(each)).status_code == 200

    def _requests(self, url: str, words: int, then: Callable[[], None], after: Sequence[str]) -> None:
        with requests.Session() as plain:
            plain.trust_env = False
            client = requests_door.pay(plain, self.wallet, self.policy, self.events.append, self.book)
            with client.get(url, stream=True, timeout=20) as answer:
                lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
                for _ in range(words):
                    _word(lines)
                then()
            for each in after:
                assert client.get(each, timeout=20).status_code == 200

    def told(self, kind: type[Event]) -> list[Event]:
        """The events of one kind."""
        return [one for one in self.events if isinstance(one, kind)]


def _word(lines: Iterator[str]) -> None:
    while not next(lines).startswith("data:"):
        pass


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Each kind of client."""
    kind: str = request.param
    return kind


@pytest.mark.guard("T24")
def test_what_came_before_its_reader_left_is_paid(theirs: Meterer, book: SqliteBook, door: str) -> None:
    """By our own count, less than the directive said; one commit, when the connection is closed."""
    theirs.answers = [{"amount": "3000"}]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3)
    assert len(theirs.commits) == 1
    assert watermark(book) == (3_000, 3_000, 3_000)
    assert only(book).opening == b""


@pytest.mark.guard("T24")
@pytest.mark.parametrize("words", [1, 2])
def test_fewer_words_cost_less(theirs: Meterer, book: SqliteBook, words: int) -> None:
    """What had come with them when the reader left, no more."""
    theirs.events = theirs.events[: 1 + words]
    reader = Leaver("httpx", theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", words)
    assert watermark(book)[:2] == (words * COST, words * COST)


def test_an_exception_of_its_reader_is_its_readers(theirs: Meterer, book: SqliteBook, door: str) -> None:
    """It comes through as it is, and what came is paid."""

    def fail() -> None:
        raise KeyError("mine")

    reader = Leaver(door, theirs, book)
    with Site(theirs) as site, pytest.raises(KeyError, match="mine"):
        reader.read(f"{site.url}/words", 3, fail)
    assert watermark(book)[:2] == (3_000, 3_000)


@pytest.mark.parametrize(("usage", "paid"), [("1500", 1_500), ("4000", 4_000), ("0", 0)])
def test_a_usage_counts_where_it_was_told(theirs: Meterer, book: SqliteBook, usage: str, paid: int) -> None:
    """It came, so it is what the delivery came to."""
    theirs.events += [("mpp.usage", {"deliveryId": "d1", "amount": usage}), ("", {"word": 4})]
    reader = Leaver("httpx", theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 4)
    assert (watermark(book)[0], len(theirs.commits)) == (paid, bool(paid))


def test_deliveries_before_the_one_that_ran_are_paid_as_ever(theirs: Meterer, book: SqliteBook, door: str) -> None:
    """What came of the last one is counted from its own directive on."""
    second = theirs.directive("5000", deliveryId="d2", sequence=2)
    theirs.events = [theirs.directive("500"), ("", {"word": 1}), ("", {"word": 2}), second, ("", {"word": 3})]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3)
    assert [json.loads(one.body)["deliveryId"] for one in theirs.commits] == ["d1", "d2"]
    assert watermark(book)[:2] == (1_500, 1_500)


@pytest.mark.guard("T24")
def test_nothing_is_paid_where_nothing_came(theirs: Meterer, book: SqliteBook, door: str) -> None:
    """A directive alone costs nothing, nor does a stream without one."""
    theirs.events = [("", {"word": 1}), theirs.directive("5000")]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 1, lambda: time.sleep(0))
        reader.read(f"{site.url}/words", 0)
    assert (theirs.commits, only(book).opening) == ([], b"")


@pytest.mark.guard("T24", "T46")
@pytest.mark.parametrize(("directive", "most"), [("5000", 5_000), ("3000", 3_000), ("900000", 130_000)])
def test_a_server_that_had_sent_more_is_paid_up_to_what_was_agreed(
    theirs: Meterer, book: SqliteBook, directive: str, most: int
) -> None:
    """Asked for by a 402, at most once: the directive, or what came and a window ahead. The last word is final."""
    theirs.events[0] = theirs.directive(directive)
    theirs.events = theirs.events[:3]
    theirs.answers = [402, 402]
    reader = Leaver("httpx", theirs, book, max_deposit="1")
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 2)
    totals = [int(json.loads(one.body)["cumulativeAmount"]) for one in theirs.commits]
    assert [total - COST - 1 for total in totals] == [2_000, most]
    assert (watermark(book)[0], only(book).opening) == (most, b"")
    (told,) = reader.told(Refused)
    assert isinstance(told, Refused)
    assert "refused the voucher for a delivery" in told.reason


@pytest.mark.guard("T22", "T24")
@pytest.mark.parametrize(
    ("limits", "signed"),
    [
        ({"max_per_request": "0.002"}, 0),
        ({"max_per_request": "0.0045"}, 3_000),
        ({"max_per_day": "0.002"}, 0),
        ({"max_per_day": "0.0045"}, 3_000),
    ],
)
def test_the_limits_hold_for_who_leaves(theirs: Meterer, book: SqliteBook, limits: dict[str, Any], signed: int) -> None:
    """Of one request and of a day, also for what a server had sent ahead; the observer hears that it was not paid."""
    theirs.answers = [402, 402]
    reader = Leaver("httpx", theirs, book, **limits)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3)
    assert (watermark(book)[0], len(theirs.commits)) in {(signed, bool(signed)), (3_500, 2)}
    assert watermark(book)[0] <= 3_500
    assert len(reader.told(Declined)) + len(reader.told(Refused)) == 1
    assert only(book).opening == b""


@pytest.mark.guard("F14")
def test_a_server_that_has_not_heard_of_it_is_paid_before_the_next_request(
    theirs: Meterer, book: SqliteBook, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 on leaving is no error, and stands in nobody's way; in the end it is paid, once."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.1)
    theirs.answers = [409, 409, {"amount": "3000"}]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3, lambda: None, *[f"{site.url}/other"] * 3)
        order = ["commit" if one.path.startswith(COMMIT_PATH) else "buy" for one in site.seen if one.credential]
    assert order[-6:] == ["commit", "commit", "buy", "commit", "buy", "buy"]
    assert reader.told(Unknown) == []
    held = only(book)
    assert (held.opening, held.spent_units) == (b"", 2 * COST + 3_000)  # as far as this server counts commits
    assert held.signed_units <= COST + 2 * 3_000 + 5  # what was signed and not taken is used up by what comes next


@pytest.mark.guard("F03")
def test_a_commit_in_doubt_goes_out_again_by_whoever_is_next(
    theirs: Meterer, book: SqliteBook, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on record: the same bytes, by another client with the same book, before it pays anything."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.1)
    theirs.answers = [500]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3)
        assert len(reader.told(Unknown)) == 1
        assert watermark(book) == (3_000, 0, 0)
        with pay(httpx.Client(trust_env=False), reader.wallet, reader.policy, book=book) as other:
            assert other.get(f"{site.url}/other").status_code == 200
    assert len({one.body for one in theirs.commits}) == 1
    assert (only(book).acknowledged_units, only(book).opening) == (2 * COST + 3_000, b"")


def test_leaving_is_over_in_some_seconds(
    theirs: Meterer, book: SqliteBook, door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a server takes the voucher and never answers: it is on record."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.2)
    monkeypatch.setattr(committing, "LEAST_WAIT_S", 0.4)
    theirs.answers = ["hang"]
    reader = Leaver(door, theirs, book)
    with Site(theirs) as site:
        began = time.monotonic()
        reader.read(f"{site.url}/words", 3)
        assert time.monotonic() - began < 10
    assert watermark(book) == (3_000, 0, 0)
    assert committing.commit_of(only(book).opening) is not None


@pytest.mark.guard("F14")
def test_a_channel_that_is_busy_is_not_waited_for(
    theirs: Meterer, book: SqliteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request of the same client pays it, and first."""
    monkeypatch.setattr(owing, "LEAVE_TURN_S", 0.05)
    leases: list[Any] = []

    def busy() -> None:
        leases.append(book.try_lock(scope_of(only(book))))

    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        Site(theirs) as site,
        pay(plain, wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5"), book=book) as client,
    ):
        with client.stream("GET", f"{site.url}/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
            busy()
        assert theirs.commits == []
        leases.pop().release()
        assert client.get(f"{site.url}/other").status_code == 200
        assert len(theirs.commits) == 1
        order = [one.path.split("?")[0] for one in site.seen if one.credential][-2:]
        assert order[0].startswith("/__402")
        assert client.get(f"{site.url}/other").status_code == 200
    assert len(theirs.commits) == 1


def test_more_deposit_is_added_by_the_next_request_and_not_on_leaving(theirs: Meterer, book: SqliteBook) -> None:
    """Which takes a block."""
    till = theirs.shop.till
    till.price = Counting("0.001", till.price.sellers, deposit=Decimal("0.003"))
    reader = Leaver("httpx", theirs, book)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3)
        assert (theirs.commits, only(book).deposit_units) == ([], 3_000)
    with Site(theirs) as site:
        reader.read(f"{site.url}/words", 3, lambda: None, f"{site.url}/other")
    (commit,) = theirs.commits
    assert json.loads(commit.body)["deliveryId"] == "d1"
    assert only(book).deposit_units > 3_000


@pytest.mark.guard("F29")
def test_a_cancelled_reader_leaves_no_work_behind(theirs: Meterer, book: SqliteBook) -> None:
    """What came is paid while it is cancelled, and the cancellation is its own."""

    async def story(url: str) -> None:
        plain = httpx.AsyncClient(trust_env=False, timeout=20)
        async with pay(plain, wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5"), book=book) as client:
            came = asyncio.Event()

            async def read() -> None:
                async with client.stream("GET", url) as answer:
                    words = 0
                    async for line in answer.aiter_lines():
                        words += line.startswith("data:")
                        if words == 3:
                            came.set()

            task = asyncio.create_task(read())
            await came.wait()
            task.cancel()
            with pytest.raises((asyncio.CancelledError, PaymentOutcomeUnknown)):
                await task
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with Site(theirs) as site:
        asyncio.run(story(f"{site.url}/words"))
    assert len(theirs.commits) == 1
    assert watermark(book)[:2] == (3_000, 3_000)


@pytest.mark.guard("F03", "F29")
def test_who_is_cancelled_again_while_he_pays_has_it_on_record(theirs: Meterer, book: SqliteBook) -> None:
    """The commit is in the book, the cancellation is heard at once, and the next request posts the same, once."""
    theirs.answers = ["hang", {"amount": "3000"}]

    async def story(url: str, site: Site) -> None:
        plain = httpx.AsyncClient(trust_env=False, timeout=20)
        async with pay(plain, wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5"), book=book) as client:

            async def read() -> None:
                async with client.stream("GET", url) as answer:
                    words = 0
                    async for line in answer.aiter_lines():
                        words += line.startswith("data:")
                        if words == 3:
                            return

            task = asyncio.create_task(read())
            while not theirs.commits:
                await asyncio.sleep(0.01)
            task.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - began < 3
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert watermark(book) == (3_000, 0, 0)
            assert (await client.get(f"{site.url}/other")).status_code == 200

    with Site(theirs) as site:
        asyncio.run(story(f"{site.url}/words", site))
    assert len({one.body for one in theirs.commits}) == 1
    assert len(theirs.commits) == 2
    assert only(book).opening == b""


@pytest.mark.guard("F14")
def test_an_answer_that_is_dropped_unread_is_paid_with_the_next_request(theirs: Meterer, book: SqliteBook) -> None:
    """Nobody closed it; nothing can be sent then, and it is not forgotten."""

    async def story(site: Site) -> None:
        plain = httpx.AsyncClient(trust_env=False, timeout=20)
        async with pay(plain, wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5"), book=book) as client:
            answer = await client.send(client.build_request("GET", f"{site.url}/words"), stream=True)
            lines = answer.aiter_raw()
            text = b""
            while text.count(b"data:") < 3:
                text += await anext(lines)
            del answer, lines
            gc.collect()
            await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert theirs.commits == []
            for _ in range(2):
                assert (await client.get(f"{site.url}/other")).status_code == 200

    with Site(theirs) as site:
        asyncio.run(story(site))
    assert len(theirs.commits) == 1


def test_a_session_that_is_closed_pays_what_it_left(
    theirs: Meterer, book: SqliteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its channel is closed."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.0)
    theirs.answers = [409, {"amount": "3000"}]
    plain = httpx.Client(trust_env=False, timeout=20)
    with Site(theirs) as site, pay(plain, wallet(toy=theirs.shop.till.wallet), book=book) as client:
        paid = session(client, site.url, max_deposit="0.5")
        with paid.stream("GET", "/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
        assert len(theirs.commits) == 1
        with suppress(PaymentOutcomeUnknown, PaymentRefused):  # this server knows nothing of commits when it closes
            paid.close("/words")
    assert len(theirs.commits) == 2
    assert only(book).spent_units == COST + 3_000


@pytest.mark.guard("F14", "T24")
def test_what_was_paid_on_leaving_is_not_paid_when_the_answer_comes_again(theirs: Meterer, book: SqliteBook) -> None:
    """Its reader asks for the same once more, by what was presented: the delivery is known, and paid."""
    theirs.answers = [{"amount": "3000"}]
    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        Site(theirs) as site,
        pay(plain, wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5"), book=book) as client,
    ):
        with client.stream("GET", f"{site.url}/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
            payment = answer.extensions["coinslot"]
        assert theirs.released is not None
        theirs.released.set()
        again = client.get(f"{site.url}/words", extensions={"coinslot_resume": payment.resume})
        assert again.status_code == 200
    assert len(theirs.commits) == 1
    assert watermark(book)[0] == 3_000


@pytest.mark.guard("F14", "F29")
def test_whoever_is_cancelled_at_any_wait_pays_each_delivery_once(theirs: Meterer, book: SqliteBook) -> None:
    """While it reads, leaves or commits: what came is paid by one voucher, then or with what follows."""
    made, policy = wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.9")
    outcomes: list[tuple[bool, int]] = []

    async def leave(client: httpx.AsyncClient, url: str, came: list[str]) -> None:
        async with client.stream("GET", url) as answer:
            lines = answer.aiter_lines()
            while len(came) < 3:
                line = await anext(lines)
                came += [line] if line.startswith("data:") else []

    async def story(site: Site, step: int) -> bool:
        theirs.events[0] = theirs.directive("5000", deliveryId=f"d{step}", sequence=step)
        theirs.commits.clear()
        came: list[str] = []
        async with pay(httpx.AsyncClient(trust_env=False, timeout=20), made, policy, book=book) as client:
            try:
                await task_cancelled_at(step, leave(client, f"{site.url}/words", came))
                whole = True
            except (asyncio.CancelledError, PaymentOutcomeUnknown):
                whole = False
            assert asyncio.all_tasks() == {asyncio.current_task()}
            gc.collect()
            await asyncio.sleep(0)
            with suppress(PaymentOutcomeUnknown):  # an opening that was cancelled is gone on with
                await client.get(f"{site.url}/other")
            await client.get(f"{site.url}/other")
        assert len({one.body for one in theirs.commits}) <= 1
        assert all(json.loads(one.body)["deliveryId"] == f"d{step}" for one in theirs.commits)
        assert only(book).opening == b""
        outcomes.append((len(came) == 3, bool(theirs.commits)))
        return whole

    with Site(theirs) as site:
        step = 1
        while not asyncio.run(story(site, step)):
            step += 1
    assert step > 20
    assert {paid for came, paid in outcomes if came} == {True}  # whoever had all of it has paid
    assert (False, False) in outcomes


@pytest.mark.guard("F14")
def test_what_comes_again_is_paid_at_its_end_and_not_before(
    theirs: Meterer, book: SqliteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owed since it was left, and asked for again by what was presented: one delivery, one payment, for all of it."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.0)
    theirs.answers = [409, {"amount": "5000"}]
    made, policy = wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5")
    plain = httpx.Client(trust_env=False, timeout=20)
    with Site(theirs) as site, pay(plain, made, policy, book=book) as client:
        with client.stream("GET", f"{site.url}/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
            payment = answer.extensions["coinslot"]
        resuming = {"coinslot_resume": payment.resume}
        with client.stream("GET", f"{site.url}/words", extensions=resuming) as again:
            lines = again.iter_lines()
            _word(lines)
            assert client.get(f"{site.url}/other").status_code == 200
            assert len(theirs.commits) == 1
            assert theirs.released is not None
            theirs.released.set()
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert client.get(f"{site.url}/other").status_code == 200
    assert len(theirs.commits) == 2


@pytest.mark.guard("F03")
def test_a_stream_that_its_server_breaks_off_is_not_paid(theirs: Meterer, book: SqliteBook, door: str) -> None:
    """In its midst, after words of it came: it may come again, and is paid then; nor is it paid by what follows."""
    theirs.released = None

    def cut(seen: Seen) -> Reply:
        reply = theirs(seen)
        return replace(reply, drop="body") if seen.path == "/words" and reply.status == 200 else reply

    theirs.events += [("", {"word": "long" * 200})]
    reader = Leaver(door, theirs, book)
    with Site(cut) as site:
        with pytest.raises((PaymentOutcomeUnknown, StopIteration, requests.exceptions.RequestException)):
            reader.read(f"{site.url}/words", 5)
        reader.read(f"{site.url}/short", 0, lambda: None, f"{site.url}/other")
    assert (theirs.commits, watermark(book)[0] <= 2 * COST) == ([], True)


@pytest.mark.guard("T37")
def test_another_site_of_the_same_payee_is_not_shown_it(
    theirs: Meterer, book: SqliteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is owed waits for its own site, though the channel is the same."""
    monkeypatch.setattr(owing, "LEAVE_S", 0.0)
    theirs.answers = [409, {"amount": "3000"}]
    made, policy = wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5")
    plain = httpx.Client(trust_env=False, timeout=20)
    with Site(theirs) as site, Site(theirs) as sister, pay(plain, made, policy, book=book) as client:
        with client.stream("GET", f"{site.url}/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
        assert client.get(f"{sister.url}/other").status_code == 200
        assert len(theirs.commits) == 1
        assert client.get(f"{site.url}/other").status_code == 200
        assert [one for one in sister.seen if one.path.startswith(COMMIT_PATH)] == []
    assert len(theirs.commits) == 2


@pytest.mark.guard("F28")
def test_so_many_debts_are_remembered() -> None:
    """The newest of a channel; each until it is dropped."""
    debts, agreed = Debts(), Agreed(0, 0)
    for number in range(MAX_DEBTS + 3):
        debts.owe("key", Debt("https://a", "https://a/c", f"d{number}", 1, 0, 9.0, agreed))
    assert [one.delivery_id for one in debts.of("key", "https://a")][:2] == ["d3", "d4"]
    assert len(debts.of("key", "https://a")) == MAX_DEBTS
    assert (debts.of("key", "https://b"), debts.of("other", "https://a")) == ([], [])
    for number in range(MAX_DEBTS + 3):
        debts.drop("key", f"d{number}")
        debts.drop("key", f"d{number}")
    assert debts == Debts()


@pytest.mark.guard("T24")
def test_what_a_leaver_pays_gives_no_other_stream_more(theirs: Meterer, book: SqliteBook) -> None:
    """Streams on one channel count together: what one's delivery was signed for, another may not ask for."""
    theirs.answers = [{"amount": "3000"}]
    made, policy = wallet(toy=theirs.shop.till.wallet), Policy(max_deposit="0.5")
    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        Site(theirs) as site,
        pay(plain, made, policy, book=book) as client,
        client.stream("GET", f"{site.url}/words") as stays,
    ):
        first = stays.iter_lines()
        _word(first)
        door = client._transport
        assert isinstance(door, PayingTransport)
        (streams,) = door.purse.desk.streams.values()
        with client.stream("GET", f"{site.url}/words") as answer:
            lines = answer.iter_lines()
            for _ in range(3):
                _word(lines)
            before = streams.flowing()
        streams.beside(only(book).signed_units)
        after = streams.flowing()
    assert len(theirs.commits) == 2
    assert before.basis_units + before.received_units == after.basis_units + after.received_units
