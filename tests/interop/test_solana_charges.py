"""What holds of each other implementation for Solana alike: its client at our gate, and our client at its server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from coinslot.client.events import Paid
from support.peers import Peer
from support.solanacharges import Serve, buys, kit_serves, mpp_serves, pays, serving, shared_out
from support.solanapeers import CENT, DOLLAR, Stall, Theirs, paying, seed, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


@dataclass(frozen=True)
class Fellow:
    """Another implementation, and how it is asked."""

    peer: Peer
    rpc: str
    serve: Serve


FELLOWS = {
    "paykit": partial(Fellow, rpc="rpc_url", serve=kit_serves),
    "solana_mpp": partial(Fellow, rpc="rpcUrl", serve=mpp_serves),
}


@pytest.fixture(scope="module", params=FELLOWS)
def fellow(request: pytest.FixtureRequest) -> Fellow:
    """Each of them."""
    return FELLOWS[request.param](request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def theirs(fellow: Fellow, shared_svm: SvmChain, token: str) -> Iterator[Theirs]:
    """Its server."""
    with serving(fellow.peer, shared_svm, token, fellow.serve) as server:
        yield server


# --- its client, our gate ------------------------------------------------------------------------


def test_its_client_pays(fellow: Fellow, shop: Stall) -> None:
    """The price arrives, the content comes back, and its own reader finds the transaction in the receipt."""
    before = shop.received()
    answer = pays(fellow.peer, shop, rpc=fellow.rpc)
    assert (answer["status"], answer["body"]) == (200, "paid for")
    assert shop.received() - before == CENT
    receipt = answer["receipt"]
    assert (receipt["method"], receipt["status"]) == ("solana", "success")
    assert shop.svm.rpc("getSignatureStatuses", [receipt["reference"]])["value"][0] is not None


def test_its_client_pays_for_a_post_with_a_body(fellow: Fellow, shop: Stall) -> None:
    """The body is bound to the payment and arrives whole, once."""
    delivered = shop.hits.get("/paid", 0)
    answer = pays(fellow.peer, shop, rpc=fellow.rpc, method="POST", body='{"ünï": "code"}')
    assert (answer["status"], answer["body"]) == (200, '{"ünï": "code"}')
    assert shop.hits["/paid"] - delivered == 1


def test_its_client_pays_splits(fellow: Fellow, shop: Stall) -> None:
    """Everybody gets exactly their share."""

    def pay() -> None:
        answer = pays(fellow.peer, shop, "/split", rpc=fellow.rpc)
        assert answer["status"] == 200, answer["body"]

    assert shared_out(shop, pay) == [15_000, 10_000, 5_000]


def test_its_client_is_sponsored(fellow: Fellow, shared_svm: SvmChain, token: str) -> None:
    """Our gate pays the fee: an account without SOL spends the price and nothing more."""
    payer = shared_svm.keypair(lamports=0, **{token: DOLLAR})
    with stall(shared_svm, token, fee_payer_key=f"0x{seed(shared_svm.keypair())}") as shop:
        for path, price in (("/paid", CENT), ("/split", 3 * CENT)):
            before = shared_svm.balance(str(payer.pubkey()), token)
            answer = pays(fellow.peer, shop, path, rpc=fellow.rpc, key=seed(payer))
            assert answer["status"] == 200, answer["body"]
            assert before - shared_svm.balance(str(payer.pubkey()), token) == price
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 0


# --- our client, its server ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["pull", "push"])
@pytest.mark.parametrize("path", ["/paid", "/order"])
def test_our_client_pays(theirs: Theirs, path: str, mode: str) -> None:
    """The price moves once, the receipt is read and names the transaction that we signed."""
    before, delivered = theirs.received(), theirs.hits(path)
    response = buys(theirs, path, purse={"mode": mode})
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

    def pay() -> None:
        response = buys(theirs, path)
        assert response.status_code == 200, response.text

    assert shared_out(theirs, pay) == [15_000, 10_000, 5_000]


def test_our_client_is_sponsored(fellow: Fellow, shared_svm: SvmChain, token: str) -> None:
    """Its server pays the fee: our account, which has no SOL, spends the price and nothing more."""
    payer, sponsor = shared_svm.keypair(lamports=0, **{token: DOLLAR}), seed(shared_svm.keypair())
    with (
        serving(fellow.peer, shared_svm, token, fellow.serve, fee_payer=sponsor) as server,
        paying(shared_svm, payer) as client,
    ):
        for path, price in (("/paid", CENT), ("/said", 3 * CENT)):
            before = shared_svm.balance(str(payer.pubkey()), token)
            response = client.get(server.url + path)
            assert response.status_code == 200, response.text
            assert before - shared_svm.balance(str(payer.pubkey()), token) == price


def test_our_client_knows_a_token_by_its_symbol(fellow: Fellow, shared_svm: SvmChain, token: str) -> None:
    """Its server names the token "USDC" by default: that is the mint that we pinned, and no other."""
    with serving(fellow.peer, shared_svm, token, fellow.serve, currency=token) as server:
        response = buys(server, "/said")
        assert response.status_code == 200, response.text
        assert server.received() == 15_000
