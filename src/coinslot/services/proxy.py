"""A reverse proxy as an ASGI application: streams both ways, keeps hop-by-hop headers and payments to itself.

It holds no opinion on prices: whoever wraps it decides what reaches it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeAlias

import httpx

from coinslot.core.header import payment_parts, split_field
from coinslot.errors import MalformedHeader
from coinslot.transports.asgi import Message, Receive, Scope, Send

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, and what older proxies still send.
HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
# Ours alone: the upstream neither sees payments nor speaks of them in our name. T44
PAYMENT_ANSWER = frozenset([b"payment-receipt", b"payment-session", b"payment-session-snapshot"])
PAYMENT_REQUEST = PAYMENT_ANSWER | {b"payment-authorization", b"accept-payment"}
# The server in front says what time it is; two dates would be one too many.
_OURS = frozenset([b"date"])
# Set by us; whatever a client claims in them is dropped.
FORWARDED = frozenset([b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"])
# An API may think for minutes before its first byte (language models do); connecting may not take that long.
READ_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0


def _listed(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further hop-by-hop names that Connection lists."""
    values = b",".join(value for name, value in headers if name.lower() == b"connection")
    return frozenset(item.strip().lower() for item in values.split(b",") if item.strip())


def _pays(value: bytes) -> bool:
    """Whether an Authorization field holds a payment; a field that can't be read is taken for one."""
    try:
        return bool(payment_parts([value.decode("latin-1")]))
    except MalformedHeader:
        return True


def request_headers(scope: Scope) -> RawHeaders:
    """What goes upstream: the client's headers without hops and payments, and who the client is."""
    given: RawHeaders = list(scope["headers"])
    dropped = HOP_BY_HOP | PAYMENT_REQUEST | FORWARDED | _listed(given) | {b"host"}
    kept = [
        (name, value)
        for name, value in given
        if name.lower() not in dropped and not (name.lower() == b"authorization" and _pays(value))
    ]
    client = scope.get("client")
    host = b", ".join(value for name, value in given if name.lower() == b"host")
    return [
        *kept,
        (b"x-forwarded-for", (client[0] if client else "unknown").encode("ascii", "replace")),
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scope.get("scheme", "http").encode("ascii")),
    ]


def answer_headers(given: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
    """What goes back: the upstream's headers without hops, receipts, and payment challenges of its own."""
    dropped = HOP_BY_HOP | PAYMENT_ANSWER | _OURS | _listed(given)
    kept = [(name.lower(), value) for name, value in given if name.lower() not in dropped]
    return [(name, value) for name, value in kept if name != b"www-authenticate" or not _challenges_payment(value)]


def _challenges_payment(value: bytes) -> bool:
    try:
        return any(part.scheme.lower() == "payment" for part in split_field(value.decode("latin-1")))
    except MalformedHeader:
        return True


class Proxy:
    """Forwards to `upstream`, an http(s) URL whose path is put before every request's."""

    def __init__(self, upstream: str) -> None:
        self._base = httpx.URL(upstream)
        self._prefix = self._base.raw_path.rstrip(b"/")
        timeout = {"connect": CONNECT_TIMEOUT_S, "read": READ_TIMEOUT_S, "write": READ_TIMEOUT_S, "pool": None}
        self._extensions = {"timeout": timeout}
        self._transport = httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. An upstream that can't be reached is a 502, one that is too slow a 504."""
        query = scope.get("query_string", b"")
        raw_path = scope.get("raw_path") or scope["path"].encode("utf-8")
        target = self._prefix + raw_path.split(b"?", 1)[0] + (b"?" + query if query else b"")
        headers = request_headers(scope)
        has_body = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        request = httpx.Request(
            scope["method"],
            self._base.copy_with(raw_path=target),
            headers=headers,
            content=_body(receive) if has_body else None,
            extensions=self._extensions,
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TimeoutException:
            await fail(send, 504, "the upstream did not answer in time")
            return
        except httpx.TransportError:
            await fail(send, 502, "the upstream can't be reached")
            return
        await _relay(response, scope["method"], send)

    async def close(self) -> None:
        """Close idle connections."""
        await self._transport.aclose()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.WriteError("the client went away")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _relay(response: httpx.Response, method: str, send: Send) -> None:
    """Pass the answer on as it comes. A break in the upstream's stream breaks ours: a half must not look whole."""
    start: Message = {"type": "http.response.start", "status": response.status_code}
    start["headers"] = answer_headers(response.headers.raw)
    try:
        await send(start)
        if method != "HEAD" and isinstance(response.stream, httpx.AsyncByteStream):
            stream = response.stream.__aiter__()
            async for chunk in stream:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await response.aclose()


async def fail(send: Send, status: int, why: str) -> None:
    """An error of the gate's own in the upstream's place."""
    body = f'{{"title":"{why}","status":{status}}}'.encode("ascii")
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
