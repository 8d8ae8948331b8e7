"""Paid server-sent events over real servers: charged first, paused where dry, ended with a receipt."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coinslot.core.receipt import decode_receipt, receipt_from
from coinslot.errors import UsageError
from coinslot.transports import asgi, starlette, wsgi
from coinslot.transports import flask as flask_door
from coinslot.transports.metering import Metered
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS, Event, Item, asse, sse
from support.serving import TIMEOUT_S, asgi_server, wsgi_server
from support.streamclient import NEED, RECEIPT, StreamClient, events_of, parse_events, stream_slot
from support.toybank import Bank

Wallet: TypeAlias = dict[str, Any]
Items: TypeAlias = Callable[[], Iterator[Item]]
Site: TypeAlias = Callable[[Slot, Items], AbstractContextManager[str]]
WINDOW = 10
PRICE = "0.000001"  # one base unit


def words(count: int) -> Items:
    """So many words."""

    def make() -> Iterator[Item]:
        for n in range(count):
            yield f"word {n}"

    return make


def price(slot: Slot, **options: Any) -> Any:
    """One base unit a word."""
    return slot.metered(PRICE, **{"unit": "word", "window": WINDOW, "patience_s": TIMEOUT_S, **options})


@contextmanager
def raw_asgi(slot: Slot, items: Items, **options: Any) -> Iterator[str]:
    """An ASGI application behind the middleware."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def made() -> AsyncIterator[Item]:
            for item in items():
                yield item

        await asgi.Stream(asse(asgi.meter(scope), made()), HEADERS)(scope, receive, send)

    with asgi_server(asgi.CoinslotMiddleware(app, slot, {"GET /words": price(slot, **options)})) as url:
        yield url + "/words"


@contextmanager
def starlette_decorated(slot: Slot, items: Items, **options: Any) -> Iterator[str]:
    """A decorated endpoint, with items that are made in threads."""

    @starlette.paid(slot, price(slot, **options))
    async def endpoint(request: Request) -> Response:
        return starlette.events(request, items())

    with asgi_server(Starlette(routes=[Route("/words", endpoint)])) as url:
        yield url + "/words"


@contextmanager
def raw_wsgi(slot: Slot, items: Items, **options: Any) -> Iterator[str]:
    """A WSGI application behind the middleware."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(HEADERS))
        return sse(wsgi.meter(environ), items())

    with wsgi_server(wsgi.CoinslotMiddleware(app, slot, {"GET /words": price(slot, **options)})) as url:
        yield url + "/words"


@contextmanager
def flask_decorated(slot: Slot, items: Items, **options: Any) -> Iterator[str]:
    """A decorated view."""
    app = flask.Flask("words")

    @app.get("/words")
    @flask_door.paid(slot, price(slot, **options))
    def view() -> flask.Response:
        return flask_door.events(items())

    with wsgi_server(app) as url:
        yield url + "/words"


SITES = [raw_asgi, starlette_decorated, raw_wsgi, flask_decorated]


@pytest.fixture
def slot(bank: Bank) -> Iterator[Slot]:
    """A slot in memory that nobody settles."""
    made = stream_slot(bank)
    yield made
    made.close()


@pytest.mark.spec("TSES-168", "TSES-169", "TSES-170", "TSES-192", "TSES-193")
@pytest.mark.parametrize("site", SITES)
def test_each_event_costs_its_units_and_the_last_one_is_the_receipt(site: Any, slot: Slot, alice: Wallet) -> None:
    """The channel's record, the receipt event and what was read say the same; the rest of the window is free again."""

    def items() -> Iterator[Item]:
        yield "one"
        yield Event("three\nlines", event="delta", id="7", units=3)
        yield Event("nothing", units=0)

    with site(slot, items) as url:
        client = StreamClient(alice, url)
        answer = client.get(50)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert decode_receipt(answer.headers["payment-receipt"]).method == "toy"
    *said, last = parse_events(answer.content)
    assert [(one.name, one.data) for one in said] == [
        ("message", "one"), ("delta", "three\nlines"), ("message", "nothing"),
    ]  # fmt: skip
    assert last.name == RECEIPT
    receipt = receipt_from(last.members)
    assert (receipt.extra["spent"], receipt.extra["units"]) == ("4", 4)
    assert client.sums(slot) == (50, 4, 0)


