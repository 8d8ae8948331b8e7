"""Servers that want more from a channel than was agreed get nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.core.canonical import decode_object, encode_object
from coinslot.core.challenge import Challenge, format_challenge, parse_challenges
from coinslot.core.instant import format_instant
from coinslot.core.receipt import decode_receipt
from coinslot.errors import CoinslotError, MalformedHeader, NoPayableOffer, PaymentRefused, PolicyRefused
from coinslot.intents.acts import Held
from coinslot.server.price import Metering
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Reply, Seen, Site
from support.till import token_of
from support.toybank import Bank

COST = 1_000
LIMITS = Policy(max_deposit="0.5")
Wallet = dict[str, Any]


@pytest.fixture
def shop(bank: Bank, alice: Wallet) -> SessionShop:
    """An honest shop, around which mischief is put."""
    return SessionShop(SessionTill(bank, alice, counting=True))


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def client_of(shop: SessionShop, book: SqliteBook, policy: Policy = LIMITS) -> httpx.Client:
    """A paying client."""
    return pay(httpx.Client(trust_env=False, timeout=20), wallet(toy=shop.till.wallet), policy, book=book)


def only(book: SqliteBook) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


def with_header(reply: Reply, name: str, value: str) -> Reply:
    """The reply with another value of a header."""
    kept = tuple((key, old) for key, old in reply.headers if key.lower() != name)
    return replace(reply, headers=(*kept, (name, value)))


def problem(slug: str) -> bytes:
    """The body of a session's problem."""
    return json.dumps({"type": f"https://paymentauth.org/problems/session/{slug}", "status": 402}).encode()


def fresh(reply: Reply, change: Mapping[str, Any], details: Mapping[str, Any] | None = None) -> Reply:
    """A 402 whose session challenges ask for something else."""
    (challenge,), _ = parse_challenges([value for name, value in reply.headers if name == "www-authenticate"])
    request = {**challenge.request_object(), **change}
    request["methodDetails"] = {**request["methodDetails"], **(details or {})}
    return with_header(reply, "www-authenticate", format_challenge(replace(challenge, request=encode_object(request))))


def vouchers(site: Site) -> list[int]:
    """The totals that were presented, in order."""
    shown = [token_of(one.credential).payload_object() for one in site.seen if one.credential]
    return [int(one["cumulativeAmount"]) for one in shown if one.get("action") == "voucher"]


