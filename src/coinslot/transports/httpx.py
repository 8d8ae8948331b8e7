"""Pay with httpx. Six lines:

    import httpx
    from coinslot.client.wallet import wallet
    from coinslot.transports.httpx import pay

    client = pay(httpx.Client(), wallet(NAME={...}))        # or httpx.AsyncClient(), under asyncio
    response = client.get("https://api.example.com/paid")

The client keeps its class and everything it was configured with. `response.extensions["coinslot"]` is a Paid (receipt,
terms, reference) or a Presented; free responses have none. After a PaymentOutcomeUnknown the same payment is presented
again by `client.get(url, extensions={"coinslot_resume": error.resume})`.

Sessions pay many small requests, and streams, from one channel: a deposit that is opened once, and signed vouchers that
cost no network fee. They need a limit, and a book (a file in the user's data folder unless told otherwise):

    client = pay(httpx.Client(), wallet(NAME={...}), Policy(max_deposit="1"))      # wherever a server asks for sessions

    with session(client, "https://api.example.com/", max_deposit="1") as paid:     # or `async with`
        paid.get("/page/1")
        with paid.stream("POST", "/chat", json=...) as answer:                      # pays while it streams
            for line in answer.iter_lines(): ...
        print(paid.spent, "of", paid.deposit)
        paid.close()                                                                # what was not spent comes back

`Client` and `AsyncClient` are httpx's own with a wallet in them. Compressed event streams are passed on unread, and
stop where what was paid ends.

Timeouts are the caller's, but a paid request may wait for its answer at least PAID_READ_S: settlement can take a
block, and a payment whose answer is not awaited is a payment in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx

from coinslot.client import closing
from coinslot.client.desk import Desk, Tally
from coinslot.client.events import Observer, ignore
from coinslot.client.exchange import exchange
from coinslot.client.purse import Policy, Purse, units_of
from coinslot.client.wallet import Wallet, as_wallet
from coinslot.drive import Flow, RealAsyncWorld, RealWorld, run, run_async
from coinslot.errors import UsageError
from coinslot.intents.acts import Held
from coinslot.method import Payer
from coinslot.money import parse_decimal, to_text
from coinslot.store.book import Book
from coinslot.store.book_open import book_opener
from coinslot.transports.httpx_wire import (
    PAID_READ_S,
    PURSE,
    RESULT,
    RESUME,
    AsyncAnswer,
    AsyncErrand,
    AsyncWorld,
    SyncAnswer,
    SyncErrand,
    SyncWorld,
    journey_of,
    purse_of,
)

__all__ = [
    "PAID_READ_S",
    "RESULT",
    "RESUME",
    "AsyncClient",
    "AsyncPayingTransport",
    "AsyncSession",
    "Client",
    "PayingTransport",
    "Session",
    "pay",
    "session",
]

T = TypeVar("T")
Kind = TypeVar("Kind", bound=httpx.Client | httpx.AsyncClient)
Where = Book | Path | str | None


def pay(
    client: Kind,
    wallet: Wallet | Sequence[Payer],
    policy: Policy | None = None,
    observe: Observer = ignore,
    book: Where = None,
) -> Kind:
    """Let an existing client pay; returns that client. `book`: where channels are written down (a file, "memory:", or
    one that is open; it is opened when it is first needed). Raises UsageError if it pays already.
    """
    purse = Purse(as_wallet(wallet), policy or Policy(), observe, Desk(book_opener(book)))
    if isinstance(client._transport, (PayingTransport, AsyncPayingTransport)):
        raise UsageError("this client pays already")
    if isinstance(client, httpx.Client):
        door = PayingTransport(client._transport, purse)
        client._transport = door
        client._mounts = {at: inner and PayingTransport(inner, purse) for at, inner in client._mounts.items()}
    else:
        client._transport = AsyncPayingTransport(client._transport, purse)
        client._mounts = {at: inner and AsyncPayingTransport(inner, purse) for at, inner in client._mounts.items()}
    return client


# --- the doors -----------------------------------------------------------------------------------


class PayingTransport(httpx.BaseTransport):
    """A transport that pays what its purse allows, around any other. See `pay` for an existing client."""

    def __init__(self, inner: httpx.BaseTransport, purse: Purse) -> None:
        self._inner, self._purse, self._real = inner, purse, RealWorld()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, paid for if need be. Raises PaymentError, UsageError, and what httpx raises."""
        world, purse = SyncWorld(self._real, self._inner, request), purse_of(request, self._purse)
        answer = run(exchange(SyncErrand(request), purse, journey_of(request)), world)
        assert isinstance(answer, SyncAnswer)  # noqa: S101
        return answer.response

    @property
    def purse(self) -> Purse:
        """What is paid with."""
        return self._purse

    def manage(self, flow: Flow[T], request: httpx.Request) -> T:
        """Run a flow about a channel; what it sends goes where this request would go."""
        return run(flow, SyncWorld(self._real, self._inner, request))

    def close(self) -> None:
        """Close the inner transport and what was opened to ask chains."""
        self._inner.close()
        self._real.close()


