"""What gets lost between a client with a channel and its server: watermarks stay, and nothing is paid for twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from coinslot.client.journey import Resume
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.drive import run
from coinslot.errors import PaymentOutcomeUnknown, PaymentRefused
from coinslot.intents.acts import Held, Standing
from coinslot.intents.session import Channel
from coinslot.server.price import Metering, Price
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import AsyncClient, pay, session
from support.cancel import task_cancelled_at
from support.cutting_proxy import CuttingProxy
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.strike import struck_at
from support.toybank import Bank
from support.toyproof import ProofSeller, proving_wallet

COST = 1_000
LIMITS = Policy(max_deposit="0.02")
Wallet = dict[str, Any]


@pytest.fixture
def shop(bank: Bank, alice: Wallet) -> SessionShop:
    """Sells every GET for a thousandth of a coin, from channels only."""
    return SessionShop(SessionTill(bank, alice))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def client_of(shop: SessionShop, book: SqliteBook, policy: Policy = LIMITS) -> httpx.Client:
    """A paying client."""
    plain = httpx.Client(trust_env=False, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
    return pay(plain, wallet(toy=shop.till.wallet), policy, book=book)


def only(book: SqliteBook) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


def record(shop: SessionShop, held: Held) -> Channel:
    """The channel as the server has it."""
    found = shop.till.store.find_channel(held.key).result()
    assert found is not None
    return found


@pytest.mark.guard("F03")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_lost_purchase_is_resumed_word_for_word(shop: SessionShop, book: SqliteBook, lost: str) -> None:
    """The same voucher under the same key: delivered once, spent once, and nothing more was signed."""
    with Site(shop) as site, closing(CuttingProxy(("127.0.0.1", urlsplit(site.url).port or 0))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/a"
        with client_of(shop, book) as client:
            client.get(url)
            (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"Authorization: Payment")
            with pytest.raises(PaymentOutcomeUnknown) as caught:
                client.get(url)
            assert only(book).signed_units == 2 * COST
            assert isinstance(caught.value.resume, Resume)
            answer = client.get(url, extensions={"coinslot_resume": caught.value.resume})
    assert (answer.status_code, answer.text) == (200, "words of /a 2")
    held = only(book)
    assert (held.signed_units, held.spent_units, len(shop.runs)) == (2 * COST, 2 * COST, 2)
    assert record(shop, held).spent == 2 * COST


@pytest.mark.guard("F03")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_lost_purchase_that_nobody_resumes_costs_its_price_at_most(
    shop: SessionShop, book: SqliteBook, lost: str
) -> None:
    """What the server did not take of it is used by the next request; what it took is not paid again."""
    with Site(shop) as site, closing(CuttingProxy(("127.0.0.1", urlsplit(site.url).port or 0))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/a"
        with client_of(shop, book) as client:
            client.get(url)
            (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"Authorization: Payment")
            with pytest.raises(PaymentOutcomeUnknown):
                client.get(url)
            assert client.get(url).status_code == 200
            assert client.get(url).status_code == 200
    held, delivered = only(book), len(shop.runs)
    assert delivered == (4 if lost == "answer" else 3)
    assert held.spent_units == record(shop, held).spent == delivered * COST
    assert held.signed_units <= 4 * COST


@pytest.mark.guard("F01", "F03")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_lost_opening_is_gone_on_with(shop: SessionShop, book: SqliteBook, bank: Bank, lost: str) -> None:
    """One deposit, whether the server got it or not: the next request goes on with the same channel."""
    with Site(shop) as site, closing(CuttingProxy(("127.0.0.1", urlsplit(site.url).port or 0))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/a"
        with client_of(shop, book) as client:
            (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"Authorization: Payment")
            with pytest.raises(PaymentOutcomeUnknown) as caught:
                client.get(url)
            pending = only(book)
            assert (pending.standing, pending.reference) == (Standing.OPENING, caught.value.reference)
            assert client.get(url).status_code == 200
    held = only(book)
    assert (held.key, held.standing, held.signed_units, held.opening) == (pending.key, Standing.OPEN, COST + 1, b"")
    assert bank.balance("alice", "coin") == 5_000_000 - held.deposit_units


@pytest.mark.guard("F01", "F03", "F10")
@pytest.mark.parametrize("stop", ["session.broadcast", "funding.noted"])
@pytest.mark.parametrize("act", ["open", "topUp"])
def test_a_move_that_the_chain_shows_and_the_server_has_not_recorded_is_gone_on_with(
    shop: SessionShop, book: SqliteBook, bank: Bank, act: str, stop: str
) -> None:
    """The server broke off between them: the next request brings it to its end there, and is served."""
    strike = [act == "open"]

    def answer(seen: Seen) -> Reply:
        if seen.credential and strike[0]:
            strike[0] = False
            with struck_at(stop):
                shop(seen)
            return Reply(drop="all")
        return shop(seen)

    with Site(answer) as site:
        if act == "topUp":
            with client_of(shop, book, Policy(max_deposit="0.001001")) as client:
                client.get(site.url)
            strike[0] = True
        with client_of(shop, book, Policy(max_deposit="0.005")) as client:
            with pytest.raises(PaymentOutcomeUnknown):
                client.get(site.url)
            pending = only(book)
            assert pending.opening
            assert client.get(site.url).status_code == 200
    held = only(book)
    assert (held.key, held.opening, record(shop, held).deposit) == (pending.key, b"", held.deposit_units)
    assert bank.balance("alice", "coin") == 5_000_000 - held.deposit_units


@pytest.mark.guard("F01", "F03")
def test_only_an_opening_that_is_dead_for_sure_is_given_up(
    bank: Bank, alice: Wallet, book: SqliteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it could still appear nothing is signed anew; afterwards it is lost, and another channel opened."""
    shop = SessionShop(SessionTill(bank, alice))
    broken = [True]

    def answer(seen: Seen) -> Reply:
        if seen.credential and broken[0]:
            return Reply(500)
        return shop(seen)

    with Site(answer) as site, client_of(shop, book) as client:
        with pytest.raises(PaymentOutcomeUnknown):
            client.get(site.url)
        first = only(book)
        assert first.standing is Standing.OPENING
        broken[0] = False
        monkeypatch.setattr("coinslot.drive.RealWorld.now", lambda _: (first.dead_after_s or 0) + 60)
        with pytest.raises(PaymentOutcomeUnknown, match="not certain"):
            client.get(site.url)
        assert only(book).standing is Standing.OPENING
        monkeypatch.setattr("coinslot.drive.RealWorld.now", lambda _: (first.dead_after_s or 0) + 200)
        assert client.get(site.url).status_code == 200
    assert {one.key: one.standing for one in book.all().result()}[first.key] is Standing.LOST


