"""Pay with requests. Six lines:

    import requests
    from coinslot.client.wallet import wallet
    from coinslot.transports.requests import pay

    session = pay(requests.Session(), wallet(NAME={...}))
    response = session.get("https://api.example.com/paid")

The session keeps its class and its adapters, which are wrapped. `payment_of(response)` is a Paid (receipt, terms,
reference), a Presented, or None for free responses. After a PaymentOutcomeUnknown the same payment is presented again
by `session.get(url, auth=Resuming(error.resume))`.

Timeouts are the caller's, but a paid request may wait for its answer at least PAID_READ_S, as settlement can take a
block.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from coinslot.client.events import Observer, Paid, Presented, ignore
from coinslot.client.exchange import exchange
from coinslot.client.journey import Journey
from coinslot.client.presenting import Answer, Ask
from coinslot.client.purse import Policy, Purse
from coinslot.client.wallet import Wallet, as_wallet
from coinslot.drive import RealWorld, Send, run
from coinslot.errors import PaymentOutcomeUnknown, UsageError
from coinslot.method import ChargePayer

# The least patience with a paid request, in seconds: settlement waits for a block or two.
PAID_READ_S = 60.0

_RESUME = "coinslot_resume"
_JOURNEY = "coinslot_journey"
_RESULT = "coinslot"

Session = TypeVar("Session", bound=requests.Session)


def pay(
    session: Session,
    wallet: Wallet | Sequence[ChargePayer],
    policy: Policy | None = None,
    observe: Observer = ignore,
) -> Session:
    """Let an existing session pay; returns that session. Adapters mounted later don't pay.

    Raises UsageError if it pays already.
    """
    if any(isinstance(adapter, PayingAdapter) for adapter in session.adapters.values()):
        raise UsageError("this session pays already")
    purse = Purse(as_wallet(wallet), policy or Policy(), observe)
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
    copy.headers.update(dict(ask.headers))
    if ask.body is not None and request.body is not None:
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
    def __init__(self, response: requests.Response) -> None:
        self.response = response
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


class _World:
    """The world of one request: its own door for HTTP, everything else as it is."""

    def __init__(
        self, real: RealWorld, inner: BaseAdapter, request: requests.PreparedRequest, options: Mapping[str, Any]
    ) -> None:
        self._inner, self._request, self._options = inner, request, options
        self.rpc, self.sleep, self.now, self.random = real.rpc, real.sleep, real.now, real.random

    def send(self, effect: Send) -> Answer:
        ask = effect.request
        assert isinstance(ask, Ask)  # noqa: S101 - the only flow run here is exchange
        options = dict(self._options)
        if ask.paid:
            options["timeout"] = _patient(options.get("timeout"))
        try:
            response = self._inner.send(_outgoing(self._request, ask), **options)
        except requests.RequestException as error:
            error.request = self._request  # the copy in it holds the credential. T38
            raise
        response.request = self._request
        return _Answer(response)


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
        answer = run(
            exchange(_Errand(request), self._purse, journey), _World(self._real, self._inner, request, options)
        )
        assert isinstance(answer, _Answer)  # noqa: S101
        vars(answer.response)["connection"] = self  # a login that sends again comes through here, too
        return answer.response

    def close(self) -> None:
        """Close the inner adapter and what was opened to ask chains."""
        self._inner.close()
        self._real.close()
