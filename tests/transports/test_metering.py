"""The meter in handlers' hands, at every door: counted while they work, told in the receipt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import flask
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from coinslot.core.challenge import parse_challenges
from coinslot.core.receipt import decode_receipt
from coinslot.errors import StreamDry
from coinslot.transports import asgi, fastapi, starlette, wsgi
from coinslot.transports import django as django_door
from coinslot.transports import flask as flask_door
from coinslot.transports.chunks import achunks, chunks
from coinslot.transports.slot import Slot
from support.djangosite import configured
from support.drained import drained
from support.serving import TIMEOUT_S, asgi_server, wsgi_server
from support.streamclient import RECEIPT, StreamClient, parse_events, stream_slot
from support.toybank import Bank

Wallet: TypeAlias = dict[str, Any]
PRICE = "0.000001"
assert configured


def price(slot: Slot, **options: Any) -> Any:
    """One base unit a unit."""
    return slot.metered(PRICE, **{"window": 10, "patience_s": TIMEOUT_S, **options})


@pytest.fixture
def slot(bank: Bank) -> Iterator[Slot]:
    """A slot in memory."""
    made = stream_slot(bank)
    yield made
    made.close()


# --- every door serves the same: /count 7 units in an answer, /words three events, /fail after a charge -----------


def words() -> Iterator[str]:
    """Three."""
    yield from ("one", "two", "three")


async def slow_words() -> AsyncIterator[str]:
    """Three, from an event loop."""
    for word in words():
        yield word


@contextmanager
def starlette_middleware(slot: Slot) -> Iterator[str]:
    """Endpoints of both kinds."""

    async def count(request: Request) -> Response:
        async with starlette.meter(request) as m:
            await m.charge(3)
            await m.charge(4)
        return JSONResponse({"counted": m.counted, "spent": m.receipt.extra["spent"] if m.receipt else None})

    async def said(request: Request) -> Response:
        return starlette.events(request, slow_words())

    def fail(request: Request) -> Response:
        with starlette.meter(request) as m:
            m.charge(2)
            raise RuntimeError("the handler failed")

    routes = [Route("/count", count), Route("/words", said), Route("/fail", fail)]
    app = asgi.CoinslotMiddleware(Starlette(routes=routes), slot, {"GET /**": price(slot)})
    with asgi_server(app) as url:
        yield url


@contextmanager
def fastapi_decorated(slot: Slot) -> Iterator[str]:
    """A decorator, and a dependency."""
    app = FastAPI()
    fastapi.install(app, slot)
    asked = price(slot)
    verbs = ["GET", "HEAD"]

    @app.api_route("/count", methods=verbs)
    @fastapi.paid(slot, asked)
    async def count(request: Request) -> dict[str, Any]:
        async with fastapi.meter(request) as m:
            await m.charge(7)
        return {"counted": m.counted, "spent": m.receipt.extra["spent"] if m.receipt else None}

    @app.api_route("/words", methods=verbs, dependencies=[Depends(fastapi.price(slot, asked))])
    async def said(request: Request) -> Response:
        return fastapi.events(request, words())

    @app.api_route("/fail", methods=verbs)
    @fastapi.paid(slot, asked)
    def fail(request: Request) -> None:
        with fastapi.meter(request) as m:
            m.charge(2)
            raise RuntimeError("the handler failed")

    with asgi_server(app) as url:
        yield url


@contextmanager
def flask_middleware(slot: Slot) -> Iterator[str]:
    """Views behind the WSGI door."""
    app = flask.Flask("metered")

    @app.get("/count")
    def count() -> Any:
        with flask_door.meter() as m:
            m.charge(7)
        return {"counted": m.counted, "spent": m.receipt.extra["spent"] if m.receipt else None}

    @app.get("/words")
    def said() -> flask.Response:
        return flask_door.events(words())

    @app.get("/fail")
    def fail() -> str:
        with flask_door.meter() as m:
            m.charge(2)
            raise RuntimeError("the handler failed")

    app.wsgi_app = wsgi.CoinslotMiddleware(app.wsgi_app, slot, {"GET /**": price(slot)})  # type: ignore[method-assign]
    with wsgi_server(app) as url:
        yield url


def django_count(request: HttpRequest) -> HttpResponse:
    """Seven units."""
    with django_door.meter(request) as m:
        m.charge(7)
    told = {"counted": m.counted, "spent": m.receipt.extra["spent"] if m.receipt else None}
    return HttpResponse(json.dumps(told), content_type="application/json")


def django_words(request: HttpRequest) -> Any:
    """Three events."""
    return django_door.events(request, words())


async def django_slow_words(request: HttpRequest) -> Any:
    """Three events, asynchronous."""
    return django_door.events(request, slow_words())


def django_fail(request: HttpRequest) -> HttpResponse:
    """Nothing."""
    with django_door.meter(request) as m:
        m.charge(2)
        raise RuntimeError("the handler failed")


@contextmanager
def django_sync(slot: Slot) -> Iterator[str]:
    """The middleware over WSGI."""
    with _django(slot, django_words), wsgi_server(WSGIHandler()) as url:
        yield url


@contextmanager
def django_async(slot: Slot) -> Iterator[str]:
    """The middleware over ASGI."""
    with _django(slot, django_slow_words), asgi_server(ASGIHandler()) as url:
        yield url


def _django(slot: Slot, said: Any) -> Any:
    ours = "coinslot.transports.django.CoinslotMiddleware"
    urls = ModuleType("urls")
    urls.urlpatterns = [path("count", django_count), path("fail", django_fail), path("words", said)]  # type: ignore[attr-defined]
    return override_settings(
        ROOT_URLCONF=urls, MIDDLEWARE=[ours], COINSLOT_SLOT=slot, COINSLOT_ROUTES={"GET /**": price(slot)}
    )


DOORS = [starlette_middleware, fastapi_decorated, flask_middleware, django_sync, django_async]


@pytest.mark.spec("TSES-167", "TSES-170")
@pytest.mark.parametrize("door", DOORS)
def test_a_whole_answer_tells_in_its_receipt_what_it_cost(door: Any, slot: Slot, alice: Wallet) -> None:
    """Units charged while it was made: in the handler's own sight, in the header, on the record."""
    with door(slot) as url:
        client = StreamClient(alice, f"{url}/count")
        answer = client.get(50)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"counted": 7, "spent": "7"}
    receipt = decode_receipt(answer.headers["payment-receipt"])
    assert (receipt.extra["spent"], receipt.extra["units"]) == ("7", 7)
    assert client.sums(slot) == (50, 7, 0)


