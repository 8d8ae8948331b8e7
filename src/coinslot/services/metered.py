"""An upstream's answer that is paid for while it passes: counted, charged before it is sent, and told about.

    per event   each server-sent event is one unit; comments and the end mark are free
    per byte    each block of the body begun is one unit
    per unit    everything that the answer may cost is set aside before; at its end it says itself what it used

A stream of events that runs dry asks its client for a voucher and goes on when one came, else it ends with a receipt.
Another stream can't ask: it waits, and breaks off, for a half must not look whole. A client that hangs up has paid for
what was sent (T25); where only the end of the answer tells what it used, the upstream is read to its end without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from coinslot.errors import ChannelFinalized, ChannelNotFound
from coinslot.server.lending import LentMeter
from coinslot.services.eventstream import (
    CONTENT_TYPE,
    SENTINEL,
    EventReader,
    StreamUnreadable,
    UpstreamEvent,
    encode_event,
    event_headers,
    other_length,
    speaks_events,
)
from coinslot.services.pricing import Counting
from coinslot.services.proxy import fail
from coinslot.services.unforged import Unforged, without_payments
from coinslot.services.usage import read_usage
from coinslot.transports.asgi import App, Message, Receive, Scope, Send, meter
from coinslot.transports.metering import AsyncMeter
from coinslot.transports.sse import HEARTBEAT, HEARTBEAT_S, NEED, RECEIPT, encode_directive, encode_end

# A JSON answer is held until its end, so that its receipt tells what it cost; larger ones stream, and are not read.
MAX_USAGE_BODY = 8 * 1024 * 1024
# The last line of an answer in lines of JSON: some repeat there a number for each token of a long conversation.
MAX_USAGE_LINE = 1024 * 1024
_JSON = "json"
_LINES = "application/x-ndjson"


class _Over(Exception):
    """The client is gone, or its channel is dry: nothing more is read from the upstream."""


# Hears of each answer: the unit's name, how many, and base units taken.
Told = Callable[[str, int, int], None]


class MeteredApp:
    """Runs an application under the meter that its request was admitted with; an ASGI application itself."""

    def __init__(self, app: App, counting: Counting, told: Told) -> None:
        self._app = app
        self._counting = counting
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One answer. Raises StreamDry, StreamUnreadable, StoreError: if any of it is out it must not look whole."""
        counter = meter(scope).asynchronous
        till = _Till(counter, receive)
        passing = _KINDS[self._counting.per](till, self._counting, send)
        try:
            await self._app(_countable(scope), till.receive, passing.send)
        except _Over:
            await passing.cut()
        except StreamUnreadable:
            if passing.begun:
                raise  # half of it is out
            await fail(send, 502, "the upstream's answer can't be counted")
        finally:
            till.close()
            self._told(counter.unit, counter.counted, counter.spent_units)


def _countable(scope: Scope) -> Scope:
    """The request without a wish for a compressed answer, or for a part of one: neither could be counted."""
    dropped = (b"accept-encoding", b"range", b"if-range")
    headers = [pair for pair in scope["headers"] if pair[0].lower() not in dropped]
    return {**scope, "headers": [*headers, (b"accept-encoding", b"identity")]}


