"""Paid WebSockets over a real server: frames as deployed clients speak them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from coinslot.intents.acts import Act
from coinslot.intents.session import Stage
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.slot import Slot
from coinslot.transports.websocket import MAX_QUEUED, counting
from support.patience import within
from support.serving import TIMEOUT_S, asgi_server
from support.streamclient import StreamClient, stream_slot
from support.toybank import Bank

Wallet: TypeAlias = dict[str, Any]
PRICE = "0.000001"  # one base unit
HEAR_S = within(30.0)


async def words(ws: WebSocket) -> None:
    """Thirty words."""
    await ws.accept()
    for n in range(30):
        await ws.send_text(f"word {n}")
    await ws.close()


async def echo(ws: WebSocket) -> None:
    """What comes goes back, a unit for each letter."""
    counting(ws.scope, len)
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


async def broken(ws: WebSocket) -> None:
    """Fails before it says anything."""
    await ws.accept()
    raise RuntimeError("the application failed")


async def endless(ws: WebSocket) -> None:
    """Until nobody listens."""
    await ws.accept()
    while True:
        await ws.send_text("x" * 10_000)


@pytest.fixture
def slot(bank: Bank) -> Iterator[Slot]:
    """A slot in memory."""
    made = stream_slot(bank)
    yield made
    made.close()


@pytest.fixture
def url(slot: Slot) -> Iterator[str]:
    """A server of all handlers above; words run dry for a fifth of a second only at /hasty."""
    handlers = {"words": words, "hasty": words, "echo": echo, "broken": broken, "endless": endless, "fixed": words}
    app = Starlette(routes=[WebSocketRoute(f"/{name}", handler) for name, handler in handlers.items()])
    metered = slot.metered(PRICE, window=10, patience_s=TIMEOUT_S)
    table = {f"GET /{name}": metered for name in handlers}
    table |= {"GET /fixed": slot.price("0.001"), "GET /hasty": slot.metered(PRICE, window=10, patience_s=0.2)}
    with asgi_server(CoinslotMiddleware(app, slot, table)) as at:
        yield at


class Line:
    """One connection of a client."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    def say(self, **members: Any) -> None:
        """One frame."""
        self.ws.send(json.dumps(members))

    def pay(self, credential: dict[str, str]) -> None:
        """An authorization."""
        self.say(mpp="authorization", authorization=credential["Authorization"])

    def hear(self) -> dict[str, Any]:
        """The next frame."""
        found: dict[str, Any] = json.loads(self.ws.recv(HEAR_S))
        return found

    def until(self, kind: str) -> list[dict[str, Any]]:
        """Frames up to one of a kind."""
        got = [self.hear()]
        while got[-1]["mpp"] != kind:
            got.append(self.hear())
        return got


@contextmanager
def line(url: str) -> Iterator[Line]:
    """A connection."""
    with connect(url.replace("http", "ws", 1), proxy=None) as ws:
        yield Line(ws)


@pytest.mark.guard("T25", "T42")
def test_messages_are_paid_paused_and_closed_in_frames(url: str, slot: Slot, alice: Wallet) -> None:
    """Dry: a frame asks, a frame resumes; at the end a receipt; a close ends the channel."""
    client = StreamClient(alice, f"{url}/words")
    with line(client.url) as ws:
        ws.pay(client.voucher(12))
        first = ws.hear()
        assert (first["mpp"], first["data"]["acceptedCumulative"]) == ("payment-receipt", "12")
        got = ws.until("payment-need-voucher")
        assert [one["data"] for one in got[:-1]] == [f"word {n}" for n in range(12)]
        need = got[-1]["data"]
        assert (need["acceptedCumulative"], need["channelId"]) == ("12", client.held.channel_id)
        ws.pay(client.voucher(40))
        rest = ws.until("payment-close-ready")
        kinds = [one["mpp"] for one in rest]
        assert kinds.count("payment-receipt") == 1
        assert [one["data"] for one in rest if one["mpp"] == "message"] == [f"word {n}" for n in range(12, 30)]
        assert (rest[-1]["data"]["spent"], rest[-1]["data"]["units"]) == ("30", 30)
        assert client.sums(slot) == (40, 30, 0)
        ws.pay(client.voucher(30, Act.CLOSE))
        closed = ws.hear()
        assert (closed["mpp"], closed["data"]["spent"]) == ("payment-receipt", "30"), closed
        with pytest.raises(ConnectionClosed) as end:
            ws.hear()
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1000
    record = slot.store.find_channel(client.held.key).result()
    assert record is not None
    assert record.stage is Stage.CLOSED


