"""solana-pay-kit 0.10's consumer of metered streams reads streams of our gate, and commits what they came to."""

from __future__ import annotations

import json
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
DEPOSIT = 50_000
CREDIT = 12_000


@contextmanager
def lending(svm: SvmChain, **settings: Any) -> Iterator[Stall]:
    """Sells words for a thousandth each, and trusts a channel with twelve of them."""
    owner = svm.keypair(USDC=1)
    key = f"0x{seed(owner)}"
    table = {"session_key": key, "fee_payer_key": key, "min_deposit": "0", "credit_units": CREDIT, **settings}
    with stall(svm, owner=owner, routes={"/**": "0.001"}, metered="0.001", **table) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(shared_svm: SvmChain) -> Iterator[Stall]:
    """One that all of these share."""
    with lending(shared_svm) as opened:
        yield opened


def opens(paykit: Peer, shop: Stall, payer: Keypair | None = None) -> str:
    """A channel of its client, open for the streams; its id."""
    payer = payer or shop.svm.keypair(lamports=0, USDC=DOLLAR)
    order = {"url": f"{shop.url}/stream", "rpc_url": shop.svm.rpc_url, "key": seed(payer), "deposit": DEPOSIT}
    answer = paykit.call("session.open", **order)
    assert answer["status"] == 200, answer["body"]
    return str(answer["channel"])


def reads(paykit: Peer, shop: Stall, channel: str, **more: Any) -> dict[str, Any]:
    """A stream, read and committed."""
    commit = f"{shop.url}/__402/session/commit"
    order = {"url": f"{shop.url}/stream", "channel": channel, "amount": 1, "commit_url": commit, **more}
    answer = paykit.call("session.metered", **order)
    assert isinstance(answer, dict)
    return answer


def test_its_consumer_pays_what_a_stream_came_to(paykit: Peer, shop: Stall) -> None:
    """Five words, one commit, one receipt; closing takes what its last voucher says: the words, and one for asking."""
    payer = shop.svm.keypair(lamports=0, USDC=DOLLAR)
    before, channel = shop.received(), opens(paykit, shop, payer)
    read = reads(paykit, shop, channel)
    assert read["messages"] == [{"word": number} for number in range(WORDS)]
    assert read["raw"].endswith("data: [DONE]\n\n")
    assert "payment-need-voucher" not in read["raw"]
    (receipt,) = read["receipts"]
    assert receipt["status"] == "committed"
    assert (receipt["amount"], receipt["cumulative"]) == (str(WORDS * COST), str(WORDS * COST + 1))
    assert read["cumulative"] == WORDS * COST + 1
    second = reads(paykit, shop, channel)
    assert second["receipts"][0]["cumulative"] == str(2 * WORDS * COST + 2)
    closed = paykit.call("session.close", channel=channel, amount=1)
    assert closed["status"] == 204, closed["body"]
    assert shop.received() - before == 2 * WORDS * COST + 2
    assert shop.svm.balance(str(payer.pubkey()), "USDC") == DOLLAR - 2 * WORDS * COST - 2


def test_its_consumer_pays_where_an_answer_may_be_no_stream(paykit: Peer, shared_svm: SvmChain) -> None:
    """One unit must be authorized first, since only a stream can be paid afterwards; it does for all that follow."""
    with lending(shared_svm, events=False) as shop:
        channel = opens(paykit, shop)
        assert reads(paykit, shop, channel)["status"] == 402
        for number, amount in enumerate((COST, 1, 1), 1):
            read = reads(paykit, shop, channel, amount=amount)
            assert read["messages"] == [{"word": word} for word in range(WORDS)]
            assert read["receipts"][0]["amount"] == str(WORDS * COST)
            assert number * WORDS * COST <= read["cumulative"] <= number * WORDS * COST + COST + 3


@pytest.mark.guard("T15")
def test_its_consumer_is_refused_without_saying_who_it_is(paykit: Peer, shop: Stall) -> None:
    """As its own servers would let it: here what came stays owed, and nothing else comes once the credit is used up."""
    channel = opens(paykit, shop)
    for _ in range(2):
        read = reads(paykit, shop, channel, plain=True)
        assert "402" in read["refused"]
    last = reads(paykit, shop, channel, plain=True)
    assert last["messages"] == [{"word": 0}, {"word": 1}]  # twelve words in all
    refused = reads(paykit, shop, channel)
    assert refused["status"] == 402
    assert "trusted with" in refused["body"]


def reserves(paykit: Peer, shop: Stall, channel: str, **order: Any) -> dict[str, Any]:
    """A reservation of 2,000 units at the endpoint."""
    body = {"sessionId": channel, "amount": str(2 * COST), **order.pop("body", {})}
    url = f"{shop.url}/__402/session/deliveries"
    answer = paykit.call("session.reserve", channel=channel, url=url, body=body, **order)
    assert isinstance(answer, dict)
    return answer


def test_its_client_reserves_and_a_stream_takes_it_up(paykit: Peer, shop: Stall) -> None:
    """What was reserved under its name is what the next stream may cost."""
    channel = opens(paykit, shop)
    made = reserves(paykit, shop, channel, body={"deliveryId": "mine"})
    assert made["status"] == 200, made["body"]
    directive = json.loads(made["body"])
    assert (directive["deliveryId"], directive["sessionId"], directive["amount"]) == ("mine", channel, "2000")
    assert reserves(paykit, shop, channel, body={"deliveryId": "mine"})["status"] == 422
    read = reads(paykit, shop, channel)
    assert read["messages"] == [{"word": 0}, {"word": 1}]
    assert (read["receipts"][0]["delivery_id"], read["receipts"][0]["amount"]) == ("mine", "2000")


@pytest.mark.guard("T15")
def test_nobody_reserves_by_a_channels_name(paykit: Peer, shop: Stall) -> None:
    """Without a credential, with one of another channel, or with one that settling has shown: nothing is reserved."""
    channel, other = opens(paykit, shop), opens(paykit, shop)
    assert reserves(paykit, shop, channel, plain=True)["status"] == 402
    foreign = reserves(paykit, shop, other, body={"sessionId": channel})
    assert (foreign["status"], "another channel" in foreign["body"]) == (402, True)
    for body in ({"amount": "0"}, {"amount": "1e3"}, {"amount": -1}, {"amount": True}, {"deliveryId": 7}):
        assert reserves(paykit, shop, channel, body=body)["status"] == 400, body
