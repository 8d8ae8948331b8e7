"""Credit is given where an answer can say how it is paid afterwards; any other is paid from what was authorized."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, StreamingResponse

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.core.challenge import parse_challenges
from coinslot.drive import run
from coinslot.errors import StoreBusy
from coinslot.server.request import Incoming
from coinslot.store.channels import ChannelQuery
from coinslot.store.memory import MemoryStore
from coinslot.transports import asgi
from coinslot.transports.chunks import achunks
from coinslot.transports.httpx import pay, session
from coinslot.transports.sse import HEADERS, Event, Item, asse, sse
from support.drained import drained
from support.lendingsite import CREDIT, PRICE, WINDOW, Committer, LendingSite, lending, ten, told
from support.streamclient import RECEIPT, parse_events
from support.toybank import Bank

Wallet = dict[str, Any]


@pytest.fixture
def site(bank: Bank) -> Iterator[LendingSite]:
    """A channel may owe three hundred."""
    with lending(bank, price={"patience_s": 0.2}) as running:
        yield running


def sums(site: LendingSite, client: Committer) -> tuple[int, int, int]:
    """accepted, spent and reserved of a channel, once the store has done what nobody waits for."""
    drained(site.slot.store)
    return client.sums(site.slot)


def whole_credit(client: Committer, total: int) -> bool:
    """Whether the channel owes nothing at all."""
    return client.reserve(str(CREDIT), client.voucher(total)).status_code == 200


# --- handlers of every kind ------------------------------------------------------------------------


async def charging(scope: Any, receive: Any, send: Any) -> None:
    """Seven units, charged by hand, in one JSON answer."""
    async with asgi.meter(scope) as m:
        await m.charge(3)
        await m.charge(4)
    await JSONResponse({"counted": m.counted})(scope, receive, send)


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Knows of no meter."""
    await JSONResponse({"counted": 1})(scope, receive, send)


async def trickling(scope: Any, receive: Any, send: Any) -> None:
    """Seven bytes, in pieces, each charged as it goes."""
    await asgi.Stream(achunks(asgi.meter(scope), [b"abc", b"defg"]))(scope, receive, send)


async def by_the_framework(scope: Any, receive: Any, send: Any) -> None:
    """Seven bytes of a framework's own stream, which nobody charges for."""
    await StreamingResponse(iter([b"abc", b"defg"]))(scope, receive, send)


HANDLERS = [(charging, 7), (silent, 1), (trickling, 7), (by_the_framework, 1)]


@pytest.mark.guard("T26")
@pytest.mark.parametrize(("handler", "cost"), HANDLERS)
@pytest.mark.parametrize("events", [False, True])
def test_an_answer_that_is_no_stream_of_events_is_paid_from_what_was_authorized(
    bank: Bank, alice: Wallet, handler: Any, cost: int, events: bool
) -> None:
    """As often as it is asked for, and nothing is owed: it could never be paid."""
    with lending(bank, price={"patience_s": 0.2, "events": events}) as site:
        site.app = handler
        client = Committer(alice, site.stream)
        for number in range(1, 51):
            answer = client.get(number * 8)
            assert answer.status_code == 200, answer.text
            assert b"mpp." not in answer.content
        assert sums(site, client) == (400, 50 * cost, 0)
        assert whole_credit(client, 400)


@pytest.mark.guard("T26")
@pytest.mark.parametrize(("handler", "cost"), HANDLERS)
def test_what_nothing_covers_is_refused_before_anything_runs(
    bank: Bank, alice: Wallet, handler: Any, cost: int
) -> None:
    """What any answer must have covered is asked for first; nobody knows yet what kind it will be."""
    with lending(bank, price={"least": 7}) as site:
        site.app = handler
        client = Committer(alice, site.stream)
        for total in (1, 6):
            refused = client.get(total)
            assert refused.status_code == 402, refused.text
            session = next(
                one
                for one in parse_challenges(refused.headers.get_list("www-authenticate"))[0]
                if one.intent == "session"
            )
            assert session.request_object()["methodDetails"]["sessionSnapshot"]["requiredCumulative"] == "7"
        assert site.runs == []
        assert client.get(7).status_code == 200
        assert sums(site, client) == (7, cost, 0)


