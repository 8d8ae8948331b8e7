"""A WebSocket whose price is computed from a header field of its handshake, which its application sees, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.sync.client import connect

from coinslot.server.request import Incoming
from coinslot.transports.asgi import CoinslotMiddleware
from support.serving import TIMEOUT_S, asgi_server
from support.streamclient import StreamClient, stream_slot
from support.toybank import Bank


def price(request: Incoming) -> str:
    """A good model costs a hundred times as much."""
    return "0.0001" if request.one("x-model") == "good" else "0.000001"


async def words(ws: WebSocket) -> None:
    """Three words of the model that was asked for."""
    await ws.accept()
    for n in range(3):
        await ws.send_text(f"{ws.headers.get('x-model')} {n}")
    await ws.close()


@pytest.fixture
def url(bank: Bank) -> Iterator[str]:
    """A server."""
    slot = stream_slot(bank)
    app = Starlette(routes=[WebSocketRoute("/words", words)])
    table = {"GET /words": slot.metered(price, patience_s=0.2)}
    with asgi_server(CoinslotMiddleware(app, slot, table)) as at:
        yield at + "/words"
    slot.close()


@pytest.mark.guard("T03")
@pytest.mark.parametrize(("model", "heard"), [("good", []), ("poor", ["poor 0", "poor 1", "poor 2"])])
def test_a_message_costs_what_its_handshake_asked_for(
    url: str, alice: dict[str, Any], model: str, heard: list[str]
) -> None:
    """The same fields that the application is served by; nobody pays for the poor one and hears the good one."""
    client = StreamClient(alice, url)
    got: list[dict[str, Any]] = []
    with connect(url.replace("http", "ws", 1), proxy=None, additional_headers={"X-Model": model}) as ws:
        ws.send(json.dumps({"mpp": "authorization", "authorization": client.voucher(3)["Authorization"]}))
        while not got or got[-1]["mpp"] not in ("payment-close-ready", "payment-error"):
            got.append(json.loads(ws.recv(TIMEOUT_S)))
    assert [one["data"] for one in got if one["mpp"] == "message"] == heard
