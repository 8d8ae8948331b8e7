"""Charges that the payer sends itself: written down first, gone on with after a loss, and never paid twice."""

from __future__ import annotations

import asyncio
import gc
import io
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from coinslot import drive
from coinslot.client.desk import Desk
from coinslot.client.events import Declined, Paid, Presented, Resumed
from coinslot.client.purse import Policy, Purse, Quote
from coinslot.client.wallet import as_wallet, wallet
from coinslot.errors import (
    ConfigError,
    NoPayableOffer,
    PaymentOutcomeUnknown,
    PaymentRefused,
    StoreBroken,
    StoreError,
)
from coinslot.method import Sending
from coinslot.store.book import Book, Lease, Named, PushedCharge
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import requests as requests_door
from coinslot.transports.httpx import PayingTransport, pay
from support.cancel import task_cancelled_at
from support.doors import Door
from support.shop import Shop, losing
from support.site import Reply, Seen, Site
from support.toy import ToyPayer
from support.toybank import Bank

MakeDoor = Callable[..., Door]


@pytest.fixture
def pushing(make_door: MakeDoor) -> Door:
    """A door of each kind whose payer sends its charges itself."""
    return make_door(push=True)


def left(path: Path | None) -> list[PushedCharge]:
    """What a book has in flight."""
    assert path is not None
    with closing(SqliteBook(path)) as book:
        return list(book.find_charges().result())


def never_comes(bank: Bank) -> None:
    """What is submitted next gets lost on its way, and so does the answer."""
    bank.order("drop")
    bank.order("lost-answer")


@pytest.mark.guard("F01", "F02")
def test_what_is_sent_is_on_record_before(pushing: Door, shop: Shop, bank: Bank) -> None:
    """The bytes and the credential, while the bank has seen nothing; and off the record when the answer was read."""
    seen: list[tuple[int, list[PushedCharge]]] = []

    def look(name: str) -> None:
        if name == "client.charge_recorded":
            seen.append((bank.submissions(), left(pushing.book)))

    drive.arm_failpoints(look)
    try:
        with Site(shop) as site:
            got = pushing.send("POST", f"{site.url}/x", content=b"body")
    finally:
        drive.arm_failpoints(None)
    ((submitted, (charge,)),) = seen
    assert submitted == 0
    assert isinstance(got.payment, Paid)
    assert (charge.reference, charge.origin, charge.units) == (got.payment.reference, site.url, 10_000)
    assert charge.header == ("Authorization", site.paid[0].credential)
    assert bank.settled() == 1
    assert left(pushing.book) == []
    assert charge.header[1] not in repr(charge)
    assert charge.raw.hex() not in repr(charge)
    assert pushing.book is not None
    assert not list(pushing.book.parent.rglob("*.lock"))  # F28


@pytest.mark.guard("F03", "F14")
@pytest.mark.parametrize("drop", ["all", "body"])
def test_who_asks_again_is_served_by_the_same_payment(pushing: Door, shop: Shop, bank: Bank, drop: str) -> None:
    """Whether the answer was lost whole or half: the same credential, nothing more is paid, and nobody is asked."""
    asked: list[Quote] = []

    def yes(quote: Quote) -> bool:
        asked.append(quote)
        return True

    pushing.policy = Policy(approve=yes)
    with Site(losing(shop, 1, drop)) as site:
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            pushing.send("POST", f"{site.url}/x", content=b"body")
        assert len(left(pushing.book)) == 1
        got = pushing.send("POST", f"{site.url}/x", content=b"body")
        assert (got.status, got.body) == (200, b"paid for /x")
        assert len({seen.credential for seen in site.paid}) == 1
        assert [one.reference for one in pushing.told(Resumed)] == [caught.value.reference]
        assert (bank.settled(), len(asked), left(pushing.book)) == (1, 1, [])
        pushing.send("POST", f"{site.url}/x", content=b"body")
    assert (bank.settled(), len(asked)) == (2, 2)


