"""What is particular to the requests door: existing sessions, adapters, streams, logins, bodies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from requests.adapters import HTTPAdapter

from coinslot.client.events import Paid
from coinslot.client.wallet import Wallet, wallet
from coinslot.errors import PaymentOutcomeUnknown, UsageError
from coinslot.transports.requests import PayingAdapter, pay, payment_of
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.toybank import Bank


@pytest.fixture
def purse(alice: dict[str, object]) -> Wallet:
    """Alice's wallet."""
    return wallet(toy=alice)


@pytest.fixture
def shop(bank: Bank) -> Shop:
    """Sells everything for 0.01 coin."""
    return Shop(bank)


def test_an_existing_session_keeps_its_class_and_settings(purse: Wallet, shop: Shop) -> None:
    """`pay` returns the very session, with its headers, cookies, hooks and adapters at work."""

    class Mine(requests.Session):
        pass

    mine, statuses = Mine(), []
    mine.headers["X-Mine"] = "1"
    mine.hooks["response"].append(lambda response, **_: statuses.append(response.status_code))
    with Site(shop) as site, mine:
        mine.mount(site.url, HTTPAdapter(pool_maxsize=1))
        assert pay(mine, purse) is mine
        response = mine.get(f"{site.url}/a")
    assert response.text == "paid for /a"
    assert [seen.headers["X-Mine"] for seen in site.seen] == ["1", "1"]
    assert statuses == [200]
    assert all(isinstance(adapter, PayingAdapter) for adapter in mine.adapters.values())
    assert isinstance(payment_of(response), Paid)


def test_paying_twice_over_is_an_error(purse: Wallet) -> None:
    """A second `pay` on one session would hide the first one's policy."""
    with requests.Session() as session, pytest.raises(UsageError, match="pays already"):
        pay(pay(session, purse), purse)


def test_paid_streams_stream(purse: Wallet, shop: Shop) -> None:
    """Chunk one is read before the server has made chunk two."""

    def answer(seen: Seen) -> Reply:
        def chunks() -> Iterator[bytes]:
            yield b"one"
            assert site.released.wait(60)
            yield b"two"

        reply = shop(seen)
        return replace(reply, chunks=chunks()) if seen.credential else reply

    with Site(answer) as site, pay(requests.Session(), purse) as session:
        parts = session.get(site.url, stream=True).iter_content(None)
        assert next(parts) == b"one"
        site.released.set()
        assert list(parts) == [b"two"]


@pytest.mark.guard("F03")
def test_a_stream_that_breaks_off_names_the_payment(purse: Wallet, shop: Shop, bank: Bank) -> None:
    """Half an answer is no answer, read by `raw` or by chunks."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, drop="body") if seen.credential else reply

    with Site(answer) as site, pay(requests.Session(), purse) as session:
        for read in (lambda response: list(response.iter_content(5)), lambda response: response.raw.read()):
            with session.get(site.url, stream=True) as response, pytest.raises(PaymentOutcomeUnknown) as caught:
                read(response)
            assert bank.look_up(str(caught.value.reference)) is not None


def test_a_seekable_file_is_sent_twice_and_text_as_it_was(purse: Wallet, shop: Shop) -> None:
    """requests remembers where a file began; text has its UTF-8 bytes."""
    with Site(shop) as site, pay(requests.Session(), purse) as session:
        file = io.BytesIO(b"skipped" + b"x" * 100)
        file.seek(7)
        assert session.post(site.url, data=file).status_code == 200
        assert session.post(site.url, data="gr\u00fc\u00dfe").status_code == 200
        assert session.post(site.url, json={"a": 1}).status_code == 200
        assert session.post(site.url, files={"f": b"1"}).status_code == 200
    bodies = [seen.body for seen in site.seen]
    assert bodies[0] == bodies[1] == b"x" * 100
    assert bodies[2] == bodies[3] == "gr\u00fc\u00dfe".encode()
    assert bodies[4] == bodies[5] == b'{"a": 1}'
    assert bodies[6] == bodies[7]


def test_a_digest_login_comes_before_the_payment(purse: Wallet, shop: Shop, bank: Bank) -> None:
    """The login's second request goes through the door, too, and is paid once, beside its Authorization."""
    shop.fields = {"header": "Payment-Authorization"}
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'

    def answer(seen: Seen) -> Reply:
        login = seen.headers.get("Authorization", "").startswith("Digest ")
        return shop(seen) if login else Reply(401, b"", (("WWW-Authenticate", challenge),))

    with Site(answer) as site, pay(requests.Session(), purse) as session:
        response = session.get(site.url, auth=requests.auth.HTTPDigestAuth("a", "b"))
    assert response.status_code == 200
    assert len(site.paid) == 1
    assert bank.settled() == 1


@pytest.mark.guard("T38")
def test_history_and_prepared_requests_hold_no_credential(purse: Wallet, shop: Shop) -> None:
    """Neither the request that was prepared nor any response's request shows what was presented."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        return replace(reply, status=302, headers=(("Location", "/end"),)) if seen.credential else reply

    def ended(seen: Seen) -> Reply:
        return Reply(200, b"end") if seen.path == "/end" else answer(seen)

    with Site(ended) as site, pay(requests.Session(), purse) as session:
        prepared = session.prepare_request(requests.Request("GET", site.url))
        response = session.send(prepared)
    held = [prepared, response.request, *(each.request for each in response.history)]
    assert len(held) == 3
    assert not any("authorization" in name.lower() for each in held for name in each.headers)
