"""@solana/mpp 0.6.0 (JavaScript) pays our gate by charge: what is its own; the rest is in test_solana_charges.py.

Its sessions are those of an older channel program; see docs/interop.md.
"""

from __future__ import annotations

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.methods.solana.session.voucher import voucher_message
from support.peers import Peer
from support.solanacharges import pays
from support.solanapeers import CENT, Stall, seed, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


def test_its_client_pushes(solana_mpp: Peer, shop: Stall) -> None:
    """It broadcasts by itself, and its own reader finds the transaction in the receipt."""
    before = shop.received()
    answer = pays(solana_mpp, shop, rpc="rpcUrl", broadcast=True)
    assert (answer["status"], answer["body"]) == (200, "paid for")
    assert shop.received() - before == CENT
    assert shop.svm.rpc("getSignatureStatuses", [answer["receipt"]["reference"]])["value"][0] is not None


def test_its_client_writes_memos(solana_mpp: Peer, shop: Stall) -> None:
    """The external id comes back in the receipt."""
    assert pays(solana_mpp, shop, "/order", rpc="rpcUrl")["receipt"]["externalId"] == "order 7, ünïcode"


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
        assert pays(solana_mpp, shop, rpc="rpcUrl", sessions=True)["status"] == 200
        assert shop.received() == CENT
    channel = str(Keypair().pubkey())
    theirs = solana_mpp.call("voucher", channelId=channel, cumulativeAmount="7", expiresAt=0)
    ours = voucher_message(channel, 7, 0)
    assert (len(bytes.fromhex(theirs)), len(ours)) == (48, 50)
    assert ours.endswith(bytes.fromhex(theirs))
