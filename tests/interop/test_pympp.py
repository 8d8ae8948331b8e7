"""pympp 0.16 pays our gate, and our client pays a pympp server.

Its client signs transactions that live for 60 s, or until their challenge ends, and chains before T11 take 30 s: here
challenges are brief. It knows no proofs for a price of zero.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Paid
from coinslot.errors import CoinslotError
from support.devnet import Chain
from support.gates import BRIEF_S, DOLLAR, REALM, Purse, Shop, address
from support.peers import Peer

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

CENT = DOLLAR // 100
PATH_USD = "0x20c0000000000000000000000000000000000000"


def pays(pympp: Peer, purse: Purse, url: str, **more: Any) -> dict[str, Any]:
    """One request by pympp's client, with a fresh account unless told otherwise."""
    more.setdefault("key", purse.key())
    answer = pympp.call("pay", url=url, rpc_url=purse.chain.rpc_url, chain_id=purse.chain.chain_id, **more)
    assert isinstance(answer, dict)
    return answer


def test_its_client_pays_for_a_get(pympp: Peer, brief_gate: Shop, purse: Purse) -> None:
    """The price arrives, the content and a receipt come back."""
    before = brief_gate.received()
    answer = pays(pympp, purse, f"{brief_gate.url}/paid")
    assert answer["status"] == 200, answer["body"]
    assert answer["headers"]["payment-receipt"]
    assert brief_gate.received() - before == CENT


def test_its_client_pays_for_a_post_with_a_body(pympp: Peer, brief_gate: Shop, purse: Purse) -> None:
    """The digest that we bind is echoed, the body arrives whole."""
    answer = pays(pympp, purse, f"{brief_gate.url}/echo", method="POST", body='{"ünï": "code"}')
    assert answer["status"] == 200, answer["body"]
    assert json.loads(answer["body"])["body"] == '{"ünï": "code"}'


