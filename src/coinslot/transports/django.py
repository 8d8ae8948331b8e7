"""The Django door. A decorator on a view, sync or async, or a middleware by settings:

    @paid(slot, "0.01")
    def view(request): ...

    MIDDLEWARE = [..., "coinslot.transports.django.CoinslotMiddleware"]     # below CORS and authentication
    COINSLOT_SLOT = "shop.payments.slot"                                    # a Slot, or where to import it from
    COINSLOT_ROUTES = {"/paid/*": "0.01"}

Class-based views: `method_decorator(paid(slot, "0.01"), name="dispatch")`. The receipt is `request.coinslot_receipt`.
A TemplateResponse is rendered under the admission, so that a failing template gives the payment back.

Where the price is metered (`slot.metered`), a view charges while it produces:

    with meter(request) as m: m.charge(3)       # async with, await m.charge(3)
    return events(request, items)               # paid server-sent events
    return stream(request, pieces)              # paid by byte
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, TypeVar, Unpack

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.request import RawPostDataException
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from coinslot.drive import Flow, run, run_async
from coinslot.errors import ConfigError, StoreError, StoreUnavailable
from coinslot.server.admission import Admission
from coinslot.server.answer import EXPOSED, Answer, refusal
from coinslot.server.classify import BARE, OVERRIDES, Charge, classify, permits
from coinslot.server.delivery import Delivering
from coinslot.server.gate import RETRY_IN_FLIGHT_S
from coinslot.server.price import Amount, Price, Pricing
from coinslot.server.request import MAX_BOUND_BODY, Incoming
from coinslot.transports import asgi, wsgi
from coinslot.transports.chunks import UnitsOf, achunks, chunks
from coinslot.transports.metering import Metered, found, last_receipt, metered, nothing_sent, ran_dry
from coinslot.transports.slot import PriceOptions, Slot
from coinslot.transports.sse import HEADERS, Event, Item, asse, sse

__all__ = ["EXPOSED", "CoinslotMiddleware", "Event", "events", "meter", "paid", "stream"]

# From here on a status says that the view failed.
_FAILED = 500

View = TypeVar("View", bound=Callable[..., Any])


def meter(request: HttpRequest) -> Metered:
    """The meter of a request: `with meter(request) as m`, or `async with`. Raises UsageError."""
    return found(getattr(request, "coinslot_meter", None))


def events(request: HttpRequest, items: Iterable[Item] | AsyncIterable[Item]) -> StreamingHttpResponse:
    """Server-sent events, each charged before it is sent; see sse.py. Raises UsageError.

    Items that are asynchronous make an asynchronous stream, which needs an ASGI server.
    """
    here = meter(request)
    source = asse(here, items) if isinstance(items, AsyncIterable) else sse(here, items)
    return StreamingHttpResponse(source, headers=dict(HEADERS))


def stream(
    request: HttpRequest, pieces: Iterable[bytes] | AsyncIterable[bytes], units_of: UnitsOf = len
) -> StreamingHttpResponse:
    """Pieces, each charged before it is sent, by byte or as `units_of` says; see chunks.py. Raises UsageError."""
    here = meter(request)
    made = achunks(here, pieces, units_of) if isinstance(pieces, AsyncIterable) else chunks(here, pieces, units_of)
    return StreamingHttpResponse(made)


def paid(slot: Slot, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]) -> Callable[[View], View]:
    """Charge for a view, sync or async: "0.01" whole tokens, a function of the request, or a price of the slot.

    See `Slot.price`. Raises UsageError.
    """
    price = slot.priced(amount, **options)
    doors = _Doors(slot)

    def decorate(view: View) -> View:
        if _is_async(view):

            @wraps(view)
            async def answer_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                return await doors.serve_async(price, request, partial(view, request, *args, **kwargs))

            return answer_async  # type: ignore[return-value]  # the same call

        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return doors.serve(price, request, partial(view, request, *args, **kwargs))

        return answer  # type: ignore[return-value]  # the same call

    return decorate


def _is_async(view: Callable[..., Any]) -> bool:
    """Also for the bound `dispatch` of a class-based view, which is a plain function that returns a coroutine."""
    owner = getattr(getattr(view, "func", view), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(owner, "view_is_async", False))


class CoinslotMiddleware:
    """Charges by COINSLOT_ROUTES for the views of a project. Raises ConfigError when the project starts."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)
        slot = getattr(settings, "COINSLOT_SLOT", None)
        slot = import_string(slot) if isinstance(slot, str) else slot
        table = getattr(settings, "COINSLOT_ROUTES", None)
        if not isinstance(slot, Slot) or not table:
            raise ConfigError(
                "set COINSLOT_SLOT to a Slot or its dotted path, and COINSLOT_ROUTES to a table of routes"
            )
        self._doors = _Doors(slot)
        self._routes = slot.routes(table)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """One request."""
        preflight = wsgi.is_preflight(request.META)
        overrides = [request.headers[name] for name in OVERRIDES if name in request.headers]
        query = request.META.get("QUERY_STRING", "")
        kind = classify(self._routes, request.method or "", request.path_info or "/", query, overrides, preflight)
        inner = partial(self.get_response, request)
        if isinstance(kind, Charge):
            serve = self._doors.serve_async if self._asynchronous else self._doors.serve
            return serve(kind.price, request, inner, manages=kind.manages)
        if isinstance(kind, Answer):
            answer = _response(kind, request)
            return _later(answer) if self._asynchronous else answer
        if kind is BARE:
            return _bare_async(inner) if self._asynchronous else _bare(inner())
        response: HttpResponseBase | Awaitable[HttpResponseBase] = inner()
        return response


