"""uvicorn's HTTP protocol with an end to what a client may send before it is a request, and to how long it may take.

Three things differ: a head (request line and header fields) is limited in bytes and time, for the parser keeps whatever
comes; fields after the body (trailers) are dropped, where the parser would add them to the header, past whoever in
front of us took care of header fields; and a client that stops in the middle, of what it says or of what it is told,
does not hold its connection, and the upstream's, for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Twice what common proxies pass, and several credentials; also a limit for the trailers of a body. T41
MAX_HEAD_BYTES = 64 * 1024
# From the connection, or the first byte of a further request, to the end of its head. T41
HEAD_TIMEOUT_S = 30.0
# Without a byte of a body that was announced, or of an answer that waits to be read. T41
STALL_TIMEOUT_S = 120.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    max_head_bytes = MAX_HEAD_BYTES
    head_timeout_s = HEAD_TIMEOUT_S
    stall_timeout_s = STALL_TIMEOUT_S
    _in_head = True
    _in_body = False
    _unread = 0
    _timer: asyncio.TimerHandle | None = None
    _silent: asyncio.TimerHandle | None = None
    _deaf: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Asks for a head in time."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._disarm()
        self._in_body = False
        self._listen()
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what comes without ending a head or adding to a body."""
        if self.transport.is_closing():
            return
        self._unread += len(data)
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):  # type: ignore[redundant-expr]
            self._arm()
        super().data_received(data)
        if self._unread > self.max_head_bytes and not self.transport.is_closing():
            self.send_400_response("The header of this request is too large.")
        self._listen()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; what comes after the body is none. T42"""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._in_head, self._in_body, self._unread = False, True, 0
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body, which has its own limits."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is told. T41"""
        super().pause_writing()
        self._heard()
        self._deaf = self.loop.call_later(self.stall_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read on."""
        self._heard()
        super().resume_writing()

    def _heard(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None

    def _listen(self) -> None:
        """Wait so long for more of a body, anew with each piece. T41"""
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None
        if self._in_body:
            self._silent = self.loop.call_later(self.stall_timeout_s, self._too_silent)

    def _too_silent(self) -> None:
        self._silent = None
        if self.flow.read_paused:  # it is we who don't listen
            self._listen()
        else:
            self.transport.close()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.head_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.close()
