"""A site of the toy method whose streams come before they are paid, and a client that commits by hand.

with lending(bank) as site: client = Committer(alice, site.url); client.read(1); client.commit(...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from coinslot.intents.acts import Act
from coinslot.intents.deliveries import COMMIT_PATH, DIRECTIVE_EVENT, RESERVE_PATH, USAGE_EVENT
from coinslot.store.channels import SessionStore
from coinslot.transports import asgi
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS, Item, asse
from support.serving import asgi_server
from support.streamclient import Said, StreamClient, parse_events
from support.toybank import Bank

CREDIT = 300
WINDOW = 100
PRICE = "0.000001"  # one base unit


@dataclass
class LendingSite:
    """Where it is; how often a handler ran. `items` makes what is streamed, from the site itself, unless `app` does."""

    url: str
    slot: Slot
    items: Callable[[], Any]
    app: Any = None
    runs: list[str] = field(default_factory=list)

    @property
    def stream(self) -> str:
        """The URL of what is streamed."""
        return f"{self.url}/words"


def ten() -> Iterator[Item]:
    """Ten words."""
    for number in range(10):
        yield f"word {number}"


@contextmanager
def lending(
    bank: Bank,
    items: Callable[[], Any] = ten,
    store: str | SessionStore = "memory:",
    price: dict[str, Any] | None = None,
    **toy: Any,
) -> Iterator[LendingSite]:
    """One that runs; `toy` adds to the seller's settings, `price` to what is said of its units."""
    table = {"bank": bank.path, "recipient": "shop", "sessions": True, "credit_units": CREDIT, **toy}
    secret = "a stream of 0123456789 letters, for tests"
    with closing(Slot("shop.example", store=store, toy=table, secret_key=secret)) as slot:
        site = LendingSite("", slot, items)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            site.runs.append(scope["path"])
            if scope["path"] != "/words":
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b"the application's own"})
                return
            if site.app is not None:
                await site.app(scope, receive, send)
                return
            await asgi.Stream(asse(asgi.meter(scope), site.items()), HEADERS)(scope, receive, send)

        options = {"amount": PRICE, "unit": "word", "window": WINDOW, **(price or {})}
        metered = slot.metered(options.pop("amount"), **options)
        with asgi_server(asgi.CoinslotMiddleware(app, slot, {"GET /words": metered})) as url:
            site.url = url
            yield site


class Committer(StreamClient):
    """Reads streams and commits for them."""

    def __init__(self, wallet: Any, url: str, deposit: int = 1_000) -> None:
        super().__init__(wallet, url, deposit)
        self.site = url.rpartition("/")[0]

    def read(self, total: int) -> list[Said]:
        """A stream, read whole."""
        answer = self.get(total)
        assert answer.status_code == 200, answer.text
        return parse_events(answer.content)

    def commit(self, delivery: str, total: int, by: dict[str, str] | None = None) -> httpx.Response:
        """A voucher for a delivery; `by`: another credential than that of the voucher itself, {} for none."""
        raw = self.payer.sign(self.held, total)
        payload = dict(self.payer.payload(self.held, Act.VOUCHER, total, raw))
        payload.pop("action")
        headers = self.voucher(total) if by is None else by
        return self.http.post(self.site + COMMIT_PATH, json={**payload, "deliveryId": delivery}, headers=headers)

    def reserve(self, amount: object, headers: dict[str, str], **more: Any) -> httpx.Response:
        """Room for a delivery."""
        body = {"sessionId": self.held.channel_id, "amount": amount, **more}
        return self.http.post(self.site + RESERVE_PATH, json=body, headers=headers)


def told(events: list[Said]) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """The directive, the words and the usage of a stream that has all of them, in order, and its end."""
    first, *words, usage, end = events
    assert (first.name, usage.name, end.name, end.data) == (DIRECTIVE_EVENT, USAGE_EVENT, "message", "[DONE]")
    return first.members, [one.data for one in words], usage.members
