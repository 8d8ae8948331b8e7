"""Our client pays a solana-pay-kit 0.10 server by charge, in SOL; in tokens see test_solana_charges.py."""

from __future__ import annotations

import pytest

from support.peers import Peer
from support.solanacharges import buys, kit_serves, serving
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


@pytest.mark.parametrize("named", ["sol", "SOL"])
def test_our_client_pays_in_sol(paykit: Peer, shared_svm: SvmChain, named: str) -> None:
    """In either spelling; a limit in SOL is the owner's to set, since a dollar limit can't hold."""
    payee = shared_svm.keypair()
    before = shared_svm.balance(str(payee.pubkey()), "SOL")
    sold = {"currency": named, "decimals": 9, "recipient": str(payee.pubkey())}
    with serving(paykit, shared_svm, "USDC", kit_serves, **sold) as server:
        network = f"solana:{str(shared_svm.rpc('getGenesisHash'))[:32]}"
        response = buys(server, "/order", limits={f"{network}/sol": "0.05"})
        assert response.status_code == 200, response.text
    assert shared_svm.balance(str(payee.pubkey()), "SOL") - before == 10**7
