"""Our client pays an mppx 0.11 server: every kind of charge."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Paid
from support.devnet import Chain
from support.gates import DOLLAR, REALM, Purse, address
from support.peers import Peer

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

CENT = DOLLAR // 100
PATH_USD = "0x20c0000000000000000000000000000000000000"


@dataclass(frozen=True)
class Theirs:
    """An mppx server and whom it sells for."""

    peer: Peer
    chain: Chain
    url: str
    recipient: str
    others: tuple[str, str]

    def received(self, who: str | None = None) -> int:
        """Base units of pathUSD."""
        return self.chain.balance_of("PathUSD", who or self.recipient)

    def hits(self, path: str) -> int:
        """How often a path was delivered."""
        return int(self.peer.call("hits", url=self.url).get(path, 0))


def opened(peer: Peer, chain: Chain, **charge: Any) -> Theirs:
    """A server with the usual routes."""
    recipient, others = address(), (address(), address())
    shares = [{"recipient": others[0], "amount": "0.01"}, {"recipient": others[1], "amount": "0.005"}]
    routes = {
        "GET /paid": {"amount": "0.01"},
        "POST /echo": {"amount": "0.01", "description": "an écho, 10 €"},
        "GET /zero": {"amount": "0"},
        "GET /split": {"amount": "0.03", "splits": shares},
        "GET /pull": {"amount": "0.01", "supportedModes": ["pull"]},
        "GET /push": {"amount": "0.01", "supportedModes": ["push"]},
        "GET /scoped": {"amount": "0.01", "scope": "GET /scoped", "externalId": "order-7"},
    }
    url = peer.call(
        "serve",
        rpcUrl=chain.rpc_url,
        realm=REALM,
        secretKey=secrets.token_hex(32),
        charge={"currency": PATH_USD, "recipient": recipient, "decimals": 6, "chainId": chain.chain_id, **charge},
        routes=routes,
    )["url"]
    return Theirs(peer, chain, url, recipient, others)


@pytest.fixture(scope="module")
def theirs(mppx: Peer, devnet: Chain) -> Iterator[Theirs]:
    """An mppx server with its defaults."""
    server = opened(mppx, devnet)
    yield server
    mppx.call("close", url=server.url)


def paid(response: Any) -> Paid:
    """What our client knows of a paid answer."""
    payment = response.extensions["coinslot"]
    assert isinstance(payment, Paid)
    return payment


@pytest.mark.parametrize("mode", ["pull", "push"])
@pytest.mark.parametrize("path", ["/paid", "/scoped"])
def test_our_client_pays_for_a_get(theirs: Theirs, purse: Purse, path: str, mode: str) -> None:
    """The price moves once, the receipt is read and names the transaction that we signed."""
    before, delivered = theirs.received(), theirs.hits(path)
    with purse.client(mode=mode) as client:
        response = client.get(theirs.url + path)
    assert response.status_code == 200, response.text
    assert theirs.received() - before == CENT
    assert theirs.hits(path) - delivered == 1
    payment = paid(response)
    assert payment.receipt is not None
    assert payment.warning is None
    assert payment.receipt.reference == payment.reference


def test_our_client_pays_for_a_post(theirs: Theirs, purse: Purse) -> None:
    """The body arrives, also where the description holds characters beyond ASCII."""
    with purse.client() as client:
        response = client.post(f"{theirs.url}/echo", content=b'{"a": 1}')
    assert (response.status_code, response.json()["body"]) == (200, '{"a": 1}')


@pytest.mark.parametrize("only", ["pull", "push"])
def test_our_client_pays_in_the_one_way_that_is_taken(theirs: Theirs, purse: Purse, only: str) -> None:
    """supportedModes decides over our preference."""
    other = {"pull": "push", "push": "pull"}[only]
    with purse.client(mode=other) as client:
        response = client.get(f"{theirs.url}/{only}")
    assert response.status_code == 200, response.text


def test_our_client_proves_itself_for_nothing(theirs: Theirs, purse: Purse) -> None:
    """A version 3 proof of an account that holds nothing is taken."""
    with purse.client(purse.key(0)) as client:
        response = client.get(f"{theirs.url}/zero")
    assert response.status_code == 200, response.text
    assert paid(response).receipt is not None


@pytest.mark.parametrize("mode", ["pull", "push"])
def test_our_client_pays_splits(theirs: Theirs, purse: Purse, mode: str) -> None:
    """Everybody gets exactly their share."""
    everybody = (theirs.recipient, *theirs.others)
    before = [theirs.received(who) for who in everybody]
    with purse.client(mode=mode) as client:
        response = client.get(f"{theirs.url}/split")
    assert response.status_code == 200, response.text
    after = [theirs.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


@pytest.mark.parametrize("envelope", [True, False], ids=["0x78", "0x76"])
def test_our_client_is_sponsored(mppx: Peer, devnet: Chain, purse: Purse, *, envelope: bool) -> None:
    """Their server pays the fee, handed over in either form: our account spends the price and nothing more."""
    sponsor = purse.key(20)
    server = opened(mppx, devnet, feePayerKey=sponsor, feeToken=PATH_USD)
    key = purse.key(1)
    with purse.client(key, sponsor_envelope=envelope) as client:
        response = client.get(f"{server.url}/paid")
    assert response.status_code == 200, response.text
    assert server.received(PrivateKey.from_hex(key).address) == DOLLAR - CENT
    assert server.received() == CENT
    mppx.call("close", url=server.url)