@pytest.mark.guard("T24")
def test_an_inflated_receipt_changes_nothing(shop: SessionShop, book: SqliteBook) -> None:
    """However much the server says was accepted or spent: the next voucher adds one price."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        held = dict(reply.headers).get("payment-receipt")
        if held is None:
            return reply
        receipt = decode_receipt(held)
        more = {**receipt.members(), "acceptedCumulative": "400000", "spent": "400000"}
        return with_header(reply, "payment-receipt", encode_object(more))

    with Site(answer) as site, client_of(shop, book) as client:
        for _ in range(3):
            client.get(site.url)
        assert vouchers(site) == [COST + 1, 2 * COST + 1, 3 * COST + 1]
    assert (only(book).signed_units, only(book).spent_units) == (3 * COST + 1, 3 * COST + 1)


@pytest.mark.guard("T24")
def test_a_snapshot_that_claims_more_than_we_signed_ends_it(shop: SessionShop, book: SqliteBook) -> None:
    """A 402 that says 400 vouchers were accepted, without our signature on them: nothing more is signed."""

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if seen.method != "GET" or seen.credential is None:
            return reply
        asked = shop(Seen("GET", seen.path, _without(seen), b""))
        asked = replace(asked, body=problem("insufficient-balance"))
        headers = dict(reply.headers)
        told = decode_object(shop.till.seller.headers(_record(shop, book), 0)[1][1])
        told = {**told, "acceptedCumulative": "400000", "requiredCumulative": "401000"}
        told.pop("voucher", None)
        assert headers
        return with_header(asked, "payment-session-snapshot", encode_object(told))

    with Site(answer) as site, client_of(shop, book) as client:
        with pytest.raises(NoPayableOffer, match="claims more"):
            client.get(site.url)
        assert vouchers(site) == [COST + 1]
    assert only(book).signed_units == COST + 1


def _without(seen: Seen) -> Any:
    headers = type(seen.headers)()
    for name, value in seen.headers.items():
        if name.lower() != "authorization":
            headers[name] = value
    return headers


def _record(shop: SessionShop, book: SqliteBook) -> Any:
    return shop.till.store.find_channel(only(book).key).result()


@pytest.mark.guard("T46")
@pytest.mark.parametrize(
    "slug", ["insufficient-balance", "delta-too-small", "challenge-not-found", "amount-exceeds-deposit", "strange"]
)
def test_a_server_that_asks_for_ever_gets_one_price(shop: SessionShop, book: SqliteBook, slug: str) -> None:
    """A 402 with a fresh challenge after every voucher: few vouchers, one price in all, one honest error."""

    def answer(seen: Seen) -> Reply:
        if seen.credential is None or seen.method == "HEAD":
            return shop(seen)
        asked = shop(Seen("GET", seen.path, _without(seen), b""))
        return replace(asked, body=problem(slug))

    with Site(answer) as site, client_of(shop, book) as client:
        for n in (1, 2, 3):
            with pytest.raises(PaymentRefused):
                client.get(site.url)
            assert len(vouchers(site)) <= 4 * n
            assert only(book).signed_units <= n * COST + 1 + (COST if slug == "delta-too-small" else 0)
    assert max(vouchers(site)) <= 4 * COST + 1


@pytest.mark.guard("T46", "T47")
@pytest.mark.parametrize(
    ("change", "details"),
    [
        ({"amount": "2000"}, {}),
        ({"recipient": "thief"}, {}),
        ({"currency": "shell"}, {}),
        ({"unitType": "letter"}, {}),
        ({}, {"flavour": "v1"}),
        ({}, {"bank": "elsewhere"}),
    ],
)
def test_terms_that_shift_after_a_voucher_get_nothing(
    shop: SessionShop, book: SqliteBook, change: Mapping[str, Any], details: Mapping[str, Any]
) -> None:
    """Another price, payee, token, unit or escrow in the fresh challenge: not one voucher more."""

    def answer(seen: Seen) -> Reply:
        if seen.credential is None or seen.method == "HEAD":
            return shop(seen)
        asked = shop(Seen("GET", seen.path, _without(seen), b""))
        return fresh(replace(asked, body=problem("challenge-not-found")), change, details)

    with Site(answer) as site, client_of(shop, book) as client:
        with pytest.raises(PaymentRefused):
            client.get(site.url)
        assert vouchers(site) == [COST + 1]
    assert only(book).signed_units == COST + 1
    assert len(book.all().result()) == 1


@pytest.mark.guard("T46")
def test_a_price_that_rises_is_judged_anew(shop: SessionShop, book: SqliteBook) -> None:
    """A remembered challenge that is out of date costs nothing: the policy decides on the new price."""
    dear = [False]

    def answer(seen: Seen) -> Reply:
        if dear[0]:
            asked = shop(Seen("GET", seen.path, _without(seen), b""))
            return fresh(asked, {"amount": "3000000"})
        return shop(seen)

    with Site(answer) as site, client_of(shop, book) as client:
        client.get(site.url)
        dear[0] = True
        with pytest.raises(PolicyRefused):
            client.get(site.url)
        assert vouchers(site)[-1] == 2 * COST
    assert only(book).signed_units == 2 * COST


# --- streams -------------------------------------------------------------------------------------


def flood(shop: SessionShop, book: SqliteBook, need: Mapping[str, Any] | bytes, per_unit: int = 1) -> Any:
    """A server whose stream asks and asks."""

    def events() -> Iterator[bytes]:
        for n in range(40):
            for _ in range(per_unit):
                yield f"data: word {n}\n\n".encode()
            told = (
                need if isinstance(need, bytes) else json.dumps({"channelId": only(book).channel_id, **need}).encode()
            )
            yield b"event: payment-need-voucher\ndata: " + told + b"\n\n"

    def answer(seen: Seen) -> Reply:
        reply = shop(seen)
        if seen.method == "GET" and reply.status == 200:
            shown = with_header(reply, "content-type", "text/event-stream")
            return Reply(200, b"", tuple((k, v) for k, v in shown.headers if k != "content-length"), chunks=events())
        return reply

    return answer


@pytest.mark.guard("T24")
def test_a_stream_that_asks_for_too_much_gets_nothing(shop: SessionShop, book: SqliteBook) -> None:
    """One base unit above what came and a window: refused, and nothing was signed."""
    policy = replace(LIMITS, max_window=4)
    need = {"requiredCumulative": str((1 + 4) * COST + 1), "acceptedCumulative": "0", "deposit": "500000"}
    with Site(flood(shop, book, need)) as site, client_of(shop, book, policy) as client:
        with pytest.raises(PolicyRefused, match="window"), client.stream("GET", site.url) as answer:
            answer.read()
        assert vouchers(site) == [COST + 1]
    assert only(book).signed_units == COST + 1


@pytest.mark.guard("T46")
def test_a_stream_that_only_asks_is_left(shop: SessionShop, book: SqliteBook) -> None:
    """Nothing delivered in between: a few answers with the same voucher, then no more."""
    need = {"requiredCumulative": "1", "acceptedCumulative": "0", "deposit": "500000"}
    with Site(flood(shop, book, need, per_unit=0)) as site, client_of(shop, book) as client:
        with pytest.raises(PaymentRefused, match="again and again"), client.stream("GET", site.url) as answer:
            answer.read()
        assert len(vouchers(site)) <= 4
    assert only(book).signed_units == COST + 1


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    "need", [b"not json", b"[" * 500, b'{"channelId":"0x1","requiredCumulative":"9","acceptedCumulative":"0"}']
)
def test_a_stream_that_asks_in_strange_words_gets_nothing(shop: SessionShop, book: SqliteBook, need: bytes) -> None:
    """What can't be read, or is about another channel."""
    with (
        Site(flood(shop, book, need)) as site,
        client_of(shop, book) as client,
        pytest.raises(MalformedHeader),
        client.stream("GET", site.url) as answer,
    ):
        answer.read()
    assert only(book).signed_units == COST + 1


