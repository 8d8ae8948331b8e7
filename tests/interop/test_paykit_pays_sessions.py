"""solana-pay-kit 0.10 pays our gate through channels, whoever signs the vouchers.

Of sessions it has the builders only and no transport: its bytes are its own, the requests around them are made in
paykit/peer.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from solders.keypair import Keypair

from support.peers import Peer
from support.solanapeers import DOLLAR, WORDS, Stall, seed, stall
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]

COST = 1_000
DEPOSIT = 10_000


@contextmanager
def session_stall(svm: SvmChain, token: str = "USDC", **settings: Any) -> Iterator[Stall]:
    """Sells from channels, and pays for opening them."""
    owner = svm.keypair(**{token: 1})
    key = f"0x{seed(owner)}"
    table = {"session_key": key, "fee_payer_key": key, "min_deposit": "0", **settings}
    table = {name: value for name, value in table.items() if value is not None}
    with stall(svm, token, owner=owner, routes={"/**": "0.001"}, **table) as opened:
        yield opened


@pytest.fixture(scope="module", params=["client-USDC", "client-PYUSD", "operator-USDC", "operator-PYUSD"])
def shop(shared_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Stall]:
    """Sells in two tokens; vouchers are signed by clients or by us."""
    voucher_signer, token = request.param.split("-")
    with session_stall(shared_svm, token, voucher_signer=voucher_signer) as opened:
        yield opened


def opens(paykit: Peer, shop: Stall, payer: Keypair, **more: Any) -> dict[str, Any]:
    """A channel of its client, open."""
    order = {"url": f"{shop.url}/words", "rpc_url": shop.svm.rpc_url, "key": seed(payer), "deposit": DEPOSIT, **more}
    answer = paykit.call("session.open", **order)
    assert answer["status"] == 200, answer["body"]
    assert answer["receipt"]["reference"] == answer["channel"]
    assert isinstance(answer, dict)
    return answer


def buys(paykit: Peer, channel: str, times: int) -> dict[str, Any]:
    """That many purchases; the last answer."""
    answer: dict[str, Any] = {}
    for _ in range(times):
        answer = paykit.call("session.pay", channel=channel, amount=COST)
        assert (answer["status"], answer["body"]) == (200, "paid for"), answer
    return answer


def test_its_client_opens_buys_and_closes(paykit: Peer, shop: Stall) -> None:
    """A channel lives its whole life, at our cost: what was bought is paid, the rest is back."""
    payer = shop.svm.keypair(lamports=0, **{shop.token: DOLLAR})
    before, delivered = shop.received(), shop.hits.get("/words", 0)
    channel = opens(paykit, shop, payer)["channel"]
    receipt = buys(paykit, channel, 3)["receipt"]
    assert (receipt["spent"], receipt["reference"], receipt["intent"]) == (str(3 * COST), channel, "session")
    closed = paykit.call("session.close", channel=channel, again=shop.clients_sign)
    assert closed["status"] == 204, closed["body"]
    assert closed["receipt"]["refunded"] == str(DEPOSIT - 3 * COST)
    assert shop.svm.balance(str(payer.pubkey()), shop.token) == DOLLAR - 3 * COST
    assert shop.received() - before == 3 * COST
    assert shop.hits["/words"] - delivered == 3


def test_its_client_tops_up(paykit: Peer, shop: Stall) -> None:
    """A purchase beyond the deposit is refused, and taken once there is more."""
    payer = shop.svm.keypair(lamports=0, **{shop.token: DOLLAR})
    channel = opens(paykit, shop, payer, deposit=COST)["channel"]
    buys(paykit, channel, 1)
    short = paykit.call("session.pay", channel=channel, amount=COST)
    assert short["status"] == 402, short["body"]
    more = paykit.call("session.topUp", channel=channel, amount=4 * COST)
    assert more["status"] == 204, more["body"]
    assert shop.svm.balance(str(payer.pubkey()), shop.token) == DOLLAR - 5 * COST
    assert buys(paykit, channel, 1)["receipt"]["spent"] == str(2 * COST)


def test_its_client_closes_with_a_last_voucher(paykit: Peer, shared_svm: SvmChain) -> None:
    """What the last voucher says more than was bought is not taken."""
    with session_stall(shared_svm) as shop:
        payer = shop.svm.keypair(lamports=0, USDC=DOLLAR)
        channel = opens(paykit, shop, payer)["channel"]
        buys(paykit, channel, 2)
        closed = paykit.call("session.close", channel=channel, amount=COST)
        assert closed["status"] == 204, closed["body"]
        assert shop.received() == 2 * COST
        assert shop.svm.balance(str(payer.pubkey()), "USDC") == DOLLAR - 2 * COST


def test_its_client_can_not_close_without_a_voucher(paykit: Peer, shared_svm: SvmChain) -> None:
    """Its helper leaves the last voucher out unless there is more to pay. Without one anybody could close: refused."""
    with session_stall(shared_svm) as shop:
        channel = opens(paykit, shop, shop.svm.keypair(lamports=0, USDC=DOLLAR))["channel"]
        buys(paykit, channel, 1)
        closed = paykit.call("session.close", channel=channel)
        assert closed["status"] == 402
        assert "voucher is missing" in closed["body"]
        buys(paykit, channel, 1)


def test_its_client_pays_its_own_fees(paykit: Peer, shared_svm: SvmChain) -> None:
    """Where we don't sponsor, opening and topping up cost its SOL."""
    with session_stall(shared_svm, fee_payer_key=None) as shop:
        payer = shop.svm.keypair(USDC=DOLLAR)
        channel = opens(paykit, shop, payer)["channel"]
        more = paykit.call("session.topUp", channel=channel, amount=COST)
        assert more["status"] == 204, more["body"]
        assert buys(paykit, channel, 1)["receipt"]["spent"] == str(COST)


