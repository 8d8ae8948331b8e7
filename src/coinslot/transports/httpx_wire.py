"""How httpx requests and responses look to the paying flows, and the worlds in which those run; see httpx.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import httpx

from coinslot.client.events import Paid, Presented
from coinslot.client.journey import Journey
from coinslot.client.presenting import Answer, Ask, Tapped
from coinslot.client.purse import Purse
from coinslot.drive import RealAsyncWorld, RealWorld, Send, run, run_async
from coinslot.errors import PaymentOutcomeUnknown
from coinslot.transports.tapping import broken_off, left, tapped

# The least patience with a paid request, in seconds: settlement waits for a block or two.
PAID_READ_S = 60.0
# Bodies that are not in memory yet are read into it up to here, to be sent twice; larger ones can't be repeated.
MAX_REPEATED_BODY = 64 * 1024 * 1024

RESULT = "coinslot"
RESUME = "coinslot_resume"
JOURNEY = "coinslot_journey"
PURSE = "coinslot_purse"
_OURS = (RESUME, JOURNEY, PURSE)

# What belongs to the caller's body, and not to a request about its channel.
_OF_BODY = ("content-type", "content-length", "content-encoding", "transfer-encoding", "expect", "idempotency-key")


# --- the request ---------------------------------------------------------------------------------


class _Errand:
    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self.method = request.method
        self.url = str(request.url.copy_with(fragment=None))

    def fields(self, name: str) -> Sequence[str]:
        return self._request.headers.get_list(name)

    def _size(self) -> int | None:
        text = self._request.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None

    def _is_whole(self, size: int, body: bytes) -> bool:
        return len(body) == size  # a file that was read to its end gives fewer bytes the second time


class SyncErrand(_Errand):
    """The caller's request."""

    def body(self) -> bytes | None:
        """See presenting.Errand."""
        stream = self._request.stream
        if isinstance(stream, httpx.ByteStream):
            return b"".join(stream)
        size = self._size()
        if size is None or size > MAX_REPEATED_BODY or not isinstance(stream, httpx.SyncByteStream):
            return None
        try:
            body = b"".join(stream)
        except (httpx.StreamError, OSError, ValueError):
            return None
        return body if self._is_whole(size, body) else None


class AsyncErrand(_Errand):
    """The caller's request, under asyncio."""

    async def body(self) -> bytes | None:
        """See presenting.Errand."""
        stream = self._request.stream
        if isinstance(stream, httpx.ByteStream):
            return b"".join(stream)
        size = self._size()
        if size is None or size > MAX_REPEATED_BODY or not isinstance(stream, httpx.AsyncByteStream):
            return None
        try:
            body = b"".join([chunk async for chunk in stream])
        except (httpx.StreamError, OSError, ValueError):
            return None
        return body if self._is_whole(size, body) else None


def _outgoing(request: httpx.Request, ask: Ask) -> httpx.Request:
    """A new request: the caller's own stays without credential, so that no redirect and no log can carry it. T37 T38"""
    headers = request.headers.copy()
    for name in _OF_BODY if ask.verb is not None else ():
        headers.pop(name, None)
    for name, value in ask.headers:
        headers[name] = value
    extensions = {name: value for name, value in request.extensions.items() if name not in _OURS}
    timeout = extensions.get("timeout")
    if ask.paid and isinstance(timeout, dict) and timeout.get("read") is not None:
        extensions["timeout"] = {**timeout, "read": max(timeout["read"], PAID_READ_S)}
    if ask.within_s is not None:
        given = timeout if isinstance(timeout, dict) else {}
        names = ("connect", "read", "write", "pool")
        extensions["timeout"] = {name: min(given.get(name) or ask.within_s, ask.within_s) for name in names}
    stream = request.stream if ask.body is None else httpx.ByteStream(ask.body)
    if ask.verb == "POST":
        headers["content-length"] = str(len(ask.body or b""))
    verb, url = ask.verb or request.method, request.url if ask.url is None else httpx.URL(ask.url)
    return httpx.Request(verb, url, headers=headers, stream=stream, extensions=extensions)


def purse_of(request: httpx.Request, purse: Purse) -> Purse:
    """The purse of the session that a request belongs to, else the client's."""
    given = request.extensions.get(PURSE)
    return given if isinstance(given, Purse) else purse


def journey_of(request: httpx.Request) -> Journey:
    """The journey that a request is on; it goes along with it."""
    journey = Journey.of(request.extensions.get(JOURNEY), request, request.extensions.get(RESUME))
    request.extensions = {**request.extensions, JOURNEY: journey}  # httpx hands extensions on to redirects
    return journey


# --- the response --------------------------------------------------------------------------------


class _Answer:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code

    def fields(self, name: str) -> Sequence[str]:
        return self.response.headers.get_list(name)