async def _later(response: HttpResponseBase) -> HttpResponseBase:
    return response


def _bare(response: HttpResponseBase) -> HttpResponse:
    """Permissions and no content: a preflight must not be a way to read for nothing. T42"""
    bare = HttpResponse(status=response.status_code, headers=dict(permits(response.items())))
    response.close()
    return bare


async def _bare_async(inner: Callable[[], Awaitable[HttpResponseBase]]) -> HttpResponse:
    return _bare(await inner())


class _Doors:
    """The ways into the gate that a Django process may need; which one is known per request."""

    def __init__(self, slot: Slot) -> None:
        self.wsgi = wsgi.Paying(slot)
        self.asgi = asgi.Paying(slot)

    def serve(
        self, price: Price, request: HttpRequest, view: Callable[[], Any], *, manages: bool = False
    ) -> HttpResponseBase:
        """Answer for a synchronous view, or let it answer. `manages`: only what is about the channel that pays."""
        decided = self.wsgi.decide(price, _incoming(request, price, manages=manages))
        if isinstance(decided, Answer):
            return _response(decided, request)
        handover = _Handover(self, decided, request)
        with handover:
            response: HttpResponseBase = view()
            if hasattr(response, "render"):
                response = response.render()
            return handover.answer(response)

    async def serve_async(
        self, price: Price, request: HttpRequest, view: Callable[[], Awaitable[Any]], *, manages: bool = False
    ) -> HttpResponseBase:
        """Answer for an asynchronous view, or let it answer."""
        incoming = _incoming(request, price, manages=manages)
        decided = await self.asgi.admit(price, incoming)
        if isinstance(decided, Answer):
            return _response(decided, request)
        handover = _Handover(self, decided, request)
        with handover:
            response: HttpResponseBase = await view()
            if hasattr(response, "render"):
                response = await sync_to_async(response.render, thread_sensitive=True)()
            return await handover.answer_async(response)


