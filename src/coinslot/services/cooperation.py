"""Asking a seller about a channel, wherever it answers: at a URL that is given, at its root, or where it says it sells.

A channel's challenge belongs to a path, and the book knows the site only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import httpx

from coinslot.client import closing
from coinslot.client.discovery import MAX_DOCUMENT_BYTES, read_discovery
from coinslot.client.events import Observer, ignore
from coinslot.client.purse import Policy, Purse
from coinslot.client.text import is_private, origin_of
from coinslot.client.wallet import Wallet
from coinslot.drive import Flow
from coinslot.errors import MalformedHeader, NoPayableOffer, ServerUnreachable, UsageError
from coinslot.intents.acts import Held
from coinslot.intents.session import INTENT
from coinslot.store.book import Book
from coinslot.transports.httpx import PayingTransport, pay

DISCOVERY_PATH = "/openapi.json"
# Closing settles on a chain, which takes a block or two; the client waits longer for paid requests by itself.
TIMEOUT_S = 30.0
# Operations that are tried of a discovery document.
MAX_TRIED = 8
_PARAMETER = re.compile(r"\{[^/{}]*\}")


class Cooperation:
    """A client that asks sellers to close and to top up. Closes its connections at the end of a `with`."""

    def __init__(self, wallet: Wallet, book: Book, policy: Policy, observe: Observer = ignore) -> None:
        self._client = pay(httpx.Client(timeout=TIMEOUT_S), wallet, policy, observe, book)
        door = self._client._transport
        assert isinstance(door, PayingTransport)  # noqa: S101 - what pay has put there
        self._door = door

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    @property
    def purse(self) -> Purse:
        """What is paid with."""
        return self._door.purse

    def close(self, held: Held, url: str | None) -> Held:
        """Ask a channel's seller to close it. Raises PaymentRefused, PaymentOutcomeUnknown, NoPayableOffer,
        ServerUnreachable, UsageError, ChainError, StoreError.
        """
        return self._tried(held, url, lambda at: closing.close(self.purse, at, held.key))

    def top_up(self, held: Held, url: str | None, additional_units: int) -> Held:
        """Add to a channel's deposit. Raises as `close` does, and PolicyRefused."""
        return self._tried(held, url, lambda at: closing.top_up(self.purse, at, held.key, additional_units))

    def _tried(self, held: Held, url: str | None, flow: Callable[[str], Flow[Held]]) -> Held:
        """Where the seller sells something that this channel pays for."""
        reason = NoPayableOffer("nothing is known of this channel's seller; name a paid URL of it (--url)")
        for at in [url] if url is not None else self._places(held):
            if not is_private(origin_of(at)):  # T37
                raise UsageError(f"{at} is not encrypted: anyone between could take the voucher")
            try:
                return self._door.manage(flow(at), self._client.build_request("HEAD", at))
            except NoPayableOffer as error:
                reason = error
            except httpx.InvalidURL as error:
                raise UsageError(f"{at}: {error}") from None
            except httpx.TransportError as error:
                raise ServerUnreachable(f"{at}: {type(error).__name__}: {error}") from None
        raise reason

    def _places(self, held: Held) -> Iterator[str]:
        if not held.origin:
            return
        yield f"{held.origin}/"
        for path in self._advertised(held):
            yield held.origin + path

    def _advertised(self, held: Held) -> list[str]:
        """Paths that the seller says to sell by sessions; a parameter of one may be anything."""
        try:
            with self._client.stream("GET", held.origin + DISCOVERY_PATH) as answer:
                raw = b""
                for chunk in answer.iter_bytes():
                    raw += chunk
                    if len(raw) > MAX_DOCUMENT_BYTES:
                        return []
            operations = read_discovery(raw)
        except (httpx.HTTPError, MalformedHeader):
            return []
        wanted = (INTENT, held.method)
        paths = [one.path for one in operations if any((two.intent, two.method) == wanted for two in one.offers)]
        return [_PARAMETER.sub("-", path) for path in dict.fromkeys(paths) if path.startswith("/")][:MAX_TRIED]
