"""The ASGI door: a middleware around any ASGI application, and the piece that the framework doors share.

    app = CoinslotMiddleware(app, slot, {"GET /paid/*": "0.01"})

Requests without a price pass through untouched. A priced WebSocket is refused: it would be a way around the price.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from coinslot.drive import RealAsyncWorld, run_async
from coinslot.errors import BodyTooLarge, StoreError, StoreUnavailable
from coinslot.server.answer import Answer, refusal
from coinslot.server.delivery import Delivering
from coinslot.server.gate import RETRY_IN_FLIGHT_S, Admission
from coinslot.server.price import Price, Routes
from coinslot.server.request import MAX_BOUND_BODY, Incoming
from coinslot.store.protocol import Delivery
from coinslot.transports.slot import RouteTable, Slot

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# RFC 6455: the server refuses the connection for a reason of policy.
_POLICY_VIOLATION = 1008


class CoinslotMiddleware:
    """Charges for an ASGI application by a route table."""

    def __init__(self, app: App, slot: Slot, routes: RouteTable | Routes) -> None:
        self.app = app
        self.paying = Paying(slot)
        self.routes = routes if isinstance(routes, Routes) else slot.routes(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        kind = scope["type"]
        if kind == "http" and not is_preflight(scope):
            route = self.routes.find(scope["method"], scope["path"])
            if route is not None and route.price is not None:
                await self.paying.serve(route.price, self.app, scope, receive, send)
                return
        elif kind == "websocket":
            route = self.routes.find("GET", scope["path"])
            if route is not None and route.price is not None:  # T42
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
                return
        await self.app(scope, receive, send)


def is_preflight(scope: Scope) -> bool:
    """A browser's CORS question: it carries no credentials by design and returns nothing worth paying for."""
    if scope["method"] != "OPTIONS":
        return False
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


class Paying:
    """Serves one paid request: asks the gate, runs the application under its admission, reports the delivery."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._gate = slot.gate
        self._world = RealAsyncWorld()

    async def serve(self, price: Price, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the application, or let it answer."""
        self._slot.resolving.ensure()
        body: bytes | None = None
        if price.bind_body:
            body = await _read(receive)
            if body is None:
                detail = f"a body bound to a payment may have {MAX_BOUND_BODY} bytes"
                await send_answer(refusal(BodyTooLarge(detail)), scope, send)
                return
            receive = _replaying(body, receive)
        admitted = await run_async(self._gate.admit(incoming(scope, body), price), self._world)
        if isinstance(admitted, Answer):
            await send_answer(admitted, scope, send)
            return
        await _Delivery(self, admitted, scope, send).run(app, receive)

    async def record(self, admission: Admission, delivery: Delivery | None) -> None:
        """Record the delivery, if it is one. Raises StoreError."""
        if delivery is not None:
            await run_async(self._gate.delivered(admission, delivery), self._world)

    def abandoned(self, admission: Admission) -> None:
        """Give the payment back to whoever made it."""
        self._gate.abandoned(admission)


class _Delivery:
    """One admission and the answer under it.

    An answer in one piece is recorded before its first byte leaves; a stream passes through unbuffered and is recorded
    before its last piece leaves, so that what was not recorded was not delivered whole.
    """

    def __init__(self, paying: Paying, admission: Admission, scope: Scope, send: Send) -> None:
        self._paying = paying
        self._admission = admission
        self._scope = scope
        self._send = send
        self._delivering = Delivering(admission.receipt)
        self._start: Message | None = None
        self._recorded = False
        self._streaming = False
        self._gone = False

    async def run(self, app: App, receive: Receive) -> None:
        async def watch() -> Message:
            message = await receive()
            self._gone = self._gone or message["type"] == "http.disconnect"
            return message

        failed = True
        try:
            await app({**self._scope, "coinslot.receipt": self._admission.receipt}, watch, self._pass)
            failed = False
        except asyncio.CancelledError:  # some servers cancel when the client goes away
            failed = False
            raise
        finally:
            await self._end(failed)

    async def _end(self, failed: bool) -> None:
        """The handler is done. Who hung up on a stream had its delivery: else hanging up would be a free pass. T25"""
        if self._recorded:
            return
        if self._streaming and (self._gone or not failed):
            with contextlib.suppress(StoreError):
                await self._paying.record(self._admission, self._delivering.interrupted())
                return
        self._paying.abandoned(self._admission)

    async def _pass(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", [])]
            headers = self._delivering.begin(message["status"], given)
            encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            self._start = {**message, "headers": encoded}
        elif kind == "http.response.body":
            await self._body(message)
        else:
            await self._out(message)

    async def _out(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # how ASGI servers say that nobody listens any more
            self._gone = True
            raise

    async def _body(self, message: Message) -> None:
        if self._delivering.counts:
            self._delivering.add(message.get("body", b""))
            last = not message.get("more_body", False) or self._delivering.whole
            if last and not self._recorded:
                try:
                    await self._paying.record(self._admission, self._delivering.finish())
                except StoreError:
                    if self._start is None:
                        raise  # the stream breaks off: without its end it was not delivered
                    problem = StoreUnavailable(
                        retry_after_s=RETRY_IN_FLIGHT_S, reference=self._admission.receipt.reference
                    )
                    self._start = None
                    await send_answer(refusal(problem), self._scope, self._send)
                    return
                self._recorded = True
        if self._start is not None:
            start, self._start = self._start, None
            await self._out(start)
        self._streaming = self._delivering.counts
        await self._out(message)


def incoming(scope: Scope, body: bytes | None) -> Incoming:
    """The request of an ASGI scope. Header names arrive lower-case by the ASGI specification."""
    headers: dict[str, tuple[str, ...]] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        headers[name] = (*headers.get(name, ()), raw_value.decode("latin-1"))
    return Incoming(scope["method"], scope["path"], scope.get("query_string", b"").decode("latin-1"), headers, body)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None if it is larger than what is bound. A client that goes away sends nothing more."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BOUND_BODY:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    return b"".join(chunks)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A receive that hands out the body that was read, then goes on as before."""
    pending = [body]

    async def replay() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replay


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send a whole answer; to HEAD without its body."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.sized()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": False})
