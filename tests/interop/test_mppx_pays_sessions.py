"""mppx 0.11 buys from our sessions: requests, streams, sockets, top-ups, closes, recovery; the chain is asked."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.methods.tempo.session.escrow import V2
from support.channelpeers import payer
from support.channelshop import COST, PRICE, WINDOW, WORDS, Booth, account, booth, escrow_of, paid_in, paid_out, secret
from support.devnet import Chain
from support.gates import Street
from support.peers import Peer, PeerError, mppx_home
from support.site import Reply, Seen

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-sessions")]


@pytest.fixture(scope="module")
def shop(devnet: Chain) -> Iterator[Booth]:
    """Our site; deposits of five requests are suggested."""
    with booth(devnet, deposit="0.005") as open_booth:
        yield open_booth


def spent(receipt: dict[str, Any]) -> tuple[int, int]:
    """What a receipt says was accepted and spent."""
    return int(receipt["acceptedCumulative"]), int(receipt["spent"])


@pytest.mark.parametrize("kind", ["fetch", "manager"])
def test_its_client_opens_once_and_buys_many_times(mppx_channels: Peer, shop: Booth, kind: str) -> None:
    """One opening, then vouchers; the deposit is the one that we suggest."""
    buyer = payer(mppx_channels, shop.chain, kind)
    for n in range(1, 5):
        answer = buyer.get(f"{shop.url}/{n}")
        assert (answer["status"], answer["body"]) == (200, "hello")
        assert spent(answer["receipt"]) == (n * COST, n * COST)
        assert answer["receipt"]["units"] == 1
    assert (buyer.count("open"), buyer.count("voucher"), buyer.count("topUp")) == (1, 3, 0)
    assert buyer.deposited == 5 * COST


def test_its_client_pays_for_posts_with_bodies(mppx_channels: Peer, shop: Booth) -> None:
    """A body is content, also where the opening carries it."""
    buyer = payer(mppx_channels, shop.chain, "fetch")
    answers = [buyer.get(f"{shop.url}/post", method="POST", body="a question") for _ in range(2)]
    assert [one["body"] for one in answers] == ["hello", "hello"]
    assert [spent(one["receipt"])[1] for one in answers] == [COST, 2 * COST]


@pytest.mark.parametrize("kind", ["fetch", "manager"])
def test_its_client_tops_up_by_itself(mppx_channels: Peer, shop: Booth, kind: str) -> None:
    """Where the deposit ends and its limit doesn't, it adds what we suggest, and goes on in the same channel."""
    buyer = payer(mppx_channels, shop.chain, kind)
    channels = {buyer.get(f"{shop.url}/{n}")["receipt"]["channelId"] for n in range(6)}
    assert len(channels) == 1
    assert (buyer.count("open"), buyer.count("topUp", "POST")) == (1, 1)
    assert buyer.deposited == 10 * COST


@pytest.mark.parametrize("kind", ["fetch", "manager"])
def test_its_client_stops_at_its_own_limit(mppx_channels: Peer, shop: Booth, kind: str) -> None:
    """What it may not sign it doesn't; nothing is delivered for it."""
    buyer = payer(mppx_channels, shop.chain, kind, maxDeposit="0.002")
    assert [buyer.get(f"{shop.url}/{n}")["status"] for n in range(2)] == [200, 200]
    with pytest.raises(PeerError, match="exceeds local maxDeposit"):
        buyer.get(f"{shop.url}/3")
    assert buyer.deposited == 2 * COST


@pytest.mark.spec("TSES-173", "TSES-174", "TSES-194")
def test_its_manager_follows_a_stream_that_runs_dry(mppx_channels: Peer, shop: Booth) -> None:
    """It pays word by word, by vouchers that a bodiless POST brings; beyond the deposit it tops up on the way."""
    buyer = payer(mppx_channels, shop.chain, "manager")
    told = buyer.order("stream", url=f"{shop.url}/words")
    assert told["words"] == [f"word {n}" for n in range(WORDS)]
    (receipt,) = told["receipts"]
    assert (spent(receipt)[1], receipt["units"]) == (WORDS * COST, WORDS)
    assert buyer.count("voucher", "POST") == 2
    assert buyer.count("topUp", "POST") == 1
    assert {status for verb, action, status in buyer.log if verb == "POST" and action} == {204}


def test_its_paying_fetch_follows_a_stream_that_runs_dry(mppx_channels: Peer, shop: Booth) -> None:
    """The same under a plain fetch that asks for events: the payment events are gone from what it reads."""
    buyer = payer(mppx_channels, shop.chain, "fetch")
    assert buyer.get(f"{shop.url}/first")["status"] == 200
    answer = buyer.get(f"{shop.url}/words", headers={"accept": "text/event-stream"})
    assert [line for line in answer["body"].splitlines() if line] == [f"data: word {n}" for n in range(WORDS)]
    after = buyer.get(f"{shop.url}/last")
    assert spent(after["receipt"])[1] == (WORDS + 2) * COST