@pytest.mark.guard("F03")
def test_a_lost_top_up_is_seen_on_the_chain(shop: SessionShop, book: SqliteBook, bank: Bank) -> None:
    """Deposited once: the next request finds it there and goes on."""
    with Site(shop) as site, closing(CuttingProxy(("127.0.0.1", urlsplit(site.url).port or 0))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/a"
        with client_of(shop, book, Policy(max_deposit="0.001001")) as client:
            client.get(url)
        with client_of(shop, book, Policy(max_deposit="0.005")) as client:
            proxy.lose_answer(b"HEAD /a")
            with pytest.raises(PaymentOutcomeUnknown):
                client.get(url)
            assert only(book).opening
            assert client.get(url).status_code == 200
    held = only(book)
    assert (held.signed_units, held.opening) == (2 * COST, b"")
    assert bank.balance("alice", "coin") == 5_000_000 - held.deposit_units


@pytest.mark.guard("F03")
def test_a_stream_that_breaks_off_keeps_its_watermark(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """Named as a payment in doubt; the next stream uses up what was authorized and not delivered."""
    shop = SessionShop(SessionTill(bank, alice, metering=Metering("word", window=4, patience_s=5)), events=4)
    cut = [True]

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if reply.chunks is not None and cut[0]:
            cut[0] = False
            whole = next(reply.chunks)
            reply.chunks.close()  # type: ignore[attr-defined]  # as a door does when nobody listens
            return Reply(200, whole + b"x" * 99, reply.headers, drop="body")
        return reply

    with Site(answer) as site, client_of(shop, book, Policy(max_deposit="0.05", max_window=4)) as client:
        with pytest.raises(PaymentOutcomeUnknown), client.stream("GET", site.url) as broken:
            broken.read()
        before = only(book).signed_units
        with client.stream("GET", site.url) as good:
            assert good.read() == b"".join(b"data: word %d\n\n" % n for n in range(4))
    assert before <= only(book).signed_units <= 5 * COST + 4 * COST


@pytest.mark.guard("F29")
def test_a_cancelled_purchase_keeps_its_watermark_and_gives_its_turn_back(shop: SessionShop, book: SqliteBook) -> None:
    """A task that is cancelled while it waits for its answer: unknown, on record, and nobody waits for its lock."""
    hang, hung = [False], [False]

    def answer(seen: Seen) -> Reply:
        if seen.credential and seen.method == "GET" and hang[0]:
            hung[0] = True
            return Reply(200, drop="hang")
        return shop(seen)

    async def story(url: str) -> int:
        async with AsyncClient(wallet(toy=shop.till.wallet), LIMITS, book=book, trust_env=False) as client:
            await client.get(url)
            hang[0] = True
            task = asyncio.create_task(client.get(url))
            while not hung[0]:  # it has come there, and was signed before
                await asyncio.sleep(0.01)
            assert (await asyncio.wrap_future(book.all()))[0].signed_units >= 2 * COST
            task.cancel()
            with pytest.raises(PaymentOutcomeUnknown):
                await task
            hang[0] = False
            return (await client.get(url)).status_code

    with Site(answer) as site:
        assert asyncio.run(story(site.url)) == 200
        site.released.set()
    held = only(book)
    assert held.spent_units == record(shop, held).spent == 2 * COST
    assert held.signed_units <= 3 * COST


@pytest.mark.guard("F29", "F01", "F03")
def test_cancelled_at_any_await_the_next_request_goes_on(shop: SessionShop, tmp_path: Path) -> None:
    """For every n: whatever was signed is on record, no turn stays taken, and both cost their price at most."""

    async def main(step: int, url: str, book: SqliteBook) -> str:
        async with AsyncClient(wallet(toy=shop.till.wallet), LIMITS, book=book, trust_env=False) as client:
            try:
                await task_cancelled_at(step, client.get(url))
            except asyncio.CancelledError:
                end = "cancelled"
            except PaymentOutcomeUnknown:
                end = "unknown"
            else:
                return "done"
            assert (await asyncio.wait_for(client.get(url), 60)).status_code == 200
            return end

    ends = []
    with Site(shop) as site:
        for step in range(1, 300):
            book = SqliteBook(tmp_path / f"{step}.sqlite")
            ends.append(asyncio.run(main(step, f"{site.url}/{step}", book)))
            held = only(book)
            assert held.signed_units <= 2 * COST + 1
            assert record(shop, held).accepted <= held.signed_units
            assert record(shop, held).spent <= 2 * COST
            book.close()
            if ends[-1] == "done":
                break
    assert {"cancelled", "unknown", "done"} == set(ends)


def test_a_close_that_is_lost_is_asked_for_again(shop: SessionShop, book: SqliteBook) -> None:
    """Written down before it is asked for: nothing more is bought on it, and asking again finds it closed."""
    with Site(shop) as site, closing(CuttingProxy(("127.0.0.1", urlsplit(site.url).port or 0))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/a"
        with client_of(shop, book) as client, session(client, url, max_deposit="0.02") as paid:
            paid.get()
            proxy.lose_answer(b"HEAD /a")
            with pytest.raises(PaymentOutcomeUnknown):
                paid.close()
            assert only(book).standing is Standing.CLOSING
            paid.close()
    assert only(book).standing is Standing.CLOSED
    assert shop.till.bank.balance("shop", "coin") == COST


def test_a_channel_that_is_gone_is_replaced_once_the_chain_agrees(
    shop: SessionShop, book: SqliteBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410 and a closed channel: this request is bought from a new one. 410 alone: refused, and the channel stays."""
    lying, other = [False], SqliteBook(tmp_path / "other.sqlite")

    def answer(seen: Seen) -> Reply:
        if seen.credential and lying[0]:
            return Reply(410)
        return shop(seen)

    monkeypatch.setattr("coinslot.client.channels.SECOND_LOOK_S", 0)
    with Site(answer) as site, client_of(shop, book) as client:
        client.get(site.url)
        lying[0] = True
        with pytest.raises(PaymentRefused):
            client.get(site.url)
        assert only(book).standing is Standing.OPEN
        lying[0] = False
        with client_of(shop, other) as elsewhere, session(elsewhere, site.url, max_deposit="0.02") as paid:
            other.adopt(only(book)).result()
            paid.get()
            paid.close()
        assert client.get(site.url).status_code == 200
    assert sorted(one.standing for one in book.all().result()) == [Standing.CLOSED, Standing.OPEN]
    other.close()


@pytest.mark.guard("F04")
@pytest.mark.spec("TSES-034", "SSES-065")
@pytest.mark.parametrize("closing_there", [False, True])
def test_a_channel_that_a_server_reminds_of_is_looked_at_on_the_chain(
    shop: SessionShop, tmp_path: Path, closing_there: bool
) -> None:
    """After the book was lost: one that is open there is gone on with, in place of any other one is opened."""
    till = shop.till
    till.price = Price("0.001", till.price.sellers, provers=(ProofSeller(till.seller),))
    books = [SqliteBook(tmp_path / name) for name in ("before", "after")]

    def bought(book: SqliteBook) -> Held:
        plain = httpx.Client(trust_env=False, timeout=20)
        with pay(plain, proving_wallet(till), LIMITS, book=book) as client:
            assert client.get(f"{site.url}/a").status_code == 200
        return only(book)

    with Site(shop) as site:
        old = bought(books[0])
        if closing_there:  # by another program of the payer's; the server hasn't seen it yet
            asked = run(till.payer.request_close(old), till.world)
            run(till.payer.send(asked.raw), till.world)
        new = bought(books[1])
    assert (new.channel_id != old.channel_id) == closing_there
    assert new.spent_units == (COST if closing_there else 2 * COST)
    for one in books:
        one.close()


@pytest.mark.guard("F05")
def test_an_old_backup_catches_up_where_only_a_proven_account_is_told(shop: SessionShop, tmp_path: Path) -> None:
    """Some servers refuse a lower voucher and say nothing of the channel: a proof by HEAD brings our own signature."""
    shop.till.price = Price("0.001", shop.till.price.sellers, provers=(ProofSeller(shop.till.seller),))

    def discreet(seen: Seen) -> Reply:
        told = shop(seen)
        if told.status != 402 or seen.method == "HEAD" or seen.credential is None:
            return told
        headers = Message()
        for name, value in seen.headers.items():
            if name.lower() not in ("authorization", "payment-authorization"):
                headers[name] = value
        problem = b'{"type": "https://paymentauth.org/problems/verification-failed", "status": 402, "detail": "no"}'
        return replace(shop(replace(seen, headers=headers)), body=problem)

    def plain() -> httpx.Client:
        return httpx.Client(trust_env=False, timeout=20)

    purse = proving_wallet(shop.till)
    books = [SqliteBook(tmp_path / name) for name in ("now", "backup")]
    with Site(discreet) as site:
        with pay(plain(), purse, LIMITS, book=books[0]) as client:
            assert client.get(f"{site.url}/a").status_code == 200
            books[1].adopt(only(books[0])).result()
            assert [client.get(f"{site.url}/a").status_code for _ in range(3)] == [200] * 3
        with pay(plain(), purse, LIMITS, book=books[1]) as client:
            assert client.get(f"{site.url}/a").status_code == 200
    assert only(books[1]).signed_units == only(books[1]).spent_units == 5 * COST
    for one in books:
        one.close()