@pytest.mark.parametrize("door", DOORS)
def test_events_are_paid_at_every_door(door: Any, slot: Slot, alice: Wallet) -> None:
    """Each costs a unit, and the last one is the receipt."""
    with door(slot) as url:
        client = StreamClient(alice, f"{url}/words")
        answer = client.get(50)
    *said, last = parse_events(answer.content)
    assert [one.data for one in said] == ["one", "two", "three"]
    assert (last.name, last.members["spent"]) == (RECEIPT, "3")
    assert client.sums(slot) == (50, 3, 0)


@pytest.mark.guard("F08")
@pytest.mark.parametrize("door", DOORS)
def test_a_handler_that_fails_before_it_sends_costs_nothing(door: Any, slot: Slot, alice: Wallet) -> None:
    """What it charged for was not delivered."""
    with door(slot) as url:
        client = StreamClient(alice, f"{url}/fail")
        answer = client.get(50)
        assert answer.status_code == 500
        assert "payment-receipt" not in answer.headers
    drained(slot.store)
    assert client.sums(slot) == (50, 0, 0)


@pytest.mark.guard("T42")
@pytest.mark.parametrize("door", [starlette_middleware, flask_middleware, django_sync, django_async])
def test_a_method_without_content_is_about_the_channel_only(door: Any, slot: Slot, alice: Wallet) -> None:
    """A voucher by POST with a body to a route that sells GET: no handler runs under it."""
    with door(slot) as url:
        client = StreamClient(alice, f"{url}/count")
        answer = client.http.post(client.url, headers=client.voucher(50), content=b"body")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.sums(slot) == (50, 0, 0)


# --- pieces ---------------------------------------------------------------------------------------


@contextmanager
def asgi_pieces(slot: Slot) -> Iterator[str]:
    """A hundred pieces of three bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pieces = (b"%03d" % n for n in range(100))
        headers = [("content-type", "application/octet-stream")]
        await asgi.Stream(achunks(asgi.meter(scope), pieces), headers)(scope, receive, send)

    with asgi_server(asgi.CoinslotMiddleware(app, slot, {"GET /file": price(slot, patience_s=0.2)})) as url:
        yield f"{url}/file"


@contextmanager
def wsgi_pieces(slot: Slot) -> Iterator[str]:
    """The same in threads."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("content-type", "application/octet-stream"), ("content-length", "300")])
        return chunks(wsgi.meter(environ), (b"%03d" % n for n in range(100)))

    with wsgi_server(wsgi.CoinslotMiddleware(app, slot, {"GET /file": price(slot, patience_s=0.2)})) as url:
        yield f"{url}/file"


