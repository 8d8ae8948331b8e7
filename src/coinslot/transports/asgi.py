"""The ASGI door: a middleware around any ASGI application, and the pieces that the framework doors share.

    app = CoinslotMiddleware(app, slot, {"GET /paid/*": "0.01"})

Patterns speak of paths as the application routes them, without the mount point (root_path). Requests without a price
pass through untouched. A WebSocket pays for its messages where the price is metered (websocket.py); another priced one
is refused, since it would be a way around the price. The handler finds its
receipt in `scope["coinslot.receipt"]`, under Starlette also as `request.state.receipt`; its meter, where the price is
metered, by `meter(scope)`. `Stream` sends paid events or pieces, and stops when the client hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from enum import Enum

from coinslot.drive import run_async
from coinslot.errors import BodyTooLarge, StoreError, StoreUnavailable, StreamDry
from coinslot.server.admission import Admission
from coinslot.server.answer import EXPOSED, Answer, refusal
from coinslot.server.classify import BARE, OVERRIDES, Charge, classify, permits
from coinslot.server.delivery import Delivering
from coinslot.server.gate import RETRY_IN_FLIGHT_S
from coinslot.server.price import Price, Routes
from coinslot.server.request import MAX_BOUND_BODY, Incoming
from coinslot.store.protocol import Delivery
from coinslot.transports.asgi_types import App, Message, Receive, Scope, Send
from coinslot.transports.committing import CommitDoor
from coinslot.transports.metering import METER, Metered, found, last_receipt, metered, nothing_sent, ran_dry, undecided
from coinslot.transports.slot import RouteTable, Slot
from coinslot.transports.websocket import Socket

__all__ = ["App", "CoinslotMiddleware", "Message", "Paying", "Receive", "Scope", "Send", "Stream", "meter"]

_EXPOSE = "access-control-expose-headers"
RECEIPT = "coinslot.receipt"
# From here on a status says that the handler failed.
_FAILED = 500
# RFC 6455: the server refuses the connection for a reason of policy.
_POLICY_VIOLATION = 1008
# Ways to send an answer past the messages that we watch; a priced handler is not offered them.
_PAST_US = ("http.response.pathsend", "http.response.zerocopysend", "http.response.trailers")
_CONTENT = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")
_OVERRIDES = tuple(name.encode("ascii") for name in OVERRIDES)


class Refused(Enum):
    """A WebSocket that is not let in."""

    REFUSED = 1


REFUSED = Refused.REFUSED


class ClientGone(Exception):
    """The client hung up before its request was whole: there is nobody to answer."""


class CoinslotMiddleware:
    """Charges for an ASGI application by a route table."""

    def __init__(self, app: App, slot: Slot, routes: RouteTable | Routes) -> None:
        self.app = app
        self.paying = Paying(slot, commits=True)
        self._commits = CommitDoor(slot)
        self.routes = routes if isinstance(routes, Routes) else slot.routes(routes)
        # Some frameworks set their own mount point only when they are called, which is after us.
        self._root: str = getattr(app, "root_path", "") or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket" and (priced := self._priced(scope)) is not None:
            if isinstance(priced, Price):
                await Socket(self.paying.slot, priced, scope).serve(self.app, receive, send)
            else:  # T42
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await self.app(scope, self.paying.ending(receive) if kind == "lifespan" else receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._commits.takes(scope):
            await answer_commit(self._commits, scope, receive, send)
            return
        query = scope.get("query_string", b"").decode("latin-1")
        found = classify(
            self.routes, scope["method"], route_path(scope, self._root), query, overrides(scope), is_preflight(scope)
        )
        if isinstance(found, Charge):
            await self.paying.serve(found.price, self.app, scope, receive, send, manages=found.manages)
        elif isinstance(found, Answer):
            await send_answer(found, scope, send)
        else:
            await self.app(scope, receive, bare(send) if found is BARE else send)

    def _priced(self, scope: Scope) -> Price | Refused | None:
        """The price of each message, or REFUSED where a whole request has one: a WebSocket begins as a GET, and
        whatever is no plain pass for that is not for it either. T42
        """
        kind = classify(self.routes, "GET", route_path(scope, self._root), "", ())
        if isinstance(kind, Charge) and kind.price.metering is not None and not kind.manages:
            return kind.price
        return REFUSED if isinstance(kind, Charge | Answer) else None


def meter(scope: Scope) -> Metered:
    """The meter of a request: `async with meter(scope) as m`. Raises UsageError where its price is not metered."""
    return found(scope.get(METER))


def route_path(scope: Scope, root: str = "") -> str:
    """The path that the application routes: without its mount point, as Starlette takes it off."""
    path: str = scope["path"]
    root = root or scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return path or "/"


def overrides(scope: Scope) -> list[str]:
    """Other methods that headers of a request name. What speaks WSGI behind us takes `_` for `-`. T42"""
    given = scope["headers"]
    return [value.decode("latin-1") for name, value in given if name.replace(b"_", b"-") in _OVERRIDES]


def is_preflight(scope: Scope) -> bool:
    """A browser's CORS question: it carries no credentials by design and returns nothing worth paying for."""
    if scope["method"] != "OPTIONS":
        return False
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