class AsyncPayingTransport(httpx.AsyncBaseTransport):
    """The same for asyncio."""

    def __init__(self, inner: httpx.AsyncBaseTransport, purse: Purse) -> None:
        self._inner, self._purse, self._real = inner, purse, RealAsyncWorld()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, paid for if need be. Raises PaymentError, UsageError, and what httpx raises."""
        world, purse = AsyncWorld(self._real, self._inner, request), purse_of(request, self._purse)
        answer = await run_async(exchange(AsyncErrand(request), purse, journey_of(request)), world)
        assert isinstance(answer, AsyncAnswer)  # noqa: S101
        return answer.response

    @property
    def purse(self) -> Purse:
        """What is paid with."""
        return self._purse

    async def manage(self, flow: Flow[T], request: httpx.Request) -> T:
        """Run a flow about a channel; what it sends goes where this request would go."""
        return await run_async(flow, AsyncWorld(self._real, self._inner, request))

    async def aclose(self) -> None:
        """Close the inner transport and what was opened to ask chains."""
        await self._inner.aclose()
        await self._real.aclose()


# --- sessions ------------------------------------------------------------------------------------


class _Session:
    """What both kinds share: a purse of its own, and what its channels have come to."""

    def __init__(self, url: str, purse: Purse) -> None:
        self.url = httpx.URL(url)
        self._purse = purse

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "extensions": {**(options.get("extensions") or {}), PURSE: self._purse}}

    def _at(self, url: str) -> httpx.URL:
        return self.url.join(url)

    def _held(self) -> list[Held]:
        if not self._purse.tally.began:
            return []  # without opening a book for that
        book = self._purse.desk.book
        found = [book.get(key).result() for key in self._purse.tally.began]
        return [one for one in found if one is not None]

    def _key(self) -> str:
        keys = list(self._purse.tally.began)
        if not keys:
            raise UsageError("this session has no channel yet: it is opened by the first request that is paid")
        return keys[-1]

    def _units(self, amount: Decimal | str | int) -> int:
        return units_of(parse_decimal(amount), self._purse.tally.assets[self._key()])

    def _text(self, units: int) -> Decimal:
        assets = list(self._purse.tally.assets.values())
        decimals = assets[0].decimals if assets else 0
        return Decimal(to_text(units, decimals or 0))

    @property
    def channels(self) -> list[Held]:
        """The channels that were used, as the book has them."""
        return self._held()

    @property
    def spent_units(self) -> int:
        """What was spent since this session began, in base units: the servers' word, never above what was signed."""
        began = self._purse.tally.began
        return sum(max(0, one.spent_units - began[one.key]) for one in self._held())

    @property
    def authorized_units(self) -> int:
        """What this session's vouchers add up to: the most that it can cost."""
        return self._purse.tally.authorized_units

    @property
    def deposit_units(self) -> int:
        """What its channels hold, in base units."""
        return sum(one.deposit_units for one in self._held())

    @property
    def spent(self) -> Decimal:
        """As spent_units, in whole tokens."""
        return self._text(self.spent_units)

    @property
    def deposit(self) -> Decimal:
        """As deposit_units, in whole tokens."""
        return self._text(self.deposit_units)


