"""A reverse proxy as an ASGI application: streams both ways, keeps hop-by-hop headers and payments to itself.

It holds no opinion on prices: whoever wraps it decides what reaches it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import httpx
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from multidict import CIMultiDict
from yarl import URL

from coinslot.core.header import payment_parts, split_field
from coinslot.errors import MalformedHeader
from coinslot.transports.asgi import Message, Receive, Scope, Send
from coinslot.transports.metering import METER

Leaving: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
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
# No hop's own, whatever Connection says: an upstream that knows no chunks would take a body for the next request. T42
_OF_THE_MESSAGE = frozenset([b"content-length"])
# The server in front says what time it is; two dates would be one too many.
_OURS = frozenset([b"date"])
# We answer it ourselves, when the body is asked for.
_ANSWERED = frozenset([b"expect"])
# Set by us; whatever a client claims in them is dropped.
FORWARDED = frozenset([b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"])
# An API may think for minutes before its first byte (language models do); connecting may not take that long.
READ_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0
# Common servers close a connection that idles for five seconds; a request on its way then would be lost.
IDLE_S = 4.0
# A client that hung up may come again for what it paid for, so its answer is read on; but some upstreams never end. F28
READ_ON_S = 30.0
# As long as a head may be that we take from a client (guarded.py).
MAX_FIELD_BYTES = 64 * 1024
# Nothing is said to the upstream that the client did not say.
_NOT_ADDED = ("accept", "accept-encoding", "content-type", "user-agent")
_SWITCHING = 101
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


def _listed(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further hop-by-hop names that Connection lists."""
    values = b",".join(value for name, value in headers if name.lower() == b"connection")
    return frozenset(item.strip().lower() for item in values.split(b",") if item.strip()) - _OF_THE_MESSAGE


def _pays(value: bytes) -> bool:
    """Whether an Authorization field holds a payment; a field that can't be read is taken for one."""
    if value[:8].lower() == b"payment ":  # as those of our clients do; they are long
        return True
    try:
        return bool(payment_parts([value.decode("latin-1")]))
    except MalformedHeader:
        return True


def request_headers(scope: Scope) -> RawHeaders:
    """What goes upstream: the client's headers without hops and payments, and who the client is."""
    given: RawHeaders = list(scope["headers"])
    dropped = HOP_BY_HOP | PAYMENT_REQUEST | FORWARDED | _ANSWERED | _listed(given) | {b"host"}
    kept = [
        (name, value)
        for name, value in given
        # servers that speak CGI or WSGI take both signs for one
        if name.lower().replace(b"_", b"-") not in dropped and not (name.lower() == b"authorization" and _pays(value))
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
        self._base = URL(upstream, encoded=True)
        self._prefix = self._base.raw_path.rstrip("/")
        self._session: ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. An upstream that can't be reached is a 502, one that is too slow a 504."""
        has_body = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        uploaded = asyncio.Event()
        answer: ClientResponse | None = None
        try:
            async with asyncio.timeout(READ_TIMEOUT_S) as patience:
                answer = await self._open().request(
                    scope["method"],
                    self._target(scope),
                    headers=CIMultiDict((_text(name), _text(value)) for name, value in request_headers(scope)),
                    data=_body(receive, patience, uploaded) if has_body else None,
                    allow_redirects=False,
                )
            if answer.status == _SWITCHING:  # what it would speak from here on is no answer to what was asked
                raise ClientError("the upstream speaks another protocol")
        except TimeoutError:
            await fail(send, 504, "the upstream did not answer in time")
        except (ClientError, ValueError):  # ValueError: aiohttp's for a field that can't be sent
            await fail(send, 502, "the upstream can't be reached")
        else:
            if not has_body:
                uploaded.set()
            # whoever counts an answer looks by itself for who still listens
            leaving = None if METER in scope else partial(_leaving, receive, uploaded, answer)
            await _relay(answer, scope["method"], send, leaving)
        finally:
            if answer is not None:
                answer.close()  # a connection whose answer was read to its end went back already

    def _target(self, scope: Scope) -> URL:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
        path = self._prefix + raw_path.split(b"?", 1)[0].decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        base = self._base
        return URL.build(scheme=base.scheme, authority=base.raw_authority, path=path, query_string=query, encoded=True)

    def _open(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0, keepalive_timeout=IDLE_S, ssl=httpx.create_ssl_context()),
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
                cookie_jar=DummyCookieJar(),
                skip_auto_headers=_NOT_ADDED,
                auto_decompress=False,
                max_line_size=MAX_FIELD_BYTES,
                max_field_size=MAX_FIELD_BYTES,
            )
        return self._session

    async def close(self) -> None:
        """Close idle connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _text(field: bytes) -> str:
    """As aiohttp takes it, which writes UTF-8: other bytes arrive as the characters that they are in Latin-1."""
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        return field.decode("latin-1")


async def _body(receive: Receive, patience: asyncio.Timeout, uploaded: asyncio.Event) -> AsyncIterator[bytes]:
    """What the client sends. The upstream's time to answer begins anew with each piece."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientError("the client went away")
        patience.reschedule(asyncio.get_running_loop().time() + READ_TIMEOUT_S)
        yield message.get("body", b"")
        if not message.get("more_body", False):
            uploaded.set()
            return


async def _leaving(receive: Receive, uploaded: asyncio.Event, answer: ClientResponse) -> None:
    """Let go of the upstream a while after the client hung up."""
    await uploaded.wait()  # until then somebody else listens
    while (await receive())["type"] != "http.disconnect":
        pass
    await asyncio.sleep(READ_ON_S)
    answer.close()


async def _relay(answer: ClientResponse, method: str, send: Send, leaving: Leaving | None) -> None:
    """Pass the answer on as it comes. A break in the upstream's stream breaks ours: a half must not look whole."""
    start: Message = {"type": "http.response.start", "status": answer.status}
    start["headers"] = answer_headers(answer.raw_headers)
    await send(start)
    if method == "HEAD":
        await send(_END)
        return
    watching: asyncio.Task[None] | None = None
    try:
        async for chunk in answer.content.iter_any():
            whole = answer.content.at_eof()  # most answers are there at once, and are one message
            await send({"type": "http.response.body", "body": chunk, "more_body": not whole})
            if whole:
                return
            if watching is None and leaving is not None:
                watching = asyncio.create_task(leaving())
    except ClientError:
        if watching is None or not watching.done():
            raise
        return  # nobody has listened for long
    finally:
        if watching is not None:
            watching.cancel()
    await send(_END)


async def fail(send: Send, status: int, why: str) -> None:
    """An error of the gate's own in the upstream's place."""
    body = f'{{"title":"{why}","status":{status}}}'.encode("ascii")
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
