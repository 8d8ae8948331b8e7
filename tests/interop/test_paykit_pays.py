"""solana-pay-kit 0.10 pays our gate by charge: USDC, PYUSD, splits, memos, sponsored or not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.peers import Peer, PeerError
from support.site import Reply, Site
from support.solanapeers import CENT, DOLLAR, REALM, Stall, seed, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


def pays(paykit: Peer, shop: Stall, path: str = "/paid", **more: Any) -> dict[str, Any]:
    """One request by its client, with a fresh account that has SOL unless told otherwise."""
    if "key" not in more:
        more["key"] = seed(shop.svm.keypair(**{shop.token: DOLLAR}))
    answer = paykit.call("pay", url=shop.url + path, rpc_url=shop.svm.rpc_url, **more)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def shop(shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Stall]:
    """Sells in an old token and in one of Token-2022."""
    with stall(shared_svm, request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def sponsored(shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Stall]:
    """Pays its customers' fees."""
    sponsor = shared_svm.keypair()
    with stall(shared_svm, request.param, fee_payer_key=f"0x{seed(sponsor)}") as opened:
        yield opened


def test_its_client_pays(paykit: Peer, shop: Stall) -> None:
    """The price arrives, the content comes back, and its own reader finds the transaction in the receipt."""
    before = shop.received()
    answer = pays(paykit, shop)
    assert (answer["status"], answer["body"]) == (200, "paid for")
    assert shop.received() - before == CENT
    receipt = answer["receipt"]
    assert (receipt["method"], receipt["status"]) == ("solana", "success")
    assert shop.svm.rpc("getSignatureStatuses", [receipt["reference"]])["value"][0] is not None


def test_its_client_pays_for_a_post_with_a_body(paykit: Peer, shop: Stall) -> None:
    """The body is bound to the payment and arrives whole, once."""
    delivered = shop.hits.get("/paid", 0)
    answer = pays(paykit, shop, method="POST", body='{"ünï": "code"}')
    assert (answer["status"], answer["body"]) == (200, '{"ünï": "code"}')
    assert shop.hits["/paid"] - delivered == 1


def test_its_client_pays_splits(paykit: Peer, shop: Stall) -> None:
    """Everybody gets exactly their share."""
    everybody = (shop.recipient, *shop.others)
    before = [shop.received(who) for who in everybody]
    answer = pays(paykit, shop, "/split")
    assert answer["status"] == 200, answer["body"]
    after = [shop.received(who) for who in everybody]
    assert [new - old for new, old in zip(after, before, strict=True)] == [15_000, 10_000, 5_000]


def test_its_client_writes_the_external_id_as_a_memo(paykit: Peer, shop: Stall) -> None:
    """An order's name stands on the chain and in the receipt, beyond ASCII too."""
    answer = pays(paykit, shop, "/order")
    assert answer["status"] == 200, answer["body"]
    assert answer["receipt"]["external_id"] == "order 7, ünïcode"
    options = {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0}
    landed = shop.svm.rpc("getTransaction", answer["receipt"]["reference"], options)
    parsed = [one.get("parsed") for one in landed["transaction"]["message"]["instructions"]]
    assert "order 7, ünïcode" in parsed


def test_its_client_is_sponsored(paykit: Peer, sponsored: Stall) -> None:
    """Our gate pays the fee: an account without SOL spends the price and nothing more."""
    payer = sponsored.svm.keypair(lamports=0, **{sponsored.token: DOLLAR})
    for path, price in (("/paid", CENT), ("/split", 3 * CENT)):
        before = sponsored.svm.balance(str(payer.pubkey()), sponsored.token)
        answer = pays(paykit, sponsored, path, key=seed(payer))
        assert answer["status"] == 200, answer["body"]
        assert before - sponsored.svm.balance(str(payer.pubkey()), sponsored.token) == price
    assert sponsored.svm.balance(str(payer.pubkey()), "SOL") == 0


def test_its_client_pays_each_request_anew(paykit: Peer, shop: Stall) -> None:
    """Two requests of one account are two payments, though it builds the same transfer both times."""
    payer, before = shop.svm.keypair(**{shop.token: DOLLAR}), shop.received()
    references = {pays(paykit, shop, key=seed(payer))["receipt"]["reference"] for _ in range(2)}
    assert len(references) == 2
    assert shop.received() - before == 2 * CENT


def test_its_plain_transport_pays_what_is_offered_first(paykit: Peer, shared_svm: SvmChain) -> None:
    """It tries no other offer: the charge stands before the session."""
    owner = shared_svm.keypair(USDC=1)
    with stall(shared_svm, owner=owner, session_key=f"0x{seed(owner)}") as shop:
        offers = httpx.get(f"{shop.url}/paid").headers.get_list("www-authenticate")
        assert ['intent="charge"' in offers[0], 'intent="session"' in offers[-1]] == [True, True]
        assert pays(paykit, shop, plain=True)["status"] == 200


def test_its_client_pays_in_sol(paykit: Peer, shared_svm: SvmChain) -> None:
    """A charge without a token, by its plain transport: its permissions know tokens only."""
    owner = shared_svm.keypair()
    before = shared_svm.balance(str(owner.pubkey()), "SOL")
    with stall(shared_svm, owner=owner, currency="sol", routes={"/paid": "0.01"}) as shop:
        answer = pays(paykit, shop, plain=True)
        assert answer["status"] == 200, answer["body"]
        with pytest.raises(PeerError, match="permitted"):
            pays(paykit, shop)
    assert shared_svm.balance(str(owner.pubkey()), "SOL") - before == 10**7


def test_its_client_takes_no_for_an_answer(paykit: Peer, shop: Stall) -> None:
    """Who can't pay gets a 402 with a reason and a fresh challenge; nothing is delivered."""
    delivered = shop.hits.get("/paid", 0)
    answer = pays(paykit, shop, key=seed(shop.svm.keypair(**{shop.token: CENT - 1})))
    assert answer["status"] == 402
    assert "hold enough" in answer["body"], answer["body"]
    assert answer["headers"]["www-authenticate"].startswith("Payment ")
    assert shop.hits.get("/paid", 0) == delivered


def test_its_client_pays_the_gate_program(paykit: Peer, shared_svm: SvmChain, tmp_path: Path) -> None:
    """`coinslot gate` in front of an API, with two lines of settings: a charge, and a channel."""
    owner = shared_svm.keypair(USDC=1)
    config = tmp_path / "gate.toml"
    with Site(lambda seen: Reply(200, seen.path.encode())) as api:
        config.write_text(
            f'upstream = "{api.url}"\nrealm = "{REALM}"\nlisten = "127.0.0.1:0"\nstore = "memory:"\n'
            '[prices]\n"GET /**" = "0.01"\n'
            f'[[accept]]\nmethod = "solana"\nrpc_url = "{shared_svm.rpc_url}"\nrecipient = "{owner.pubkey()}"\n'
            f'session_key = "0x{seed(owner)}"\n'
        )
        command = [sys.executable, "-m", "coinslot.cli.main", "gate", str(config), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout
                url = json.loads(process.stdout.readline())["url"]
                order = {"rpc_url": shared_svm.rpc_url, "key": seed(shared_svm.keypair(USDC=DOLLAR))}
                assert paykit.call("pay", url=f"{url}/charged", **order)["body"] == "/charged"
                channel = paykit.call("session.open", url=f"{url}/bought", deposit=DOLLAR // 2, **order)["channel"]
                bought = paykit.call("session.pay", channel=channel, amount=CENT)
                assert (bought["status"], bought["body"]) == (200, "/bought"), bought["body"]
            finally:
                process.terminate()
