"""A shop on the local Solana chain that sells everything from channels, and clients of ours that pay there.

with shop(svm, owner_of(svm)) as url, paying(svm, alice, book, events) as client: client.get(url)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
from solders.keypair import Keypair

from coinslot.client.events import Event
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.intents.acts import Held
from coinslot.store.book import Book
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.httpx import pay
from coinslot.transports.slot import Slot
from support.serving import asgi_server
from support.svm import SvmChain

COST = 1_000
DOLLAR = 1_000_000


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """An application; when its server stops, the slot's door lets its connections go."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def secret(pair: Keypair) -> str:
    """A private key as a setting."""
    return "0x" + bytes(pair.secret()).hex()


def owner_of(svm: SvmChain) -> Keypair:
    """A seller who can be paid in USDC and has SOL for fees."""
    return svm.keypair(USDC=1)


def client_of(svm: SvmChain, dollars: int = 5, *, lamports: int = 0) -> Keypair:
    """A fresh account with so many USDC, and no SOL by default."""
    return svm.keypair(lamports=lamports, USDC=dollars * DOLLAR)


@contextmanager
def shop(svm: SvmChain, owner: Keypair, app: Any = hello, *, prices: Any = "0.001", **settings: Any) -> Iterator[str]:
    """Everything for a thousandth of a dollar, from channels or by charge; fees are paid by the owner. `prices` may
    make a price of the slot.
    """
    table = {
        "rpc_url": svm.rpc_url,
        "network": "localnet",
        "recipient": str(owner.pubkey()),
        "session_key": secret(owner),
        "fee_payer_key": secret(owner),
        "min_deposit": "0",
        **settings,
    }
    table = {name: value for name, value in table.items() if value is not None}
    with (
        closing(Slot("shop.example", store="memory:", solana=table)) as slot,
        asgi_server(
            CoinslotMiddleware(app, slot, {"/**": prices(slot) if callable(prices) else prices}), lifespan="on"
        ) as url,
    ):
        yield url


def paying(
    svm: SvmChain, pair: Keypair, book: Book, events: list[Event], *, purse: dict[str, Any] | None = None, **limits: Any
) -> httpx.Client:
    """A client that prefers sessions. `purse` adds to the wallet's settings, `limits` to the policy."""
    table = {"rpc_url": svm.rpc_url, "network": "localnet", "private_key": secret(pair), **(purse or {})}
    plain = httpx.Client(trust_env=False, timeout=30)
    policy = Policy(**{"max_deposit": "0.01", "prefer_sessions": True, **limits})
    return pay(plain, wallet(solana=table), policy, events.append, book)


def only(book: Book) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


def asked(url: str) -> Challenge:
    """The session that a shop offers to anybody."""
    with httpx.Client(trust_env=False) as plain:
        answer = plain.get(url)
    found, _ = parse_challenges(answer.headers.get_list("www-authenticate"))
    return next(one for one in found if one.intent == "session")
