"""The Starlette door. A middleware by route table, or a decorator on an endpoint:

    app = Starlette(routes, middleware=[Middleware(CoinslotMiddleware, slot=slot, routes={"/paid/*": "0.01"})])

    @paid(slot, "0.01")
    async def endpoint(request): ...

The decorator serves functions, sync and async, and the methods of an HTTPEndpoint. Authentication comes first where it
stands outside: a middleware listed before ours, or a decorator above ours. The receipt is `request.state.receipt`.

Where the price is metered (`slot.metered`), an endpoint charges while it produces, and its route takes HEAD and POST
for vouchers, too (the middleware sees to that by itself):

    async with meter(request) as m: await m.charge(3)
    return events(request, items)       # paid server-sent events
    return stream(request, pieces)      # paid by byte
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar, Unpack

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse

from coinslot.errors import ConfigError
from coinslot.server.answer import EXPOSED
from coinslot.server.price import Amount, Price, Pricing
from coinslot.transports import asgi
from coinslot.transports.asgi import CoinslotMiddleware, Paying, Receive, Scope, Send
from coinslot.transports.chunks import UnitsOf, achunks
from coinslot.transports.metering import Metered
from coinslot.transports.slot import PriceOptions, Slot
from coinslot.transports.sse import HEADERS, Event, Item, asse

__all__ = ["EXPOSED", "CoinslotMiddleware", "Event", "events", "meter", "paid", "stream"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def paid(
    slot: Slot, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]
) -> Callable[[Endpoint], Endpoint]:
    """Charge for an endpoint: "0.01" whole tokens, a function of the request, or a price of the slot; see `Slot.price`.

    Raises UsageError, and ConfigError for what is no function.
    """
    price = slot.priced(amount, **options)
    paying = Paying(slot)

    def decorate(endpoint: Endpoint) -> Endpoint:
        if not inspect.isroutine(endpoint):
            raise ConfigError("put @paid on a function, or on the methods of an HTTPEndpoint")

        @wraps(endpoint)
        async def answer(*args: Any) -> Response:
            return _Paid(paying, price, endpoint, args)

        return answer  # type: ignore[return-value]  # the same call, always asynchronous

    return decorate


def meter(request: HTTPConnection) -> Metered:
    """The meter of a request: `async with meter(request) as m`, or `with` in a thread. Raises UsageError."""
    return asgi.meter(request.scope)


def events(
    request: HTTPConnection, items: AsyncIterable[Item] | Iterable[Item], headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Server-sent events, each charged before it is sent; see sse.py. Raises UsageError."""
    return StreamingResponse(asse(meter(request), items), headers={**dict(HEADERS), **(headers or {})})


def stream(
    request: HTTPConnection,
    pieces: AsyncIterable[bytes] | Iterable[bytes],
    units_of: UnitsOf = len,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """Pieces, each charged before it is sent, by byte or as `units_of` says; see chunks.py. Raises UsageError."""
    return StreamingResponse(achunks(meter(request), pieces, units_of), headers=headers)


class _Paid(Response):
    """The endpoint, waiting behind its price: it is called when the framework sends its answer."""

    def __init__(self, paying: Paying, price: Price, endpoint: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__()
        self._paying, self._price, self._endpoint, self._args = paying, price, endpoint, args

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        *instance, request = self._args

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            again = type(request)(scope, receive, send) if isinstance(request, Request) else request
            if inspect.iscoroutinefunction(self._endpoint):
                response = await self._endpoint(*instance, again)
            else:
                response = await run_in_threadpool(self._endpoint, *instance, again)
            await response(scope, receive, send)

        await self._paying.serve(self._price, run, scope, receive, send)
