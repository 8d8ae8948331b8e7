"""The WSGI door: a middleware around any WSGI application, and the piece that the framework doors share.

    app = CoinslotMiddleware(app, slot, {"GET /paid/*": "0.01"})

Requests without a price pass through untouched.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Generator, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from coinslot.drive import RealWorld, run
from coinslot.errors import BodyTooLarge, StoreError, StoreUnavailable
from coinslot.server.answer import Answer, refusal
from coinslot.server.delivery import Delivering
from coinslot.server.gate import RETRY_IN_FLIGHT_S, Admission, Gate
from coinslot.server.price import Price, Routes
from coinslot.server.request import MAX_BOUND_BODY, Incoming
from coinslot.transports.slot import RouteTable, Slot

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_Started: TypeAlias = tuple[str, list[tuple[str, str]]]


class CoinslotMiddleware:
    """Charges for a WSGI application by a route table."""

    def __init__(self, app: WSGIApplication, slot: Slot, routes: RouteTable | Routes) -> None:
        self.app = app
        self.paying = Paying(slot)
        self.routes = routes if isinstance(routes, Routes) else slot.routes(routes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        route = None if is_preflight(environ) else self.routes.find(environ["REQUEST_METHOD"], path_of(environ))
        if route is None or route.price is None:
            return self.app(environ, start_response)
        return self.paying.serve(route.price, self.app, environ, start_response)


def is_preflight(environ: WSGIEnvironment) -> bool:
    """A browser's CORS question: it carries no credentials by design and returns nothing worth paying for."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def path_of(environ: WSGIEnvironment) -> str:
    """The decoded path as the application routes it: WSGI hands out latin-1 of UTF-8 bytes."""
    raw = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    return raw.decode("utf-8", "surrogateescape") or "/"


class Paying:
    """Serves one paid request: asks the gate, runs the application under its admission, reports the delivery."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._world = RealWorld()

    @property
    def gate(self) -> Gate:
        """The gate behind this door."""
        return self._slot.gate

    def serve(
        self, price: Price, app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer for the application, or let it answer."""
        self._slot.resolving.ensure()
        body: bytes | None = None
        if price.bind_body:
            body = _read(environ)
            if body is None:
                problem = BodyTooLarge(f"a body bound to a payment has a length of at most {MAX_BOUND_BODY} bytes")
                return _answer(refusal(problem), environ, start_response)
            environ = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        admitted = run(self.gate.admit(incoming(environ, body), price), self._world)
        if isinstance(admitted, Answer):
            return _answer(admitted, environ, start_response)
        return _Delivery(self, admitted, environ).run(app, start_response)

    def record(self, admission: Admission, delivering: Delivering, whole: bool) -> None:
        """Record the delivery, if it is one. Raises StoreError."""
        delivery = delivering.finish() if whole else delivering.interrupted()
        if delivery is not None:
            run(self.gate.delivered(admission, delivery), self._world)


class _Delivery:
    """One admission and the answer under it; the rules are those of the ASGI door.

    An answer in one piece, or of a told length, is recorded before its last byte leaves; a stream before its end.
    """

    def __init__(self, paying: Paying, admission: Admission, environ: WSGIEnvironment) -> None:
        self._paying = paying
        self._admission = admission
        self._environ = environ
        self._delivering = Delivering(admission.receipt)
        self._started: _Started | None = None
        self._written: list[bytes] = []
        self._over = False

    def run(self, app: WSGIApplication, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application now, so that an exception of its first step gives the payment back at once."""
        environ = {**self._environ, "coinslot.receipt": self._admission.receipt}
        failed = True
        try:
            pieces = app(environ, self._start)
            failed = False
        finally:
            if failed:
                self._paying.gate.abandoned(self._admission)
        return self._pass(pieces, start_response)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self._started = (status, list(self._delivering.begin(int(status.split(" ", 1)[0]), headers)))
        return self._written.append

    def _pass(self, pieces: Iterable[bytes], start_response: StartResponse) -> Generator[bytes, None, None]:
        failed, streaming = True, False
        try:
            for piece in self._pieces(pieces, start_response):
                streaming = True
                yield piece
            failed = False
        except GeneratorExit:  # the client went away: a stream that had begun was its delivery. T25
            failed = not streaming
            raise
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
            self._end(failed, streaming)

    def _pieces(self, pieces: Iterable[bytes], start_response: StartResponse) -> Generator[bytes, None, None]:
        source = iter(pieces)
        single = isinstance(pieces, (list, tuple)) and len(pieces) == 1
        started = False
        while (piece := self._next(source)) is not None:
            if (single or self._delivering.whole) and not self._record(started):
                yield self._refuse(start_response)
                return
            if piece and not started:
                self._send_start(start_response)
                started = True
            yield piece
        if not self._record(started):
            yield self._refuse(start_response)
        elif not started:
            self._send_start(start_response)

    def _next(self, source: Iterator[bytes]) -> bytes | None:
        """The next piece, with those written through the callable that WSGI still allows."""
        piece = next(source, None)
        if self._written:
            piece = b"".join([*self._written, piece or b""])
            self._written.clear()
        if piece:
            self._delivering.add(piece)
        return piece

    def _record(self, started: bool) -> bool:
        """Record before the last piece leaves. False: it could not be, and nothing has left yet. Raises StoreError."""
        if self._over or not self._delivering.counts:
            return True
        try:
            self._paying.record(self._admission, self._delivering, whole=True)
        except StoreError:
            if started:
                raise  # the stream breaks off: without its end it was not delivered
            return False
        self._over = True
        return True

    def _refuse(self, start_response: StartResponse) -> bytes:
        problem = StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S, reference=self._admission.receipt.reference)
        return b"".join(_answer(refusal(problem), self._environ, start_response))

    def _send_start(self, start_response: StartResponse) -> None:
        if self._started is not None:
            start_response(*self._started)

    def _end(self, failed: bool, streaming: bool) -> None:
        if self._over:
            return
        if streaming and not failed and self._delivering.counts:
            with contextlib.suppress(StoreError):
                self._paying.record(self._admission, self._delivering, whole=False)
                return
        self._paying.gate.abandoned(self._admission)


def incoming(environ: WSGIEnvironment, body: bytes | None) -> Incoming:
    """The request of a WSGI environment. Servers join a header that came twice with a comma."""
    headers = {
        name[5:].lower().replace("_", "-"): (str(value),) for name, value in environ.items() if name.startswith("HTTP_")
    }
    return Incoming(environ["REQUEST_METHOD"], path_of(environ), environ.get("QUERY_STRING", ""), headers, body)


def _read(environ: WSGIEnvironment) -> bytes | None:
    """The whole body, or None if it is larger than what is bound, or its length is not told."""
    length = environ.get("CONTENT_LENGTH") or "0"
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
        body: bytes = stream.read(MAX_BOUND_BODY + 1)
        return body if len(body) <= MAX_BOUND_BODY else None
    if not length.isascii() or not length.isdigit() or int(length) > MAX_BOUND_BODY:
        return None
    whole: bytes = stream.read(int(length))
    return whole


def _answer(answer: Answer, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.sized()))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]