class SyncAnswer(_Answer):
    """A response whose body has not been read."""

    def __init__(self, response: httpx.Response, world: SyncWorld) -> None:
        super().__init__(response)
        self._world = world

    def read(self, limit: int) -> bytes:
        """See presenting.Answer."""
        body = bytearray()
        stream = self.response.stream
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 - what a synchronous transport returns
        try:
            for chunk in stream:
                body += chunk
                if len(body) >= limit:
                    break
        except (httpx.HTTPError, httpx.StreamError):
            pass  # what came will do: it is only reported
        self.response.close()
        return bytes(body[:limit])

    def attach(self, payment: Paid | Presented) -> None:
        """See presenting.Answer."""
        self.response.extensions[RESULT] = payment
        stream = self.response.stream
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101
        self.response.stream = _PaidStream(stream, payment)

    def watch(self, tap: Tapped) -> None:
        """See presenting.Answer."""
        stream = self.response.stream
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101
        self.response.stream = _TappedStream(stream, tap, self._world)


class AsyncAnswer(_Answer):
    """The same, under asyncio."""

    def __init__(self, response: httpx.Response, world: AsyncWorld) -> None:
        super().__init__(response)
        self._world = world

    async def read(self, limit: int) -> bytes:
        """See presenting.Answer."""
        body = bytearray()
        stream = self.response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - what an asynchronous transport returns
        try:
            async for chunk in stream:
                body += chunk
                if len(body) >= limit:
                    break
        except (httpx.HTTPError, httpx.StreamError):
            pass
        await self.response.aclose()
        return bytes(body[:limit])

    def attach(self, payment: Paid | Presented) -> None:
        """See presenting.Answer."""
        self.response.extensions[RESULT] = payment
        stream = self.response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101
        self.response.stream = _AsyncPaidStream(stream, payment)

    def watch(self, tap: Tapped) -> None:
        """See presenting.Answer."""
        stream = self.response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101
        self.response.stream = _AsyncTappedStream(stream, tap, self._world)


def _cut_off(payment: Paid | Presented, error: BaseException) -> PaymentOutcomeUnknown:
    return PaymentOutcomeUnknown(
        f"a payment was presented to {payment.origin}, and its answer was cut off ({type(error).__name__}). "
        f"Reference: {payment.reference or 'none'}. Don't pay again before looking it up.",
        reference=payment.reference,
        resume=payment.resume,
    )


class _PaidStream(httpx.SyncByteStream):
    """The body of an answer to a credential: passed on chunk by chunk; if it breaks off, the payment is named. F03"""

    def __init__(self, inner: httpx.SyncByteStream, payment: Paid | Presented) -> None:
        self._inner, self._payment = inner, payment

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except (httpx.HTTPError, OSError) as error:
            raise _cut_off(self._payment, error) from error

    def close(self) -> None:
        self._inner.close()


class _AsyncPaidStream(httpx.AsyncByteStream):
    """The same for asyncio, where a cancellation loses the answer just as well. F29"""

    def __init__(self, inner: httpx.AsyncByteStream, payment: Paid | Presented) -> None:
        self._inner, self._payment = inner, payment

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except (httpx.HTTPError, OSError, asyncio.CancelledError) as error:
            raise _cut_off(self._payment, error) from error

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        except asyncio.CancelledError as error:  # httpx closes before it hands the answer over
            raise _cut_off(self._payment, error) from error


class _TappedStream(httpx.SyncByteStream):
    """A stream that is paid while it is read, between two chunks; vouchers go by requests of their own."""

    def __init__(self, inner: httpx.SyncByteStream, tap: Tapped, world: SyncWorld) -> None:
        self._inner, self._tap, self._world = inner, tap, world

    def __iter__(self) -> Iterator[bytes]:
        yield from tapped(self._inner, self._tap, self._world)

    def close(self) -> None:
        self._tap.finish()
        try:
            self._inner.close()  # first: a server must hear that its reader has left
        finally:
            run(self._tap.leave(), self._world)


class _AsyncTappedStream(httpx.AsyncByteStream):
    """The same for asyncio."""

    def __init__(self, inner: httpx.AsyncByteStream, tap: Tapped, world: AsyncWorld) -> None:
        self._inner, self._tap, self._world = inner, tap, world

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                passed = await run_async(self._tap.feed(chunk), self._world)
                if passed:
                    yield passed
                self._tap.overdue()
            await run_async(self._tap.end(), self._world)
        except BaseException as error:  # broken off: not every reader closes it then
            broken_off(self._tap, error)  # F28
            raise
        rest = self._tap.finish()
        if rest:
            yield rest

    async def aclose(self) -> None:
        self._tap.finish()
        try:
            await self._inner.aclose()
        finally:
            await left(self._tap, self._world)


# --- the worlds ----------------------------------------------------------------------------------


class SyncWorld:
    """The world of one request: its own door for HTTP, everything else as it is."""

    def __init__(self, real: RealWorld, inner: httpx.BaseTransport, request: httpx.Request) -> None:
        self._inner, self._request = inner, request
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    def send(self, effect: Send) -> Answer:
        """Through this request's door."""
        assert isinstance(effect.request, Ask)  # noqa: S101 - what the client's flows send
        return SyncAnswer(self._inner.handle_request(_outgoing(self._request, effect.request)), self)


class AsyncWorld:
    """The world of one request, under asyncio."""

    def __init__(self, real: RealAsyncWorld, inner: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        self._inner, self._request = inner, request
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    async def send(self, effect: Send) -> Answer:
        """Through this request's door."""
        assert isinstance(effect.request, Ask)  # noqa: S101
        return AsyncAnswer(await self._inner.handle_async_request(_outgoing(self._request, effect.request)), self)