@pytest.mark.guard("T25")
@pytest.mark.parametrize(("handler", "cost"), HANDLERS)
def test_where_events_were_promised_another_answer_is_not_given_away(
    bank: Bank, alice: Wallet, handler: Any, cost: int
) -> None:
    """A voucher of one where a unit costs ten: no byte leaves, and the refusal says what is missing."""
    with lending(bank, price={"amount": "0.00001", "patience_s": 0.2, "events": True}) as site:
        site.app = handler
        client = Committer(alice, site.stream)
        refused = client.get(1)
        assert (refused.status_code, refused.headers["content-type"]) == (402, "application/problem+json")
        assert sums(site, client) == (1, 0, 0)
        total = 1 + int(refused.json()["requiredTopUp"])
        answer = client.get(total + 70)
        assert answer.status_code == 200, answer.text
        assert sums(site, client) == (total + 70, cost * 10, 0)
        assert whole_credit(client, total + 70)


@pytest.mark.guard("T22")
def test_two_requests_do_not_share_what_one_of_them_has_authorized(bank: Bank, alice: Wallet) -> None:
    """While one runs, the other is refused: else both would run, and one of them for nothing."""
    runs, go = threading.Semaphore(0), threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        runs.release()
        while not go.is_set():
            await asyncio.sleep(0.01)
        await charging(scope, receive, send)

    plain = httpx.Client(trust_env=False, timeout=20)
    with lending(bank, price={"least": 7}) as site, ThreadPoolExecutor(1) as threads, plain as other:
        site.app = slow
        client = Committer(alice, site.stream)
        first = threads.submit(client.get, 7)
        assert runs.acquire(timeout=20)
        assert other.get(client.url, headers=client.voucher(8)).status_code == 402
        go.set()
        assert first.result(20).status_code == 200
        assert len(site.runs) == 1
        assert sums(site, client) == (8, 7, 0)


# --- streams of events ------------------------------------------------------------------------------


async def in_threads(scope: Any, receive: Any, send: Any) -> None:
    """The stream for servers with threads, at a framework's endpoint."""
    pieces = sse(asgi.meter(scope), [*ten(), Event("bye", event="done")])
    await StreamingResponse(pieces, headers=dict(HEADERS))(scope, receive, send)


async def on_a_loop(scope: Any, receive: Any, send: Any) -> None:
    """The same for event loops."""
    await asgi.Stream(asse(asgi.meter(scope), [*ten(), Event("bye", event="done")]), HEADERS)(scope, receive, send)


@pytest.mark.guard("T24")
@pytest.mark.parametrize("handler", [in_threads, on_a_loop])
def test_both_streams_say_how_they_are_paid(site: LendingSite, alice: Wallet, handler: Any) -> None:
    """The directive first, the usage before what clients take for the end; and a commit pays it."""
    site.app = handler
    client = Committer(alice, site.stream)
    for number in range(2):
        first, *words, usage, done, end = parse_events(client.get(1 + 12 * number).content)
        assert (first.name, first.members["amount"]) == ("mpp.metering", str(WINDOW))
        assert [one.data for one in words] == list(ten())
        assert (usage.name, usage.members["amount"]) == ("mpp.usage", "11")
        assert (done.name, done.data, end.data) == ("done", "bye", "[DONE]")
        assert sums(site, client)[1:] == (11 * number, 0)
        assert client.commit(first.members["deliveryId"], 12 * (number + 1)).json()["amount"] == "11"
    assert sums(site, client) == (24, 22, 0)


