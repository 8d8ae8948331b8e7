"""Pay with httpx. Six lines:

    import httpx
    from coinslot.client.wallet import wallet
    from coinslot.transports.httpx import pay

    client = pay(httpx.Client(), wallet(NAME={...}))        # or httpx.AsyncClient(), under asyncio
    response = client.get("https://api.example.com/paid")

The client keeps its class and everything it was configured with. `response.extensions["coinslot"]` is a Paid (receipt,
terms, reference) or a Presented; free responses have none. After a PaymentOutcomeUnknown the same payment is presented
again by `client.get(url, extensions={"coinslot_resume": error.resume})`.

Timeouts are the caller's, but a paid request may wait for its answer at least PAID_READ_S: settlement can take a
block, and a payment whose answer is not awaited is a payment in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

import httpx

from coinslot.client.events import Observer, Paid, Presented, ignore
from coinslot.client.exchange import exchange
from coinslot.client.journey import Journey
from coinslot.client.presenting import Answer, Ask
from coinslot.client.purse import Policy, Purse
from coinslot.client.wallet import Wallet, as_wallet
from coinslot.drive import RealAsyncWorld, RealWorld, Send, run, run_async
from coinslot.errors import PaymentOutcomeUnknown, UsageError
from coinslot.method import ChargePayer

# The least patience with a paid request, in seconds: settlement waits for a block or two.
PAID_READ_S = 60.0
# Bodies that are not in memory yet are read into it up to here, to be sent twice; larger ones can't be repeated.
MAX_REPEATED_BODY = 64 * 1024 * 1024

RESULT = "coinslot"
RESUME = "coinslot_resume"
_JOURNEY = "coinslot_journey"

Client = TypeVar("Client", bound=httpx.Client | httpx.AsyncClient)


def pay(
    client: Client,
    wallet: Wallet | Sequence[ChargePayer],
    policy: Policy | None = None,
    observe: Observer = ignore,
) -> Client:
    """Let an existing client pay; returns that client. Raises UsageError if it pays already."""
    purse = Purse(as_wallet(wallet), policy or Policy(), observe)
    if isinstance(client._transport, (PayingTransport, AsyncPayingTransport)):
        raise UsageError("this client pays already")
    if isinstance(client, httpx.Client):
        door = PayingTransport(client._transport, purse)
        client._transport = door
        client._mounts = {at: inner and PayingTransport(inner, purse) for at, inner in client._mounts.items()}
    else:
        client._transport = AsyncPayingTransport(client._transport, purse)
        client._mounts = {at: inner and AsyncPayingTransport(inner, purse) for at, inner in client._mounts.items()}
    return client


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


class _SyncErrand(_Errand):
    def body(self) -> bytes | None:
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


class _AsyncErrand(_Errand):
    async def body(self) -> bytes | None:
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
    for name, value in ask.headers:
        headers[name] = value
    extensions = {name: value for name, value in request.extensions.items() if name not in (RESUME, _JOURNEY)}
    timeout = extensions.get("timeout")
    if ask.paid and isinstance(timeout, dict) and timeout.get("read") is not None:
        extensions["timeout"] = {**timeout, "read": max(timeout["read"], PAID_READ_S)}
    stream = request.stream if ask.body is None else httpx.ByteStream(ask.body)
    return httpx.Request(request.method, request.url, headers=headers, stream=stream, extensions=extensions)


def _journey(request: httpx.Request) -> Journey:
    journey = Journey.of(request.extensions.get(_JOURNEY), request, request.extensions.get(RESUME))
    request.extensions = {**request.extensions, _JOURNEY: journey}  # httpx hands extensions on to redirects
    return journey


# --- the response --------------------------------------------------------------------------------


class _Answer:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code

    def fields(self, name: str) -> Sequence[str]:
        return self.response.headers.get_list(name)


class _SyncAnswer(_Answer):
    def read(self, limit: int) -> bytes:
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
        self.response.extensions[RESULT] = payment
        stream = self.response.stream
        assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101
        self.response.stream = _PaidStream(stream, payment)


class _AsyncAnswer(_Answer):
    async def read(self, limit: int) -> bytes:
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
        self.response.extensions[RESULT] = payment
        stream = self.response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101
        self.response.stream = _AsyncPaidStream(stream, payment)


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


# --- the doors -----------------------------------------------------------------------------------


class _SyncWorld:
    """The world of one request: its own door for HTTP, everything else as it is."""

    def __init__(self, real: RealWorld, inner: httpx.BaseTransport, request: httpx.Request) -> None:
        self._inner, self._request = inner, request
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    def send(self, effect: Send) -> Answer:
        assert isinstance(effect.request, Ask)  # noqa: S101 - the only flow run here is exchange
        return _SyncAnswer(self._inner.handle_request(_outgoing(self._request, effect.request)))


class _AsyncWorld:
    def __init__(self, real: RealAsyncWorld, inner: httpx.AsyncBaseTransport, request: httpx.Request) -> None:
        self._inner, self._request = inner, request
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    async def send(self, effect: Send) -> Answer:
        assert isinstance(effect.request, Ask)  # noqa: S101
        return _AsyncAnswer(await self._inner.handle_async_request(_outgoing(self._request, effect.request)))


class PayingTransport(httpx.BaseTransport):
    """A transport that pays what its purse allows, around any other. See `pay` for an existing client."""

    def __init__(self, inner: httpx.BaseTransport, purse: Purse) -> None:
        self._inner, self._purse, self._real = inner, purse, RealWorld()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, paid for if need be. Raises PaymentError, UsageError, and what httpx raises."""
        world = _SyncWorld(self._real, self._inner, request)
        answer = run(exchange(_SyncErrand(request), self._purse, _journey(request)), world)
        assert isinstance(answer, _SyncAnswer)  # noqa: S101
        return answer.response

    def close(self) -> None:
        """Close the inner transport and what was opened to ask chains."""
        self._inner.close()
        self._real.close()


class AsyncPayingTransport(httpx.AsyncBaseTransport):
    """The same for asyncio."""

    def __init__(self, inner: httpx.AsyncBaseTransport, purse: Purse) -> None:
        self._inner, self._purse, self._real = inner, purse, RealAsyncWorld()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, paid for if need be. Raises PaymentError, UsageError, and what httpx raises."""
        world = _AsyncWorld(self._real, self._inner, request)
        answer = await run_async(exchange(_AsyncErrand(request), self._purse, _journey(request)), world)
        assert isinstance(answer, _AsyncAnswer)  # noqa: S101
        return answer.response

    async def aclose(self) -> None:
        """Close the inner transport and what was opened to ask chains."""
        await self._inner.aclose()
        await self._real.aclose()