@pytest.mark.guard("T25")
def test_what_the_client_says_reaches_the_application_and_can_cost_what_it_weighs(
    url: str, slot: Slot, alice: Wallet
) -> None:
    """Frames of the application are data of ours: what looks like a payment frame in them is text."""
    client = StreamClient(alice, f"{url}/echo")
    forged = json.dumps({"mpp": "payment-need-voucher", "data": {"requiredCumulative": "99999"}})
    with line(client.url) as ws:
        ws.pay(client.voucher(1_000))
        assert ws.hear()["mpp"] == "payment-receipt"
        ws.say(mpp="message", data=forged)
        assert ws.hear() == {"mpp": "message", "data": forged}
        ws.say(mpp="payment-close-request")
        last = ws.hear()
    assert last["mpp"] == "payment-close-ready"
    assert last["data"]["spent"] == str(len(forged))
    assert client.sums(slot) == (1_000, len(forged), 0)


@pytest.mark.guard("T42")
def test_nothing_is_heard_before_it_is_paid(url: str, alice: Wallet, slot: Slot) -> None:
    """Without a credential, or with one that is no good, the application does not run; a refusal closes."""
    client = StreamClient(alice, f"{url}/words")
    other = StreamClient(alice, f"{url}/echo")
    for bad in ({"Authorization": "Payment bm9uc2Vuc2U"}, other.voucher(50)):
        with line(client.url) as ws:
            ws.say(mpp="message", data="give me words")
            ws.pay(bad)
            refused = ws.hear()
            assert (refused["mpp"], refused["status"]) == ("payment-error", 402)
            with pytest.raises(ConnectionClosed) as end:
                ws.hear()
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1008
    assert client.sums(slot) == (0, 0, 0)


@pytest.mark.guard("T42")
def test_a_websocket_with_a_price_of_a_request_is_refused(url: str) -> None:
    """Its messages have no price, so they would be free."""
    with pytest.raises(Exception, match="403"), line(f"{url}/fixed"):
        pass


def test_an_application_that_fails_costs_nothing(url: str, slot: Slot, alice: Wallet) -> None:
    """It had sent nothing."""
    client = StreamClient(alice, f"{url}/broken")
    with line(client.url) as ws:
        ws.pay(client.voucher(50))
        assert ws.hear()["mpp"] == "payment-receipt"
        assert ws.hear()["status"] == 500
    wait_until_free(client, slot)
    assert client.sums(slot) == (50, 0, 0)


@pytest.mark.guard("T25")
def test_hanging_up_on_messages_costs_what_was_sent(url: str, slot: Slot, alice: Wallet) -> None:
    """The application ends, and its window is free again."""
    client = StreamClient(alice, f"{url}/endless")
    with line(client.url) as ws:
        ws.pay(client.voucher(90_000))
        for _ in range(20):
            ws.hear()
    wait_until_free(client, slot)
    spent = client.sums(slot)[1]
    assert 19 <= spent < 90_000
    threading.Event().wait(0.1)
    assert client.sums(slot)[1] == spent


def test_a_dry_websocket_that_nobody_fills_ends_with_a_receipt(url: str, slot: Slot, alice: Wallet) -> None:
    """After its patience; and not one message more."""
    client = StreamClient(alice, f"{url}/hasty")
    with line(client.url) as ws:
        ws.pay(client.voucher(12))
        kinds = [one["mpp"] for one in ws.until("payment-close-ready")]
    assert kinds == ["payment-receipt", *["message"] * 12, "payment-need-voucher", "payment-close-ready"]
    assert client.sums(slot) == (12, 12, 0)


@pytest.mark.guard("F28")
def test_frames_that_nobody_reads_are_not_heaped_up(url: str, alice: Wallet) -> None:
    """A client that says more than is worked on is cut off."""
    client = StreamClient(alice, f"{url}/endless")
    with line(client.url) as ws, pytest.raises(ConnectionClosed) as end:
        flood(ws)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1008


def flood(ws: Line) -> None:
    """Say too much, and listen until the end."""
    for _ in range(MAX_QUEUED * 4):
        ws.say(mpp="message", data="listen")
    while True:
        ws.hear()


def wait_until_free(client: StreamClient, slot: Slot) -> None:
    """Until no window is set aside."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.02)):
        if client.sums(slot)[2] == 0:
            return
        pause.wait(0.02)
    raise AssertionError("a window is still set aside")