@pytest.mark.guard("F03", "F11")
def test_what_the_bank_may_have_is_sent_again_and_not_signed_again(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Its answer was lost, or it never came: the same bytes pay once."""
    with Site(shop) as site:
        for came in (True, False):
            bank.order("lost-answer") if came else never_comes(bank)
            with pytest.raises(PaymentOutcomeUnknown) as caught:
                pushing.get(f"{site.url}/{came}")
            before = bank.settled()
            got = pushing.get(f"{site.url}/{came}")
            assert isinstance(got.payment, Paid)
            assert got.payment.reference == caught.value.reference
            assert bank.settled() - before == (not came)
    assert len(site.paid) == 2
    assert left(pushing.book) == []


@pytest.mark.guard("F13")
def test_what_never_landed_and_never_will_is_paid_anew(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Its time is past by the bank's own clock."""
    with Site(shop) as site:
        never_comes(bank)
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            pushing.get(site.url)
        bank.skew(3600)
        shop.valid_s = 7200
        got = pushing.get(site.url)
    assert isinstance(got.payment, Paid)
    assert got.payment.reference != caught.value.reference
    assert (bank.settled(), left(pushing.book)) == (1, [])


@pytest.mark.guard("F12")
def test_what_is_refused_now_may_be_on_its_way(pushing: Door, shop: Shop, bank: Bank) -> None:
    """A refusal of what may have been sent before proves nothing while it can still land."""
    with Site(shop) as site:
        never_comes(bank)
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(site.url)
        bank.order("refuse")
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(site.url)
        bank.heal("refuse")
        assert len(left(pushing.book)) == 1
        assert pushing.get(site.url).status == 200
    assert bank.settled() == 1


def test_what_the_bank_refuses_at_once_is_off_the_record(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Nothing moved, and nothing is presented."""
    bank.order("refuse")
    with Site(shop) as site, pytest.raises(NoPayableOffer):
        pushing.get(site.url)
    assert site.paid == []
    assert left(pushing.book) == []
    assert len(pushing.told(Declined)) == 1


@pytest.mark.guard("F14", "T49")
def test_what_is_another_request_is_paid_for_itself(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Another URL, method, body, Idempotency-Key or account."""
    with Site(losing(shop, 1)) as site:
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.send("POST", f"{site.url}/x", content=b"body")
        pushing.send("POST", f"{site.url}/y", content=b"body")
        pushing.send("PUT", f"{site.url}/x", content=b"body")
        pushing.send("POST", f"{site.url}/x", content=b"other")
        pushing.send("POST", f"{site.url}/x", content=b"body", headers={"Idempotency-Key": "2"})
        assert (bank.settled(), len(left(pushing.book))) == (5, 1)
        secret = bank.open("bob", coin=5_000_000)
        mine, theirs = pushing.wallet, wallet(toy={"bank": bank.path, "account": "bob", "secret": secret, "push": True})
        pushing.wallet = theirs
        pushing.send("POST", f"{site.url}/x", content=b"body")
        assert bank.settled() == 6
        pushing.wallet = mine
        pushing.send("POST", f"{site.url}/x", content=b"body")
    assert (bank.settled(), left(pushing.book)) == (6, [])


@pytest.mark.guard("F14", "F03")
def test_an_idempotency_key_of_its_own_is_gone_on_with(pushing: Door, shop: Shop, bank: Bank) -> None:
    """The same key is the same request."""
    key = {"Idempotency-Key": "one"}
    with Site(losing(shop, 1)) as site:
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(site.url, headers=key)
        assert pushing.get(site.url, headers=key).status == 200
    assert bank.settled() == 1


def test_a_refusal_says_that_it_is_spent(pushing: Door, shop: Shop, bank: Bank) -> None:
    """It was paid for, so it is told; the next one pays anew, and knows it."""
    with Site(lambda seen: shop.ask() if len(site.paid) == 1 and seen.credential else shop(seen)) as site:
        with pytest.raises(PaymentRefused, match="spent") as caught:
            pushing.get(site.url)
        assert (bank.settled(), left(pushing.book)) == (1, [])
        assert bank.look_up(str(caught.value.reference)) is not None
        assert pushing.get(site.url).status == 200
    assert bank.settled() == 2


def test_what_can_not_be_used_any_more_is_told_once(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Gone on with and refused: the error names the payment, and the request is free again."""

    def answer(seen: Seen) -> Reply:
        if not seen.credential or len(site.paid) > 2:
            return shop(seen)
        return shop.ask() if len(site.paid) == 2 else Reply(drop="all")

    with Site(answer) as site:
        with pytest.raises(PaymentOutcomeUnknown) as lost:
            pushing.get(site.url)
        with pytest.raises(PaymentOutcomeUnknown, match="could not be used") as caught:
            pushing.get(site.url)
        assert caught.value.reference == lost.value.reference
        assert caught.value.resume is None
        assert left(pushing.book) == []
        assert pushing.get(site.url).status == 200
    assert bank.settled() == 2


@pytest.mark.parametrize("status", [500, 404, 401])
def test_an_error_of_the_application_is_not_what_was_paid_for(
    pushing: Door, shop: Shop, bank: Bank, status: int
) -> None:
    """Who asks again presents the same payment."""
    with Site(lambda seen: Reply(status) if len(site.paid) == 1 and seen.credential else shop(seen)) as site:
        first = pushing.get(site.url)
        assert isinstance(first.payment, Presented)
        assert pushing.get(site.url).status == 200
    assert len({seen.credential for seen in site.paid}) == 1
    assert (bank.settled(), left(pushing.book)) == (1, [])


def test_already_delivered_ends_it(pushing: Door, shop: Shop, bank: Bank) -> None:
    """A 409 without a word when to come back: it buys nothing more."""
    with Site(lambda seen: Reply(409) if seen.credential else shop.ask()) as site:
        assert pushing.get(site.url).status == 409
    assert (bank.settled(), left(pushing.book)) == (1, [])


@pytest.mark.guard("F03")
def test_a_redirect_is_followed_to_what_was_paid_for(pushing: Door, shop: Shop, bank: Bank) -> None:
    """Lost there, the whole way is gone again with the same payment."""

    def answer(seen: Seen) -> Reply:
        if seen.path == "/there":
            return Reply(200, b"content", drop=None if len(site.paid) > 1 else "all")
        reply = shop(seen)
        return replace(reply, status=303, headers=(("Location", "/there"),)) if seen.credential else reply

    with Site(answer) as site:
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(f"{site.url}/here")
        assert pushing.get(f"{site.url}/here").body == b"content"
    assert (bank.settled(), left(pushing.book)) == (1, [])


def test_a_second_bill_after_a_redirect_ends_it(pushing: Door, shop: Shop, bank: Bank) -> None:
    """It is refused, and one payment was made."""

    def answer(seen: Seen) -> Reply:
        return Reply(303, headers=(("Location", "/there"),)) if seen.credential else shop.ask()

    with Site(answer) as site, pytest.raises(PaymentRefused, match="second payment"):
        pushing.get(f"{site.url}/here")
    assert (bank.settled(), left(pushing.book)) == (1, [])


def test_its_owner_may_resume_it_by_hand(pushing: Door, shop: Shop, bank: Bank) -> None:
    """What the error carries does the same, and takes it off the record."""
    with Site(losing(shop, 2)) as site:
        with pytest.raises(PaymentOutcomeUnknown) as first:
            pushing.get(site.url)
        with pytest.raises(PaymentOutcomeUnknown) as second:
            pushing.get(site.url, resume=first.value.resume)
        assert len(left(pushing.book)) == 1
        assert pushing.get(site.url, resume=second.value.resume).status == 200
        assert left(pushing.book) == []
        assert pushing.get(site.url, resume=second.value.resume).status == 200  # as often as its owner likes
    assert bank.settled() == 1


@pytest.mark.guard("F14", "F25")
def test_two_that_ask_at_once_pay_one_each(pushing: Door, shop: Shop, bank: Bank) -> None:
    """What a living one is doing is not taken over."""

    def answer(seen: Seen) -> Reply:
        if seen.credential:
            site.wait_for(4)  # both have asked, and both have presented
        return shop(seen)

    with Site(answer) as site:
        other = threading.Thread(target=pushing.get, args=(site.url,))
        other.start()
        site.wait_for(2)
        assert pushing.get(site.url).status == 200
        other.join(60)
    assert len({seen.credential for seen in site.paid}) == 2
    assert (bank.settled(), left(pushing.book)) == (2, [])


def test_who_does_not_send_itself_has_no_book(door: Door, shop: Shop) -> None:
    """Nothing is opened and nothing looked up where a server sends what is paid."""
    with Site(shop) as site:
        assert door.get(site.url).status == 200
    assert door.book is not None
    assert not door.book.exists()


def test_without_a_book_nothing_is_sent(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """What can't be written down is not signed."""
    purse = Purse(wallet(toy={**alice, "push": True}))
    with (
        Site(shop) as site,
        httpx.Client(transport=PayingTransport(httpx.HTTPTransport(), purse)) as client,
        pytest.raises(ConfigError, match="no book"),
    ):
        client.get(site.url)
    assert bank.submissions() == 0


class Slow(ToyPayer):
    """Sends, and hears of it late."""

    def __init__(self, inner: ToyPayer, sent: asyncio.Event) -> None:
        super().__init__(inner.bank, inner.identity, inner._wallet)
        self._sent = sent

    def send(self, sending: Sending, *, again: bool) -> drive.Flow[None]:
        """See method.py."""
        yield from super().send(sending, again=again)
        if not again:
            self._sent.set()
            yield from drive.sleep(60)


@pytest.mark.guard("F29", "F03")
def test_who_is_cancelled_while_it_is_sent_does_not_know(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """The error names the payment; who asks again goes on with it."""

    async def story() -> PaymentOutcomeUnknown:
        sent = asyncio.Event()
        made = await drive.run_async(wallet(toy={**alice, "push": True}).payers(), drive.RealAsyncWorld())
        assert isinstance(made[0], ToyPayer)
        payer = Slow(made[0], sent)
        async with pay(httpx.AsyncClient(trust_env=False), [payer], book="memory:") as client:
            task = asyncio.create_task(client.get(site.url))
            await sent.wait()
            task.cancel()
            with pytest.raises(PaymentOutcomeUnknown) as caught:
                await task
            answer = await client.get(site.url)
            assert answer.extensions["coinslot"].reference == caught.value.reference
            return caught.value

    with Site(shop) as site:
        error = asyncio.run(story())
    assert bank.look_up(str(error.reference)) is not None
    assert (bank.settled(), len(site.paid)) == (1, 1)


@pytest.mark.guard("F29", "F14")
def test_cancelled_at_any_await_it_is_paid_once(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """For every n: cancelled at its n-th wait, and asked for again, it is served, and the money has moved once."""

    async def main(step: int, before: int) -> str:
        end, extensions = "done", {}
        book = tmp_path / f"{step}.sqlite"
        made = wallet(toy={**alice, "push": True})
        async with pay(httpx.AsyncClient(trust_env=False), made, book=book) as client:
            try:
                await task_cancelled_at(step, client.get(site.url))
            except asyncio.CancelledError:
                end = "cancelled"
                assert bank.settled() == before  # once it was paid its reference is told
            except PaymentOutcomeUnknown as error:
                end = "unknown"
                extensions = {"coinslot_resume": error.resume} if error.resume else {}
        if end != "done":
            async with pay(httpx.AsyncClient(trust_env=False), made, book=book) as client:
                answer = await client.get(site.url, extensions=extensions)
            assert answer.content == b"paid for /"
        assert left(book) == []
        return end

    ends = []
    for step in range(1, 200):
        before = bank.settled()
        with Site(shop) as site:
            ends.append(asyncio.run(main(step, before)))
        assert bank.settled() - before == 1, (step, ends[-1])
        if ends[-1] == "done":
            break
    assert set(ends) == {"cancelled", "unknown", "done"}


class Full(MemoryBook):
    """A book on a full disk."""

    def begin_charge(self, charge: PushedCharge) -> Any:
        """No room."""
        raise StoreError("the disk is full")


@pytest.mark.guard("F17", "F01")
def test_what_could_not_be_written_down_is_not_sent(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """And its lock is let go of."""
    book = Full()
    with (
        Site(shop) as site,
        pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=book) as client,
        pytest.raises(StoreError, match="full"),
    ):
        client.get(site.url)
    assert (bank.submissions(), book._turns) == (0, set())


class Stuck(MemoryBook):
    """A book whose disk is full by now."""

    def end_charge(self, charge_id: str) -> Any:
        """No room."""
        raise StoreError("the disk is full")


@pytest.mark.guard("F17")
def test_an_answer_is_not_lost_with_the_record(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """What was bought is handed out; the record is presented once more some day, and says the same."""
    with Site(shop) as site, pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=Stuck()) as client:
        assert client.get(site.url).content == client.get(site.url).content == b"paid for /"
    assert bank.settled() == 1


@pytest.mark.guard("F17")
def test_what_is_dead_and_can_not_be_crossed_out_is_tried_once(
    shop: Shop, alice: dict[str, object], bank: Bank
) -> None:
    """A record that stays is in nobody's way."""
    never_comes(bank)
    with Site(shop) as site, pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=Stuck()) as client:
        with pytest.raises(PaymentOutcomeUnknown):
            client.get(site.url)
        bank.skew(3600)
        shop.valid_s = 7200
        assert client.get(site.url).status_code == 200
    assert bank.settled() == 1


def test_a_stream_that_its_reader_leaves_stays_on_record(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """Who asks again gets it again, and pays no more."""
    book = MemoryBook()
    with Site(shop) as site, pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=book) as client:
        with client.stream("GET", site.url) as answer:
            assert answer.status_code == 200
        assert len(book.find_charges().result()) == 1
        assert client.get(site.url).content == b"paid for /"
        assert (book.find_charges().result(), book._turns) == ([], set())
    assert bank.settled() == 1


@pytest.mark.guard("T49")
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "Range"])
def test_what_one_user_paid_for_is_not_presented_for_another(pushing: Door, shop: Shop, bank: Bank, name: str) -> None:
    """A server answers a payment that comes again with what it sold then, and that was the other one's."""
    with Site(losing(shop, 1)) as site:
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(site.url, headers={name: "Bearer one"})
        pushing.get(site.url, headers={name: "Bearer two"})
        assert (bank.settled(), len(left(pushing.book))) == (2, 1)
        assert len({seen.credential for seen in site.paid}) == 2
        pushing.get(site.url, headers={name: "Bearer one"})
    assert (bank.settled(), left(pushing.book)) == (2, [])


@pytest.mark.guard("F14")
@pytest.mark.parametrize("name", ["Cookie", "Authorization"])
def test_what_changes_with_each_request_makes_it_no_other(pushing: Door, shop: Shop, bank: Bank, name: str) -> None:
    """A cookie that the server has just set, or a signature of this moment."""
    with Site(losing(shop, 1)) as site:
        with pytest.raises(PaymentOutcomeUnknown):
            pushing.get(site.url, headers={name: "Digest username=one, nonce=1"})
        assert pushing.get(site.url, headers={name: "Digest username=one, nonce=2"}).status == 200
    assert (bank.settled(), left(pushing.book)) == (1, [])


def locks(path: Path) -> list[Path]:
    """The lock files beside a book."""
    return list(path.parent.rglob("*.lock"))


@pytest.mark.guard("F28")
@pytest.mark.parametrize("make", [MemoryBook, SqliteBook])
def test_an_answer_that_is_dropped_unread_locks_nobody_out(
    make: Callable[..., Book], shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """Neither closed nor read, its lock goes with it, and who asks again goes on with that payment."""
    book = make(*[tmp_path / "book.sqlite"] if make is SqliteBook else [])
    with (
        closing(book),
        Site(shop) as site,
        pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=book) as client,
    ):
        answer = client.send(client.build_request("GET", site.url), stream=True)
        assert answer.status_code == 200
        del answer
        gc.collect()
        assert client.get(site.url).content == b"paid for /"
        assert (bank.settled(), book.find_charges().result()) == (1, [])


class Late(SqliteBook):
    """A book in which whoever had a charge ends it just before another takes it over."""

    def try_lock(self, what: Named) -> Lease | None:
        """See book.Book."""
        if isinstance(what, PushedCharge):
            self.end_charge(what.id).result()
        return super().try_lock(what)


@pytest.mark.guard("F28")
def test_who_comes_late_for_a_charge_leaves_no_file(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """It has made the lock's file anew, whose name never comes again."""
    path, made = tmp_path / "book.sqlite", wallet(toy={**alice, "push": True})
    with Site(losing(shop, 1)) as site:
        with pay(httpx.Client(), made, book=path) as client, pytest.raises(PaymentOutcomeUnknown):
            client.get(site.url)
        assert len(locks(path)) == 1
        with closing(Late(path)) as book, pay(httpx.Client(), made, book=book) as client:
            assert client.get(site.url).status_code == 200
    assert (bank.settled(), left(path), locks(path)) == (2, [], [])


class Silent(SqliteBook):
    """A book that writes a charge down and does not get to say so."""

    def begin_charge(self, charge: PushedCharge) -> Any:
        """See book.Book."""
        super().begin_charge(charge).result()
        raise StoreBroken("no answer")


@pytest.mark.guard("F01", "F28")
def test_what_was_written_down_unheard_is_not_sent_later(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """The error said that nothing was sent, and that stays so; no file is left either."""
    path = tmp_path / "book.sqlite"
    with (
        Site(shop) as site,
        closing(Silent(path)) as book,
        pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=book) as client,
        pytest.raises(StoreBroken, match="no answer"),
    ):
        client.get(site.url)
    assert (bank.submissions(), left(path), locks(path)) == (0, [], [])


@pytest.mark.guard("F03")
def test_an_answer_that_is_read_raw_is_received(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """requests lets its users read past it, as a whole or piece by piece; broken off, it stays on record."""
    path = tmp_path / "book.sqlite"
    made = wallet(toy={**alice, "push": True})
    with Site(losing(shop, 1, "body")) as site, requests_door.pay(requests.Session(), made, book=path) as session:
        with session.get(site.url, stream=True) as answer, pytest.raises(PaymentOutcomeUnknown):
            answer.raw.read()
        assert len(left(path)) == 1
        for whole in (True, False):
            target = io.BytesIO()
            with session.get(site.url, stream=True) as answer:
                target.write(answer.raw.read()) if whole else shutil.copyfileobj(answer.raw, target)
                assert left(path) == []
            assert target.getvalue() == b"paid for /"
    assert (bank.settled(), locks(path)) == (2, [])


class Broken(MemoryBook):
    """A book that can't be read."""

    def find_charges(self, request: str | None = None) -> Any:
        """See book.Book."""
        raise StoreBroken("not a database")


@pytest.mark.guard("F17")
@pytest.mark.parametrize("broken", [True, False])
def test_who_has_the_credential_needs_no_book(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path, broken: bool
) -> None:
    """A broken book, or none, keeps nobody from what was paid for; without the credential nothing is paid anew."""
    made = wallet(toy={**alice, "push": True})
    with Site(losing(shop, 1)) as site:
        lossy = pay(httpx.Client(), made, book=tmp_path / "book.sqlite")
        with lossy, pytest.raises(PaymentOutcomeUnknown) as caught:
            lossy.get(site.url)
        purse = Purse(made, desk=Desk(Broken)) if broken else Purse(made)
        with httpx.Client(transport=PayingTransport(httpx.HTTPTransport(), purse)) as client:
            with pytest.raises(StoreBroken if broken else ConfigError):
                client.get(site.url)
            again = {"coinslot_resume": caught.value.resume}
            assert client.get(site.url, extensions=again).content == b"paid for /"
    assert bank.settled() == 1


@pytest.mark.guard("F28")
def test_a_stream_that_is_dropped_half_read_locks_nobody_out(
    shop: Shop, alice: dict[str, object], bank: Bank, tmp_path: Path
) -> None:
    """The same for asyncio, where a generator that is left is closed by its loop."""

    async def story(url: str, book: SqliteBook) -> None:
        async with pay(httpx.AsyncClient(), wallet(toy={**alice, "push": True}), book=book) as client:
            answer = await client.send(client.build_request("GET", url), stream=True)
            assert await anext(answer.aiter_raw()) == b"paid for /"
            del answer
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
            assert (await client.get(url)).content == b"paid for /"

    with Site(shop) as site, closing(SqliteBook(tmp_path / "book.sqlite")) as book:
        asyncio.run(story(site.url, book))
        assert (bank.settled(), book.find_charges().result()) == (1, [])


def test_a_credential_that_was_damaged_is_told_once(shop: Shop, alice: dict[str, object], bank: Bank) -> None:
    """It can't be used any more, and locks nobody out."""
    book = MemoryBook()
    with Site(losing(shop, 1)) as site, pay(httpx.Client(), wallet(toy={**alice, "push": True}), book=book) as client:
        with pytest.raises(PaymentOutcomeUnknown):
            client.get(site.url)
        (charge,) = book.find_charges().result()
        book._charges[charge.id] = replace(charge, header=("Authorization", "Payment e30"))
        with pytest.raises(PaymentOutcomeUnknown, match="could not be used"):
            client.get(site.url)
        assert client.get(site.url).status_code == 200
    assert bank.settled() == 2


@pytest.mark.guard("F14")
def test_what_was_sent_is_gone_on_with_though_another_offer_is_better_by_now(
    shop: Shop, alice: dict[str, object], bank: Bank
) -> None:
    """Here that of an account whose payments the server sends, and which comes first by now."""
    book = MemoryBook()
    secret = bank.open("bob", coin=5_000_000)
    bob = wallet(toy={"bank": bank.path, "account": "bob", "secret": secret})
    with closing(drive.RealWorld()) as world, Site(losing(shop, 1)) as site:
        mine, theirs = (list(drive.run(one.payers(), world)) for one in (wallet(toy={**alice, "push": True}), bob))
        with pay(httpx.Client(), mine, book=book) as client, pytest.raises(PaymentOutcomeUnknown):
            client.get(site.url)
        with pay(httpx.Client(), [*theirs, *mine], book=book) as client:
            assert client.get(site.url).content == b"paid for /"
            assert (bank.settled(), bank.balance("bob")) == (1, 5_000_000)
            assert client.get(site.url).content == b"paid for /"
            assert (bank.settled(), bank.balance("bob")) == (2, 4_990_000)
        bare = PayingTransport(httpx.HTTPTransport(), Purse(as_wallet([*theirs, *mine])))
        with httpx.Client(transport=bare) as client:  # without a book there is nothing to go on with
            assert client.get(site.url).content == b"paid for /"
    assert bank.balance("bob") == 4_980_000