def test_its_client_pays_splits(pympp: Peer, brief_gate: Shop, purse: Purse) -> None:
    """Everybody gets exactly their share."""
    everybody = (brief_gate.recipient, *brief_gate.split)
    before = [brief_gate.received(who) for who in everybody]
    answer = pays(pympp, purse, f"{brief_gate.url}/split")
    assert answer["status"] == 200, answer["body"]
    after = [brief_gate.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


def test_its_client_is_sponsored(pympp: Peer, sponsored_gate: tuple[Shop, str], purse: Purse) -> None:
    """Our gate pays the fee: the payer spends the price and nothing more."""
    gate, _ = sponsored_gate
    key = purse.key(1)
    answer = pays(pympp, purse, f"{gate.url}/paid", key=key)
    assert answer["status"] == 200, answer["body"]
    assert gate.received(PrivateKey.from_hex(key).address) == DOLLAR - CENT


def test_its_client_finds_the_moved_header(pympp: Peer, street: Any, purse: Purse) -> None:
    """A gate that wants payments in Payment-Authorization leaves Authorization to others."""
    gate = street.open(payment_header=True, expires_in_s=BRIEF_S)
    answer = pays(pympp, purse, f"{gate.url}/paid", headers={"Authorization": "Bearer mine"})
    assert answer["status"] == 200, answer["body"]
    assert gate.upstream.seen[-1].headers["Authorization"] == "Bearer mine"


def test_its_client_can_not_prove_itself_for_nothing(pympp: Peer, street: Any, purse: Purse) -> None:
    """It sends a transaction that moves nothing where a proof is due: refused by name, nothing is delivered."""
    gate = street.open(realm="127.0.0.1", expires_in_s=BRIEF_S)
    answer = pays(pympp, purse, f"{gate.url}/zero")
    assert answer["status"] == 402
    assert "proof" in answer["body"]
    assert gate.upstream.seen == []


# --- our client, their server --------------------------------------------------------------------


def opened(pympp: Peer, chain: Chain, **more: Any) -> tuple[str, str, tuple[str, str]]:
    """URL, recipient and the others of a pympp server with the usual routes."""
    recipient, others = address(), (address(), address())
    charge = {"recipient": recipient, "currencies": [PATH_USD], "chain_id": chain.chain_id, **more.pop("charge", {})}
    shares = [{"recipient": others[0], "amount": "10000"}, {"recipient": others[1], "amount": "5000"}]
    asked = {"amount": "0.01", "expires_in": BRIEF_S, **more.pop("route", {})}
    routes = {
        "GET /paid": asked,
        "POST /echo": {**asked, "bind_body": True},
        "GET /split": {**asked, "amount": "0.03", "splits": shares},
        "GET /zero": {**asked, "amount": "0"},
    }
    keys = {"realm": REALM, "secret_key": secrets.token_hex(32)}
    url = pympp.call("serve", rpc_url=chain.rpc_url, charge=charge, routes=routes, **keys, **more)["url"]
    return url, recipient, others


@pytest.mark.parametrize("mode", ["pull", "push"])
def test_our_client_pays_its_server(pympp: Peer, devnet: Chain, purse: Purse, mode: str) -> None:
    """402, paid, and the receipt names the transaction that we signed."""
    url, recipient, _ = opened(pympp, devnet)
    with purse.client(mode=mode) as client:
        response = client.get(f"{url}/paid")
    assert response.status_code == 200, response.text
    payment = response.extensions["coinslot"]
    assert isinstance(payment, Paid)
    assert payment.receipt is not None
    assert payment.receipt.reference == payment.reference
    assert devnet.balance_of("PathUSD", recipient) == CENT


def test_our_client_sends_the_body_that_its_server_bound(pympp: Peer, devnet: Chain, purse: Purse) -> None:
    """The digest is echoed and the same bytes are sent again."""
    url, _, _ = opened(pympp, devnet)
    with purse.client() as client:
        response = client.post(f"{url}/echo", content=b"exactly this")
    assert (response.status_code, response.json()["body"]) == (200, "exactly this")


def test_our_client_pays_its_splits(pympp: Peer, devnet: Chain, purse: Purse) -> None:
    """Everybody gets exactly their share."""
    url, recipient, others = opened(pympp, devnet)
    with purse.client() as client:
        response = client.get(f"{url}/split")
    assert response.status_code == 200, response.text
    assert [devnet.balance_of("PathUSD", who) for who in (recipient, *others)] == [15_000, 10_000, 5_000]


def test_our_client_is_sponsored_by_its_server(pympp: Peer, devnet: Chain, purse: Purse) -> None:
    """Their server pays the fee: our account spends the price and nothing more."""
    charge = {"fee_payer": purse.key(20), "fee_token": PATH_USD, "allowed_fee_tokens": [PATH_USD]}
    url, _, _ = opened(pympp, devnet, charge=charge, route={"fee_payer": True})
    key = purse.key(1)
    with purse.client(key) as client:
        response = client.get(f"{url}/paid")
    assert response.status_code == 200, response.text
    assert devnet.balance_of("PathUSD", PrivateKey.from_hex(key).address) == DOLLAR - CENT


def test_our_client_keeps_another_authorization(pympp: Peer, devnet: Chain, purse: Purse) -> None:
    """A server that reads Payment-Authorization gets the credential there."""
    url, _, _ = opened(pympp, devnet, requires_auth=True)
    with purse.client() as client:
        response = client.get(f"{url}/paid", headers={"Authorization": "Bearer mine"})
    assert response.status_code == 200, response.text


def test_its_server_knows_no_proofs(pympp: Peer, devnet: Chain, purse: Purse) -> None:
    """For a price of zero it wants a transaction; our proof moves nothing and is refused."""
    url, _, _ = opened(pympp, devnet)
    with purse.client() as client, pytest.raises(CoinslotError):
        client.get(f"{url}/zero")
