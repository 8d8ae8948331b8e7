"""Pay with requests. Six lines:

    import requests
    from coinslot.client.wallet import wallet
    from coinslot.transports.requests import pay

    session = pay(requests.Session(), wallet(NAME={...}))
    response = session.get("https://api.example.com/paid")

The session keeps its class and its adapters, which are wrapped. `payment_of(response)` is a Paid (receipt, terms,
reference), a Presented, or None for free responses. After a PaymentOutcomeUnknown the same payment is presented again
by `session.get(url, auth=Resuming(error.resume))`.

Sessions pay many small requests, and event streams, from one channel; see httpx.py, which says more about them:

    with session(pay(requests.Session(), wallet(NAME={...})), "https://api.example.com/", max_deposit="1") as paid:
        paid.get("/page/1")
        for line in paid.get("/chat", stream=True).iter_lines(): ...               # pays while it streams

Timeouts are the caller's, but a paid request may wait for its answer at least PAID_READ_S, as settlement can take a
block.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urljoin

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from coinslot.client import closing
from coinslot.client.desk import Desk, Tally
from coinslot.client.events import Observer, Paid, Presented, ignore
from coinslot.client.exchange import exchange
from coinslot.client.journey import Journey
from coinslot.client.presenting import Answer, Ask, Tapped
from coinslot.client.purse import Policy, Purse
from coinslot.client.wallet import Wallet, as_wallet
from coinslot.drive import Flow, RealWorld, Send, run
from coinslot.errors import PaymentOutcomeUnknown, UsageError
from coinslot.intents.acts import Held
from coinslot.method import Payer
from coinslot.money import parse_decimal
from coinslot.store.book import Book
from coinslot.store.book_open import book_opener
from coinslot.transports.tapping import broken_off, tapped

# The least patience with a paid request, in seconds: settlement waits for a block or two.
PAID_READ_S = 60.0

_RESUME = "coinslot_resume"
_JOURNEY = "coinslot_journey"
_RESULT = "coinslot"
_PURSE = "coinslot_purse"
# What belongs to the caller's body, and not to a request about its channel.
_OF_BODY = ("Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Expect", "Idempotency-Key")

Kind = TypeVar("Kind", bound=requests.Session)
T = TypeVar("T")


def pay(
    session: Kind,
    wallet: Wallet | Sequence[Payer],
    policy: Policy | None = None,
    observe: Observer = ignore,
    book: Book | Path | str | None = None,
) -> Kind:
    """Let an existing session pay; returns that session. Adapters mounted later don't pay. `book`: where channels are
    written down, if not in the user's data folder.

    Raises UsageError if it pays already.
    """
    if any(isinstance(adapter, PayingAdapter) for adapter in session.adapters.values()):
        raise UsageError("this session pays already")
    purse = Purse(as_wallet(wallet), policy or Policy(), observe, Desk(book_opener(book)))
    for prefix, adapter in list(session.adapters.items()):
        session.mount(prefix, PayingAdapter(adapter, purse))
    return session


def payment_of(response: requests.Response) -> Paid | Presented | None:
    """How the payment of a response stands; None if nothing was presented for it."""
    found = vars(response).get(_RESULT)
    return found if isinstance(found, (Paid, Presented)) else None


class Resuming(AuthBase):
    """Present an earlier payment again instead of paying: `session.get(url, auth=Resuming(error.resume))`."""

    def __init__(self, resume: object) -> None:
        self._resume = resume

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        _luggage(request)[_RESUME] = self._resume
        return request


def _luggage(request: requests.PreparedRequest) -> dict[str, Any]:
    """What a prepared request hands on to the requests that follow from it: its hooks, one dict for all of them."""
    if not isinstance(request.hooks, dict):
        request.hooks = {}
    return request.hooks


class _Errand:
    def __init__(self, request: requests.PreparedRequest) -> None:
        self._request = request
        self.method = request.method or "GET"
        self.url = (request.url or "").partition("#")[0]

    def fields(self, name: str) -> Sequence[str]:
        value: object = self._request.headers.get(name)  # requests lets bytes pass
        return [] if value is None else [value.decode("latin-1") if isinstance(value, bytes) else str(value)]

    def body(self) -> bytes | None:
        body: object = self._request.body
        if body is None or isinstance(body, (bytes, bytearray)):
            return bytes(body or b"")
        if isinstance(body, str):
            return body.encode("utf-8")
        start = self._request._body_position  # type: ignore[attr-defined]  # where requests itself rewinds to
        if isinstance(body, io.IOBase) and isinstance(start, int) and body.seekable():
            body.seek(start)
            content = body.read()
            return content if isinstance(content, bytes) else None
        return None


def _outgoing(request: requests.PreparedRequest, ask: Ask) -> requests.PreparedRequest:
    """A copy to send: the caller's own stays without credential, so that no redirect and no log can carry it. T37"""
    copy = request.copy()
    copy.hooks = {}
    if ask.verb is not None:
        copy.method, copy.body = ask.verb, ask.body or None
        for name in _OF_BODY:
            copy.headers.pop(name, None)
        if ask.verb == "POST":
            copy.headers["Content-Length"] = str(len(ask.body or b""))
        copy.url = ask.url or copy.url
    copy.headers.update(dict(ask.headers))
    if ask.verb is None and ask.body is not None and request.body is not None:
        copy.body = ask.body
        copy.headers.pop("Transfer-Encoding", None)
        copy.headers["Content-Length"] = str(len(ask.body))
    return copy


