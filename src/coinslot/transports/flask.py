"""The Flask door. A decorator on a view, or the WSGI middleware by route table:

    @app.get("/paid")
    @paid(slot, "0.01")
    def view(): ...

    app.wsgi_app = CoinslotMiddleware(app.wsgi_app, slot, {"/paid/*": "0.01"})

Authentication comes first where its decorator stands above ours, or in `before_request`. The receipt is `g.receipt`.

Where the price is metered (`slot.metered`), a view charges while it produces, and its route takes POST for vouchers,
too (the middleware sees to that by itself):

    with meter() as m: m.charge(3)
    return events(items)                # paid server-sent events
    return stream(pieces)               # paid by byte
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

import flask

from coinslot.errors import ConfigError
from coinslot.server.answer import EXPOSED, Answer
from coinslot.server.price import Amount, Price, Pricing
from coinslot.server.request import MAX_BOUND_BODY
from coinslot.transports.chunks import UnitsOf, chunks
from coinslot.transports.metering import METER, Metered, found
from coinslot.transports.slot import PriceOptions, Slot
from coinslot.transports.sse import HEADERS, Event, Item, sse
from coinslot.transports.wsgi import RECEIPT, CoinslotMiddleware, Handover, Paying, incoming, read_body, send_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["EXPOSED", "CoinslotMiddleware", "Event", "events", "meter", "paid", "stream"]

# Parsing these consumes the bytes; everything else is still there after `request.form` was looked at.
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

View = TypeVar("View", bound=Callable[..., Any])


def meter() -> Metered:
    """The meter of this request: `with meter() as m`, or `async with`. Raises UsageError."""
    return found(flask.g.get("meter") or flask.request.environ.get(METER))


def events(items: Iterable[Item], headers: Mapping[str, str] | None = None) -> flask.Response:
    """Server-sent events, each charged before it is sent; see sse.py. Raises UsageError."""
    return flask.Response(sse(meter(), items), headers={**dict(HEADERS), **(headers or {})})


def stream(
    pieces: Iterable[bytes], units_of: UnitsOf = len, headers: Mapping[str, str] | None = None
) -> flask.Response:
    """Pieces, each charged before it is sent, by byte or as `units_of` says; see chunks.py. Raises UsageError."""
    return flask.Response(chunks(meter(), pieces, units_of), headers=headers)


def paid(slot: Slot, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]) -> Callable[[View], View]:
    """Charge for a view, sync or async: "0.01" whole tokens, a function of the request, or a price of the slot.

    See `Slot.price`. Raises UsageError.
    """
    price = slot.priced(amount, **options)
    paying = Paying(slot)

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(*args: Any, **kwargs: Any) -> flask.Response:
            def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                flask.g.receipt = environ[RECEIPT]
                flask.g.meter = environ.get(METER)
                returned = flask.current_app.ensure_sync(view)(*args, **kwargs)
                return flask.current_app.make_response(returned)(environ, start_response)

            def door(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                body = _body() if price.bind_body else b""
                admitted = paying.decide(price, incoming(environ, body))
                if isinstance(admitted, Answer):
                    return send_answer(admitted, environ, start_response)
                return Handover(paying, admitted, environ, start_response).run(serve)

            # Any WSGI callable becomes a response, still streaming.
            make: Callable[..., Any] = flask.current_app.response_class.force_type
            return cast("flask.Response", make(door, flask.request.environ))

        return answer  # type: ignore[return-value]  # the same call

    return decorate


def _body() -> bytes | None:
    """The body to bind, left readable for the view. None if it can't be bound. Raises ConfigError if it is gone."""
    request = flask.request
    if (request.content_length or 0) > MAX_BOUND_BODY:
        return None
    if getattr(request, "_cached_data", None) is None:
        if "form" in request.__dict__ and request.mimetype in _FORMS:
            raise ConfigError("the form was read before @paid could bind it; charge first, or pass bind_body=False")
        if "stream" not in request.__dict__:
            body = read_body(request.environ)
            request.environ["wsgi.input"] = io.BytesIO(body or b"")
            request.environ["CONTENT_LENGTH"] = str(len(body or b""))
            return body
    whole = request.get_data(cache=True)
    return whole if len(whole) <= MAX_BOUND_BODY else None