@pytest.mark.guard("T25")
@pytest.mark.spec("SSES-240", "TSES-171", "TSES-172", "TSES-173", "TSES-174", "TSES-175", "TSES-181")
@pytest.mark.parametrize("site", SITES)
def test_a_dry_stream_asks_pauses_and_goes_on_over_the_same_connection(site: Any, slot: Slot, alice: Wallet) -> None:
    """What it asks for can be signed; nothing more comes before the voucher does, by HEAD on another connection."""
    with site(slot, words(30)) as url:
        client = StreamClient(alice, url)
        got: list[str] = []
        needs = 0
        with client.stream(12) as answer:
            for event in events_of(answer):
                if event.name == NEED:
                    needs += 1
                    told = event.members
                    assert len(got) == int(told["acceptedCumulative"]) == client.sums(slot)[1]
                    assert told["channelId"] == client.held.channel_id
                    assert int(told["deposit"]) == client.held.deposit_units
                    assert int(told["requiredCumulative"]) > int(told["acceptedCumulative"])
                    assert client.raise_to(int(told["requiredCumulative"])).status_code == 204
                elif event.name == RECEIPT:
                    assert event.members["spent"] == "30"
                    got.append(RECEIPT)
                else:
                    got.append(event.data)
    assert got == [*(f"word {n}" for n in range(30)), RECEIPT]
    assert needs == 2
    assert client.sums(slot)[1:] == (30, 0)


@pytest.mark.guard("T25")
@pytest.mark.spec("TSES-182", "TSES-184")
@pytest.mark.parametrize("site", SITES)
def test_a_dry_stream_that_nobody_fills_ends_with_a_receipt(site: Any, slot: Slot, alice: Wallet) -> None:
    """It delivered what was authorized, and not one unit more."""
    with site(slot, words(30), patience_s=0.2) as url:
        client = StreamClient(alice, url)
        said = parse_events(client.get(12).content)
    assert [one.name for one in said] == ["message"] * 12 + [NEED, RECEIPT]
    assert (said[-1].members["spent"], said[-1].members["units"]) == ("12", 12)
    assert client.sums(slot) == (12, 12, 0)


@pytest.mark.guard("T25")
@pytest.mark.parametrize("site", [raw_asgi, starlette_decorated, raw_wsgi, flask_decorated])
def test_hanging_up_costs_what_was_sent(site: Any, slot: Slot, alice: Wallet) -> None:
    """The stream stops, the window is free again, and the record says what the handler had sent."""
    sent: list[int] = []
    ended = threading.Event()

    def items() -> Iterator[Item]:
        try:
            n = 0
            while True:
                sent.append(n)
                yield "x" * 20_000
                n += 1
        finally:
            ended.set()

    with site(slot, items) as url:
        client = StreamClient(alice, url)
        with client.stream(60_000) as answer:
            events = events_of(answer)
            read = [next(events) for _ in range(25)]
        assert ended.wait(TIMEOUT_S)
        wait_until_free(client, slot)
    accepted, spent, reserved = client.sums(slot)
    assert (accepted, reserved, len(read)) == (60_000, 0, 25)
    assert len(sent) - 1 <= spent <= len(sent)


def wait_until_free(client: StreamClient, slot: Slot) -> None:
    """Until no window is set aside."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.02)):
        if client.sums(slot)[2] == 0:
            return
        pause.wait(0.02)
    raise AssertionError("a window is still set aside")


def test_without_a_metered_price_there_is_no_meter() -> None:
    """And the message says why."""
    with pytest.raises(UsageError, match="not metered"):
        asgi.meter({"type": "http"})
    assert Metered.__doc__