def bare(send: Send) -> Send:
    """A send that lets permissions through and no content: a preflight must not be a way to read for nothing. T42"""

    async def strip(message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await send({**message, "headers": _encoded(permits(_decoded(message.get("headers", []))))})
        elif kind in _CONTENT and not message.get("more_body", False):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return strip


async def answer_commit(door: CommitDoor, scope: Scope, receive: Receive, send: Send) -> None:
    """One request to an endpoint of deliveries."""
    answer = await door.serve(scope, receive)
    if answer is not None:
        await send_answer(answer, scope, send)


class Paying:
    """Serves one paid request: asks the gate, runs the application under its admission, reports the delivery.

    `commits`: whoever has it takes commits of deliveries, too (committing.py).
    """

    def __init__(self, slot: Slot, *, commits: bool = False) -> None:
        self.slot = slot
        self._commits = commits
        self._ending: set[asyncio.Task[None]] = set()

    async def serve(
        self, price: Price, app: App, scope: Scope, receive: Receive, send: Send, *, manages: bool = False
    ) -> None:
        """Answer for the application, or let it answer. `manages`: only what is about the channel that pays."""
        body: bytes | None = b""
        if price.bind_body:
            try:
                body = await _read(receive)
            except ClientGone:
                return
            receive = _replaying(body or b"", receive)
        admitted = await self.decide(price, scope, body, manages=manages)
        if isinstance(admitted, Answer):
            await send_answer(admitted, scope, send)
        else:
            await Handover(self, admitted, scope, send).run(app, receive)

    async def decide(
        self, price: Price, scope: Scope, body: bytes | None, *, manages: bool = False
    ) -> Answer | Admission:
        """Ask the gate. `body` is what was read to be bound; None if there was more than can be. Raises what a pricing
        function raises.
        """
        request = incoming(scope, body if price.bind_body else None, manages=manages)
        return await self.admit(price, replace(request, commits=True) if self._commits else request)

    async def admit(self, price: Price, request: Incoming) -> Answer | Admission:
        """The same for a request that is read already."""
        self.slot.resolving.ensure()
        if price.bind_body and request.body is None:
            return refusal(BodyTooLarge(f"a body bound to a payment may have {MAX_BOUND_BODY} bytes"))
        if not price.bind_body and request.body is not None:
            request = replace(request, body=None)
        return await run_async(self.slot.gate.admit(request, price), self.slot.async_world)

    async def record(self, admission: Admission, delivery: Delivery | None) -> None:
        """Record the delivery, if it is one. Raises StoreError."""
        if delivery is not None:
            await run_async(self.slot.gate.delivered(admission, delivery), self.slot.async_world)

    def ending(self, receive: Receive) -> Receive:
        """A receive of the lifespan protocol that closes this door when the server stops."""

        async def watch() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
            return message

        return watch

    async def close(self) -> None:
        """Close the connections to nodes that asynchronous doors of this slot opened."""
        await self.slot.async_world.aclose()

    def abandoned(self, admission: Admission) -> None:
        """Give the payment back to whoever made it."""
        self.slot.gate.abandoned(admission)

    async def interrupted(self, admission: Admission, delivery: Delivery) -> None:
        """Record a stream that its client left, also while this task is being cancelled for that very reason."""

        async def record() -> None:
            try:
                await self.record(admission, delivery)
            except StoreError:
                self.abandoned(admission)

        task = asyncio.create_task(record())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        await asyncio.shield(task)


class Handover:
    """One admission and the answer under it.

    An answer in one piece is recorded before its first byte leaves; a stream passes through unbuffered and is recorded
    before its last piece leaves, so that what was not recorded was not delivered whole.
    """

    def __init__(self, paying: Paying, admission: Admission, scope: Scope, send: Send) -> None:
        self._paying = paying
        self._admission = admission
        self._scope = scope
        self._send = send
        self._delivering = Delivering(admission.receipt, admission.headers, reported=admission.reported)
        self._start: Message | None = None
        self._over = False
        self.refused = False
        self._streaming = False
        self._gone = False
        scope[RECEIPT] = admission.receipt
        state = scope.setdefault("state", {})
        state["receipt"] = admission.receipt
        self._counting = metered(admission, paying.slot)
        if self._counting is not None:
            scope[METER] = state["meter"] = self._counting
        if scope.get("extensions"):
            scope["extensions"] = {k: v for k, v in scope["extensions"].items() if k not in _PAST_US}

    async def run(self, app: App, receive: Receive) -> None:
        """Run the application; whatever it does, the payment is delivered or given back."""
        failed = True
        try:
            await app(self._scope, self.watching(receive), self.pass_on)
            failed = False
        except asyncio.CancelledError:  # some servers cancel when the client goes away
            failed = False
            raise
        except StreamDry:
            if not (self.refused or await self.dry()):
                raise
        finally:
            await self.end(failed)

    async def dry(self) -> bool:
        """Answer 402 where the handler ran dry before anything was sent; False: it did not, or something was."""
        answer = None if self._over or self._streaming else ran_dry(self._admission)
        if answer is None:
            return False
        self._give_back()
        self.refused = True
        await send_answer(await run_async(answer, self._paying.slot.async_world), self._scope, self._send)
        return True

    def watching(self, receive: Receive) -> Receive:
        """A receive that notices when the client hangs up."""

        async def watch() -> Message:
            message = await receive()
            self._gone = self._gone or message["type"] == "http.disconnect"
            return message

        return watch

    async def end(self, failed: bool) -> None:
        """The handler is done. Who hung up on a stream had its delivery: else hanging up would be a free pass. T25"""
        if self._over:
            return
        delivery = self._delivering.interrupted() if self._streaming and (self._gone or not failed) else None
        if delivery is not None:
            await self._paying.interrupted(self._admission, delivery)
        else:
            self._give_back()

    def _give_back(self) -> None:
        self._over = True
        if not self._streaming:
            nothing_sent(self._admission)
        self._paying.abandoned(self._admission)

    async def pass_on(self, message: Message) -> None:
        """The send of the application. Raises StoreError if a stream that has begun can't be recorded."""
        kind = message["type"]
        if self.refused:
            return
        if kind == "http.response.start" and message["status"] >= _FAILED and await self.dry():
            return  # what frameworks make of StreamDry
        if kind == "http.response.start":
            headers = self._delivering.begin(message["status"], _decoded(message.get("headers", [])))
            self._start = {**message, "headers": _encoded(headers)}
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

    async def _secure(self) -> None:
        """An answer that is not lent is paid as it comes, from its first byte on; else it is refused. Raises StreamDry:
        then nothing more of it is wanted. T25
        """
        flow = undecided(self._admission) if self._delivering.counts and not self._over else None
        if flow is None:
            return
        try:
            await run_async(flow, self._paying.slot.async_world)
        except StreamDry:
            await self.dry()
            raise

    async def _body(self, message: Message) -> None:
        if self._start is not None and self._counting is not None:
            await self._secure()
        if not self._over:
            self._delivering.add(message.get("body", b""))
            last = not message.get("more_body", False) or self._delivering.whole
            if last and not self._delivering.counts:  # before it leaves: whoever has it may come again at once
                self._give_back()
            elif last:
                try:
                    await self._paying.record(self._admission, self._delivering.finish())
                except StoreError:
                    if self._start is None:
                        raise  # the stream breaks off: without its end it was not delivered
                    await self._refuse()
                    return
                self._over = True
                receipt = last_receipt(self._admission)
                if self._start is not None and receipt is not None:
                    self._start = {**self._start, "headers": _encoded(self._delivering.settled(receipt))}
        if self._start is not None:
            start, self._start = self._start, None
            await self._out(start)
        self._streaming = self._delivering.counts
        if self._counting is not None:
            self._counting.begin()
        await self._out(message)

    async def _refuse(self) -> None:
        """What can't be recorded is not delivered: the same credential brings it again."""
        problem = StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S, reference=self._admission.receipt.reference)
        self.refused = True
        await send_answer(refusal(problem), self._scope, self._send)


