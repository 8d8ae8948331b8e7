"""The WSGI door: a middleware around any WSGI application, and the pieces that the framework doors share.

    app = CoinslotMiddleware(app, slot, {"GET /paid/*": "0.01"})

Patterns speak of paths as the application routes them, without the mount point (SCRIPT_NAME). Requests without a price
pass through untouched. The handler finds its receipt in `environ["coinslot.receipt"]`, its meter, where the price is
metered, by `meter(environ)`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from coinslot.drive import run
from coinslot.errors import BodyTooLarge, StoreError, StoreUnavailable, StreamDry
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer, refusal
from coinslot.server.classify import BARE, OVERRIDES, Charge, classify, permits
from coinslot.server.delivery import Delivering
from coinslot.server.gate import RETRY_IN_FLIGHT_S
from coinslot.server.price import Price, Routes
from coinslot.server.request import MAX_BOUND_BODY, Incoming
from coinslot.store.protocol import Delivery
from coinslot.transports.metering import METER, Metered, found, last_receipt, metered, nothing_sent, ran_dry
from coinslot.transports.slot import RouteTable, Slot

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_Started: TypeAlias = tuple[str, list[tuple[str, str]]]

RECEIPT = "coinslot.receipt"
_OVERRIDES = tuple("HTTP_" + name.upper().replace("-", "_") for name in OVERRIDES)


class CoinslotMiddleware:
    """Charges for a WSGI application by a route table."""

    def __init__(self, app: WSGIApplication, slot: Slot, routes: RouteTable | Routes) -> None:
        self.app = app
        self.paying = Paying(slot)
        self.routes = routes if isinstance(routes, Routes) else slot.routes(routes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        query = environ.get("QUERY_STRING", "")
        overrides = [environ[name] for name in _OVERRIDES if name in environ]
        found = classify(
            self.routes, environ["REQUEST_METHOD"], route_path(environ), query, overrides, is_preflight(environ)
        )
        if isinstance(found, Charge):
            return self.paying.serve(found.price, self.app, environ, start_response, manages=found.manages)
        if isinstance(found, Answer):
            return send_answer(found, environ, start_response)
        return self.app(environ, start_response) if found is not BARE else _bare(self.app, environ, start_response)


def meter(environ: WSGIEnvironment) -> Metered:
    """The meter of a request: `with meter(environ) as m`. Raises UsageError where its price is not metered."""
    return found(environ.get(METER))


def is_preflight(environ: WSGIEnvironment) -> bool:
    """A browser's CORS question: it carries no credentials by design and returns nothing worth paying for."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def _decoded(raw: str) -> str:
    """WSGI hands out latin-1 of UTF-8 bytes."""
    return raw.encode("latin-1").decode("utf-8", "surrogateescape") or "/"


def route_path(environ: WSGIEnvironment) -> str:
    """The decoded path as the application routes it, without its mount point."""
    return _decoded(environ.get("PATH_INFO", ""))


def path_of(environ: WSGIEnvironment) -> str:
    """The whole decoded path, mount point included."""
    return _decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _bare(app: WSGIApplication, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Permissions and no content: a preflight must not be a way to read for nothing. T42"""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
        start_response(status, permits(headers), exc_info)
        return lambda data: None

    pieces = app(environ, start)
    try:
        for _ in pieces:  # an application may start its answer while it is read
            pass
    finally:
        _close(pieces)
    return []


class Paying:
    """Serves one paid request: asks the gate, runs the application under its admission, reports the delivery."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    def serve(
        self,
        price: Price,
        app: WSGIApplication,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        *,
        manages: bool = False,
    ) -> Iterable[bytes]:
        """Answer for the application, or let it answer. `manages`: only what is about the channel that pays."""
        body: bytes | None = b""
        if price.bind_body:
            body = read_body(environ)
            given = body or b""
            environ = {**environ, "wsgi.input": io.BytesIO(given), "CONTENT_LENGTH": str(len(given))}
        admitted = self.decide(price, replace(incoming(environ, body), manages=manages))
        if isinstance(admitted, Answer):
            return send_answer(admitted, environ, start_response)
        return Handover(self, admitted, environ, start_response).run(app)

    def decide(self, price: Price, request: Incoming) -> Answer | Admission:
        """Ask the gate. A body of None could not be bound. Raises what a pricing function raises."""
        self.slot.resolving.ensure()
        if price.bind_body and request.body is None:
            return refusal(BodyTooLarge(f"a body bound to a payment is whole and has at most {MAX_BOUND_BODY} bytes"))
        if not price.bind_body:
            request = replace(request, body=None)
        return run(self.slot.gate.admit(request, price), self.slot.world)

    def record(self, admission: Admission, delivery: Delivery | None) -> None:
        """Record the delivery, if it is one. Raises StoreError."""
        if delivery is not None:
            run(self.slot.gate.delivered(admission, delivery), self.slot.world)

    def abandoned(self, admission: Admission) -> None:
        """Give the payment back to whoever made it."""
        self.slot.gate.abandoned(admission)