def test_its_client_delegates_signing_and_chooses_when_to_idle(paykit: Peer, shared_svm: SvmChain) -> None:
    """Another key than the payer's signs vouchers; the receipt repeats the idle timeout that was chosen."""
    with session_stall(shared_svm, idle_timeouts=(300, 900)) as shop:
        payer, delegate = shop.svm.keypair(lamports=0, USDC=DOLLAR), Keypair()
        opened = opens(paykit, shop, payer, delegate=seed(delegate), idle=900)
        assert opened["receipt"]["idle_timeout_seconds"] == 900
        assert buys(paykit, opened["channel"], 2)["receipt"]["idle_timeout_seconds"] == 900


def test_its_client_opens_with_our_splits(paykit: Peer, shared_svm: SvmChain) -> None:
    """What the channel pays is shared out as our challenge says."""
    other = str(shared_svm.keypair(lamports=0, USDC=1).pubkey())
    with session_stall(shared_svm, session_splits=[{"recipient": other, "bps": 2_500}]) as shop:
        channel = opens(paykit, shop, shop.svm.keypair(lamports=0, USDC=DOLLAR))["channel"]
        buys(paykit, channel, 4)
        assert paykit.call("session.close", channel=channel, again=True)["status"] == 204
        assert (shop.received(), shop.received(other)) == (3 * COST, COST)


def test_its_client_repeats_itself_and_pays_once(paykit: Peer, shop: Stall) -> None:
    """The same request with the same Idempotency-Key is answered again, and not sold again."""
    channel = opens(paykit, shop, shop.svm.keypair(lamports=0, **{shop.token: DOLLAR}))["channel"]
    first = paykit.call("session.pay", channel=channel, amount=COST, idempotency_key="once")
    again = paykit.call("session.pay", channel=channel, amount=COST, idempotency_key="once", again=True)
    assert (first["status"], again["status"]) == (200, 200), again["body"]
    assert again["receipt"]["spent"] == first["receipt"]["spent"] == str(COST)


@pytest.mark.parametrize("signer", ["client", "operator"])
def test_its_client_reads_a_stream_that_it_paid_in_advance(paykit: Peer, shared_svm: SvmChain, signer: str) -> None:
    """Events are what they are there. It waits in vain for the events by which its own servers ask for vouchers: those
    are of a side channel that the document doesn't have."""
    with session_stall(shared_svm, metered="0.001", voucher_signer=signer) as shop:
        payer, url = shop.svm.keypair(lamports=0, USDC=DOLLAR), f"{shop.url}/stream"
        order = {"url": url, "rpc_url": shop.svm.rpc_url, "key": seed(payer), "deposit": DEPOSIT}
        channel = paykit.call("session.open", **order)["channel"]
        read = paykit.call("session.stream", url=url, channel=channel, amount=WORDS * COST)
        assert (read["status"], read["messages"]) == (200, [{"word": number} for number in range(WORDS)])
        assert read["refused"] == "stream did not include mpp.metering event"
        closed = paykit.call("session.close", channel=channel, amount=0 if signer == "operator" else COST)
        assert closed["status"] == 204, closed["body"]
        assert (shop.received(), closed["receipt"]["spent"]) == (WORDS * COST, str(WORDS * COST)), closed["receipt"]