class _Till:
    """The meter of one answer, and whether anybody still listens."""

    def __init__(self, meter: AsyncMeter, receive: Receive) -> None:
        self.meter = meter
        self.receive = receive
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> asyncio.Task[None]:
        """From now on, the request's body being read, notice when the client hangs up."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._until_gone())
        return self._watching

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self._watching is not None and self._watching.done()

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()

    async def wait(self, units: int, at_most_s: float) -> bool:
        """Wait for a voucher that covers so many units more, and charge; False: none came, or the client hung up.

        Raises ChannelFinalized, ChannelNotFound, StoreError.
        """
        gone = self.watch()
        waiting = asyncio.ensure_future(self.meter.wait(units, at_most_s))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done():
                waiting.cancel()
                await asyncio.wait({waiting})  # nobody else uses the meter from here on
        return not waiting.cancelled() and waiting.result()


def _of_other_length(message: Message) -> Message:
    return {**message, "headers": other_length(message.get("headers", []))}


def _header(message: Message, name: bytes) -> str:
    values: list[bytes] = [value for key, value in message.get("headers", []) if key.lower() == name]
    return b", ".join(values).decode("latin-1").strip().lower()


class _Passing:
    """One answer on its way. Answers outside 2xx cost nothing, and pass as they do on every priced route.

    Where its payer has credit a stream of events begins with a directive, and is paid after it came. Any other answer
    is paid from what was authorized before the upstream was asked, and so no answer is lost that nobody can pay for.
    """

    def __init__(self, till: _Till, counting: Counting, send: Send) -> None:
        self.till = till
        self.counting = counting
        self.out = send
        self.counts = False
        self.begun = False
        self._uncounted = Unforged(send)
        self._events: EventReader | None = None
        self._lent: LentMeter | None = None
        self._told = False
        self._ending = b""

    async def send(self, message: Message) -> None:
        """The send of the upstream's side. Raises _Over."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body" and self.counts:
            self.till.watch()
            self.begun = True
            await self.body(bytes(message.get("body", b"")), last=not message.get("more_body", False))
        else:
            await self._uncounted.send(message)

    async def _start(self, message: Message) -> None:
        self.counts = 200 <= message["status"] < 300
        if not self.counts:
            await self._uncounted.send(message)
            return
        headers = without_payments(message.get("headers", []))
        events = speaks_events(headers)
        kind = CONTENT_TYPE if events else _header(message, b"content-type").partition(";")[0].strip()
        if self.reads(kind) and _header(message, b"content-encoding") not in ("", "identity"):
            raise StreamUnreadable("the upstream compresses what is to be counted")
        if events:
            self._events, self._lent = EventReader(), await self.till.meter.lend()
        else:
            await self.till.meter.secure()
        await self.start({**message, "headers": event_headers(headers) if events else headers}, kind)

    async def body(self, chunk: bytes, *, last: bool) -> None:
        """A piece of a 2xx answer."""
        if self._events is None:
            await self.piece(chunk, last=last)
            return
        out: list[bytes] = []
        if self._lent is not None and not self._told:
            self._told = True
            out.append(encode_directive(self._lent))
        for event in self._events.feed(chunk):
            await self._event(event, out)
        if last:
            for event in self._events.end():
                await self._event(event, out)
            self.settle()
            out.append(await self._last_event())
        if out:
            await self.write(b"".join(out), last=last)

    async def _event(self, event: UpstreamEvent, out: list[bytes]) -> None:
        if self._lent is not None and event.data.strip() == SENTINEL:
            return  # the last word is ours
        encoded = event.encode()
        await self.pay(self.units(event, encoded), out)
        if self._lent is not None and event.ends:  # T24
            self._ending = encoded
        else:
            out.append(encoded)

    async def _last_event(self) -> bytes:
        receipt = await self.till.meter.finish()
        if self._lent is not None:
            return encode_end(self._lent, self._ending)
        return encode_event(RECEIPT, msgspec.json.encode(receipt.members()))

    async def pay(self, units: int, out: list[bytes]) -> None:
        """Charge for what is sent next; `out` is sent before the stream asks for more and waits. Raises _Over."""
        if self.hung_up:
            raise _Over
        try:
            if not units or await self.till.meter.covers(units):
                return
            if self._lent is not None:  # as much as it may cost has come
                if out:
                    await self.write(b"".join(out), last=False)
                raise _Over
            if self._events is not None:
                need = encode_event(NEED, msgspec.json.encode(self.till.meter.need(units)))
                await self.write(b"".join(out) + need, last=False)
                out.clear()
            if not await self._awaited(units):
                raise _Over
        except (ChannelFinalized, ChannelNotFound):  # it was closed meanwhile
            raise _Over from None

    async def _awaited(self, units: int) -> bool:
        """Whether a voucher came in time. Events show meanwhile that the line is open."""
        left_s = self.till.meter.patience_s
        while left_s > 0 and not self.till.gone:
            if await self.till.wait(units, min(left_s, HEARTBEAT_S)):
                return True
            left_s -= HEARTBEAT_S
            if self._events is not None and left_s > 0 and not self.till.gone:
                await self.write(HEARTBEAT, last=False)
        return False

    @property
    def hung_up(self) -> bool:
        """Whether sending on would be for nobody."""
        return self.till.gone

    async def write(self, body: bytes, *, last: bool) -> None:
        """Send bytes that are paid for."""
        await self.out({"type": "http.response.body", "body": body, "more_body": not last})

    async def cut(self) -> None:
        """End an answer that nobody pays for any more, or nobody reads. Raises StreamDry, StoreError."""
        if self.till.gone:
            return  # whoever reports the delivery has noticed, too
        if self._events is None:
            raise self.till.meter.meter.dry(1)
        await self.write(await self._last_event(), last=True)

    # --- what kinds of counting differ in

    def reads(self, kind: str) -> bool:
        """Whether an answer of this type is read, and must not be compressed."""
        return kind == CONTENT_TYPE

    async def start(self, message: Message, kind: str) -> None:
        """A 2xx answer begins."""
        await self.out(message)

    def units(self, event: UpstreamEvent, encoded: bytes) -> int:
        """What an event costs before it is sent."""
        raise NotImplementedError

    async def piece(self, chunk: bytes, *, last: bool) -> None:
        """A piece of an answer that is no stream of events."""
        await self.write(chunk, last=last)

    def settle(self) -> None:
        """The answer is whole: charge what only its end tells."""