class Handover:
    """One admission and the answer under it, an iterable for the server; the rules are those of the ASGI door.

    An answer in one piece, or of a told length, is recorded before its last byte leaves; a stream before its end.
    Not a generator: one that was never started would not notice that it is closed.
    """

    def __init__(
        self, paying: Paying, admission: Admission, environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._paying = paying
        self._admission = admission
        self._environ = environ
        self._start_response = start_response
        self._delivering = Delivering(admission.receipt, admission.headers)
        self._counting = metered(admission, paying.slot)
        self._started: _Started | None = None
        self._written: list[bytes] = []
        self._pieces: Iterable[bytes] = ()
        self._source: Iterator[bytes] = iter(())
        self._single = False
        self._streaming = False
        self._over = False

    def run(self, app: WSGIApplication) -> Handover:
        """Call the application now, so that an exception of its first step gives the payment back at once."""
        environ = {**self._environ, RECEIPT: self._admission.receipt}
        if self._counting is not None:
            environ[METER] = self._counting
        try:
            self._pieces = app(environ, self._start)
            self._source = iter(self._pieces)
        except StreamDry:
            if not self._dry():
                self._give_back()
                raise
        except BaseException:
            self._give_back()
            raise
        self._single = isinstance(self._pieces, (list, tuple)) and len(self._pieces) == 1
        return self

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
        if exc_info and self._streaming:
            raise exc_info[1].with_traceback(exc_info[2])
        self._started = (status, list(self._delivering.begin(int(status.split(" ", 1)[0]), headers)))
        return self._written.append

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._next()
        except StopIteration:
            raise
        except StreamDry:
            if not self._dry():
                self._give_back()
                raise
            return next(self._source, b"")
        except BaseException:
            self._give_back()
            raise

    def _next(self) -> bytes:
        while True:
            piece = self._pull()
            if self._failed and self._dry():  # what frameworks make of StreamDry
                return next(self._source, b"")
            if (piece is None or self._single or self._delivering.whole) and not self._ending():
                return self._refuse()
            if piece or piece is None:
                self._send_start()
            if piece is None:
                raise StopIteration
            if piece:
                self._streaming = self._delivering.counts
                if self._counting is not None:
                    self._counting.begin()
                return piece

    @property
    def _failed(self) -> bool:
        return self._started is not None and self._started[0] >= "500"

    def _dry(self) -> bool:
        """Answer 402 where the handler ran dry before anything was sent; False: it did not, or something was."""
        answer = None if self._over or self._streaming else ran_dry(self._admission)
        if answer is None:
            return False
        self._give_back()
        self._started, self._single = None, False
        told = run(answer, self._paying.slot.world)
        self._source = iter(send_answer(told, self._environ, self._start_response))
        return True

    def _pull(self) -> bytes | None:
        """The next piece, with those written through the callable that WSGI still allows."""
        piece = next(self._source, None)
        if self._written:
            piece = b"".join([*self._written, piece or b""])
            self._written.clear()
        if piece:
            self._delivering.add(piece)
        return piece

    def _ending(self) -> bool:
        """Record, or give back, before the last piece leaves: whoever has it may come again at once.

        False: it could not be recorded, and nothing has left yet. Raises StoreError.
        """
        if not self._delivering.counts:
            self._give_back()
        if self._over:
            return True
        try:
            self._paying.record(self._admission, self._delivering.finish())
        except StoreError:
            if self._streaming:
                raise  # the stream breaks off: without its end it was not delivered
            return False
        self._over = True
        receipt = last_receipt(self._admission)
        if self._started is not None and receipt is not None:
            self._started = (self._started[0], list(self._delivering.settled(receipt)))
        return True

    def _refuse(self) -> bytes:
        """What can't be recorded is not delivered: the same credential brings it again."""
        self._give_back()
        self._source = iter(())
        problem = StoreUnavailable(retry_after_s=RETRY_IN_FLIGHT_S, reference=self._admission.receipt.reference)
        self._started = None
        return b"".join(send_answer(refusal(problem), self._environ, self._start_response))

    def _send_start(self) -> None:
        if self._started is not None:
            started, self._started = self._started, None
            self._start_response(*started)

    def _give_back(self) -> None:
        if not self._over:
            self._over = True
            if not self._streaming:
                nothing_sent(self._admission)
            self._paying.abandoned(self._admission)

    def close(self) -> None:
        """The server is done with the answer. Who hung up on a stream had its delivery. T25"""
        try:
            _close(self._pieces)
        finally:
            delivery = self._delivering.interrupted() if self._streaming and not self._over else None
            if delivery is not None:
                with contextlib.suppress(StoreError):
                    self._paying.record(self._admission, delivery)
                    self._over = True
            self._give_back()


def incoming(environ: WSGIEnvironment, body: bytes | None) -> Incoming:
    """The request of a WSGI environment. Servers join a header that came twice with a comma."""
    headers = {
        name[5:].lower().replace("_", "-"): (str(value),) for name, value in environ.items() if name.startswith("HTTP_")
    }
    return Incoming(environ["REQUEST_METHOD"], path_of(environ), environ.get("QUERY_STRING", ""), headers, body)


def read_body(environ: WSGIEnvironment) -> bytes | None:
    """The whole body, or None if it is larger than what is bound, broke off, or its length is not told."""
    length, stream = environ.get("CONTENT_LENGTH") or "", environ["wsgi.input"]
    if not length and environ.get("wsgi.input_terminated"):
        body: bytes = stream.read(MAX_BOUND_BODY + 1)
        return body if len(body) <= MAX_BOUND_BODY else None
    if not length:  # a body whose end the server does not mark could be read by the handler and not by us
        return None if environ.get("HTTP_TRANSFER_ENCODING") else b""
    if not (length.isascii() and length.isdigit()) or int(length) > MAX_BOUND_BODY:
        return None
    whole: bytes = stream.read(int(length))
    return whole if len(whole) == int(length) else None


def send_answer(answer: Answer, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Send a whole answer; to HEAD without its body."""
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.sized()))
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]


def _close(pieces: Iterable[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
