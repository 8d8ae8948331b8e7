"""solana-pay-kit 0.10 pays our gate by charge: what is its own; the rest is in test_solana_charges.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.peers import Peer, PeerError
from support.site import Reply, Site
from support.solanacharges import pays
from support.solanapeers import CENT, DOLLAR, REALM, Stall, seed, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


def test_its_client_writes_the_external_id_as_a_memo(paykit: Peer, shop: Stall) -> None:
    """An order's name stands on the chain and in the receipt, beyond ASCII too."""
    answer = pays(paykit, shop, "/order")
    assert answer["status"] == 200, answer["body"]
    assert answer["receipt"]["external_id"] == "order 7, ünïcode"
    options = {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0}
    landed = shop.svm.rpc("getTransaction", answer["receipt"]["reference"], options)
    parsed = [one.get("parsed") for one in landed["transaction"]["message"]["instructions"]]
    assert "order 7, ünïcode" in parsed


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
