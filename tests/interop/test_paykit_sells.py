"""Our client pays a solana-pay-kit 0.10 server by charge: USDC, PYUSD, splits, memos, sponsored or not."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from coinslot.client.events import Paid
from support.peers import Peer
from support.solanapeers import CENT, DOLLAR, MINTS, REALM, Theirs, paying, seed, somebody
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


@contextmanager
def opened(paykit: Peer, svm: SvmChain, token: str = "USDC", **charge: Any) -> Iterator[Theirs]:
    """A server with the usual routes."""
    recipient, others = somebody(svm, token), (somebody(svm, token), somebody(svm, token))
    shares = [{"recipient": others[0], "amount": "10000"}, {"recipient": others[1], "amount": "5000"}]
    said = [{**share, "memo": f"share {number}"} for number, share in enumerate(shares)]
    routes = {
        "/paid": {"amount": "0.01"},
        "/described": {"amount": "0.01", "description": "one page, ünïcode"},
        "/order": {"amount": "0.01", "external_id": "order 7"},
        "/split": {"amount": "0.03", "splits": shares},
        "/said": {"amount": "0.03", "splits": said, "external_id": "order 8"},
    }
    settings = {"recipient": recipient, "currency": MINTS[token], **charge}
    secret = secrets.token_hex(32)
    url = paykit.call("serve", rpc_url=svm.rpc_url, realm=REALM, secret_key=secret, charge=settings, routes=routes)
    yield Theirs(svm, paykit, url["url"], token, recipient, others)
    paykit.call("close", url=url["url"])


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def theirs(paykit: Peer, shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Theirs]:
    """A server that is paid in an old token, and one that is paid in one of Token-2022."""
    with opened(paykit, shared_svm, request.param) as server:
        yield server


def buys(theirs: Theirs, path: str, **more: Any) -> httpx.Response:
    """One request by our client, with a fresh account that has SOL."""
    payer = theirs.svm.keypair(**{theirs.token: DOLLAR})
    with paying(theirs.svm, payer, **more) as client:
        return client.get(theirs.url + path)


@pytest.mark.parametrize("path", ["/paid", "/described", "/order"])
def test_our_client_pays(theirs: Theirs, path: str) -> None:
    """The price moves once, the receipt is read and names the transaction that we signed."""
    before, delivered = theirs.received(), theirs.hits(path)
    response = buys(theirs, path)
    assert response.status_code == 200, response.text
    assert theirs.received() - before == CENT
    assert theirs.hits(path) - delivered == 1
    payment = response.extensions["coinslot"]
    assert isinstance(payment, Paid)
    assert payment.receipt is not None
    assert payment.warning is None
    assert payment.receipt.reference == payment.reference


@pytest.mark.parametrize("path", ["/split", "/said"])
def test_our_client_pays_splits(theirs: Theirs, path: str) -> None:
    """Everybody gets exactly their share, with their memos."""
    everybody = (theirs.recipient, *theirs.others)
    before = [theirs.received(who) for who in everybody]
    response = buys(theirs, path)
    assert response.status_code == 200, response.text
    after = [theirs.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


@pytest.mark.parametrize("token", ["USDC", "PYUSD"])
def test_our_client_is_sponsored(paykit: Peer, shared_svm: SvmChain, token: str) -> None:
    """Their server pays the fee: our account, which has no SOL, spends the price and nothing more."""
    payer = shared_svm.keypair(lamports=0, **{token: DOLLAR})
    with (
        opened(paykit, shared_svm, token, fee_payer=seed(shared_svm.keypair())) as server,
        paying(shared_svm, payer) as client,
    ):
        for path, price in (("/paid", CENT), ("/said", 3 * CENT)):
            before = shared_svm.balance(str(payer.pubkey()), token)
            response = client.get(server.url + path)
            assert response.status_code == 200, response.text
            assert before - shared_svm.balance(str(payer.pubkey()), token) == price


@pytest.mark.parametrize("token", ["USDC", "PYUSD"])
def test_our_client_knows_a_token_by_its_symbol(paykit: Peer, shared_svm: SvmChain, token: str) -> None:
    """Their server names the token "USDC" by default: that is the mint that we pinned, and no other."""
    with opened(paykit, shared_svm, token, currency=token) as server:
        response = buys(server, "/said")
        assert response.status_code == 200, response.text
        assert server.received() == 15_000


@pytest.mark.parametrize("named", ["sol", "SOL"])
def test_our_client_pays_in_sol(paykit: Peer, shared_svm: SvmChain, named: str) -> None:
    """In either spelling; a limit in SOL is the owner's to set, since a dollar limit can't hold."""
    payee = shared_svm.keypair()
    before = shared_svm.balance(str(payee.pubkey()), "SOL")
    with opened(paykit, shared_svm, currency=named, decimals=9, recipient=str(payee.pubkey())) as server:
        network = f"solana:{str(shared_svm.rpc('getGenesisHash'))[:32]}"
        response = buys(server, "/order", limits={f"{network}/sol": "0.05"})
        assert response.status_code == 200, response.text
    assert shared_svm.balance(str(payee.pubkey()), "SOL") - before == 10**7


def test_our_client_pushes(paykit: Peer, shared_svm: SvmChain) -> None:
    """A server that takes a signature gets one."""
    with opened(paykit, shared_svm, accept_push_mode=True) as server:
        response = buys(server, "/order", purse={"mode": "push"})
        assert response.status_code == 200, response.text
        assert server.received() == CENT