def _patient(timeout: object) -> object:
    """The caller's timeout with at least PAID_READ_S for reading; None (for ever) stays."""
    if isinstance(timeout, tuple) and len(timeout) == 2:
        connect, read = timeout
        return connect, None if read is None else max(read, PAID_READ_S)
    if isinstance(timeout, (int, float)):
        return timeout, max(timeout, PAID_READ_S)
    return timeout


class _Answer:
    def __init__(self, response: requests.Response, world: _World) -> None:
        self.response, self._world = response, world
        self.status = response.status_code

    def fields(self, name: str) -> Sequence[str]:
        headers = getattr(self.response.raw, "headers", None)
        if isinstance(headers, urllib3.HTTPHeaderDict):
            return headers.getlist(name)
        return [self.response.headers[name]] if name in self.response.headers else []

    def read(self, limit: int) -> bytes:
        try:
            body = self.response.raw.read(limit, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            body = b""  # it would only be reported
        self.response.close()
        return body if isinstance(body, bytes) else b""

    def attach(self, payment: Paid | Presented) -> None:
        vars(self.response)[_RESULT] = payment
        self.response.raw = _PaidBody(self.response.raw, payment)

    def watch(self, tap: Tapped) -> None:
        self.response.raw = _TappedBody(self.response.raw, tap, self._world)


class _PaidBody:
    """The raw body of an answer to a credential, passed on as it comes; if it breaks off, the payment is named. F03"""

    def __init__(self, inner: Any, payment: Paid | Presented) -> None:
        self._inner, self._payment = inner, payment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        """As urllib3's. Raises PaymentOutcomeUnknown where that raises of the network."""
        try:
            yield from self._inner.stream(*arguments, **options)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._cut_off(error) from error

    def read(self, *arguments: Any, **options: Any) -> bytes:
        """As urllib3's. Raises PaymentOutcomeUnknown where that raises of the network."""
        try:
            body: bytes = self._inner.read(*arguments, **options)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._cut_off(error) from error
        return body

    def _cut_off(self, error: BaseException) -> PaymentOutcomeUnknown:
        payment = self._payment
        return PaymentOutcomeUnknown(
            f"a payment was presented to {payment.origin}, and its answer was cut off ({type(error).__name__}). "
            f"Reference: {payment.reference or 'none'}. Don't pay again before looking it up.",
            reference=payment.reference,
            resume=payment.resume,
        )


class _TappedBody:
    """A raw body that is paid while it is streamed, between two chunks. Read as a whole, it is passed on as it is."""

    def __init__(self, inner: Any, tap: Tapped, world: _World) -> None:
        self._inner, self._tap, self._world = inner, tap, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        """As urllib3's. Raises PaymentError."""
        yield from tapped(self._inner.stream(*arguments, **options), self._tap, self._world)

    def read(self, *arguments: Any, **options: Any) -> bytes:
        """As urllib3's. Raises PaymentError."""
        size = arguments[0] if arguments else options.get("amt")
        try:
            body: bytes = self._inner.read(*arguments, **options)
            if size is None or size < 0 or (size and not body):  # F03
                run(self._tap.end(), self._world)
                self._tap.finish()
        except BaseException as error:
            broken_off(self._tap, error)
            raise
        return body

    def close(self) -> None:
        """As urllib3's."""
        self._tap.finish()
        try:
            self._inner.close()  # first: a server must hear that its reader has left
        finally:
            run(self._tap.leave(), self._world)


class _World:
    """The world of one request: its own door for HTTP, everything else as it is."""

    def __init__(
        self, real: RealWorld, inner: BaseAdapter, request: requests.PreparedRequest, options: Mapping[str, Any]
    ) -> None:
        self._inner, self._request, self._options = inner, request, options
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    def send(self, effect: Send) -> Answer:
        ask = effect.request
        assert isinstance(ask, Ask)  # noqa: S101 - what the client's flows send
        options = dict(self._options)
        if ask.paid:
            options["timeout"] = _patient(options.get("timeout"))
        if ask.within_s is not None:
            options["timeout"] = ask.within_s
        try:
            response = self._inner.send(_outgoing(self._request, ask), **options)
        except requests.RequestException as error:
            error.request = self._request  # the copy in it holds the credential. T38
            raise
        response.request = self._request
        return _Answer(response, self)


class PayingAdapter(BaseAdapter):
    """An adapter that pays what its purse allows, around any other. See `pay` for an existing session."""

    def __init__(self, inner: BaseAdapter, purse: Purse) -> None:
        super().__init__()
        self._inner, self._purse, self._real = inner, purse, RealWorld()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The answer, paid for if need be. Raises PaymentError, UsageError, and what requests raises."""
        luggage = _luggage(request)
        journey = Journey.of(luggage.get(_JOURNEY), request, luggage.get(_RESUME))
        luggage[_JOURNEY] = journey
        options = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        given = luggage.get(_PURSE)
        purse = given if isinstance(given, Purse) else self._purse
        answer = run(exchange(_Errand(request), purse, journey), _World(self._real, self._inner, request, options))
        assert isinstance(answer, _Answer)  # noqa: S101
        vars(answer.response)["connection"] = self  # a login that sends again comes through here, too
        return answer.response

    @property
    def purse(self) -> Purse:
        """What is paid with."""
        return self._purse

    def manage(self, flow: Flow[T], request: requests.PreparedRequest, options: Mapping[str, Any]) -> T:
        """Run a flow about a channel; what it sends goes where this request would go."""
        return run(flow, _World(self._real, self._inner, request, options))

    def close(self) -> None:
        """Close the inner adapter and what was opened to ask chains."""
        self._inner.close()
        self._real.close()


# --- sessions ------------------------------------------------------------------------------------


class _InSession(AuthBase):
    """Marks a request as one of a session; the caller's own login comes after it."""

    def __init__(self, purse: Purse, inner: Any) -> None:
        self._purse = purse
        self._inner = requests.auth.HTTPBasicAuth(*inner) if isinstance(inner, tuple) else inner

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        _luggage(request)[_PURSE] = self._purse
        answered = request if self._inner is None else self._inner(request)
        assert isinstance(answered, requests.PreparedRequest)  # noqa: S101 - what a login returns
        return answered


class PaidSession:
    """Requests that are paid from a channel; relative URLs are taken from the session's own. Made by `session`."""

    def __init__(self, inner: requests.Session, url: str, purse: Purse, *, close: bool) -> None:
        self.url = url
        self._inner, self._purse, self._closes = inner, purse, close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._closes and kind is None:
            self.close()

    def request(self, method: str, url: str = "", **options: Any) -> requests.Response:
        """As requests.Session.request."""
        options["auth"] = _InSession(self._purse, options.get("auth"))
        return self._inner.request(method, urljoin(self.url, url), **options)

    def get(self, url: str = "", **options: Any) -> requests.Response:
        """As requests.Session.get."""
        return self.request("GET", url, **options)

    def post(self, url: str = "", **options: Any) -> requests.Response:
        """As requests.Session.post."""
        return self.request("POST", url, **options)

    @property
    def channels(self) -> list[Held]:
        """The channels that were used, as the book has them."""
        found = [self._purse.desk.book.get(key).result() for key in self._purse.tally.began]
        return [one for one in found if one is not None]

    @property
    def spent_units(self) -> int:
        """What was spent since this session began, in base units: the servers' word, never above what was signed."""
        began = self._purse.tally.began
        return sum(max(0, one.spent_units - began[one.key]) for one in self.channels)

    @property
    def authorized_units(self) -> int:
        """What this session's vouchers add up to: the most that it can cost."""
        return self._purse.tally.authorized_units

    @property
    def deposit_units(self) -> int:
        """What its channels hold, in base units."""
        return sum(one.deposit_units for one in self.channels)

    def close(self, url: str = "") -> None:
        """Close every channel that was used: what was not spent comes back. Raises as httpx.Session.close does."""
        place = urljoin(self.url, url)
        prepared = self._inner.prepare_request(requests.Request("HEAD", place))
        door = self._inner.get_adapter(place)
        assert isinstance(door, PayingAdapter)  # noqa: S101 - session has looked
        settings = self._inner.merge_environment_settings(place, {}, True, None, None)
        flow = closing.close_all(self._purse, place, list(self._purse.tally.began))
        door.manage(flow, prepared, settings)


def session(
    inner: requests.Session,
    url: str,
    *,
    max_deposit: Decimal | str | int,
    budget: Decimal | str | int | None = None,
    close: bool = False,
) -> PaidSession:
    """A session of a paying requests.Session at a URL; see httpx.session. Raises UsageError if it doesn't pay."""
    door = inner.get_adapter(url)
    if not isinstance(door, PayingAdapter):
        raise UsageError("this session doesn't pay yet: pay(session, wallet) first")
    policy = replace(door.purse.policy, max_deposit=max_deposit, prefer_sessions=True)
    tally = Tally(None if budget is None else parse_decimal(budget))
    return PaidSession(inner, url, replace(door.purse, policy=policy, tally=tally), close=close)