def chat(seen: Seen) -> Reply:
    """An API that answers a question word by word."""
    events = "".join(f"data: word {n}\n\n" for n in range(WORDS))
    return Reply(200, events.encode(), (("Content-Type", "text/event-stream"),))


def test_its_manager_pays_a_gate_for_each_event_of_an_answer(
    mppx_channels: Peer, devnet: Chain, street: Street
) -> None:
    """A POST with a body is the question, a POST without one a voucher: the API sees one request."""
    owner = account(devnet)
    accept = {"recipient": owner.address, "session_key": secret(owner), "min_deposit": "0"}
    price = {"amount": PRICE, "per": "event", "unit": "word", "window": WINDOW, "deposit": "0.005"}
    shop = street.open(accept, api=chat, prices={"POST /chat": price}, free=[])
    buyer = payer(mppx_channels, devnet, "manager")
    told = buyer.order("stream", url=f"{shop.url}/chat", method="POST", body="how much is the fish?")
    assert told["words"] == [f"word {n}" for n in range(WORDS)]
    assert (spent(told["receipts"][-1])[1], len(shop.upstream.seen)) == (WORDS * COST, 1)
    assert buyer.count("voucher", "POST") >= 1
    buyer.order("closeChannel")
    assert buyer.refunded == buyer.deposited - WORDS * COST


@pytest.mark.parametrize("deposit", ["0.005", "0.01"])
def test_its_manager_pays_for_a_websocket(mppx_channels: Peer, devnet: Chain, deposit: str) -> None:
    """Frame by frame, with vouchers and, if need be, a top-up over HTTP on the way; then it closes what it opened."""
    with booth(devnet, deposit=deposit) as shop:
        buyer = payer(mppx_channels, devnet, "manager")
        told = buyer.order("socket", url=f"{shop.url.replace('http', 'ws')}/words")
        assert told["words"] == [f"word {n}" for n in range(WORDS)]
        assert spent(told["receipts"][-1])[1] == WORDS * COST
        receipt = buyer.order("closeChannel")
        assert spent(receipt)[1] == WORDS * COST
        assert shop.earned(escrow_of(devnet, V2)) == WORDS * COST
        assert buyer.refunded == buyer.deposited - WORDS * COST


def test_its_manager_closes_in_the_middle_of_a_websocket(mppx_channels: Peer, devnet: Chain) -> None:
    """It asks for the sum, signs exactly that, and gets the rest back; the stream ends there."""
    with booth(devnet, deposit="0.01", words=10_000) as shop:
        buyer = payer(mppx_channels, devnet, "manager", maxDeposit="0.2")
        told = buyer.order("socket", url=f"{shop.url.replace('http', 'ws')}/words", count=WORDS)
        assert len(told["words"]) == WORDS
        receipt = buyer.order("closeChannel")
        accepted, used = spent(receipt)
        assert WORDS * COST <= used == accepted < 200 * COST
        assert shop.earned(escrow_of(devnet, V2)) == used
        assert buyer.refunded == buyer.deposited - used


def test_its_client_pays_either_way_where_both_are_offered(mppx_channels: Peer, devnet: Chain) -> None:
    """With both methods it takes the charge, with one the session."""
    with booth(devnet, deposit="0.005", pay_by=None) as shop:
        for kind, action in (("common", "transaction"), ("fetch", "open")):
            buyer = payer(mppx_channels, devnet, kind)
            assert buyer.get(f"{shop.url}/{kind}")["status"] == 200
            assert [one[1] for one in buyer.log if one[1]] == [action]


def test_its_manager_tops_up_by_hand(mppx_channels: Peer, shop: Booth) -> None:
    """A receipt answers, and the reserve holds more."""
    buyer = payer(mppx_channels, shop.chain, "manager")
    buyer.get(f"{shop.url}/1")
    receipt = buyer.order("topUp", amount="0.003")
    assert spent(receipt) == (COST, COST)
    assert buyer.deposited == 8 * COST


@pytest.mark.spec("TSES-186", "TSES-187")
def test_its_manager_closes_and_gets_the_rest_back(mppx_channels: Peer, devnet: Chain) -> None:
    """What was bought goes to the owner, the rest to the payer, and the receipt names the transaction.

    Its manager closes with what it last authorized; a stream authorizes ahead, and that isn't captured.
    """
    with booth(devnet, deposit="0.01") as shop:
        buyer = payer(mppx_channels, devnet, "manager")
        assert buyer.get(f"{shop.url}/1")["status"] == 200
        told = buyer.order("stream", url=f"{shop.url}/words")
        accepted, used = spent(told["receipts"][-1])
        assert (used, accepted > used) == ((WORDS + 1) * COST, True)
        receipt = buyer.order("closeChannel")
        mined = devnet.rpc("eth_getTransactionReceipt", receipt["txHash"])
        assert isinstance(mined, dict)
        assert mined["status"] == "0x1"
        assert shop.earned(escrow_of(devnet, V2)) == used
        assert buyer.refunded == buyer.deposited - used == 10 * COST - used
        assert (spent(receipt)[1], buyer.count("close")) == (used, 1)


