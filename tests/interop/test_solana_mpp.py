"""@solana/mpp 0.6.0 (JavaScript) pays our gate by charge, and our client pays its server.

Its sessions are those of an older channel program; see docs/interop.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.client.events import Paid
from coinslot.methods.solana.session.voucher import voucher_message
from support.peers import Peer
from support.solanapeers import CENT, DOLLAR, MINTS, REALM, Stall, Theirs, paying, seed, somebody, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


def pays(peer: Peer, shop: Stall, path: str = "/paid", **more: Any) -> dict[str, Any]:
    """One request by its client, with a fresh account that has SOL unless told otherwise."""
    if "key" not in more:
        more["key"] = seed(shop.svm.keypair(**{shop.token: DOLLAR}))
    answer = peer.call("pay", url=shop.url + path, rpcUrl=shop.svm.rpc_url, **more)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def shop(shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Stall]:
    """Sells in an old token and in one of Token-2022."""
    with stall(shared_svm, request.param) as opened:
        yield opened


@pytest.mark.parametrize("broadcast", [False, True], ids=["pull", "push"])
def test_its_client_pays(solana_mpp: Peer, shop: Stall, *, broadcast: bool) -> None:
    """The price arrives, the content comes back, and its own reader finds the transaction in the receipt."""
    before = shop.received()
    answer = pays(solana_mpp, shop, broadcast=broadcast)
    assert (answer["status"], answer["body"]) == (200, "paid for")
    assert shop.received() - before == CENT
    receipt = answer["receipt"]
    assert (receipt["method"], receipt["status"]) == ("solana", "success")
    assert shop.svm.rpc("getSignatureStatuses", [receipt["reference"]])["value"][0] is not None


def test_its_client_pays_for_a_post_with_a_body(solana_mpp: Peer, shop: Stall) -> None:
    """The body is bound to the payment and arrives whole, once."""
    delivered = shop.hits.get("/paid", 0)
    answer = pays(solana_mpp, shop, method="POST", body='{"ünï": "code"}')
    assert (answer["status"], answer["body"]) == (200, '{"ünï": "code"}')
    assert shop.hits["/paid"] - delivered == 1


def test_its_client_pays_splits_and_writes_memos(solana_mpp: Peer, shop: Stall) -> None:
    """Everybody gets exactly their share; the external id comes back in the receipt."""
    everybody = (shop.recipient, *shop.others)
    before = [shop.received(who) for who in everybody]
    answer = pays(solana_mpp, shop, "/split")
    assert answer["status"] == 200, answer["body"]
    after = [shop.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]
    assert pays(solana_mpp, shop, "/order")["receipt"]["externalId"] == "order 7, ünïcode"


@pytest.mark.parametrize("token", ["USDC", "PYUSD"])
def test_its_client_is_sponsored(solana_mpp: Peer, shared_svm: SvmChain, token: str) -> None:
    """Our gate pays the fee: an account without SOL spends the price and nothing more."""
    payer = shared_svm.keypair(lamports=0, **{token: DOLLAR})
    with stall(shared_svm, token, fee_payer_key=f"0x{seed(shared_svm.keypair())}") as shop:
        for path, price in (("/paid", CENT), ("/split", 3 * CENT)):
            before = shared_svm.balance(str(payer.pubkey()), token)
            answer = pays(solana_mpp, shop, path, key=seed(payer))
            assert answer["status"] == 200, answer["body"]
            assert before - shared_svm.balance(str(payer.pubkey()), token) == price
    assert shared_svm.balance(str(payer.pubkey()), "SOL") == 0


def test_its_client_pays_by_charge_where_we_offer_sessions_too(solana_mpp: Peer, shared_svm: SvmChain) -> None:
    """Its sessions are those of the channel program before this one: other members, and vouchers of 48 bytes, not 50.

    It can't read our offer of one, and pays by charge.
    """
    owner = shared_svm.keypair(USDC=1)
    key = f"0x{seed(owner)}"
    with stall(shared_svm, owner=owner, session_key=key, fee_payer_key=key) as shop:
        offers = httpx.get(f"{shop.url}/paid").headers.get_list("www-authenticate")
        read = sorted(one for header in offers for one in solana_mpp.call("reads", header=header))
        assert read == [["charge", True], ["session", False]]
        assert pays(solana_mpp, shop, sessions=True)["status"] == 200
        assert shop.received() == CENT
    channel = str(Keypair().pubkey())
    theirs = solana_mpp.call("voucher", channelId=channel, cumulativeAmount="7", expiresAt=0)
    ours = voucher_message(channel, 7, 0)
    assert (len(bytes.fromhex(theirs)), len(ours)) == (48, 50)
    assert ours.endswith(bytes.fromhex(theirs))


# --- our client, their server --------------------------------------------------------------------


@contextmanager
def opened(peer: Peer, svm: SvmChain, token: str = "USDC", **more: Any) -> Iterator[Theirs]:
    """A server with the usual routes."""
    recipient, others = somebody(svm, token), (somebody(svm, token), somebody(svm, token))
    shares = [{"recipient": others[0], "amount": "10000"}, {"recipient": others[1], "amount": "5000"}]
    said = [{**share, "memo": f"share {number}"} for number, share in enumerate(shares)]
    currency = more.pop("currency", MINTS[token])
    routes: dict[str, dict[str, Any]] = {
        "/paid": {"amount": "10000"},
        "/order": {"amount": "10000", "externalId": "order 7", "description": "one page, ünïcode"},
        "/split": {"amount": "30000", "settings": {"splits": shares}},
        "/said": {"amount": "30000", "settings": {"splits": said}, "externalId": "order 8"},
    }
    charge = {"recipient": recipient, "currency": currency, "decimals": 6}
    keys = {"realm": REALM, "secretKey": secrets.token_hex(32)}
    routes = {path: {**route, "currency": currency} for path, route in routes.items()}
    url = peer.call("serve", rpcUrl=svm.rpc_url, charge=charge, routes=routes, **keys, **more)["url"]
    yield Theirs(svm, peer, url, token, recipient, others)
    peer.call("close", url=url)


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def theirs(solana_mpp: Peer, shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Theirs]:
    """A server that is paid in an old token, and one that is paid in one of Token-2022."""
    with opened(solana_mpp, shared_svm, request.param) as server:
        yield server


def buys(theirs: Theirs, path: str, **more: Any) -> httpx.Response:
    """One request by our client, with a fresh account that has SOL."""
    payer = theirs.svm.keypair(**{theirs.token: DOLLAR})
    with paying(theirs.svm, payer, **more) as client:
        return client.get(theirs.url + path)


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
    everybody = (theirs.recipient, *theirs.others)
    before = [theirs.received(who) for who in everybody]
    response = buys(theirs, path)
    assert response.status_code == 200, response.text
    after = [theirs.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


@pytest.mark.parametrize("token", ["USDC", "PYUSD"])
def test_our_client_is_sponsored(solana_mpp: Peer, shared_svm: SvmChain, token: str) -> None:
    """Their server pays the fee: our account, which has no SOL, spends the price and nothing more."""
    payer = shared_svm.keypair(lamports=0, **{token: DOLLAR})
    with (
        opened(solana_mpp, shared_svm, token, sponsor=seed(shared_svm.keypair())) as server,
        paying(shared_svm, payer) as client,
    ):
        for path, price in (("/paid", CENT), ("/said", 3 * CENT)):
            before = shared_svm.balance(str(payer.pubkey()), token)
            response = client.get(server.url + path)
            assert response.status_code == 200, response.text
            assert before - shared_svm.balance(str(payer.pubkey()), token) == price


def test_our_client_knows_a_token_by_its_symbol(solana_mpp: Peer, shared_svm: SvmChain) -> None:
    """Their documentation names the token "USDC": that is the mint that we pinned, and no other."""
    with opened(solana_mpp, shared_svm, currency="USDC") as server:
        response = buys(server, "/said")
        assert response.status_code == 200, response.text
        assert server.received() == 15_000
