"""A WebSocket that never pays fills no memory and holds no line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from coinslot.transports.asgi import CoinslotMiddleware
from support.serving import TIMEOUT_S, asgi_server
from support.streamclient import stream_slot
from support.toybank import Bank


@pytest.fixture
def url(bank: Bank) -> Iterator[str]:
    """A server whose application nobody reaches."""

    async def never(ws: WebSocket) -> None:
        await ws.accept()

    slot = stream_slot(bank)
    app = Starlette(routes=[WebSocketRoute("/words", never)])
    with asgi_server(CoinslotMiddleware(app, slot, {"GET /words": slot.metered("0.000001")})) as at:
        yield at.replace("http", "ws", 1) + "/words"
    slot.close()


@pytest.mark.guard("F28")
def test_who_has_not_paid_says_little(url: str) -> None:
    """A few hundred kilobytes for the application that does not run yet, and the line is closed."""
    words = json.dumps({"mpp": "message", "data": "x" * 200_000})
    with connect(url, proxy=None) as ws:
        ws.send(words)
        ws.send(words)
        told = json.loads(ws.recv(TIMEOUT_S))
        assert (told["mpp"], told["status"]) == ("payment-error", 429)
        with pytest.raises(ConnectionClosed):
            ws.recv(TIMEOUT_S)


@pytest.mark.guard("F28")
def test_an_end_before_the_beginning_ends_the_line(url: str) -> None:
    """Asking again and again to stop what never began is no way to stay."""
    with connect(url, proxy=None) as ws:
        ws.send(json.dumps({"mpp": "payment-close-request"}))
        with pytest.raises(ConnectionClosed) as end:
            ws.recv(TIMEOUT_S)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1000
