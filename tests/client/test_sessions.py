"""Paying from a channel: our client and our gate over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from coinslot.client.events import Authorized, Closed, Event, Opened, Paid, ToppedUp
from coinslot.client.purse import Policy, Quote
from coinslot.client.wallet import wallet
from coinslot.core.challenge import KeyRing
from coinslot.core.credential import Credential
from coinslot.errors import PolicyRefused
from coinslot.intents.acts import Standing
from coinslot.server.price import Metering
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import AsyncClient, Client, pay, session
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.till import SECRET, token_of
from support.toybank import Bank

Wallet = dict[str, Any]
COST = 1_000
LIMITS = Policy(max_deposit="0.01")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "book" / "channels.sqlite")
    yield made
    made.close()


@pytest.fixture
def shop(bank: Bank, alice: Wallet) -> SessionShop:
    """Sells every GET for a thousandth of a coin, from channels only."""
    return SessionShop(SessionTill(bank, alice))


def words(shop: SessionShop, **table: Any) -> SessionShop:
    """A shop that streams words for a thousandth each."""
    till = shop.till
    return SessionShop(SessionTill(till.bank, till.wallet, metering=Metering("word", window=4, patience_s=20), **table))


def client_of(shop: SessionShop, book: Any, policy: Policy = LIMITS, events: list[Event] | None = None) -> httpx.Client:
    """A paying client of alice's."""
    told = events if events is not None else []
    plain = httpx.Client(trust_env=False, timeout=20)
    return pay(plain, wallet(toy=shop.till.wallet), policy, told.append, book)


def test_many_requests_are_paid_from_one_channel(shop: SessionShop, book: SqliteBook) -> None:
    """Opened once; then each request costs one voucher of one price, and no question before it."""
    events: list[Event] = []
    with Site(shop) as site, client_of(shop, book, events=events) as client:
        answers = [client.get(f"{site.url}/a?n={n}") for n in range(4)]
    assert [one.text for one in answers] == [f"words of /a?n={n} {n + 1}" for n in range(4)]
    held = book.all().result()[0]
    assert (held.signed_units, held.spent_units, held.acknowledged_units) == (4 * COST, 4 * COST, 4 * COST)
    assert (held.deposit_units, held.standing) == (10_000, Standing.OPEN)
    assert len(book.all().result()) == 1
    assert [seen.method for seen in site.seen].count("GET") == 5  # one question, four purchases
    assert sum(isinstance(one, Opened) for one in events) == 1
    assert [one.total_units for one in events if isinstance(one, Authorized)] == [
        COST,
        COST + 1,
        2 * COST,
        3 * COST,
        4 * COST,
    ]
    paid = answers[3].extensions["coinslot"]
    assert isinstance(paid, Paid)
    assert (paid.terms.amount_units, paid.reference) == (COST, held.channel_id)


def test_another_process_goes_on_with_the_channel(shop: SessionShop, tmp_path: Path) -> None:
    """What was written down is found again: the next program opens nothing."""
    path = tmp_path / "channels.sqlite"
    with Site(shop) as site:
        for _ in range(2):
            with client_of(shop, path) as client:
                client.get(f"{site.url}/a")
    book = SqliteBook(path)
    assert [one.signed_units for one in book.all().result()] == [2 * COST]
    assert path.stat().st_mode & 0o777 == 0o600
    book.close()


def test_without_a_limit_no_channel_is_opened(shop: SessionShop, book: SqliteBook) -> None:
    """max_deposit says yes to sessions; without it nothing is signed."""
    with (
        Site(shop) as site,
        client_of(shop, book, Policy()) as client,
        pytest.raises(Exception, match="signed") as caught,
    ):
        client.get(site.url)
    assert "coinslot.errors" in type(caught.value).__module__
    assert book.all().result() == []


