"""Sessions on the local Tempo chain: our client, our door, real transactions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Closed, Event, Opened, Recovered, ToppedUp
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentRefused
from coinslot.intents.acts import Held, Standing
from coinslot.method import sells_charges
from coinslot.server.price import Price
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.httpx import pay, session
from coinslot.transports.slot import Slot
from support.devnet import Chain
from support.serving import asgi_server

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


def account(chain: Chain, dollars: int = 5) -> PrivateKey:
    """A fresh account with so many pathUSD."""
    key = PrivateKey(secrets.token_bytes(32))
    chain.fund(key.address, dollars * DOLLAR)
    return key


def secret(key: PrivateKey) -> str:
    """Its private key as a setting."""
    return to_hex(key.secret())


@contextmanager
def shop(chain: Chain, owner: PrivateKey, **settings: Any) -> Iterator[str]:
    """Everything for a thousandth of a dollar, from channels or by charge."""
    table = {
        "rpc_url": chain.rpc_url,
        "recipient": owner.address,
        "session_key": secret(owner),
        "min_deposit": "0",
        **settings,
    }
    with (
        closing(Slot("shop.example", store="memory:", tempo=table)) as slot,
        asgi_server(CoinslotMiddleware(hello, slot, {"/**": price(slot)}), lifespan="on") as url,
    ):
        yield url


def price(slot: Slot) -> Price:
    """A thousandth; accounts may prove who they are."""
    return replace(slot.price("0.001"), provers=[one for one in slot.sellers if sells_charges(one)])


def paying(chain: Chain, key: PrivateKey, book: SqliteBook, events: list[Event], **limits: Any) -> httpx.Client:
    """A client that prefers sessions."""
    table = {"rpc_url": chain.rpc_url, "private_key": secret(key)}
    plain = httpx.Client(trust_env=False, timeout=30)
    policy = Policy(**{"max_deposit": "0.01", "prefer_sessions": True, **limits})
    return pay(plain, wallet(tempo={**table, "session_protocols": ("v1", "v2")}), policy, events.append, book)


def only(book: SqliteBook) -> Held:
    """The only channel."""
    (held,) = book.all().result()
    return held


@pytest.mark.parametrize("protocol", ["v2", "v1"])
def test_a_channel_is_opened_used_topped_up_and_closed(devnet: Chain, tmp_path: Path, protocol: str) -> None:
    """What was bought is paid on the chain, and the rest comes back; nothing more was ever signed."""
    owner, payer, events = account(devnet), account(devnet), list[Event]()
    book = SqliteBook(tmp_path / "book.sqlite")
    before = devnet.balance_of("PathUSD", owner.address)
    with shop(devnet, owner, session_protocols=(protocol,)) as url:
        with paying(devnet, payer, book, events, max_deposit="0.002") as client:
            assert [client.get(f"{url}/{n}").status_code for n in range(2)] == [200, 200]
        with paying(devnet, payer, book, events) as client, session(client, f"{url}/9", max_deposit="0.01") as paid:
            assert [paid.get().status_code for _ in range(3)] == [200] * 3
            held = only(book)
            assert (held.signed_units, held.spent_units) == (5 * COST, 5 * COST)
            paid.close()
    assert only(book).standing is Standing.CLOSED
    kinds = [type(one) for one in events]
    assert [kinds.count(kind) for kind in (Opened, ToppedUp, Closed)] == [1, 2, 1]
    fees_and_gains = devnet.balance_of("PathUSD", owner.address) - before
    assert fees_and_gains <= 5 * COST
    book.close()


def test_a_deposit_that_is_too_small_is_refused_with_what_would_do(devnet: Chain, tmp_path: Path) -> None:
    """An answer to HEAD gives no reason; the offer's own wish for a deposit does."""
    owner, payer, book = account(devnet), account(devnet), SqliteBook(tmp_path / "book.sqlite")
    with (
        shop(devnet, owner, min_deposit="0.1") as url,
        paying(devnet, payer, book, []) as client,
        pytest.raises(PaymentRefused, match=r"suggests a deposit of 0\.1 pathUSD and was offered 0\.01 pathUSD"),
    ):
        client.post(f"{url}/a")
    assert only(book).standing is Standing.OPENING
    book.close()


def test_a_lost_book_finds_its_channel_by_proving_the_account(devnet: Chain, tmp_path: Path) -> None:
    """HEAD, a proof of the account, and the channel's snapshot with our own signature in it."""
    owner, payer, events = account(devnet), account(devnet), list[Event]()
    books = [SqliteBook(tmp_path / name) for name in ("old", "new")]
    with shop(devnet, owner) as url:
        for book in books:
            with paying(devnet, payer, book, events) as client:
                assert client.get(f"{url}/a").status_code == 200
    assert only(books[0]).key == only(books[1]).key
    assert only(books[1]).signed_units == 2 * COST
    assert [one.signed_units for one in events if isinstance(one, Recovered)] == [COST + 1]
    for book in books:
        book.close()
