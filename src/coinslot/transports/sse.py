"""Server-sent events that are paid one by one: each is charged before it is sent.

    sse(meter(request), items)          items: text, or Event(data, event=..., id=..., units=...)

A channel that runs dry is told to the client by an event `payment-need-voucher`; the stream pauses, and goes on over
the same connection once a voucher came, wherever it arrived. The last event is `payment-receipt`. A comment now and
then shows while it waits whether anybody still listens. A stream that comes before it is paid (docs/adr/0015) begins
with a directive instead, and ends with its usage and `[DONE]`.

Nothing that items say can become an event of ours: what any reader may take for the end of a line ends a line here, and
every line is written with its field's name. T25
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from coinslot.errors import ChannelFinalized, ChannelNotFound, UsageError
from coinslot.intents.deliveries import DIRECTIVE_EVENT, DONE_DATA, DONE_EVENT, USAGE_EVENT
from coinslot.server.lending import LentMeter
from coinslot.transports.metering import AsyncMeter, Metered, SyncMeter

CONTENT_TYPE = "text/event-stream; charset=utf-8"
# No proxy keeps or gathers events.
HEADERS = (("content-type", CONTENT_TYPE), ("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no"))
NEED = "payment-need-voucher"
RECEIPT = "payment-receipt"
# Names that begin so are ours.
OURS = ("payment-", "mpp.")
# Proxies close connections that are silent for a minute, some for half of one.
HEARTBEAT_S = 15.0
HEARTBEAT = b": waiting for a voucher\n\n"
# A name is a word; an id goes back in a header (Last-Event-ID).
MAX_NAME_CHARS = 255

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; it costs `units`. Raises UsageError for names that are ours, and for what is no single line. T25"""

    data: str
    event: str | None = None
    id: str | None = None
    units: int = 1

    def __post_init__(self) -> None:
        for text in (self.event, self.id):
            if text is not None and (len(text) > MAX_NAME_CHARS or "\0" in text or _lines(text) != [text]):
                raise UsageError(f"an event's name and id are one line of at most {MAX_NAME_CHARS} characters")
        if self.event is not None and self.event.strip().lower().startswith(OURS):  # T25
            raise UsageError("events called payment-... and mpp.... belong to payments")
        if self.units < 0:
            raise UsageError("an event costs 0 units or more")

    def encode(self) -> bytes:
        """Its bytes."""
        head = [] if self.event is None else [f"event: {self.event}"]
        if self.id is not None:
            head.append(f"id: {self.id}")
        lines = [*head, *(f"data: {line}" for line in _lines(self.data))]
        return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


Item: TypeAlias = str | Event


def _lines(text: str) -> list[str]:
    """What readers may take for lines: the standard says CR, LF or both; some also split where Unicode may."""
    return (text + "\f").splitlines()  # so that a last empty line counts; a line feed would be one end with a last CR


def _event(item: Item) -> Event:
    if isinstance(item, str):
        return Event(item)
    if isinstance(item, Event):
        return item
    raise UsageError(f"a stream of events is made of text and Event, not of {type(item).__name__}")


def _ours(name: str, members: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(members) + b"\n\n"


def encode_directive(lent: LentMeter) -> bytes:
    """The event that begins a delivery."""
    return _ours(DIRECTIVE_EVENT, lent.directive.members())


def encode_end(lent: LentMeter, ending: bytes = b"") -> bytes:
    """The events that end one: what it came to, and that nothing else comes. `ending` is an event of the application's
    that clients take for the end: before the usage it would cost them all that it may cost. T24
    """
    return _ours(USAGE_EVENT, lent.usage.members()) + ending + f"data: {DONE_DATA}\n\n".encode()


def _pauses(patience_s: float) -> Iterator[float]:
    """A stream's patience in pieces, a heartbeat after each but the last."""
    while patience_s > 0:
        yield min(HEARTBEAT_S, patience_s)
        patience_s -= HEARTBEAT_S


def sse(metered: Metered, items: Iterable[Item]) -> Generator[bytes]:
    """The stream, for servers with threads. Raises what items raise, StoreError, UsageError."""
    meter = metered.sync
    source = iter(items)
    try:
        lent, ending = meter.lend(), b""
        if lent is not None:
            yield encode_directive(lent)
        for item in source:
            event = _event(item)
            if lent is not None and not _fits(lent, event):
                break
            if lent is None and not (yield from _paid(meter, event.units)):
                break
            if lent is not None and _ends(event):  # T24
                ending = event.encode()
            else:
                yield event.encode()
        receipt = meter.finish()
        yield _ours(RECEIPT, receipt.members()) if lent is None else encode_end(lent, ending)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _fits(lent: LentMeter, event: Event) -> bool:
    """Whether an event of what is lent is sent, and counted: not above what it may cost, and the last word is ours."""
    return event.data.strip() != DONE_DATA and lent.take(event.units)


def _ends(event: Event) -> bool:
    """Whether clients take it for the end of what they pay for afterwards. T24"""
    return (event.event or "").strip().lower() == DONE_EVENT


def _paid(meter: SyncMeter, units: int) -> Generator[bytes, None, bool]:
    """What to send while a unit is not paid; at its end, whether it is."""
    try:
        if meter.covers(units):
            return True
        yield _ours(NEED, meter.need(units))
        for pause_s in _pauses(meter.patience_s):
            if meter.wait(units, pause_s):
                return True
            yield HEARTBEAT
    except (ChannelFinalized, ChannelNotFound):
        return False
    return False


async def asse(metered: Metered, items: AsyncIterable[Item] | Iterable[Item]) -> AsyncGenerator[bytes]:
    """The stream, for event loops; items that are not asynchronous are made in threads. Raises as `sse`."""
    meter = metered.asynchronous
    source = items if isinstance(items, AsyncIterable) else in_threads(items)
    events = aiter(source)
    try:
        lent, ending = await meter.lend(), b""
        if lent is not None:
            yield encode_directive(lent)
        async for item in events:
            event = _event(item)
            if lent is not None and not _fits(lent, event):
                break
            if lent is None and not meter.meter.take(event.units):
                dry = _Dry(meter, event.units)
                async for told in dry.telling():
                    yield told
                if not dry.paid:
                    break
            if lent is not None and _ends(event):  # T24
                ending = event.encode()
            else:
                yield event.encode()
        receipt = await meter.finish()
        yield _ours(RECEIPT, receipt.members()) if lent is None else encode_end(lent, ending)
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


class _Dry:
    """What an asynchronous stream says while its window is renewed; `paid` tells how that ended."""

    def __init__(self, meter: AsyncMeter, units: int) -> None:
        self._meter = meter
        self._units = units
        self.paid = False

    async def telling(self) -> AsyncIterator[bytes]:
        """Nothing where the next window is there; else what to send while it is not."""
        meter, units = self._meter, self._units
        try:
            self.paid = await meter.covers(units)
            if self.paid:
                return
            yield _ours(NEED, meter.need(units))
            for pause_s in _pauses(meter.patience_s):
                self.paid = await meter.wait(units, pause_s)
                if self.paid:
                    return
                yield HEARTBEAT
        except (ChannelFinalized, ChannelNotFound):
            return


async def in_threads(items: Iterable[T]) -> AsyncGenerator[T]:
    """Items that block while they are made, off the event loop."""
    source = iter(items)
    end = object()
    try:
        while True:
            item = await asyncio.to_thread(next, source, end)
            if item is end:
                return
            yield item  # type: ignore[misc]  # not the end
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            with suppress(ValueError):  # cancelled while a thread still makes an item: that thread ends it
                close()
