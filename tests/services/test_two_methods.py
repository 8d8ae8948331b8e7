"""One gate that is paid on two chains: Accept-Payment chooses, and each payer pays with what it has."""

from __future__ import annotations

import json
import secrets
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Paid
from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet, wallet
from coinslot.core.challenge import parse_challenges
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import RESULT, pay, session
from support.devnet import Chain
from support.gates import echo
from support.site import Site
from support.svm import SvmChain

pytestmark = pytest.mark.devnet

READY_S = 30.0
PRICE_UNITS = 10_000
CONFIG = """
upstream = "{upstream}"
realm = "api.example.com"
listen = "127.0.0.1:0"
store = "sqlite:///{folder}/gate.sqlite"

[prices]
"GET /paid" = "0.01"

[[accept]]
method = "tempo"
rpc_url = "{tempo}"
recipient = "{tempo_payee}"
session_key = "{tempo_key}"

[[accept]]
method = "solana"
rpc_url = "{solana}"
recipient = "{solana_payee}"
session_key = "{solana_key}"
"""


def hex_of(key: PrivateKey) -> str:
    """As settings have it."""
    return "0x" + key.secret().hex()


@dataclass(frozen=True)
class Market:
    """A gate on both chains, and a payer with money on both."""

    url: str
    tempo: Chain
    svm: SvmChain
    tempo_payee: str
    solana_payee: str
    settings: dict[str, dict[str, str]]

    def wallet(self, *methods: str) -> Wallet:
        """With what it takes to pay by these."""
        return wallet(**{name: self.settings[name] for name in methods})

    def earned(self) -> tuple[int, int]:
        """What the seller holds on either chain."""
        return self.tempo.balance_of("PathUSD", self.tempo_payee), self.svm.balance(self.solana_payee, "USDC")


@pytest.fixture(scope="module")
def market(devnet: Chain, shared_svm: SvmChain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Sellers that settle pay their own fees, so they have some."""
    folder = tmp_path_factory.mktemp("market")
    keys = {name: PrivateKey(secrets.token_bytes(32)) for name in ("payee", "payer")}
    payee, payer = (shared_svm.keypair(USDC=units) for units in (1, 50_000_000))
    for one in keys.values():
        devnet.running.fund(one.address, 50_000_000)
    hexed = {id(one): "0x" + one.secret().hex() for one in (payee, payer)}
    settings = {
        "tempo": {"rpc_url": devnet.rpc_url, "private_key": hex_of(keys["payer"])},
        "solana": {"rpc_url": shared_svm.rpc_url, "private_key": hexed[id(payer)]},
    }
    with Site(echo) as upstream:
        config = folder / "gate.toml"
        config.write_text(
            CONFIG.format(
                upstream=upstream.url, folder=folder, tempo=devnet.rpc_url, tempo_payee=keys["payee"].address,
                tempo_key=hex_of(keys["payee"]), solana=shared_svm.rpc_url, solana_payee=payee.pubkey(),
                solana_key=hexed[id(payee)],
            )
        )  # fmt: skip
        command = [sys.executable, "-m", "coinslot.cli.main", "gate", str(config), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert select.select([process.stdout], [], [], READY_S)[0], "the gate is not ready in time"
                url = json.loads(process.stdout.readline())["url"]
                yield Market(url, devnet, shared_svm, keys["payee"].address, str(payee.pubkey()), settings)
            finally:
                process.terminate()


def offered(market: Market, wish: str | None = None) -> list[str]:
    """What a 402 offers, in its order."""
    headers = {} if wish is None else {"Accept-Payment": wish}
    answer = httpx.get(f"{market.url}/paid", headers=headers)
    assert answer.status_code == 402
    challenges, unread = parse_challenges(answer.headers.get_list("www-authenticate"))
    assert not unread
    return [f"{one.method}/{one.intent}" for one in challenges]


@pytest.mark.spec("CORE-118", "CORE-119")
def test_both_chains_are_offered_in_the_order_that_the_client_likes(market: Market) -> None:
    """All by default, in the order of the tables; what is not wanted is left out."""
    everything = ["tempo/charge", "tempo/session", "solana/charge", "solana/session"]
    assert offered(market) == everything
    assert offered(market, "solana/charge, tempo/charge;q=0.5")[:2] == ["solana/charge", "tempo/charge"]
    assert offered(market, "solana/session;q=0.9, tempo/*;q=0.1")[0] == "solana/session"


@pytest.mark.parametrize(("method", "at"), [("tempo", 0), ("solana", 1)])
def test_each_payer_pays_with_what_it_has(market: Market, method: str, at: int) -> None:
    """A wallet for one chain pays there, once, and the other seller's account stays as it is."""
    before = market.earned()
    with pay(httpx.Client(), market.wallet(method)) as client:
        answer = client.get(f"{market.url}/paid")
    done = answer.extensions[RESULT]
    assert isinstance(done, Paid)
    assert done.receipt is not None
    assert (answer.status_code, done.receipt.method) == (200, method)
    after = market.earned()
    assert [now - then for then, now in zip(before, after, strict=True)] == [PRICE_UNITS * (at == n) for n in (0, 1)]


@pytest.mark.parametrize("method", ["tempo", "solana"])
def test_who_has_both_chooses_by_what_it_asks_for(market: Market, method: str) -> None:
    """Accept-Payment on the request decides, whatever the wallet's order."""
    with pay(httpx.Client(), market.wallet("solana", "tempo")) as client:
        answer = client.get(f"{market.url}/paid", headers={"Accept-Payment": f"{method}/charge, */*;q=0.1"})
    done = answer.extensions[RESULT]
    assert isinstance(done, Paid)
    assert done.receipt is not None
    assert done.receipt.method == method


def test_sessions_of_both_chains_run_at_one_gate(market: Market, tmp_path: Path) -> None:
    """A channel on each, three requests each, both closed for exactly that."""
    before = market.earned()
    for method in ("solana", "tempo"):
        with (
            closing(SqliteBook(tmp_path / f"{method}.sqlite")) as book,
            pay(httpx.Client(timeout=30), market.wallet(method), Policy(max_deposit="1"), book=book) as client,
        ):
            paid = session(client, f"{market.url}/paid", max_deposit="1")
            for _ in range(3):
                assert paid.get(f"{market.url}/paid").status_code == 200
            (held,) = paid.channels
            assert (held.method, held.spent_units) == (method, 3 * PRICE_UNITS)
            paid.close(f"{market.url}/paid")
    earned = [now - then for then, now in zip(before, market.earned(), strict=True)]
    assert earned[1] == 3 * PRICE_UNITS
    assert 0 < earned[0] <= 3 * PRICE_UNITS  # that seller pays for settling in the same token
