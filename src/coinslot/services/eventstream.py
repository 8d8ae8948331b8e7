"""Server-sent events of an upstream, cut apart and written anew, so that none of them can speak for us.

A line ends at CR, LF or both, an event at an empty line (HTML standard, "Server-sent events"). Every line is written
again with an end of our own; an event that says it is a `payment-...` or `mpp....` one is dropped, whatever the
spelling. T44
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from coinslot.errors import CoinslotError
from coinslot.intents.deliveries import DONE_EVENT

CONTENT_TYPE = "text/event-stream"
# A picture in an event has a few megabytes; an upstream that never ends an event must not fill our memory. F28
MAX_EVENT_BYTES = 8 * 1024 * 1024
# How many services end a stream; it is no content.
SENTINEL = b"[DONE]"
_OURS = (b"payment-", b"mpp.")
_OUR_NAMES = tuple(name.decode() for name in _OURS)
_BOM = b"\xef\xbb\xbf"
_KIND = CONTENT_TYPE.encode()
# Events are UTF-8 whatever their type says; readers that believe another charset would see other lines than we do.
_OF_UTF8 = re.compile(rb'text/event-stream(?: *; *charset="?utf-?8"?)? *\Z', re.IGNORECASE)
# They speak of the upstream's bytes, and ours are others.
_OF_THE_BODY = frozenset([b"content-length", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"etag"])


class StreamUnreadable(CoinslotError):
    """An upstream's stream can't be cut into events that could be counted."""


def speaks_events(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether any reader may take this answer for a stream of events, also one that looks for the word only. T44"""
    return any(name.lower() == b"content-type" and _KIND in value.lower() for name, value in headers)  # T44


def other_length(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer whose body we write anew."""
    return [pair for pair in headers if pair[0].lower() not in _OF_THE_BODY]


def event_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a stream of events that we write anew: with one type, which says what it is. T44"""
    kept = other_length(headers)
    kinds = [value for name, value in kept if name.lower() == b"content-type"]
    kind = kinds[0] if len(kinds) == 1 and _OF_UTF8.match(kinds[0].strip()) else _KIND  # T44
    return [*(pair for pair in kept if pair[0].lower() != b"content-type"), (b"content-type", kind)]


@dataclass(frozen=True, slots=True)
class UpstreamEvent:
    """One event: its lines without their ends."""

    lines: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """What its data lines say, joined by line feeds."""
        found = []
        for line in self.lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                found.append(value.removeprefix(b" "))
        return b"\n".join(found)

    @property
    def counts(self) -> bool:
        """Whether a reader gets anything of it: comments, empty data and the sentinel are nothing."""
        data = self.data
        return bool(data) and data.strip() != SENTINEL

    @property
    def forged(self) -> bool:
        """Whether it pretends to be one of ours, also to readers that are lenient about spaces and case, or end lines
        where Unicode may. What an upstream relays of strangers (JSON does not escape U+2028) says no event of ours. T44
        """
        ours = any(name in line.lower() for line in self.lines for name in _OURS)
        return ours and any(name.startswith(_OUR_NAMES) for name in self._names())

    @property
    def ends(self) -> bool:
        """Whether a client that pays afterwards takes it for the end of what it pays for. T24"""
        return any(b"done" in line.lower() for line in self.lines) and DONE_EVENT in self._names()

    def _names(self) -> Iterator[str]:
        """What readers may take for its name."""
        for line in self.lines:
            for part in line.decode("utf-8", "replace").splitlines():
                name, _, value = part.partition(":")
                if name.strip().lower() == "event":
                    yield value.strip().lower()

    def encode(self) -> bytes:
        """Its bytes, every line ended by us."""
        return b"".join(line + b"\n" for line in self.lines) + b"\n"


def encode_event(name: str, data: bytes) -> bytes:
    """An event of our own; `data` is JSON, which holds no line ends."""
    return b"event: %s\ndata: %s\n\n" % (name.encode("ascii"), data)


@dataclass
class EventReader:
    """Cuts bytes into events as they come."""

    _rest: list[bytes] = field(default_factory=list)
    _rest_size: int = 0
    _after_cr: bool = False
    _begun: bool = False
    _lines: list[bytes] = field(default_factory=list)
    _size: int = 0

    def feed(self, chunk: bytes) -> Iterator[UpstreamEvent]:
        """The events that these bytes end. Raises StreamUnreadable for one without an end."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield from self._line(self._taken(line))
        self._rest.append(rest)
        self._rest_size += len(rest)
        if self._size + self._rest_size > MAX_EVENT_BYTES:
            raise StreamUnreadable(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")

    def end(self) -> Iterator[UpstreamEvent]:
        """The event that the stream ended in the middle of: many upstreams leave out the last empty line."""
        rest = self._taken(b"")
        if rest:
            yield from self._line(rest)
        yield from self._line(b"")

    def _taken(self, end: bytes) -> bytes:
        """A line whose beginning came before; long ones are put together once."""
        line = b"".join([*self._rest, end]) if self._rest_size else end
        self._rest.clear()
        self._rest_size = 0
        return line

    def _line(self, line: bytes) -> Iterator[UpstreamEvent]:
        if not self._begun:
            line, self._begun = line.removeprefix(_BOM), True
        comment = line.startswith(b":") and not self._lines  # it may be a sign of life, which waits for nothing
        if line:
            self._size += len(line)
            self._lines.append(line)
        if self._lines and (comment or not line):
            event = UpstreamEvent(tuple(self._lines))
            self._lines, self._size = [], 0
            if not event.forged:
                yield event
