"""Streams that a server wants to be paid for after they came: what is paid, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.committing import MAX_POSTS
from coinslot.client.events import Authorized, Event, Metered, ToppedUp
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import CoinslotError, MalformedHeader, PaymentOutcomeUnknown, PaymentRefused, PolicyRefused
from coinslot.intents.deliveries import COMMIT_PATH
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay, session
from support.meterer import COST, Meterer, only, watermark
from support.sessionsite import SessionShop
from support.sessiontill import Counting, SessionTill
from support.site import Site
from support.toybank import Bank

COIN = 1_000_000
Wallet = dict[str, Any]


@pytest.fixture
def theirs(bank: Bank, alice: Wallet) -> Meterer:
    """One that streams a word and wants three thousand units for it."""
    made = Meterer(SessionShop(SessionTill(bank, alice, counting=True)))
    made.events = [made.directive(), ("", {"word": 1})]
    return made


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteBook]:
    """A book in a file."""
    made = SqliteBook(tmp_path / "channels.sqlite")
    yield made
    made.close()


def client_of(theirs: Meterer, book: SqliteBook, events: list[Event] | None = None, **limits: Any) -> httpx.Client:
    """A paying client that may lock up half a coin."""
    told = [] if events is None else events
    policy = Policy(**{"max_deposit": "0.5", **limits})
    plain = httpx.Client(trust_env=False, timeout=20)
    return pay(plain, wallet(toy=theirs.shop.till.wallet), policy, told.append, book)


def test_a_delivery_is_paid_after_it_came(theirs: Meterer, book: SqliteBook) -> None:
    """One commit, with a credential; the reader gets the words, and the observer is told."""
    events: list[Event] = []
    with Site(theirs) as site, client_of(theirs, book, events) as client:
        answer = client.get(f"{site.url}/words")
    assert answer.text == 'data: {"word": 1}\n\ndata: [DONE]\n\n'
    (commit,) = theirs.commits
    assert (commit.method, commit.headers["Content-Type"]) == ("POST", "application/json")
    assert commit.headers["Authorization"].startswith("Payment ")
    assert watermark(book) == (3_000, 3_000, 3_000)
    assert [one.added_units for one in events if isinstance(one, Authorized)][-1] == 3_000
    assert [one.spent_units for one in events if isinstance(one, Metered)] == [COST + 3_000]


@pytest.mark.parametrize("amount", [3_000, "3000"])
@pytest.mark.parametrize(("usage", "paid"), [(1_000, 1_000), ("5000", 5_000), (0, 0)])
def test_a_usage_says_what_its_delivery_came_to(
    theirs: Meterer, book: SqliteBook, amount: object, usage: object, paid: int
) -> None:
    """Less or more, as text or as an integer; for nothing, nothing is posted."""
    told = {"deliveryId": "d1", "amount": usage}
    theirs.events = [theirs.directive(amount), ("", {"word": 1}), ("mpp.usage", told)]
    theirs.answers = [{"amount": str(paid)}]
    with Site(theirs) as site, client_of(theirs, book) as client:
        assert client.get(f"{site.url}/words").status_code == 200
    assert watermark(book) == (paid, paid, paid)
    assert len(theirs.commits) == bool(paid)


def test_a_following_delivery_ends_the_one_before(theirs: Meterer, book: SqliteBook) -> None:
    """Each is paid, and each once; the same directive again is the same delivery."""
    second = theirs.directive("500", deliveryId="d2", sequence=2)
    theirs.events = [theirs.directive(), theirs.directive(), ("", {"word": 1}), second, ("", {"word": 2})]
    theirs.answers = [{}, {"amount": "500"}]
    theirs.end = b""
    with Site(theirs) as site, client_of(theirs, book) as client:
        client.get(f"{site.url}/words")
    assert [json.loads(one.body)["deliveryId"] for one in theirs.commits] == ["d1", "d2"]
    assert watermark(book) == (3_500, 3_500, 3_500)


@pytest.mark.guard("T20", "T24", "T29")
@pytest.mark.parametrize(
    ("events", "kind", "reason"),
    [
        ([{"sessionId": "another"}], MalformedHeader, "sessionId is another channel"),
        ([{"currency": "gold"}], MalformedHeader, "currency is not what"),
        ([{"expiresAt": 1}], MalformedHeader, "expiresAt is past"),
        ([{"amount": 1.5}], MalformedHeader, "amount is missing, or neither"),
        ([{"amount": "-1"}], MalformedHeader, "amount is missing, or neither"),
        ([{"amount": True}], MalformedHeader, "amount is missing, or neither"),
        ([{"amount": 2**64}], MalformedHeader, "amount is"),
        ([{"sequence": "1"}], MalformedHeader, "sequence is missing or no integer"),
        ([{"deliveryId": ""}], MalformedHeader, "deliveryId is missing"),
        ([{}, {"amount": "1"}], MalformedHeader, "comes again"),
        ([{}, {"deliveryId": "d2", "sequence": 0}], MalformedHeader, "comes again"),
        ([{"amount": str(129 * COST + COST + 1)}], PolicyRefused, "a window ahead"),
        ([{"amount": "2000"}, {"deliveryId": "d2", "sequence": 2, "amount": "128001"}], PolicyRefused, "window ahead"),
    ],
)
def test_a_directive_that_was_not_agreed_to_is_not_paid(
    theirs: Meterer, book: SqliteBook, events: list[dict[str, Any]], kind: type[CoinslotError], reason: str
) -> None:
    """Of another channel or token, over already, no amount, again, or too much: named, and nothing signed for it."""
    theirs.events = [theirs.directive(**one) for one in events]
    theirs.events.append(("", {"word": 1}))
    with Site(theirs) as site, client_of(theirs, book) as client, pytest.raises(kind, match=reason):
        client.get(f"{site.url}/words")
    before = len(events) - 1
    assert (len(theirs.commits), only(book).opening) == (before, b"")


@pytest.mark.guard("T24")
@pytest.mark.parametrize("told", [{"deliveryId": "d2", "amount": "1"}, {"deliveryId": "d1", "amount": "0x1"}, {}])
def test_a_usage_of_another_delivery_is_refused(theirs: Meterer, book: SqliteBook, told: dict[str, Any]) -> None:
    """It may speak of the delivery that streams, and of no other; nothing was signed."""
    theirs.events.append(("mpp.usage", told))
    with Site(theirs) as site, client_of(theirs, book) as client, pytest.raises(MalformedHeader, match=r"mpp\.usage"):
        client.get(f"{site.url}/words")
    assert (watermark(book)[0], theirs.commits) == (0, [])


@pytest.mark.guard("T22", "T24")
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_per_request": "0.003999"}, "beside the price of one request"),
        ({"max_window": 1}, "a window ahead"),
        ({"max_per_day": "0.004"}, "budget"),
        ({"max_deposit": "0.004"}, "max_deposit"),
    ],
)
def test_the_limits_of_the_policy_hold(theirs: Meterer, book: SqliteBook, limits: dict[str, Any], reason: str) -> None:
    """For one request, for a window, for a day, for a deposit: nothing is signed beyond them, and the rest goes on."""
    with Site(theirs) as site, client_of(theirs, book, **limits) as client:
        with pytest.raises(PolicyRefused, match=reason):
            client.get(f"{site.url}/words")
        assert (watermark(book)[0], theirs.commits, only(book).opening) == (0, [], b"")


@pytest.mark.guard("T22")
def test_a_budget_is_asked_before_anything_is_deposited(theirs: Meterer, book: SqliteBook) -> None:
    """A delivery for which the deposit is too small, and the day's budget, too: no top-up is made for it."""
    events: list[Event] = []
    till = theirs.shop.till
    till.price = Counting("0.001", till.price.sellers, deposit=Decimal("0.02"))
    theirs.events[0] = theirs.directive("90000")
    client = client_of(theirs, book, events, max_per_day="0.05")
    with Site(theirs) as site, client, pytest.raises(PolicyRefused, match="budget"):
        client.get(f"{site.url}/words")
    assert [one for one in events if isinstance(one, ToppedUp)] == []


