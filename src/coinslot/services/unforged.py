"""An upstream's answer on a priced route, without what only the gate may say of payments: headers, and events. T44

Other bytes pass as they come, whatever the status. Events pass one by one; those that are compressed are unpacked,
since nobody else sees what is in them, and only what we can unpack is asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from coinslot.services.eventstream import EventReader, StreamUnreadable, event_headers, speaks_events
from coinslot.services.proxy import RawHeaders, fail
from coinslot.transports.asgi import App, Message, Receive, Scope, Send

# Bytes that are unpacked at once: a kilobyte of zeros may hold a megabyte. F28
MAX_UNPACKED = 64 * 1024
# zlib's way to say: a gzip header, and its largest window.
_GZIP = 31
_GZIPPED = frozenset([b"gzip", b"x-gzip"])
# Whatever these speak of, the upstream does not speak of it: not of receipts, not of channels, not of what is to come.
_OURS = b"payment-"


def without_payments(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """An answer's headers but those that speak of payments. T44"""
    return [(name, value) for name, value in headers if not name.lower().startswith(_OURS)]  # T44


class UnforgedApp:
    """Another application's answers, unable to speak for us; an ASGI application itself."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One answer. Raises StreamUnreadable: then it must not look whole."""
        passing = Unforged(send)
        try:
            await self._app(_readable(scope), receive, passing.send)
        except StreamUnreadable:
            if passing.begun:
                raise  # half of it is out
            await fail(send, 502, "the upstream's events can't be read")


def _readable(scope: Scope) -> Scope:
    """The request without a wish for compression that we can't undo."""
    wished = [value for name, value in scope["headers"] if name.lower() == b"accept-encoding"]
    if not wished:
        return scope
    kept = [pair for pair in scope["headers"] if pair[0].lower() != b"accept-encoding"]
    return {**scope, "headers": [*kept, (b"accept-encoding", b"gzip" if _takes_gzip(wished) else b"identity")]}


def _takes_gzip(wished: Iterable[bytes]) -> bool:
    for item in b",".join(wished).lower().split(b","):
        coding, _, weight = item.replace(b" ", b"").partition(b";q=")
        if coding in _GZIPPED or coding == b"*":
            return bool(weight.strip(b"0.")) or not weight
    return False


class Unforged:
    """One answer on its way."""

    def __init__(self, out: Send) -> None:
        self._out = out
        self._events: EventReader | None = None
        self._packed: _Gunzip | None = None
        self.begun = False  # whether any of its body is out

    async def send(self, message: Message) -> None:
        """The send of the upstream's side. Raises StreamUnreadable."""
        if message["type"] == "http.response.start":
            await self._out({**message, "headers": self._start(message.get("headers", []))})
        elif message["type"] == "http.response.body" and self._events is not None:
            await self._body(self._events, bytes(message.get("body", b"")), last=not message.get("more_body", False))
        else:
            self.begun = True
            await self._out(message)

    def _start(self, given: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        headers = without_payments(given)
        if not speaks_events(headers):
            return headers
        self._events = EventReader()
        packed = [value.strip().lower() for name, value in headers if name.lower() == b"content-encoding"]
        if len(packed) == 1 and packed[0] in _GZIPPED:
            self._packed = _Gunzip()
        elif set(packed) - {b"", b"identity"}:
            raise StreamUnreadable("the upstream compresses its events in a way that was not asked for")
        return [pair for pair in event_headers(headers) if pair[0].lower() != b"content-encoding"]

    async def _body(self, events: EventReader, chunk: bytes, *, last: bool) -> None:
        """A piece of a stream of events: those of them that are whole."""
        ready = b""
        for piece in self._unpacked(chunk, last=last):
            if ready:
                await self._write(ready, last=False)
            ready = b"".join(event.encode() for event in events.feed(piece))
        if last:
            ready += b"".join(event.encode() for event in events.end())
        if ready or last:
            await self._write(ready, last=last)

    def _unpacked(self, chunk: bytes, *, last: bool) -> Iterator[bytes]:
        if self._packed is None:
            yield chunk
            return
        yield from self._packed.feed(chunk)
        if last:
            self._packed.end()

    async def _write(self, body: bytes, *, last: bool) -> None:
        self.begun = True
        await self._out({"type": "http.response.body", "body": body, "more_body": not last})


class _Gunzip:
    """Unpacks gzip as it comes, a bounded piece at a time. F28"""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._whole = True  # nothing came

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What these bytes hold. Raises StreamUnreadable."""
        full = False
        while chunk or full:
            if self._stream.eof:
                self._stream = zlib.decompressobj(_GZIP)  # several in a row are one
            try:
                piece = self._stream.decompress(chunk, MAX_UNPACKED)
            except zlib.error as error:
                raise StreamUnreadable(f"the upstream's gzip can't be read: {error}") from None
            self._whole = self._stream.eof
            full = len(piece) == MAX_UNPACKED and not self._whole
            chunk = self._stream.unused_data if self._whole else self._stream.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> None:
        """Nothing else comes. Raises StreamUnreadable where something is missing."""
        if not self._whole:
            raise StreamUnreadable("the upstream's gzip ends in the middle")