class Stream:
    """An ASGI answer of pieces as they come: `await Stream(asse(meter(scope), items), HEADERS)(scope, receive, send)`.

    It ends when the client hangs up, so that nothing more is charged.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], headers: Iterable[tuple[str, str]] = (), status: int = 200
    ) -> None:
        self._pieces = pieces
        self._headers = _encoded(headers)
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer. Raises what the pieces raise."""
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait({sending, gone})
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def incoming(scope: Scope, body: bytes | None, *, manages: bool = False) -> Incoming:
    """The request of an ASGI scope. Header names arrive lower-case by the ASGI specification."""
    headers: dict[str, tuple[str, ...]] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = (*headers[name], value) if name in headers else (value,)
    query = scope.get("query_string", b"").decode("latin-1")
    return Incoming(scope["method"], scope["path"], query, headers, body, manages)


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None if it is larger than what is bound. Raises ClientGone: half a body is no request."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
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


def allowing(answer: Answer, framework: Iterable[tuple[bytes, bytes]]) -> Answer:
    """An answer with the permissions that a CORS layer between the framework and us has given."""
    given = [(name.lower(), value) for name, value in _decoded(framework)]
    exposed = [*(value for name, value in given if name == _EXPOSE), ", ".join(EXPOSED)]
    permits = [pair for pair in given if pair[0] == "vary" or pair[0].startswith("access-control-")]
    kept = [pair for pair in (*answer.headers, *permits) if pair[0] != _EXPOSE]
    return Answer(answer.status, (*kept, (_EXPOSE, ", ".join(exposed))), answer.body)


async def send_answer(answer: Answer, scope: Scope, send: Send) -> None:
    """Send a whole answer; to HEAD without its body."""
    await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(answer.sized())})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": False})
