"""The FastAPI door: install once, then a decorator or a dependency. The middleware of the ASGI door works as well.

    install(app, slot)

    @app.get("/paid")
    @paid(slot, "0.01")                                     # after all parameters and dependencies were found good
    async def handler(name: str): ...

    @app.get("/also")
    async def handler(receipt: Receipt = Depends(price(slot, "0.01"))): ...

`install` adds the piece that records the delivery before the last byte leaves; without it a priced handler fails
with ConfigError and is never served. The receipt is also `request.state.receipt`.

Prefer the decorator where a handler has parameters of its own: it asks for money only when FastAPI found them good.
A dependency is asked in its turn: put those that authenticate before it.

Metered prices (`slot.metered`) and their `meter`, `events` and `stream` are those of the Starlette door. Let such an
operation take HEAD and POST too, `@app.api_route("/words", methods=["GET", "HEAD", "POST"])`: vouchers come by them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, NoReturn, TypeVar, Unpack

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from coinslot.core.receipt import Receipt
from coinslot.errors import ConfigError, StreamDry
from coinslot.server.admission import Admission
from coinslot.server.answer import EXPOSED, Answer
from coinslot.server.price import Amount, Price, Pricing
from coinslot.server.request import MAX_BOUND_BODY
from coinslot.transports.asgi import (
    App,
    CoinslotMiddleware,
    Handover,
    Message,
    Paying,
    Receive,
    Scope,
    Send,
    allowing,
    send_answer,
)
from coinslot.transports.metering import METER, metered
from coinslot.transports.slot import PriceOptions, Slot
from coinslot.transports.sse import Event
from coinslot.transports.starlette import events, meter, stream

__all__ = [
    "EXPOSED",
    "CoinslotMiddleware",
    "Event",
    "Receipt",
    "events",
    "install",
    "meter",
    "paid",
    "price",
    "stream",
]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_DOOR = "coinslot.door"
_REQUEST = "coinslot_request"
_HOW = "call install(app, slot) from coinslot.transports.fastapi once, with the slot that your prices use"


def install(app: FastAPI, slot: Slot) -> None:
    """Let handlers of this application, and of what is mounted below it, charge by `paid` and `price`."""
    app.add_middleware(_Door, slot=slot)


def price(
    slot: Slot, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]
) -> Callable[[Request], Awaitable[Receipt]]:
    """A dependency that charges, and gives the receipt: `Depends(price(slot, "0.01"))`. Raises UsageError."""
    asked = slot.priced(amount, **options)

    async def decide(request: Request) -> Receipt:
        return await _charge(slot, asked, request)

    return decide


def paid(
    slot: Slot, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]
) -> Callable[[Endpoint], Endpoint]:
    """Charge for a path operation, once its dependencies and parameters are found good. Raises UsageError.

    ConfigError for generators.
    """
    asked = slot.priced(amount, **options)

    def decorate(endpoint: Endpoint) -> Endpoint:
        if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
            raise ConfigError("@paid can't wrap a generator; use Depends(price(...)), or return a StreamingResponse")

        @wraps(endpoint)
        async def answer(*args: Any, **kwargs: Any) -> Any:
            await _charge(slot, asked, kwargs.pop(_REQUEST))
            if inspect.iscoroutinefunction(endpoint):
                return await endpoint(*args, **kwargs)
            return await run_in_threadpool(endpoint, *args, **kwargs)

        answer.__signature__ = _signature(endpoint)  # type: ignore[attr-defined]  # what inspect.signature looks for
        return answer  # type: ignore[return-value]  # the same call, always asynchronous

    return decorate


def _the_request(request: Request) -> Request:
    return request


# As a dependency, since FastAPI hands the request itself to one parameter only, and the endpoint may want it.
_OURS = Annotated[Request, Depends(_the_request)]


def _signature(endpoint: Callable[..., Any]) -> inspect.Signature:
    """The endpoint's own parameters, annotations resolved where it was written, and the request for us."""
    try:
        signature = inspect.signature(endpoint, eval_str=True)
    except NameError:  # names that only type checkers know, or of an enclosing function: FastAPI says what it lacks
        signature = inspect.signature(endpoint)
    own = list(signature.parameters.values())
    ours = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=_OURS)
    rest = [one for one in own if one.kind is inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*(one for one in own if one not in rest), ours, *rest])


