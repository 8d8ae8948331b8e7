"""`coinslot gate` as a program in front of a small API, for peers to pay; and what else both sides of interop share."""

from __future__ import annotations

import json
import secrets
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.transports.httpx import pay
from support.devnet import Chain
from support.site import Reply, Seen, Site

REALM = "api.example.com"
# A gate asks its chain once, then listens.
READY_S = 30.0
DOLLAR = 1_000_000
# Live shorter than the 30 s that chains before T11 allow for what expires: pympp signs until the challenge's end.
BRIEF_S = 28


def address() -> str:
    """One that nobody has used."""
    return PrivateKey(secrets.token_bytes(32)).address


def echo(seen: Seen) -> Reply:
    """The API behind the gate: tells what it saw."""
    told = {"method": seen.method, "path": seen.path, "body": seen.body.decode(), "credential": seen.credential}
    return Reply(200, json.dumps(told).encode(), (("Content-Type", "application/json"),))


@dataclass
class Shop:
    """A running gate, its recipient and the API behind it."""

    chain: Chain
    url: str
    recipient: str
    upstream: Site
    process: subprocess.Popen[bytes]
    split: tuple[str, str]

    def received(self, who: str | None = None) -> int:
        """Base units of pathUSD that the recipient (or somebody else) holds."""
        return self.chain.balance_of("PathUSD", who or self.recipient)


@dataclass
class Street:
    """Opens gates for a test session; each has its own recipient, store and API."""

    chain: Chain
    folder: Path
    shops: list[Shop] = field(default_factory=list)

    def open(
        self, accept: dict[str, Any] | None = None, *, api: Callable[[Seen], Reply] = echo, **settings: Any
    ) -> Shop:
        """A gate with the usual routes before an API; `accept` and `settings` add to its configuration."""
        recipient, split = address(), (address(), address())
        upstream = Site(api).__enter__()
        place = self.folder / f"gate-{len(self.shops)}"
        place.mkdir()
        shares = {split[0]: "0.01", split[1]: "0.005"}
        table: dict[str, Any] = {
            "upstream": upstream.url,
            "realm": REALM,
            "listen": "127.0.0.1:0",
            "store": f"sqlite:///{place}/gate.sqlite",
            "free": ["GET /free"],
            "prices": {
                "GET /paid": "0.01",
                "GET /items/*": {"amount": "0.01", "description": "one item"},
                "POST /echo": "0.01",
                "POST /stream": {"amount": "0.01", "bind_body": False},
                "GET /zero": "0",
                "GET /split": {"amount": "0.03", "splits": shares},
                "GET /dear": "5",
            },
            **settings,
        }
        terms = {"method": "tempo", "rpc_url": self.chain.rpc_url, "recipient": recipient, **(accept or {})}
        config = place / "gate.toml"
        config.write_text(_toml(table) + "\n[[accept]]\n" + _lines(terms))
        command = [sys.executable, "-m", "coinslot.cli.main", "gate", str(config), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout
        assert select.select([process.stdout], [], [], READY_S)[0], "the gate is not ready in time"
        url = json.loads(process.stdout.readline())["url"]
        shop = Shop(self.chain, url, recipient, upstream, process, split)
        self.shops.append(shop)
        return shop

    def close(self) -> None:
        """End all of them."""
        for shop in self.shops:
            shop.process.terminate()
        for shop in self.shops:
            shop.process.communicate(timeout=30)
            shop.upstream.__exit__(None, None, None)


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in table.items())


def _toml(table: dict[str, Any]) -> str:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    prices = [
        f"[prices.{json.dumps(at)}]\n{_price(one)}" for at, one in table["prices"].items() if isinstance(one, dict)
    ]
    simple = {at: one for at, one in table["prices"].items() if isinstance(one, str)}
    return _lines(plain) + "\n[prices]\n" + _lines(simple) + "\n".join(["", *prices])


def _price(table: dict[str, Any]) -> str:
    named = {key: value for key, value in table.items() if not isinstance(value, dict)}
    shares = table.get("splits", {})
    inline = ", ".join(f"{json.dumps(who)} = {json.dumps(share)}" for who, share in shares.items())
    return _lines(named) + (f"splits = {{ {inline} }}\n" if shares else "")


@dataclass(frozen=True)
class Purse:
    """Accounts on the local chain, and our client paying from one."""

    chain: Chain

    def key(self, dollars: int = 5) -> str:
        """The private key of a fresh account that holds so many pathUSD."""
        key = PrivateKey(secrets.token_bytes(32))
        if dollars:
            self.chain.fund(key.address, dollars * DOLLAR)
        return key.secret().hex() if key.secret().hex().startswith("0x") else f"0x{key.secret().hex()}"

    def client(self, key: str | None = None, *, policy: Policy | None = None, **settings: Any) -> httpx.Client:
        """Our httpx client with a wallet; a fresh account unless told otherwise."""
        table = {"rpc_url": self.chain.rpc_url, "private_key": key or self.key(), **settings}
        return pay(httpx.Client(trust_env=False, timeout=30), wallet(tempo=table), policy)


@pytest.fixture(scope="session")
def street(devnet: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Gates on the local chain."""
    opened = Street(devnet, tmp_path_factory.mktemp("street"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def gate(street: Street) -> Shop:
    """A gate with our defaults."""
    return street.open()


@pytest.fixture(scope="session")
def brief_gate(street: Street) -> Shop:
    """A gate whose challenges live for 28 seconds."""
    return street.open(expires_in_s=BRIEF_S)


@pytest.fixture
def purse(devnet: Chain) -> Purse:
    """Accounts and our client."""
    return Purse(devnet)


@pytest.fixture(scope="session")
def sponsored_gate(street: Street, devnet: Chain) -> tuple[Shop, str]:
    """A gate that pays its customers' fees, and the address that pays."""
    key = PrivateKey(secrets.token_bytes(32))
    devnet.fund(key.address, 20 * DOLLAR)
    return street.open({"fee_payer_key": f"0x{key.secret().hex()}"}, expires_in_s=BRIEF_S), key.address
