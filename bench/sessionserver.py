"""A tiny API paid from channels: `python -m bench.sessionserver METHOD KIND STORE CHANNELS [OTHER]`.

uvicorn with httptools and uvloop, one process. As many channels are written into the store before it answers; 0 where
another server of the same store has done so. Prints one line of JSON with its port. KIND is one of

    free, starlette-free      the API alone, raw and as an endpoint of Starlette
    raw                       a raw ASGI application that asks the gate itself
    middleware, starlette     the same two behind the ASGI middleware
    gate                      `coinslot gate` in front of the API at the URL OTHER
    stream, stream-free       events, paid by the unit or not; the first comes after OTHER seconds
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from bench.instant import REALM, SECRET
from bench.paidserver import BODY, HEADERS, api
from bench.pinning import pin_as_told
from bench.sessionrig import PRICE, Rig, fill, rig_of
from coinslot.drive import run_async
from coinslot.server.answer import Answer, paid_headers
from coinslot.server.discovery import Service
from coinslot.server.price import Price
from coinslot.services.collecting import spare_what_stands
from coinslot.services.gate import GateService
from coinslot.services.guarded import GuardedProtocol
from coinslot.services.metrics import Metrics
from coinslot.store.open import open_store
from coinslot.transports.asgi import (
    App,
    CoinslotMiddleware,
    Receive,
    Scope,
    Send,
    Stream,
    incoming,
    meter,
    send_answer,
)
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS as EVENTS
from coinslot.transports.sse import Event, asse

# Of one stream.
STREAMED = 3


def starlette() -> App:
    """The same small answer from Starlette."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        return Response(BODY, media_type="application/json")

    return Starlette(routes=[Route("/paid/{name}", answer)])


def opened(rig: Rig, store: str, channels: int, observe: Metrics | None = None) -> tuple[Slot, Price]:
    """A slot whose store holds as many open channels, and the price of a request. The chain is never asked."""
    kept = open_store(store)
    fill(kept, rig, rig.purses(channels))
    one = rig.seller()
    slot = Slot(REALM, store=kept, secret_key=SECRET, sellers=[one], settle=False, observe=observe)
    return slot, Price(PRICE, [one])


def raw(slot: Slot, price: Price) -> App:
    """An application that asks the gate itself. A voucher without an Idempotency-Key leaves nothing to report."""
    given = [(name.decode(), value.decode()) for name, value in HEADERS]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        slot.resolving.ensure()
        admitted = await run_async(slot.gate.admit(incoming(scope, b""), price), slot.async_world)
        if isinstance(admitted, Answer):
            await send_answer(admitted, scope, send)
            return
        told = paid_headers(given, admitted.receipt, admitted.headers)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    return app


class Gate(GateService):
    """The gate as it is configured, but for its payment method, which has no chain here."""

    def __init__(self, rig: Rig, store: str, channels: int, upstream: str) -> None:
        self.metrics = Metrics()
        self.slot, price = opened(rig, store, channels, self.metrics)
        routes = self.slot.routes({"GET /paid/*": price})
        self.stand_between(routes, {"GET /paid/*": None}, upstream, Service("bench", "1", (), {}))


def stream(rig: Rig, first_s: float, store: str | None, channels: int) -> App:
    """Events; paid one by one where there is a store."""

    async def items() -> AsyncIterator[Event]:
        await asyncio.sleep(first_s)
        for number in range(STREAMED):
            yield Event(f"token {number}")

    async def written() -> AsyncIterator[bytes]:
        async for one in items():
            yield one.encode()

    async def free(scope: Scope, receive: Receive, send: Send) -> None:
        await Stream(written(), EVENTS)(scope, receive, send)

    async def paid(scope: Scope, receive: Receive, send: Send) -> None:
        await Stream(asse(meter(scope), items()), EVENTS)(scope, receive, send)

    if store is None:
        return free
    slot, _ = opened(rig, store, channels)
    return CoinslotMiddleware(paid, slot, {"GET /stream/*": slot.metered(PRICE, unit="token")})


def application(rig: Rig, kind: str, store: str, channels: int, other: str) -> App:
    """The application of a kind."""
    if kind in ("free", "starlette-free"):
        return api if kind == "free" else starlette()
    if kind in ("stream", "stream-free"):
        return stream(rig, float(other), store if kind == "stream" else None, channels)
    if kind == "gate":
        return Gate(rig, store, channels, other)
    slot, price = opened(rig, store, channels)
    if kind == "raw":
        return raw(slot, price)
    return CoinslotMiddleware(starlette() if kind == "starlette" else api, slot, {"GET /paid/*": price, "/free": None})


def main() -> None:
    """Serve until SIGTERM."""
    pin_as_told()
    method, kind, store, channels, other = (*sys.argv[1:], "")[:5]
    app = application(rig_of(method), kind, store, int(channels), other)
    spare_what_stands()
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(512)
    http: Any = GuardedProtocol if kind == "gate" else "httptools"
    settings = uvicorn.Config(app, http=http, loop="uvloop", ws="none", lifespan="off", log_level="error",
                              access_log=False)  # fmt: skip
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    uvicorn.Server(settings).run(sockets=[bound])


if __name__ == "__main__":
    main()