def test_its_manager_finds_its_channel_after_losing_everything(mppx_channels: Peer, shop: Booth) -> None:
    """HEAD, a proof of the account, and our snapshot: a second manager goes on in the first one's channel."""
    key = account(shop.chain)
    first = payer(mppx_channels, shop.chain, "manager", key, bootstrap=True)
    second = payer(mppx_channels, shop.chain, "manager", key, bootstrap=True)
    before = first.get(f"{shop.url}/1")
    after = second.get(f"{shop.url}/2")
    assert after["receipt"]["channelId"] == before["receipt"]["channelId"]
    assert spent(after["receipt"]) == (2 * COST, 2 * COST)
    assert [one[:2] for one in second.log][:2] == [("HEAD", None), ("HEAD", "proof")]
    assert second.count("open") == 0


def test_its_manager_finds_a_channel_that_is_used_up(mppx_channels: Peer, shop: Booth) -> None:
    """Our snapshot asks for nothing more than was spent, so that it takes the channel and tops it up."""
    key = account(shop.chain)
    first = payer(mppx_channels, shop.chain, "manager", key, bootstrap=True)
    before = [first.get(f"{shop.url}/{n}")["receipt"]["channelId"] for n in range(5)]
    second = payer(mppx_channels, shop.chain, "manager", key, bootstrap=True)
    assert second.get(f"{shop.url}/6")["receipt"]["channelId"] == before[0]
    assert (second.count("open"), second.count("topUp")) == (0, 1)


def test_its_client_is_sponsored(mppx_channels: Peer, devnet: Chain) -> None:
    """We pay the fees of opening, topping up and closing: its account spends what it bought and nothing more."""
    sponsor, key = account(devnet), account(devnet, 1)
    with booth(devnet, deposit="0.005", fee_payer_key=secret(sponsor)) as shop:
        buyer = payer(mppx_channels, devnet, "manager", key)
        for n in range(6):
            assert buyer.get(f"{shop.url}/{n}")["status"] == 200
        buyer.order("closeChannel")
    assert buyer.count("topUp") == 1
    assert devnet.balance_of("PathUSD", key.address) == 1_000_000 - 6 * COST


@pytest.mark.parametrize("kind", ["fetch", "manager"])
def test_its_client_signs_for_another_escrow_by_option_only(mppx_channels: Peer, devnet: Chain, kind: str) -> None:
    """It signs nothing for an escrow that it doesn't know, unless told to.

    How that would go on isn't seen: the local chain serves the reserve at its known address alone.
    """
    strange = PrivateKey(bytes([7]) * 32).address
    devnet.rpc("anvil_setCode", strange, str(devnet.rpc("eth_getCode", escrow_of(devnet, V2), "latest")))
    with booth(devnet, escrow=strange) as shop:
        careful = payer(mppx_channels, devnet, kind)
        with pytest.raises(PeerError, match="does not match client escrow"):
            careful.get(f"{shop.url}/1")
        assert careful.count("open") == 0
        told_to = payer(mppx_channels, devnet, kind, allowCustomEscrow=True)
        told_to.order("fetch", url=f"{shop.url}/1")
        assert told_to.count("open") >= 1
        assert told_to.deposited == 0


def test_its_command_buys_streams_and_closes(devnet: Chain, tmp_path: Path) -> None:
    """One channel for three runs of the `mppx` program; what it read is what the owner has, and the rest is back."""
    key, place = account(devnet), mppx_home()
    env = {**os.environ, "MPPX_PRIVATE_KEY": secret(key), "NO_COLOR": "1", "HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = ["node", "node_modules/mppx/dist/bin.js", *arguments]
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    at = ("--rpc-url", devnet.rpc_url)
    with booth(devnet, deposit="0.005") as shop:
        assert [run(f"{shop.url}/{n}", *at, "-s").strip() for n in range(2)] == ["hello"] * 2
        words = run(f"{shop.url}/words", *at, "-s", "-M", "deposit=0.02")
        assert [one.strip() for one in words.split("word ")[1:]] == [str(n) for n in range(WORDS)]
        channel = re.search("0x[0-9a-f]{64}", run("sessions", "list"))
        assert channel is not None
        assert "closed" in run("sessions", "close", channel.group(), *at)
        escrow, used = escrow_of(devnet, V2), (WORDS + 2) * COST
        assert shop.earned(escrow) == used
        assert paid_out(devnet, escrow, key.address) == paid_in(devnet, key.address, escrow) - used
