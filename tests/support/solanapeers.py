"""What interop on the local Solana chain shares: a shop of ours behind a real HTTP server, and accounts.

with stall(svm, prices) as shop: httpx.get(f"{shop.url}/paid")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from solders.keypair import Keypair

from coinslot.client.events import Event
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.store.book import Book
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.httpx import pay
from coinslot.transports.metering import METER
from coinslot.transports.slot import Slot
from coinslot.transports.sse import asse
from support.peers import Peer
from support.serving import asgi_server
from support.svm import SvmChain

CENT = 10_000
DOLLAR = 1_000_000
REALM = "api.example.com"
# Of the answer under /stream, where each is paid for.
WORDS = 5
MINTS = {
    "USDC": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
    "PYUSD": "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo",
}


def seed(pair: Keypair) -> str:
    """A private key as peers are given it: 64 hex digits."""
    return bytes(pair.secret()).hex()


def somebody(svm: SvmChain, token: str = "USDC", units: int = 1) -> str:
    """Who can be paid in a token; there is one unit in the account already."""
    return str(svm.keypair(lamports=0, **{token: units}).pubkey())


@dataclass
class Stall:
    """A shop of ours with two prices: /paid costs a cent, /split three, shared with two others."""

    svm: SvmChain
    url: str
    owner: Keypair
    token: str
    others: tuple[str, str]
    hits: dict[str, int]
    clients_sign: bool = True

    @property
    def recipient(self) -> str:
        """Who is paid."""
        return str(self.owner.pubkey())

    def received(self, who: str | None = None) -> int:
        """Base units that came in, to the recipient or somebody else of the stall."""
        return self.svm.balance(who or self.recipient, self.token) - 1


@contextmanager
def stall(
    svm: SvmChain, token: str = "USDC", *, routes: Mapping[str, Any] | None = None, metered: str = "", **settings: Any
) -> Iterator[Stall]:
    """A running shop; `settings` add to what it accepts, `owner` is paid (with SOL for fees).

    `metered` is the price of each event under /stream, if that has one of its own; unless `events` is False its payers
    are told that nothing else comes there.
    """
    owner = settings.pop("owner", None) or svm.keypair(**{token: 1})
    others, events = (somebody(svm, token), somebody(svm, token)), settings.pop("events", True)
    hits: dict[str, int] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        hits[scope["path"]] = hits.get(scope["path"], 0) + 1
        streams = scope["path"] == "/stream"
        kind = b"text/event-stream" if streams else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if streams:
            async for piece in asse(scope[METER], [f'{{"word": {number}}}' for number in range(WORDS)]):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"" if streams else body or b"paid for"})

    table = {"rpc_url": svm.rpc_url, "recipient": str(owner.pubkey()), "currency": token, **settings}
    with closing(Slot(REALM, store="memory:", solana=table)) as slot:
        shared = slot.price("0.03", splits={others[0]: "0.01", others[1]: "0.005"})
        order = slot.price("0.01", external_id="order 7, ünïcode")
        usual: dict[str, Any] = {"/paid": "0.01", "/split": shared, "/order": order}
        by_event = {"/stream": slot.metered(metered, unit="event", window=WORDS, events=events)} if metered else {}
        shop = CoinslotMiddleware(app, slot, by_event | dict(usual if routes is None else routes))
        with asgi_server(shop, lifespan="on") as url:
            yield Stall(svm, url, owner, token, others, hits, settings.get("voucher_signer") != "operator")


@dataclass(frozen=True)
class Theirs:
    """A server of the peer, and whom it sells for."""

    svm: SvmChain
    peer: Peer
    url: str
    token: str
    recipient: str
    others: tuple[str, str]

    def received(self, who: str | None = None) -> int:
        """Base units that came in, to the recipient or somebody else."""
        return self.svm.balance(who or self.recipient, self.token) - 1

    def hits(self, path: str) -> int:
        """How often a path was delivered."""
        return int(self.peer.call("hits", url=self.url).get(path, 0))


def paying(
    svm: SvmChain, pair: Keypair, *, book: Book | None = None, events: list[Event] | None = None, **limits: Any
) -> httpx.Client:
    """Our httpx client with a wallet; `purse` adds to its settings, all else to its policy."""
    table = {"rpc_url": svm.rpc_url, "private_key": f"0x{seed(pair)}", **limits.pop("purse", {})}
    plain = httpx.Client(trust_env=False, timeout=30)
    policy = Policy(**limits) if limits else None
    told = (lambda _event: None) if events is None else events.append
    return pay(plain, wallet(solana=table), policy, told, book)