class Session(_Session):
    """Requests that are paid from a channel; relative URLs are taken from the session's own. Made by `session`."""

    def __init__(self, client: httpx.Client, url: str, purse: Purse, *, close: bool) -> None:
        super().__init__(url, purse)
        self._client, self._closes = client, close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._closes and kind is None:
            self.close()

    def request(self, method: str, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.Client.request."""
        return self._client.request(method, self._at(url), **self._options(options))

    def get(self, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.Client.get."""
        return self.request("GET", url, **options)

    def post(self, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.Client.post."""
        return self.request("POST", url, **options)

    def stream(self, method: str, url: str = "", **options: Any) -> AbstractContextManager[httpx.Response]:
        """As httpx.Client.stream; it is paid while it is read."""
        return self._client.stream(method, self._at(url), **self._options(options))

    def _manage(self, flow: Flow[T], url: httpx.URL) -> T:
        door = self._client._transport_for_url(url)
        assert isinstance(door, PayingTransport)  # noqa: S101 - session has looked
        return door.manage(flow, self._client.build_request("HEAD", url))

    def top_up(self, amount: Decimal | str | int, url: str = "") -> None:
        """Add whole tokens to the channel used last, within max_deposit. Raises PaymentError, StoreError."""
        flow = closing.top_up(self._purse, str(self._at(url)), self._key(), self._units(amount))
        self._manage(flow, self._at(url))

    def close(self, url: str = "") -> None:
        """Close every channel that was used: what was not spent comes back. `url`: any paid place, if not the
        session's own. Raises PaymentError, StoreError, for several of them ChannelsNotClosed; the others are closed.
        """
        keys = list(self._purse.tally.began)
        self._manage(closing.close_all(self._purse, str(self._at(url)), keys), self._at(url))


class AsyncSession(_Session):
    """The same for asyncio."""

    def __init__(self, client: httpx.AsyncClient, url: str, purse: Purse, *, close: bool) -> None:
        super().__init__(url, purse)
        self._client, self._closes = client, close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._closes and kind is None:
            await self.close()

    async def request(self, method: str, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.AsyncClient.request."""
        return await self._client.request(method, self._at(url), **self._options(options))

    async def get(self, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.AsyncClient.get."""
        return await self.request("GET", url, **options)

    async def post(self, url: str = "", **options: Any) -> httpx.Response:
        """As httpx.AsyncClient.post."""
        return await self.request("POST", url, **options)

    def stream(self, method: str, url: str = "", **options: Any) -> AbstractAsyncContextManager[httpx.Response]:
        """As httpx.AsyncClient.stream; it is paid while it is read."""
        return self._client.stream(method, self._at(url), **self._options(options))

    async def _manage(self, flow: Flow[T], url: httpx.URL) -> T:
        door = self._client._transport_for_url(url)
        assert isinstance(door, AsyncPayingTransport)  # noqa: S101 - session has looked
        return await door.manage(flow, self._client.build_request("HEAD", url))

    async def top_up(self, amount: Decimal | str | int, url: str = "") -> None:
        """See Session.top_up."""
        flow = closing.top_up(self._purse, str(self._at(url)), self._key(), self._units(amount))
        await self._manage(flow, self._at(url))

    async def close(self, url: str = "") -> None:
        """See Session.close."""
        keys = list(self._purse.tally.began)
        await self._manage(closing.close_all(self._purse, str(self._at(url)), keys), self._at(url))


@overload
def session(
    client: httpx.Client,
    url: str,
    *,
    max_deposit: Decimal | str | int,
    budget: Decimal | str | int | None = None,
    close: bool = False,
) -> Session: ...


@overload
def session(
    client: httpx.AsyncClient,
    url: str,
    *,
    max_deposit: Decimal | str | int,
    budget: Decimal | str | int | None = None,
    close: bool = False,
) -> AsyncSession: ...


def session(
    client: httpx.Client | httpx.AsyncClient,
    url: str,
    *,
    max_deposit: Decimal | str | int,
    budget: Decimal | str | int | None = None,
    close: bool = False,
) -> Session | AsyncSession:
    """A session of a paying client at a URL. Nothing is sent before its first request.

    `max_deposit`: whole tokens that its channel may hold. `budget`: what it may authorize in all, less than that if
    need be. `close`: close the channel at the end of the `with`; else it is used again next time, by any program that
    has the same book. Raises UsageError for a client that doesn't pay.
    """
    door = client._transport_for_url(httpx.URL(url))
    if not isinstance(door, (PayingTransport, AsyncPayingTransport)):
        raise UsageError("this client doesn't pay yet: pay(client, wallet) first")
    policy = replace(door.purse.policy, max_deposit=max_deposit, prefer_sessions=True)
    tally = Tally(None if budget is None else parse_decimal(budget))
    purse = replace(door.purse, policy=policy, tally=tally)
    if isinstance(client, httpx.Client):
        return Session(client, url, purse, close=close)
    return AsyncSession(client, url, purse, close=close)


class Client(httpx.Client):
    """httpx.Client with a wallet: `Client(wallet(...), Policy(...), timeout=30)`. Options are httpx's own."""

    def __init__(
        self,
        wallet: Wallet | Sequence[Payer],
        policy: Policy | None = None,
        *,
        observe: Observer = ignore,
        book: Where = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        pay(self, wallet, policy, observe, book)

    def session(self, url: str, **options: Any) -> Session:
        """See `session`."""
        return session(self, url, **options)


class AsyncClient(httpx.AsyncClient):
    """httpx.AsyncClient with a wallet."""

    def __init__(
        self,
        wallet: Wallet | Sequence[Payer],
        policy: Policy | None = None,
        *,
        observe: Observer = ignore,
        book: Where = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        pay(self, wallet, policy, observe, book)

    def session(self, url: str, **options: Any) -> AsyncSession:
        """See `session`."""
        return session(self, url, **options)