@pytest.mark.guard("T24")
@pytest.mark.parametrize("stream", ["sse", "asse"])
@pytest.mark.parametrize("last", ["[DONE]", "word"])
def test_both_streams_end_at_what_they_may_cost(site: LendingSite, alice: Wallet, stream: str, last: str) -> None:
    """Or at the application's own end: the last word is ours."""
    items: list[Item] = [*["word"] * (WINDOW if last == "word" else 3), last, "never"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pieces = sse(asgi.meter(scope), items) if stream == "sse" else asse(asgi.meter(scope), items)
        await StreamingResponse(pieces, headers=dict(HEADERS))(scope, receive, send)

    site.app = app
    _, words, usage = told(Committer(alice, site.stream).read(1))
    assert (set(words), len(words)) == ({"word"}, int(usage["amount"]))
    assert len(words) == (WINDOW if last == "word" else 3)


@pytest.mark.parametrize("handler", [in_threads, on_a_loop])
def test_our_client_pays_both_streams_without_an_end(
    site: LendingSite, alice: Wallet, tmp_path: Path, handler: Any
) -> None:
    """Ten of them, where the credit would do for less: each is paid when it came."""
    site.app = handler
    plain = httpx.Client(trust_env=False, timeout=20)
    with (
        pay(plain, wallet(toy=alice), Policy(max_deposit="0.5"), book=tmp_path / "b") as client,
        session(client, site.stream, max_deposit="0.001") as paid,
    ):
        for _ in range(40):
            assert paid.get().text.endswith("data: bye\n\ndata: [DONE]\n\n")
    (channel,) = site.slot.store.list_channels(ChannelQuery()).result()
    assert channel.spent == 40 * 11 > CREDIT


def test_what_was_charged_before_a_stream_makes_it_one_that_is_paid_as_it_comes(
    site: LendingSite, alice: Wallet
) -> None:
    """A directive could not say so much; the receipt does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        m = asgi.meter(scope)
        await m.asynchronous.charge(5)
        await asgi.Stream(asse(m, ten()), HEADERS)(scope, receive, send)

    site.app = app
    client = Committer(alice, site.stream)
    *words, receipt = parse_events(client.get(50).content)
    assert ([one.data for one in words], receipt.name) == (list(ten()), RECEIPT)
    assert receipt.members["spent"] == "15"
    assert sums(site, client) == (50, 15, 0)
    assert whole_credit(client, 50)


@pytest.mark.guard("T22")
def test_the_last_unit_of_a_deposit_can_be_lent(site: LendingSite, alice: Wallet) -> None:
    """What was set aside in case that no events come is no hindrance where they do."""
    client = Committer(alice, site.stream, deposit=11)
    directive, words, _ = told(client.read(1))
    assert len(words) == 10
    assert client.commit(directive["deliveryId"], 10).status_code == 200
    directive, words, usage = told(client.read(11))
    assert (directive["amount"], words, usage["amount"]) == ("1", ["word 0"], "1")
    assert client.commit(directive["deliveryId"], 11).status_code in (200, 402)


@pytest.mark.parametrize("handler", [charging, on_a_loop])
def test_a_handler_that_fails_before_it_sends_leaves_all_as_it_was(
    site: LendingSite, alice: Wallet, handler: Any
) -> None:
    """Neither room nor window stays taken."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        if handler is charging:
            await asgi.meter(scope).asynchronous.charge(1)
        raise LookupError("the handler")

    site.app = fails
    client = Committer(alice, site.stream)
    for total in range(1, 25):
        assert client.get(total).status_code == 500
    assert sums(site, client) == (24, 0, 0)
    assert whole_credit(client, 24)


class Full(MemoryStore):
    """A store that can't be written while `full`."""

    full = False

    def commit(self, *given: Any, **named: Any) -> Any:
        if self.full:
            self.full = False
            failed: Future[Any] = Future()
            failed.set_exception(StoreBusy("full"))
            return failed
        return super().commit(*given, **named)


def test_a_store_that_fails_where_a_stream_is_lent_lends_nothing(bank: Bank, alice: Wallet) -> None:
    """No word of it leaves, and neither room nor window stays taken."""
    store = Full()
    with lending(bank, store=store) as site:
        client = Committer(alice, site.stream)
        client.raise_to(1)
        store.full = True
        with client.stream(2) as answer, suppress(httpx.HTTPError):
            assert b"mpp." not in answer.read()
        assert sums(site, client)[1:] == (0, 0)
        assert whole_credit(client, 2)
        assert told(client.read(3))[1] == list(ten())


@pytest.mark.guard("T26")
def test_a_long_answer_that_is_not_lent_keeps_no_room(site: LendingSite, alice: Wallet) -> None:
    """While it runs its channel may owe as much as it may at any time."""
    begun, go = threading.Event(), threading.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        while not go.is_set():
            await asyncio.sleep(0.01)
        yield b"last"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asgi.Stream(achunks(asgi.meter(scope), pieces(), lambda _: 1))(scope, receive, send)

    site.app = app
    client = Committer(alice, site.stream)
    with client.stream(5) as answer:
        assert begun.wait(20)
        drained(site.slot.store)
        assert whole_credit(client, 5)
        go.set()
        assert answer.read() == b"firstlast"
    assert sums(site, client) == (5, 2, 0)


def test_a_price_above_the_credit_is_paid_as_it_comes(bank: Bank, alice: Wallet) -> None:
    """Where the least that must be covered is more than a channel may owe, nobody could ever buy: nothing is lent."""
    with lending(bank, price={"least": WINDOW}, credit_units=WINDOW - 1) as site:
        client = Committer(alice, site.stream)
        assert client.get(WINDOW - 1).status_code == 402
        *words, receipt = parse_events(client.get(WINDOW).content)
        assert ([one.data for one in words], receipt.name) == (list(ten()), RECEIPT)
        assert sums(site, client) == (WINDOW, 10, 0)


@pytest.mark.guard("F29")
@pytest.mark.parametrize("events", [False, True])
def test_an_admission_that_fails_leaves_neither_room_nor_window_taken(bank: Bank, alice: Wallet, events: bool) -> None:
    """The server's own observer fails between what was set aside and the handler."""

    def broken(_: object) -> None:
        raise LookupError("the observer")

    with lending(bank) as site:
        client = Committer(alice, site.stream)
        gate = replace(site.slot.gate, observe=broken)
        price = site.slot.metered(PRICE, unit="word", window=WINDOW, events=events)
        for total in range(1, 5):
            headers = {name.lower(): (value,) for name, value in client.voucher(total).items()}
            with pytest.raises(LookupError):
                run(gate.admit(Incoming("GET", "/words", "", headers, b"", commits=True), price), site.slot.world)
        assert sums(site, client) == (4, 0, 0)
        assert whole_credit(client, 4)


@pytest.mark.parametrize("events", [False, True])
def test_a_keyed_stream_that_failed_runs_again_for_the_same_voucher(bank: Bank, alice: Wallet, events: bool) -> None:
    """And what came under a key comes again word for word, with the directive that it had: it is paid once."""
    with lending(bank, price={"events": events}) as site:
        site.items = lambda: [object()]
        client = Committer(alice, site.stream)
        keyed = {**client.voucher(1), "Idempotency-Key": "words"}
        with pytest.raises(httpx.HTTPError):
            client.http.get(client.url, headers=keyed)
        drained(site.slot.store)
        site.items = ten
        first = client.http.get(client.url, headers=keyed)
        directive, words, _ = told(parse_events(first.content))
        assert words == list(ten())
        drained(site.slot.store)
        again = client.http.get(client.url, headers=keyed)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        assert client.commit(directive["deliveryId"], 11).json()["amount"] == "10"
        assert sums(site, client) == (11, 10, 0)
        assert len(site.runs) == 2