async def _charge(slot: Slot, asked: Price, request: Request) -> Receipt:
    """Admit the request, or end it with the gate's answer. Raises HTTPException, ConfigError."""
    visit = request.scope.get(_DOOR)
    if not isinstance(visit, _Visit) or visit.paying.slot is not slot:
        raise ConfigError(_HOW)
    admission = await visit.charge(asked)
    request.state.receipt = admission.receipt
    counting = metered(admission, slot)
    if counting is not None:  # the framework may hand out copies of the scope
        request.scope[METER] = request.state.meter = counting
    return admission.receipt


class _Door:
    """Outside of the router: sees the answer of a handler that charged, whatever the framework makes of it."""

    def __init__(self, app: App, slot: Slot) -> None:
        self._app = app
        self._paying = Paying(slot)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            ending = self._paying.ending(receive) if scope["type"] == "lifespan" else receive
            await self._app(scope, ending, send)
            return
        visit = _Visit(self._paying, scope, receive, send)
        scope[_DOOR] = visit
        await visit.run(self._app)


class _Visit:
    """One request that may turn out to be priced."""

    def __init__(self, paying: Paying, scope: Scope, receive: Receive, send: Send) -> None:
        self.paying = paying
        self._scope, self._receive, self._send = scope, receive, send
        self._chunks: list[bytes] | None = []
        self._size = 0
        self._whole = False
        self._unread: list[Message] = []
        self._handover: Handover | None = None
        self._answer: Answer | None = None
        self._answered = False

    async def run(self, app: App) -> None:
        """Serve it; a payment made in between is delivered or given back."""
        failed = True
        try:
            await app(self._scope, self._next, self._pass)
            failed = False
        except asyncio.CancelledError:  # some servers cancel when the client goes away
            failed = False
            raise
        except StreamDry:
            handover = self._handover
            if handover is None or not (handover.refused or await handover.dry()):
                raise
        finally:
            if self._handover is not None:
                await self._handover.end(failed)

    async def charge(self, asked: Price) -> Admission:
        """Under what this request is served. Raises HTTPException to end it with the gate's answer, ConfigError."""
        if self._handover is not None:
            raise ConfigError("a request is charged once; this handler has two prices")
        body = await self._body() if asked.bind_body else None
        decided = await self.paying.decide(asked, self._scope, body)
        if isinstance(decided, Answer):
            self._end(decided)
        self._handover = Handover(self.paying, decided, self._scope, self._send)
        return decided

    def _end(self, answer: Answer) -> NoReturn:
        """The framework turns this into some answer of its status; what goes out is ours."""
        self._answer = answer
        raise HTTPException(answer.status)

    async def _pass(self, message: Message) -> None:
        if self._answer is not None:
            if not self._answered:
                self._answered = True
                answer = allowing(self._answer, message.get("headers", []))
                await send_answer(answer, self._scope, self._send)
        elif self._handover is not None:
            await self._handover.pass_on(message)
        else:
            await self._send(message)

    # --- the body: read by the framework before us, or by us before the framework ----------------

    async def _next(self) -> Message:
        if self._unread:
            return self._unread.pop(0)
        return await self._take()

    async def _take(self) -> Message:
        message = await (self._handover.watching(self._receive) if self._handover else self._receive)()
        if message["type"] == "http.request":
            chunk = message.get("body", b"")
            self._size += len(chunk)
            self._whole = not message.get("more_body", False)
            if self._chunks is not None:
                self._chunks.append(chunk)
                if self._size > MAX_BOUND_BODY:
                    self._chunks = None
        return message

    async def _body(self) -> bytes | None:
        """The whole body, or None if it is larger than what is bound; whoever reads next gets it again."""
        while not self._whole and self._chunks is not None:
            message = await self._take()
            self._unread.append(message)
            if message["type"] == "http.disconnect":
                raise HTTPException(400)  # half a body is no request, and there is nobody to answer
        return b"".join(self._chunks) if self._chunks is not None else None
