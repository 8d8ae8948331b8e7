"""A site that sells by sessions on the local Tempo chain, for peers to pay; and what the chain says came of it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import PrivateKey
from coinslot.methods.tempo.session.escrow import Version, pinned_escrow
from coinslot.transports.asgi import CoinslotMiddleware, Stream, meter
from coinslot.transports.asgi_types import App, Receive, Scope, Send
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS, asse
from support.devnet import Chain
from support.serving import asgi_server

DOLLAR = 1_000_000
# What a request costs, and what a word does, in base units and as text.
COST, PRICE = 1_000, "0.001"
WORDS = 6
# Less than a stream has words, so that it asks for a voucher in between.
WINDOW = 4
_TRANSFER = to_hex(keccak256(b"Transfer(address,address,uint256)"))


def account(chain: Chain, dollars: int = 5) -> PrivateKey:
    """A fresh account with so many pathUSD."""
    key = PrivateKey(secrets.token_bytes(32))
    chain.fund(key.address, dollars * DOLLAR)
    return key


def secret(key: PrivateKey) -> str:
    """Its private key as a setting."""
    return to_hex(key.secret())


def escrow_of(chain: Chain, version: Version) -> str:
    """Where channels of a protocol keep their deposits."""
    pinned = pinned_escrow(version, chain.chain_id)
    assert pinned is not None
    return pinned.address


def paid_out(chain: Chain, escrow: str, who: str) -> int:
    """Base units of pathUSD that an escrow has ever sent to somebody, by the chain's own events."""
    topics = [_TRANSFER, *(f"0x{address[2:].lower():0>64}" for address in (escrow, who))]
    found = chain.rpc("eth_getLogs", {"fromBlock": "0x0", "address": chain.tokens["PathUSD"], "topics": topics})
    assert isinstance(found, list)
    return sum(int(one["data"], 16) for one in found)


def paid_in(chain: Chain, who: str, escrow: str) -> int:
    """Base units of pathUSD that somebody has ever put into an escrow."""
    return paid_out(chain, who, escrow)


@dataclass(frozen=True)
class Booth:
    """A running site, its owner, and who may be asked what it was paid."""

    chain: Chain
    url: str
    owner: PrivateKey

    def earned(self, escrow: str) -> int:
        """What an escrow paid it."""
        return paid_out(self.chain, escrow, self.owner.address)


def _site(words: int) -> App:
    """Greets; under /words it counts, word by word."""

    async def counted() -> AsyncIterator[str]:
        for n in range(words):
            yield f"word {n}"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            async for word in counted():
                await send({"type": "websocket.send", "text": word})
            await send({"type": "websocket.close"})
        elif scope["path"] == "/words":
            await Stream(asse(meter(scope), counted()), HEADERS)(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
            await send({"type": "http.response.body", "body": b"hello"})

    return app


@contextmanager
def booth(
    chain: Chain,
    *,
    deposit: str | None = None,
    words: int = WORDS,
    pay_by: Literal["session"] | None = "session",
    **settings: Any,
) -> Iterator[Booth]:
    """A site: everything costs PRICE, and each word of /words does. `deposit` is suggested to clients."""
    owner = account(chain)
    table = {"rpc_url": chain.rpc_url, "recipient": owner.address, "session_key": secret(owner), "min_deposit": "0"}
    with closing(Slot("shop.example", store="memory:", tempo={**table, **settings})) as slot:
        a_word = slot.metered(PRICE, unit="word", window=WINDOW, deposit=deposit)
        a_request = slot.price(PRICE, pay_by=pay_by, deposit=deposit)
        routes = {"GET /words": a_word, "GET /**": a_request, "POST /post": a_request}
        with asgi_server(CoinslotMiddleware(_site(words), slot, routes), lifespan="on") as url:
            yield Booth(chain, url, owner)