class _PerEvent(_Passing):
    """An answer that is no stream of events costs the minimum."""

    def units(self, event: UpstreamEvent, encoded: bytes) -> int:
        return int(event.counts)


class _PerByte(_Passing):
    """Blocks are paid when they begin."""

    _sent = 0

    def _blocks(self, size: int) -> int:
        """How many blocks begin in the next `size` bytes."""
        block = self.counting.block
        before, self._sent = -(-self._sent // block), self._sent + size
        return -(-self._sent // block) - before

    def units(self, event: UpstreamEvent, encoded: bytes) -> int:
        return self._blocks(len(encoded))

    async def piece(self, chunk: bytes, *, last: bool) -> None:
        step = self.counting.most * self.counting.block
        for at in range(0, len(chunk), step):
            part = chunk[at : at + step]
            await self.pay(self._blocks(len(part)), [])
            await self.write(part, last=False)
        if last:
            await self.write(b"", last=True)


class _PerUnit(_Passing):
    """The answer says what it used: in its JSON, in its last line of JSON, or in the last event that says so.

    One with content that doesn't say costs all that was set aside: clients choose the form of an answer, and many APIs
    tell what a stream used only if asked to. T25
    """

    _used: int | None = None
    _held: Message | None = None
    _kept: bytearray
    _content = False

    @property
    def hung_up(self) -> bool:
        return False  # what it used is told at the end, which is read for that. T25

    def reads(self, kind: str) -> bool:
        return True

    async def start(self, message: Message, kind: str) -> None:
        self._kept = bytearray()
        if kind.endswith(_JSON) and kind != _LINES:
            self._held = message
        else:
            await self.out(_of_other_length(message))

    def units(self, event: UpstreamEvent, encoded: bytes) -> int:
        self._least()
        if event.counts:
            self._content = True
            self._read(event.data)
        return 0

    async def piece(self, chunk: bytes, *, last: bool) -> None:
        self._content = self._content or bool(chunk)
        self._kept += chunk
        if self._held is not None:
            if not last and len(self._kept) <= MAX_USAGE_BODY:
                return
            await self._let_go(self._held, bytes(self._kept), last=last)
            return
        self._least()
        if len(self._kept) > 2 * MAX_USAGE_LINE:
            del self._kept[:-MAX_USAGE_LINE]
        if last:
            self._read(bytes(self._kept).rstrip().rpartition(b"\n")[2])
            self.settle()
        await self.write(chunk, last=last)

    async def _let_go(self, start: Message, body: bytes, *, last: bool) -> None:
        """A JSON answer, whole with its receipt, or as the beginning of one that is too large to be read."""
        self._held, self._kept = None, bytearray()
        if last:
            self._read(body)
            self.settle()
            await self.till.meter.finish()  # before it begins, so that its receipt tells what it cost
        else:
            self._least()
        await self.out(start if last else _of_other_length(start))
        await self.write(body, last=last)

    def _read(self, document: bytes) -> None:
        used = read_usage(document, self.counting.path)
        self._used = self._used if used is None else used

    def _least(self) -> None:
        """The first of it is about to be sent: the minimum is due, however it ends."""
        if not self.till.meter.counted:
            self.till.meter.meter.take(self.counting.minimum)

    def settle(self) -> None:
        unsaid = self.counting.most if self._content else 0
        used = unsaid if self._used is None else min(self._used, self.counting.most)
        self.till.meter.meter.take(max(0, used - self.till.meter.counted))


_KINDS: dict[str, type[_Passing]] = {"event": _PerEvent, "byte": _PerByte, "unit": _PerUnit}