def test_a_wish_for_more_deposit_is_only_a_wish(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """The server suggests half a coin; the policy says a hundredth."""
    till = SessionTill(bank, alice)
    till.price = replace(till.price, deposit=Decimal("0.5"))
    with Site(SessionShop(till)) as site, client_of(SessionShop(till), book) as client:
        client.get(site.url)
    assert book.all().result()[0].deposit_units == 10_000


@pytest.mark.spec("TSES-034", "TSES-035", "TSES-068")
def test_a_channel_that_runs_low_is_topped_up_within_the_policy(shop: SessionShop, book: SqliteBook) -> None:
    """Deposits follow what is bought, and end where max_deposit ends."""
    events: list[Event] = []
    with Site(shop) as site:
        with client_of(shop, book, Policy(max_deposit="0.002"), events) as client:
            for _ in range(2):
                client.get(site.url)
            with pytest.raises(PolicyRefused, match="max_deposit"):
                client.get(site.url)
        with client_of(shop, book, Policy(max_deposit="0.005"), events) as client:
            assert client.get(site.url).status_code == 200
    held = book.all().result()[0]
    assert (held.deposit_units, held.signed_units) == (4_000, 3 * COST)
    assert sum(isinstance(one, ToppedUp) for one in events) == 1
    (added,) = [one for one in presented(site) if one.payload_object()["action"] == "topUp"]
    assert KeyRing((SECRET,)).issued(added.challenge)


def presented(site: Site) -> list[Credential]:
    """What came with the requests of a site."""
    return [token_of(seen.credential) for seen in site.seen if seen.credential]


def test_a_session_object_says_what_it_cost_and_closes(shop: SessionShop, book: SqliteBook) -> None:
    """spent and deposit in whole tokens; close brings back what was not spent."""
    events: list[Event] = []
    before = shop.till.bank.balance("alice", "coin")
    with Site(shop) as site, client_of(shop, book, Policy(), events) as client:
        with session(client, f"{site.url}/a/", max_deposit="0.01") as paid:
            assert paid.get("b").text == "words of /a/b 1"
            paid.get("b")
            assert (str(paid.spent), str(paid.deposit)) == ("0.002", "0.01")
            paid.close()
        assert book.all().result()[0].standing is Standing.CLOSED
    assert shop.till.bank.balance("alice", "coin") == before - 2 * COST
    assert shop.till.bank.balance("shop", "coin") == 2 * COST
    assert sum(isinstance(one, Closed) for one in events) == 1


def test_a_session_can_be_topped_up(shop: SessionShop, book: SqliteBook) -> None:
    """By whole tokens, up to max_deposit and no further."""
    with Site(shop) as site, client_of(shop, book, Policy(max_deposit="0.002")) as client:
        session(client, site.url, max_deposit="0.002").get()
        with session(client, site.url, max_deposit="0.005") as paid:
            paid.get()
            paid.top_up("0.003")
            assert str(paid.deposit) == "0.005"
            with pytest.raises(PolicyRefused):
                paid.top_up("0.001")
    assert book.all().result()[0].deposit_units == 5_000


def test_a_session_has_its_own_budget(shop: SessionShop, book: SqliteBook) -> None:
    """Less than the deposit, if need be."""
    with Site(shop) as site, client_of(shop, book, Policy()) as client:
        paid = session(client, site.url, max_deposit="0.01", budget="0.002")
        paid.get()
        paid.get()
        with pytest.raises(PolicyRefused, match="budget"):
            paid.get()
        assert session(client, site.url, max_deposit="0.01").get().status_code == 200


def test_a_days_budget_holds_over_all_programs(shop: SessionShop, book: SqliteBook) -> None:
    """What vouchers add up to is counted in the book."""
    policy = Policy(max_deposit="0.01", max_per_day_and_origin="0.002")
    with Site(shop) as site:
        for _ in range(2):
            with client_of(shop, book, policy) as client:
                client.get(site.url)
        with client_of(shop, book, policy) as client, pytest.raises(PolicyRefused, match="budget"):
            client.get(site.url)


def test_streams_are_paid_while_they_come(shop: SessionShop, book: SqliteBook) -> None:
    """The words arrive whole, the payment events don't, and what was spent is what was delivered."""
    streaming = words(shop)
    policy = Policy(max_deposit="0.1", max_window=4)
    with (
        Site(streaming) as site,
        client_of(streaming, book, policy) as client,
        client.stream("GET", f"{site.url}/chat") as answer,
    ):
        lines = [line for line in answer.iter_lines() if line]
    assert lines == [f"data: word {n}" for n in range(10)]
    held = book.all().result()[0]
    assert held.spent_units == 10 * COST
    assert held.signed_units <= (10 + 4) * COST
    assert streaming.till.store.find_channel(held.key).result().spent == 10 * COST  # type: ignore[union-attr]


def test_streams_are_paid_under_asyncio_too(shop: SessionShop, book: SqliteBook) -> None:
    """The same, and two at once on one channel."""
    streaming = words(shop)

    async def read(client: httpx.AsyncClient, url: str) -> list[str]:
        async with client.stream("GET", url) as answer:
            return [line async for line in answer.aiter_lines() if line]

    async def both(url: str) -> list[list[str]]:
        policy = Policy(max_deposit="0.1", max_window=4)
        async with AsyncClient(wallet(toy=streaming.till.wallet), policy, book=book, trust_env=False) as client:
            return list(await asyncio.gather(read(client, url), read(client, url)))

    with Site(streaming) as site:
        found = asyncio.run(both(f"{site.url}/chat"))
    assert found == [[f"data: word {n}" for n in range(10)]] * 2
    held = book.all().result()[0]
    assert streaming.till.store.find_channel(held.key).result().spent == 20 * COST  # type: ignore[union-attr]
    assert held.signed_units <= (20 + 8) * COST


def test_streams_are_paid_with_requests_too(shop: SessionShop, book: SqliteBook) -> None:
    """And its session object closes."""
    streaming = words(shop)
    with Site(streaming) as site, requests.Session() as plain:
        plain.trust_env = False
        paying = requests_door.pay(plain, wallet(toy=streaming.till.wallet), book=book)
        with requests_door.session(paying, site.url, max_deposit="0.05") as paid:
            answer = paid.get("/chat", stream=True)
            lines = [line.decode() for line in answer.iter_lines() if line]
            assert lines == [f"data: word {n}" for n in range(10)]
            assert paid.spent_units == 10 * COST
            paid.close("/chat")
    assert shop.till.bank.balance("shop", "coin") == 10 * COST
    assert book.all().result()[0].standing is Standing.CLOSED


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_tasks_take_turns_on_one_channel(shop: SessionShop, book: SqliteBook, kind: str) -> None:
    """Twenty at once: each pays its own price, none twice, and nothing more was signed."""
    used = MemoryBook() if kind == "memory" else book
    policy = Policy(max_deposit="0.1")

    async def all_of_them(url: str) -> list[int]:
        async with AsyncClient(wallet(toy=shop.till.wallet), policy, book=used, trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/{n}") for n in range(20)))
            return [one.status_code for one in answers]

    with Site(shop) as site:
        assert asyncio.run(all_of_them(site.url)) == [200] * 20
    (held,) = used.all().result()
    assert (held.signed_units, held.spent_units, len(shop.runs)) == (20 * COST, 20 * COST, 20)


def test_a_charge_is_preferred_until_a_channel_is_open(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """Both are offered: a charge by default, a session where it is preferred, and then the open channel."""
    shop = SessionShop(SessionTill(bank, alice, charge=True))
    seen: list[str] = []

    def answer(request: Seen) -> Reply:
        if request.credential:
            seen.append(request.method)
        return shop(request) if request.method == "HEAD" or not charged(request) else Reply(200, b"charged")

    def charged(request: Seen) -> bool:
        return request.credential is not None and token_of(request.credential).challenge.intent == "charge"

    with Site(answer) as site:
        with client_of(shop, book) as client:
            assert client.get(site.url).text == "charged"
        with client_of(shop, book, replace(LIMITS, prefer_sessions=True)) as client:
            assert client.get(site.url).text.startswith("words")
        with client_of(shop, book) as client:
            assert client.get(site.url).text.startswith("words")


def test_a_client_class_is_one_that_pays(shop: SessionShop, book: SqliteBook) -> None:
    """Client(...).session(...) without a word of set-up."""
    with (
        Site(shop) as site,
        Client(wallet(toy=shop.till.wallet), book=book, trust_env=False) as client,
        client.session(site.url, max_deposit="0.01", close=True) as paid,
    ):
        assert paid.get("/x").text == "words of /x 1"
    assert book.all().result()[0].standing is Standing.CLOSED


@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_closing_takes_what_was_spent_and_no_more(bank: Bank, alice: Wallet, book: SqliteBook, flavour: str) -> None:
    """Much was authorized ahead: the closing voucher says what was spent, also where all that it says is taken."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4, patience_s=10), flavour=flavour)
    shop = SessionShop(till, events=10)
    with Site(shop) as site, client_of(shop, book, Policy()) as client:
        paid = session(client, site.url, max_deposit="0.1")
        with paid.stream("GET") as answer:
            answer.read()
        assert paid.authorized_units > 20 * COST
        paid.close()
    assert bank.balance("shop", "coin") == 10 * COST
    assert bank.balance("alice", "coin") == 5_000_000 - 10 * COST


def test_a_price_that_changes_is_paid_if_the_policy_says_so(shop: SessionShop, book: SqliteBook) -> None:
    """A remembered challenge that is out of date costs nothing more than the new price."""
    with Site(shop) as site, client_of(shop, book) as client:
        client.get(site.url)
        shop.till.price = replace(shop.till.price, amount="0.0015")
        assert client.get(site.url).status_code == 200
        assert client.get(site.url).status_code == 200
    (held,) = book.all().result()
    assert (held.signed_units, held.spent_units) == (4_000, 4_000)


def test_open_channels_together_hold_no_more_than_allowed(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """max_locked counts the deposits of all channels of an asset."""
    bank.open("other")
    shops = [SessionShop(SessionTill(bank, alice, recipient=who)) for who in ("shop", "other")]
    policy = Policy(max_deposit="0.01", max_locked="0.0125")
    with Site(shops[0]) as one, Site(shops[1]) as other, client_of(shops[0], book, policy) as client:
        client.get(one.url)
        client.get(other.url)
        assert sorted(held.deposit_units for held in book.all().result()) == [2_500, 10_000]
        client.get(other.url)
        with pytest.raises(PolicyRefused, match="max_locked"):
            client.get(other.url)


def test_a_session_asks_its_owner_each_time(shop: SessionShop, book: SqliteBook) -> None:
    """approve is asked for every request, also where no 402 came before it."""
    asked: list[int] = []

    def approve(quote: Quote) -> bool:
        asked.append(quote.terms.amount_units)
        return len(asked) < 3

    with Site(shop) as site, client_of(shop, book, replace(LIMITS, approve=approve)) as client:
        client.get(site.url)
        client.get(site.url)
        with pytest.raises(PolicyRefused):
            client.get(site.url)
    assert asked == [COST] * 3
    assert book.all().result()[0].signed_units == 2 * COST


def test_a_page_that_became_free_is_asked_for_like_one(shop: SessionShop, book: SqliteBook) -> None:
    """An answer without a receipt ends what was remembered of a path."""
    free = [False]
    with Site(lambda seen: Reply(200, b"free") if free[0] else shop(seen)) as site, client_of(shop, book) as client:
        client.get(site.url)
        free[0] = True
        client.get(site.url)
        client.get(site.url)
        assert [one.credential is not None for one in site.seen][-2:] == [True, False]


@pytest.mark.guard("T37")
def test_no_voucher_goes_over_plain_http(shop: SessionShop, book: SqliteBook) -> None:
    """Neither for a request nor to close."""
    sent: list[httpx.Request] = []

    def everywhere(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(402, headers=offer)

    with Site(shop) as site, client_of(shop, book) as client, session(client, site.url, max_deposit="0.01") as used:
        offer = [
            ("www-authenticate", one)
            for one in httpx.get(site.url, trust_env=False).headers.get_list("www-authenticate")
        ]
        used.get()
        plain = httpx.Client(transport=httpx.MockTransport(everywhere))
        with pay(plain, wallet(toy=shop.till.wallet), LIMITS, book=book) as elsewhere:
            with pytest.raises(PolicyRefused, match="encrypted"):
                elsewhere.get("http://shop.example/")
            there = session(elsewhere, "http://shop.example/", max_deposit="0.01")
            there._purse.tally.begin(book.all().result()[0], shop.till.payer.terms(shop.till.challenge()).asset)
            with pytest.raises(PolicyRefused, match="encrypted"):
                there.close()
    assert all("authorization" not in one.headers for one in sent)
    assert book.all().result()[0].standing is Standing.OPEN