@pytest.mark.guard("T22")
def test_the_budget_of_a_session_holds(theirs: Meterer, book: SqliteBook) -> None:
    """What a session object may authorize counts for deliveries, too."""
    with Site(theirs) as site, client_of(theirs, book) as client:
        paid = session(client, site.url, max_deposit="0.5", budget="0.0035")
        with pytest.raises(PolicyRefused):
            paid.get("/words")
    assert (theirs.commits, only(book).opening) == ([], b"")


@pytest.mark.guard("T37")
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:1/x",
        "https://127.0.0.1/x",
        "//elsewhere.example/x",
        "http://me@HOST/x",
        "ftp://HOST/x",
        "http://[",
    ],
)
def test_a_voucher_is_posted_to_the_same_site_only(theirs: Meterer, book: SqliteBook, url: str) -> None:
    """Another host, port or scheme, or a name before the host: refused, and nothing signed."""
    with Site(theirs) as site, client_of(theirs, book) as client:
        theirs.events[0] = theirs.directive(commitUrl=url.replace("HOST", site.url.partition("//")[2]))
        with pytest.raises((PolicyRefused, MalformedHeader)):
            client.get(f"{site.url}/words")
    assert (watermark(book)[0], theirs.commits) == (0, [])


@pytest.mark.parametrize("url", [f"{COMMIT_PATH}/mine?x=1", f"http://HOST{COMMIT_PATH}/mine?x=1#part"])
def test_a_commit_goes_where_the_directive_says(theirs: Meterer, book: SqliteBook, url: str) -> None:
    """A path of the same site, or all of its URL."""
    with Site(theirs) as site, client_of(theirs, book) as client:
        theirs.events[0] = theirs.directive(commitUrl=url.replace("HOST", site.url.partition("//")[2]))
        assert client.get(f"{site.url}/words").status_code == 200
    assert [one.path for one in theirs.commits] == [f"{COMMIT_PATH}/mine?x=1"]