def test_a_false_deposit_does_not_make_us_sign_more(shop: SessionShop, book: SqliteBook) -> None:
    """How much lies in escrow we know ourselves."""
    policy = Policy(max_deposit="0.002", max_window=100)
    need = {"requiredCumulative": str(50 * COST), "acceptedCumulative": "0", "deposit": "900000"}
    with (
        Site(flood(shop, book, need)) as site,
        client_of(shop, book, policy) as client,
        pytest.raises(PolicyRefused, match="max_deposit"),
        client.stream("GET", site.url) as answer,
    ):
        answer.read()
    assert only(book).signed_units <= 2 * COST


@pytest.mark.guard("T47")
def test_words_open_no_channel(shop: SessionShop, book: SqliteBook) -> None:
    """A look-alike realm, a foreign bank, a wish for millions: refused before anything is signed."""
    request: dict[str, Any] = {
        "amount": "1000",
        "currency": "coin",
        "recipient": "shop",
        "suggestedDeposit": "900000000000",
        "methodDetails": {"bank": "elsewhere", "flavour": "v2"},
    }
    made = Challenge("x", "api.example.com", "toy", "session", encode_object(request), format_instant(time.time() + 60))
    offer = Reply(402, b"", (("WWW-Authenticate", format_challenge(made)),))
    with Site(lambda seen: offer) as site, client_of(shop, book) as client, pytest.raises(CoinslotError, match="knows"):
        client.get(site.url)
    assert book.all().result() == []
    assert [one.credential for one in site.seen] == [None]


def test_a_stream_of_another_unit_is_counted_by_events(bank: Bank, alice: Wallet, book: SqliteBook) -> None:
    """An honest stream within its window is served to its end."""
    till = SessionTill(bank, alice, metering=Metering("word", window=8, patience_s=10))
    shop = SessionShop(till, events=50)
    with Site(shop) as site, client_of(shop, book) as client, client.stream("GET", site.url) as answer:
        assert len([line for line in answer.iter_lines() if line]) == 50
    assert only(book).spent_units == 50 * COST