class _Handover:
    """One admission and the response under it; the rules are those of the other doors."""

    def __init__(self, doors: _Doors, admission: Admission, request: HttpRequest) -> None:
        self._doors = doors
        self._admission = admission
        self._request = request
        self._delivering = Delivering(admission.receipt, admission.headers)
        self._streaming = False
        self._over = False
        request.coinslot_receipt = admission.receipt
        self._counting = metered(admission, doors.wsgi.slot)
        if self._counting is not None:
            request.coinslot_meter = self._counting

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_back()

    def give_back(self) -> None:
        """The handler gave no 2xx answer: the same credential may come again."""
        if not self._over:
            self._over = True
            if not self._streaming:
                nothing_sent(self._admission)
            self._doors.wsgi.abandoned(self._admission)

    def answer(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response to send: recorded, or a stream that will be."""
        if response.status_code >= _FAILED and (flow := self._dry()) is not None:
            response.close()
            return _response(run(flow, self._doors.wsgi.slot.world), self._request)
        if self._begin(response):
            return response
        try:
            self._doors.wsgi.record(self._admission, self._delivering.finish())
        except StoreError:
            return self._refuse(response)
        return self._recorded(response)

    async def answer_async(self, response: HttpResponseBase) -> HttpResponseBase:
        """The same, on an event loop."""
        if response.status_code >= _FAILED and (flow := self._dry()) is not None:
            response.close()
            return _response(await run_async(flow, self._doors.asgi.slot.async_world), self._request)
        if self._begin(response):
            return response
        try:
            await self._doors.asgi.record(self._admission, self._delivering.finish())
        except StoreError:
            return self._refuse(response)
        return self._recorded(response)

    def _dry(self) -> Flow[Answer] | None:
        """What to answer where the view ran dry before anything was sent: 402, and not what Django made of it."""
        flow = ran_dry(self._admission)
        if flow is not None:
            self.give_back()
        return flow

    def _recorded(self, response: HttpResponseBase) -> HttpResponseBase:
        self._over = True
        receipt = last_receipt(self._admission)
        if receipt is not None:
            response.headers["Payment-Receipt"] = receipt.encode()
        return response

    def _begin(self, response: HttpResponseBase) -> bool:
        """Whether nothing is left to record now: no delivery, or a stream that records itself."""
        kept = dict(self._delivering.begin(response.status_code, response.items()))
        for name in {each.lower() for each in response.headers} - {each.lower() for each in kept}:
            del response.headers[name]  # T39
        for name, value in kept.items():
            response.headers[name] = value
        if not self._delivering.counts:
            self.give_back()
            return True
        if isinstance(response, StreamingHttpResponse):
            stream = response.streaming_content
            response.streaming_content = _AsyncStream(self, stream) if response.is_async else _Stream(self, stream)
            return True
        self._delivering.add(response.content)
        return False

    def _refuse(self, response: HttpResponseBase) -> HttpResponseBase:
        """What can't be recorded is not delivered: the same credential brings it again."""
        self.give_back()
        response.close()
        problem = StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S, reference=self._admission.receipt.reference)
        return _response(refusal(problem), self._request)

    # --- streams ---------------------------------------------------------------------------------

    def passed(self, piece: bytes) -> bool:
        """Take note of a piece; whether it is the last by its told length, and the delivery is to be recorded first."""
        self._delivering.add(piece)
        return self._delivering.whole and not self._over

    def leaving(self) -> None:
        """A piece goes out: from here on who hangs up had a delivery."""
        self._streaming = True
        if self._counting is not None:
            self._counting.begin()

    def record(self) -> None:
        """Record before the last piece leaves. Raises StoreError: then the stream breaks off."""
        if not self._over:
            self._doors.wsgi.record(self._admission, self._delivering.finish())
            self._over = True

    async def record_async(self) -> None:
        """The same, on an event loop."""
        if not self._over:
            await self._doors.asgi.record(self._admission, self._delivering.finish())
            self._over = True

    def closed(self) -> None:
        """The server is done. Who hung up on a stream had its delivery: else hanging up would be a free pass. T25"""
        delivery = self._delivering.interrupted() if self._streaming and not self._over else None
        if delivery is not None:
            with contextlib.suppress(StoreError):
                self._doors.wsgi.record(self._admission, delivery)
                self._over = True
        self.give_back()


class _Stream:
    """A synchronous stream, recorded before its last piece. Not a generator: an unstarted one would not see its end."""

    def __init__(self, handover: _Handover, pieces: Iterable[bytes]) -> None:
        self._handover = handover
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces, None)
            if piece is None or self._handover.passed(piece):
                self._handover.record()
        except BaseException:
            self._handover.give_back()
            raise
        if piece is None:
            raise StopIteration
        self._handover.leaving()
        return piece

    def close(self) -> None:
        """Called by Django when the response is closed."""
        self._handover.closed()


class _AsyncStream:
    """An asynchronous stream, recorded before its last piece."""

    def __init__(self, handover: _Handover, pieces: AsyncIterator[bytes]) -> None:
        self._handover = handover
        self._pieces = aiter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._pieces, None)
            if piece is None or self._handover.passed(piece):
                await self._handover.record_async()
        except Exception:  # not a cancellation: that is the client going away, and `close` follows
            self._handover.give_back()
            raise
        if piece is None:
            raise StopAsyncIteration
        self._handover.leaving()
        return piece

    def close(self) -> None:
        """Called by Django when the response is closed."""
        self._handover.closed()


class _Whole(HttpResponse):  # type: ignore[misc]  # Django has no types
    """An answer of the gate: Django keeps one value a header, and a 402 may need several."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body, status=answer.status, headers=dict(answer.sized()))
        self._several = [pair for pair in answer.headers if pair[0].lower() == "www-authenticate"]

    def items(self) -> list[tuple[str, str]]:
        """The headers as servers send them."""
        return [*(pair for pair in super().items() if pair[0].lower() != "www-authenticate"), *self._several]


def _response(answer: Answer, request: HttpRequest) -> HttpResponse:
    return _Whole(Answer(answer.status, answer.sized(), b"") if request.method == "HEAD" else answer)


def _incoming(request: HttpRequest, price: Price, *, manages: bool = False) -> Incoming:
    seen = wsgi.incoming(request.META, b"")
    body = _body(request) if price.bind_body else None
    return Incoming(request.method or "", request.path, seen.query, seen.headers, body, manages)


def _body(request: HttpRequest) -> bytes | None:
    """The body to bind, left readable for the view. None if it can't be bound. Raises ConfigError if it is gone."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()) or int(length) > MAX_BOUND_BODY:
        return None
    try:
        body: bytes = request.body
    except RawPostDataException:
        raise ConfigError(
            "the form was read before @paid could bind it (by CSRF checks?); charge first, or pass bind_body=False"
        ) from None
    return body if len(body) <= MAX_BOUND_BODY else None