@pytest.mark.guard("F03")
def test_a_commit_in_doubt_goes_out_again_with_the_same_bytes(theirs: Meterer, book: SqliteBook) -> None:
    """A server that fails twice and then says "replayed": one signature, counted once."""
    theirs.answers = [500, 503, {"status": "replayed"}]
    with Site(theirs) as site, client_of(theirs, book) as client:
        assert client.get(f"{site.url}/words").status_code == 200
    assert len({one.body for one in theirs.commits}) == 1
    assert watermark(book) == (3_000, 3_000, 3_000)


@pytest.mark.guard("F03")
def test_an_unknown_outcome_is_settled_before_anything_else_is_paid(theirs: Meterer, book: SqliteBook) -> None:
    """Nothing moves the watermark meanwhile, also in another client with the same book; then it counts once."""
    theirs.answers = [500] * MAX_POSTS
    with Site(theirs) as site:
        with client_of(theirs, book) as client, pytest.raises(PaymentOutcomeUnknown, match="not known: HTTP 500"):
            client.get(f"{site.url}/words")
        assert watermark(book) == (3_000, 0, 0)
        with client_of(theirs, book) as client:
            assert client.get(f"{site.url}/other").status_code == 200
    assert len({one.body for one in theirs.commits}) == 1
    assert (only(book).acknowledged_units, only(book).spent_units) == (2 * COST + 3_000, COST + 3_000)


@pytest.mark.guard("T37")
def test_a_commit_in_doubt_waits_for_its_own_site(theirs: Meterer, book: SqliteBook) -> None:
    """Another site of the same payee may be paid meanwhile, from the same channel, and gets no voucher posted."""
    theirs.answers = [500] * MAX_POSTS
    with Site(theirs) as site, Site(theirs) as sister, client_of(theirs, book) as client:
        with pytest.raises(PaymentOutcomeUnknown):
            client.get(f"{site.url}/words")
        assert client.get(f"{sister.url}/other").status_code == 200
        assert [one for one in sister.seen if one.path.startswith(COMMIT_PATH)] == []
        assert len(theirs.commits) == MAX_POSTS


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "settled"}, "status is neither"),
        ({"sessionId": "another"}, "sessionId is another channel"),
        ({"deliveryId": "d2"}, "deliveryId is another delivery"),
        ({"cumulative": 1.0}, "cumulative is missing, or neither"),
        ({"amount": False}, "amount is missing, or neither"),
    ],
)
def test_what_is_no_acknowledgement_moves_nothing(
    theirs: Meterer, book: SqliteBook, answer: dict[str, Any], reason: str
) -> None:
    """A receipt of another channel or delivery, or one that can't be read, is named, and the outcome stays unknown."""
    theirs.answers = [answer]
    with Site(theirs) as site, client_of(theirs, book) as client, pytest.raises(PaymentOutcomeUnknown, match=reason):
        client.get(f"{site.url}/words")
    assert watermark(book) == (3_000, 0, 0)


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    ("answer", "acknowledged", "spent"),
    [
        ({"status": "replayed", "cumulative": "99999999", "amount": "99999999"}, 3_000, 3_000),
        ({"status": "replayed", "cumulative": 1, "amount": 1}, 0, 0),
        ({"status": "committed", "cumulative": "99999999"}, 3_000, 3_000),
        ({"status": "committed", "amount": "2000"}, 3_000, 2_000),
    ],
)
def test_the_watermark_keeps_between_what_was_acknowledged_and_what_was_signed(
    theirs: Meterer, book: SqliteBook, answer: dict[str, Any], acknowledged: int, spent: int
) -> None:
    """Whatever a receipt claims."""
    theirs.answers = [answer]
    with Site(theirs) as site, client_of(theirs, book) as client:
        assert client.get(f"{site.url}/words").status_code == 200
    signed, said, used = watermark(book)
    assert (signed, said, used) == (3_000, acknowledged, spent)


def test_a_refused_commit_is_over(theirs: Meterer, book: SqliteBook) -> None:
    """It is raised by name; what was signed is used by the next request, and not paid on top."""
    theirs.answers = [400]
    with Site(theirs) as site, client_of(theirs, book) as client:
        with pytest.raises(PaymentRefused, match="refused the voucher for a delivery"):
            client.get(f"{site.url}/words")
        assert only(book).opening == b""
        assert client.get(f"{site.url}/other").status_code == 200
    assert watermark(book)[0] == 3_001


def test_a_stream_that_breaks_off_is_not_paid(theirs: Meterer, book: SqliteBook) -> None:
    """What did not come to its end is not known to have come; nor what its reader leaves early."""
    theirs.end = b""
    with Site(theirs) as site, client_of(theirs, book) as client, client.stream("GET", f"{site.url}/words") as answer:
        assert answer.status_code == 200
    assert (theirs.commits, only(book).opening) == ([], b"")


def test_a_price_of_a_coin_is_out_of_reach(theirs: Meterer, book: SqliteBook) -> None:
    """The usage that would empty the channel is refused, however little came."""
    theirs.events.append(("mpp.usage", {"deliveryId": "d1", "amount": str(COIN)}))
    with Site(theirs) as site, client_of(theirs, book) as client, pytest.raises(PolicyRefused):
        client.get(f"{site.url}/words")
    assert watermark(book)[0] == 0
