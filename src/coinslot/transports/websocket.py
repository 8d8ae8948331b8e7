"""WebSockets that are paid message by message, in the frames that deployed clients speak (JSON text, one object each).

    client   {"mpp": "authorization", "authorization": "Payment ..."}     open, voucher, topUp, close
             {"mpp": "message", "data": "..."}                            for the application
             {"mpp": "payment-close-request"}                             stop, and say what it cost
    server   {"mpp": "payment-receipt", "data": {...}}                    an authorization was good
             {"mpp": "message", "data": "..."}                            from the application: charged, then sent
             {"mpp": "payment-need-voucher", "data": {...}}               dry: it waits for a higher voucher
             {"mpp": "payment-close-ready", "data": {...}}                it is over: the last receipt
             {"mpp": "payment-error", "status": 402, "message": "..."}    and the connection is closed

The handshake needs no payment; the application runs once a frame has paid. It is any ASGI application: each text that
it sends costs a unit, or what it told `counting`. What it sends travels inside a frame, so it can't speak for us. T25
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from coinslot.core.credential import find_credential
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.drive import run_async
from coinslot.errors import ChannelFinalized, ChannelNotFound, CoinslotError, Problem, StoreError, StreamDry, UsageError
from coinslot.intents.acts import Act
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.store.protocol import Delivery
from coinslot.transports.asgi_types import App, Message, Receive, Scope, Send
from coinslot.transports.metering import METER, Metered, metered, nothing_sent
from coinslot.transports.slot import Slot

# A client that was let in has to pay within this time, and to go within this time after the end.
PATIENCE_S = 60.0
# Frames that wait to be worked on, of each kind. F28
MAX_QUEUED = 32
# What a client may say to the application before it has paid: its first words, sent along with the credential. F28
MAX_UNPAID_CHARS = 256 * 1024
# A credential has a few KiB; longer frames of payments are none.
MAX_AUTHORIZATION_CHARS = 64 * 1024
UNITS_OF = "coinslot.units_of"

# Codes of RFC 6455 section 7.4.1.
_NORMAL, _POLICY, _FAILED = 1000, 1008, 1011
_OK = 200
# What asks for one answer, or pays for it; a connection is many.
_OF_A_REQUEST = frozenset(["accept-payment", "authorization", "idempotency-key", "payment-authorization"])

UnitsOf = Callable[[str], int]


class _Frame(msgspec.Struct):
    mpp: str
    authorization: str | None = None
    data: str | None = None


class _Closed(Exception):
    """We closed the connection, or the client did."""


def counting(scope: Scope, units_of: UnitsOf) -> None:
    """Let each message of this WebSocket cost `units_of` its text, and not one unit."""
    scope[UNITS_OF] = units_of


class Socket:
    """One WebSocket whose messages have a price."""

    def __init__(self, slot: Slot, price: Price, scope: Scope) -> None:
        self._slot = slot
        self._price = price
        self._scope = scope
        self._actions: asyncio.Queue[_Frame | None] = asyncio.Queue(MAX_QUEUED + 1)
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(MAX_QUEUED + 1)
        self._lock = asyncio.Lock()
        self._stream: _Stream | None = None
        self._overflow = False
        self._unpaid = 0

    async def serve(self, app: App, receive: Receive, send: Send) -> None:
        """The whole connection."""
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        self._app, self._out = app, send
        reading = asyncio.create_task(self._read(receive))
        try:
            while True:
                await self._work(await self._next())
        except (_Closed, OSError):
            pass
        finally:
            reading.cancel()
            if self._stream is not None:
                await self._stream.stop(gone=True)
        if self._stream is not None:
            self._stream.result()

    # --- what the client says --------------------------------------------------------------------

    async def _read(self, receive: Receive) -> None:
        """Frames into queues; too many of them, or the end, is None."""
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                frame = _parse(message.get("text"))
                if frame is None:
                    continue
                if frame.mpp == "message" and self._stream is None:
                    self._unpaid += len(frame.data or "")
                    if self._unpaid > MAX_UNPAID_CHARS:  # F28
                        raise asyncio.QueueFull
                if frame.mpp == "message":
                    self._inbox.put_nowait({"type": "websocket.receive", "text": frame.data or ""})
                elif self._actions.qsize() < MAX_QUEUED:
                    self._actions.put_nowait(frame)
                else:
                    self._overflow = True
                    break
        except asyncio.QueueFull:
            self._overflow = True
        if self._stream is not None and not self._overflow:
            self._stream.hang_up()
        while not self._actions.empty():  # whoever is gone, or says too much, is not listened to any more
            self._actions.get_nowait()
        self._actions.put_nowait(None)

    async def _next(self) -> _Frame:
        """The next thing to do. Raises _Closed."""
        while True:
            stream = self._stream
            running = stream is not None and not stream.over
            try:
                frame = await asyncio.wait_for(self._actions.get(), None if running else PATIENCE_S)
            except TimeoutError:
                if self._stream is not stream:
                    continue
                await self._close(_POLICY if stream is None else _NORMAL, "nothing was presented in time")
            if frame is None and self._overflow:
                await self._error(429, "too many frames wait")
            if frame is None:
                raise _Closed
            return frame

    async def _work(self, frame: _Frame) -> None:
        if frame.mpp == "payment-close-request":
            if self._stream is None:  # else it would keep a line open that nobody pays for
                await self._close(_NORMAL, "nothing was begun")
            await self._stream.stop()
        elif frame.authorization is not None:
            await self._authorize(frame.authorization)

    async def _authorize(self, authorization: str) -> None:
        """What the gate says to a credential; the first that pays for content starts the application."""
        act = _act(authorization)
        if act == Act.CLOSE and self._stream is not None:
            await self._stream.stop()
        method = "HEAD" if self._stream is not None else "GET"
        query = self._scope.get("query_string", b"").decode("latin-1")
        headers = {**_handshake(self._scope), "authorization": (authorization,)}
        asked = Incoming(method, self._scope["path"], query, headers)
        self._slot.resolving.ensure()
        admitted = await run_async(self._slot.gate.admit(asked, self._price), self._slot.async_world)
        if isinstance(admitted, Answer):
            await self._told(admitted)
            if act == Act.CLOSE:
                await self._close(_NORMAL, "the channel is closed")
            return
        self._stream = _Stream(self, admitted)
        await self.frame("payment-receipt", admitted.receipt.members())
        self._stream.start(self._app, self._scope)

    async def _told(self, answer: Answer) -> None:
        """Pass an answer of the gate on. Raises _Closed after a refusal."""
        receipt = next((value for name, value in answer.headers if name.lower() == "payment-receipt"), None)
        if answer.status >= 300 or receipt is None:
            await self._error(answer.status, _detail(answer))
        else:
            await self.frame("payment-receipt", decode_receipt(receipt).members())

    # --- what we say -----------------------------------------------------------------------------

    async def frame(self, kind: str, data: object) -> None:
        """Send one frame. Raises OSError where nobody listens."""
        await self._write({"mpp": kind, "data": data})

    async def _write(self, members: Mapping[str, Any]) -> None:
        async with self._lock:
            await self._out({"type": "websocket.send", "text": msgspec.json.encode(members).decode("utf-8")})

    async def _error(self, status: int, message: str, code: int = _POLICY) -> NoReturn:
        """Raises _Closed."""
        await self._write({"mpp": "payment-error", "status": status, "message": message})
        await self._close(code, "")

    async def _close(self, code: int, reason: str) -> NoReturn:
        async with self._lock:
            await self._out({"type": "websocket.close", "code": code, "reason": reason})
        raise _Closed

    async def received(self) -> Message:
        """The next message for the application."""
        return await self._inbox.get()

    async def failed(self) -> None:
        """The application raised something."""
        with contextlib.suppress(_Closed, OSError):
            await self._error(500, "the application failed", _FAILED)

    @property
    def slot(self) -> Slot:
        """Whose gate it is."""
        return self._slot


class _Stream:
    """The application's part of a connection, under one admission. It ends once, whoever ends it."""

    def __init__(self, socket: Socket, admission: Admission) -> None:
        counter = metered(admission, socket.slot)
        if counter is None:
            raise UsageError("a WebSocket is paid by metered prices only")
        self._socket = socket
        self._admission = admission
        self._counter: Metered = counter
        counter.begin()  # its client can be asked
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._sent = False
        self._gone = False
        self._ending: asyncio.Task[None] | None = None
        self.over = False

    def start(self, app: App, scope: Scope) -> None:
        """Run the application; it finds its meter where every handler does."""
        inner = {**scope, METER: self._counter, "coinslot.receipt": self._admission.receipt}
        inner["state"] = {**scope.get("state", {}), "meter": self._counter, "receipt": self._admission.receipt}
        inner["extensions"] = {}  # no answers past these messages
        self._inner = inner
        self._task = asyncio.create_task(self._run(app))

    async def _run(self, app: App) -> None:
        failed, cancelled = True, False
        try:
            await app(self._inner, self._receive, self._send)
            failed = False
        except (StreamDry, ChannelFinalized, ChannelNotFound, _Closed):
            failed = False  # nobody pays, or nobody listens: it ends like any stream
        except asyncio.CancelledError:
            cancelled = True  # whoever cancelled ends it
            raise
        finally:
            if not cancelled:
                await self._end(failed=failed)
            if failed and not cancelled:
                await self._socket.failed()

    def result(self) -> None:
        """Raises what the application raised."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    def hang_up(self) -> None:
        """The client is gone: tell the application what it can't be told in time otherwise."""
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    async def stop(self, *, gone: bool = False) -> None:
        """End the application and the meter, once."""
        self._gone = self._gone or gone
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
        await self._end()

    async def _end(self, *, failed: bool = False) -> None:
        """Record what was delivered, also while this very task is being cancelled."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._finish(failed))
        await asyncio.shield(self._ending)

    async def _finish(self, failed: bool) -> None:
        self.over = True
        slot, admission = self._socket.slot, self._admission
        try:
            if failed and not self._sent:
                nothing_sent(admission)
            if failed:
                slot.gate.abandoned(admission)
                return
            await run_async(slot.gate.delivered(admission, Delivery(_OK, (), None)), slot.async_world)
        except StoreError:
            slot.gate.abandoned(admission)
            return
        if not self._gone:
            with contextlib.suppress(OSError):
                await self._socket.frame("payment-close-ready", self._last().members())

    def _last(self) -> Receipt:
        return self._counter.meter.last or self._admission.receipt

    # --- the application's side ------------------------------------------------------------------

    async def _receive(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        return await self._socket.received()

    async def _send(self, message: Message) -> None:
        """Raises StreamDry, ChannelFinalized, UsageError for what is no text, _Closed where nobody listens."""
        if message["type"] == "websocket.close" or self.over:
            raise _Closed
        if message["type"] != "websocket.send":
            return  # it was accepted by us
        text = message.get("text")
        if not isinstance(text, str):
            raise UsageError("a paid WebSocket carries text")
        units = self._inner.get(UNITS_OF, _one)(text)
        try:
            await self._pay(units)
            self._sent = True
            await self._socket.frame("message", text)
        except OSError:
            self._gone = True
            raise _Closed from None

    async def _pay(self, units: int) -> None:
        counter = self._counter.asynchronous
        if await counter.covers(units):
            return
        await self._socket.frame("payment-need-voucher", counter.need(units))
        if not await counter.wait(units):
            raise counter.meter.dry(units)


def _handshake(scope: Scope) -> dict[str, tuple[str, ...]]:
    """The header fields that its application sees, since a price may be made of them; payments come in frames. T03"""
    headers: dict[str, tuple[str, ...]] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name not in _OF_A_REQUEST:
            headers[name] = (*headers.get(name, ()), value.decode("latin-1"))
    return headers


def _one(_: str) -> int:
    return 1


def _parse(text: object) -> _Frame | None:
    """A frame, or None for what is none of ours."""
    if not isinstance(text, str):
        return None
    try:
        frame = msgspec.json.decode(text, type=_Frame)
    except (msgspec.DecodeError, RecursionError):  # nested a thousand deep
        return None
    if frame.mpp == "authorization":
        return frame if frame.authorization and len(frame.authorization) <= MAX_AUTHORIZATION_CHARS else None
    if frame.mpp == "message":
        return frame if frame.data is not None else None
    return _Frame(frame.mpp) if frame.mpp == "payment-close-request" else None


def _act(authorization: str) -> object:
    """What a credential wants, as far as it can be read; the gate says what is wrong with it."""
    try:
        credential = find_credential([authorization], [])
        return None if credential is None else credential.payload_object().get("action")
    except (Problem, CoinslotError):
        return None


def _detail(answer: Answer) -> str:
    """The words of a refusal."""
    try:
        told = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return "refused"
    return str(told.get("detail") or told.get("title") or "refused") if isinstance(told, dict) else "refused"