@pytest.mark.guard("T25")
@pytest.mark.spec("TSES-172")
@pytest.mark.parametrize("site", [asgi_pieces, wsgi_pieces])
def test_pieces_cost_their_bytes_and_break_off_where_nobody_pays(site: Any, slot: Slot, alice: Wallet) -> None:
    """Whole: three hundred. Dry: what was paid arrived, nothing more, and it does not look whole."""
    with site(slot) as url:
        client = StreamClient(alice, url)
        whole = client.get(1_000)
        assert (len(whole.content), client.sums(slot)) == (300, (1_000, 300, 0))
        other = StreamClient(alice, url)
        got = b""
        with pytest.raises(Exception, match=r"peer closed|incomplete|without"), other.stream(30) as answer:  # noqa: PT012
            for piece in answer.iter_raw():
                got += piece
        assert len(got) == 30
        drained(slot.store)
        assert other.sums(slot) == (30, 30, 0)


@pytest.mark.guard("T25")
def test_a_handler_that_never_waits_leaves_others_their_turn(slot: Slot, alice: Wallet) -> None:
    """Once a window, though a store in memory answers at once: else a client that hangs up is heard at the end."""
    seen: list[int] = []

    async def count(request: Request) -> Response:
        async with starlette.meter(request) as m:

            async def other() -> None:
                while True:
                    seen.append(m.counted)
                    await asyncio.sleep(0)

            beside = asyncio.create_task(other())
            for _ in range(100):
                await m.charge()
            beside.cancel()
        return PlainTextResponse("a hundred")

    app = starlette.paid(slot, price(slot))(count)
    with asgi_server(Starlette(routes=[Route("/count", app)])) as url:
        assert StreamClient(alice, f"{url}/count").get(100).text == "a hundred"
    assert set(range(20, 100, 10)) <= set(seen)


def test_a_dry_stream_has_a_name(slot: Slot, alice: Wallet) -> None:
    """A handler that charges by itself hears StreamDry, and may go on with what was paid."""
    heard: list[Any] = []

    async def count(request: Request) -> Response:
        try:
            async with starlette.meter(request) as m:
                while True:
                    await m.charge()
        except StreamDry as dry:
            heard.append((dry.channel_id, dry.required_top_up, m.counted))
        return PlainTextResponse("as much as you paid for")

    app = starlette.paid(slot, price(slot))(count)
    with asgi_server(Starlette(routes=[Route("/count", app)])) as url:
        client = StreamClient(alice, f"{url}/count")
        answer = client.get(25)
    assert answer.text == "as much as you paid for"
    assert heard == [(client.held.channel_id, 1, 25)]
    assert decode_receipt(answer.headers["payment-receipt"]).extra["spent"] == "25"


@pytest.mark.spec("TSES-172")
@pytest.mark.parametrize("door", DOORS)
def test_an_answer_that_runs_dry_before_it_begins_is_refused_with_what_is_missing(
    door: Any, slot: Slot, alice: Wallet
) -> None:
    """At once, since no client could know; the fresh challenge says which total buys it, and then it does."""
    with door(slot) as url:
        client = StreamClient(alice, f"{url}/count")
        refused = client.get(2)
        assert refused.status_code == 402, refused.text
        assert refused.json()["type"].endswith("session/insufficient-balance")
        assert "payment-receipt" not in refused.headers
        again = parse_challenges(refused.headers.get_list("www-authenticate"))[0]
        suggested = next(one for one in again if one.intent == "session").request_object()["methodDetails"]
        assert suggested["channelId"] == client.held.channel_id
        required = int(suggested["sessionSnapshot"]["requiredCumulative"])
        assert required == 2 + int(refused.json()["requiredTopUp"])
        assert client.sums(slot) == (2, 0, 0)
        for _ in range(2):  # a handler that charges in parts may miss another part; no part is lost
            answer = client.get(required)
            if answer.status_code == 200:
                break
            required += int(answer.json()["requiredTopUp"])
    assert answer.json()["counted"] == 7
    assert client.sums(slot) == (7, 7, 0)
