"""Clients and servers of sessions for tests with peers: one of theirs, and ours."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Event
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.intents.acts import Held
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.channelshop import PRICE, WORDS, account, escrow_of, paid_in, paid_out, secret
from support.devnet import Chain
from support.gates import REALM
from support.peers import Peer


@dataclass
class Payer:
    """One of their clients, with an account of its own."""

    peer: Peer
    chain: Chain
    key: PrivateKey
    number: int
    version: Version = V2
    log: list[tuple[str, str | None, int]] = field(default_factory=list)

    def order(self, op: str, **args: Any) -> Any:
        """Something done by it; what it sent is noted."""
        try:
            return self.peer.call(op, payer=self.number, **args)
        finally:
            self.log += [(one[0], one[1], one[2]) for one in self.peer.call("log", payer=self.number)]

    def get(self, url: str, **more: Any) -> dict[str, Any]:
        """One request, paid."""
        answer = self.order("fetch", url=url, **more)
        assert isinstance(answer, dict)
        return answer

    def count(self, action: str, verb: str | None = None) -> int:
        """How many credentials of a kind it sent."""
        return sum(1 for one in self.log if one[1] == action and verb in (None, one[0]))

    @property
    def deposited(self) -> int:
        """What it put into the escrow."""
        return paid_in(self.chain, self.key.address, escrow_of(self.chain, self.version))

    @property
    def refunded(self) -> int:
        """What came back."""
        return paid_out(self.chain, escrow_of(self.chain, self.version), self.key.address)


def payer(peer: Peer, chain: Chain, kind: str, key: PrivateKey | None = None, **options: Any) -> Payer:
    """One of their clients, of a fresh account."""
    key = key or account(chain)
    options = {"maxDeposit": "0.02", **options}
    number = peer.call("payer", kind=kind, rpcUrl=chain.rpc_url, key=secret(key), **options)
    return Payer(peer, chain, key, number, V1 if kind == "legacy" else V2)


@dataclass
class Theirs:
    """A server of theirs and its owner."""

    peer: Peer
    chain: Chain
    owner: PrivateKey
    url: str
    version: Version

    def came(self) -> list[tuple[str, str | None, int]]:
        """What it was sent since it was asked last, and the status of its answer."""
        return [(one[0], one[1], one[2]) for one in self.peer.call("hits", url=self.url)]

    @property
    def earned(self) -> int:
        """What the escrow paid its owner."""
        return paid_out(self.chain, escrow_of(self.chain, self.version), self.owner.address)


@contextmanager
def theirs(peer: Peer, chain: Chain, version: Version = V2, **settings: Any) -> Iterator[Theirs]:
    """A server with our usual prices."""
    owner = account(chain)
    settings = {"currency": chain.tokens["PathUSD"], "recipient": owner.address, **settings}
    url = peer.call(
        "serve",
        rpcUrl=chain.rpc_url,
        realm=REALM,
        secretKey=secrets.token_hex(32),
        key=secret(owner),
        session=settings,
        price={"amount": PRICE, "suggestedDeposit": "0.005"},
        words=WORDS,
    )["url"]
    yield Theirs(peer, chain, owner, url, version)
    peer.call("stop", url=url)


@dataclass
class Buyer:
    """Our client: an account, a book, and what it noticed."""

    chain: Chain
    book: SqliteBook
    key: PrivateKey
    version: Version = V2
    events: list[Event] = field(default_factory=list)

    def client(self, max_deposit: str = "0.02", **table: Any) -> httpx.Client:
        """One that pays by sessions."""
        tempo = {"rpc_url": self.chain.rpc_url, "private_key": secret(self.key), **table}
        policy = Policy(max_deposit=max_deposit, prefer_sessions=True)
        plain = httpx.Client(trust_env=False, timeout=30)
        return pay(plain, wallet(tempo=tempo), policy, self.events.append, self.book)

    def count(self, kind: type[Event]) -> int:
        """How many events of a kind there were."""
        return sum(isinstance(one, kind) for one in self.events)

    @property
    def held(self) -> Held:
        """Its only channel, as the book has it."""
        (held,) = self.book.all().result()
        return held

    @property
    def deposited(self) -> int:
        """What it put into the escrow."""
        return paid_in(self.chain, self.key.address, escrow_of(self.chain, self.version))

    @property
    def refunded(self) -> int:
        """What came back."""
        return paid_out(self.chain, escrow_of(self.chain, self.version), self.key.address)
