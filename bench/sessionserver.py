"""A tiny API paid from channels: `python -m bench.sessionserver KIND STORE CHANNELS`.

uvicorn with httptools and uvloop, one process; channels are written into the store before it answers. Prints one line
of JSON with its port. KIND is one of

    free, starlette-free      the API alone, raw and as an endpoint of Starlette
    raw                       a raw ASGI application that asks the gate itself
    middleware, starlette     the same two behind the ASGI middleware
"""

from __future__ import annotations

import json
import socket
import sys

import uvicorn

from bench.instant import REALM, SECRET
from bench.paidserver import BODY, HEADERS, api
from bench.pinning import pin_as_told
from bench.sessionrig import PRICE, fill, purses, seller
from coinslot.drive import run_async
from coinslot.server.answer import Answer, paid_headers
from coinslot.server.price import Price
from coinslot.store.open import open_store
from coinslot.transports.asgi import App, CoinslotMiddleware, Receive, Scope, Send, incoming, send_answer
from coinslot.transports.slot import Slot


def starlette() -> App:
    """The same small answer from Starlette."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        return Response(BODY, media_type="application/json")

    return Starlette(routes=[Route("/paid/{name}", answer)])


def opened(store: str, channels: int) -> tuple[Slot, Price]:
    """A slot whose store holds as many open channels, and the price of a request."""
    kept = open_store(store)
    fill(kept, purses(channels))
    one = seller()
    return Slot(REALM, store=kept, secret_key=SECRET, sellers=[one]), Price(PRICE, [one])


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


def paid(kind: str, store: str, channels: int) -> App:
    """An application that is paid for."""
    slot, price = opened(store, channels)
    if kind == "raw":
        return raw(slot, price)
    return CoinslotMiddleware(starlette() if kind == "starlette" else api, slot, {"GET /paid/*": price, "/free": None})


def main() -> None:
    """Serve until SIGTERM."""
    pin_as_told()
    kind, store, channels = sys.argv[1], sys.argv[2], int(sys.argv[3])
    free = {"free": api, "starlette-free": starlette()}
    app = free[kind] if kind in free else paid(kind, store, channels)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(512)
    settings = uvicorn.Config(app, http="httptools", loop="uvloop", ws="none", lifespan="off", log_level="error",
                              access_log=False)  # fmt: skip
    print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
    uvicorn.Server(settings).run(sockets=[bound])


if __name__ == "__main__":
    main()
