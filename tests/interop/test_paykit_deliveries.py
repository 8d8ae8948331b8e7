"""Our client reads streams of a solana-pay-kit 0.10 server that are paid for after they came, and pays them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import requests

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import CoinslotError, MalformedHeader, PaymentOutcomeUnknown, PolicyRefused
from coinslot.transports.httpx import pay as pay_httpx
from coinslot.transports.requests import pay as pay_requests
from support.paykitshop import COST, Buyer, mainlike, opened
from support.peers import Peer
from support.solanapeers import Theirs, seed
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


@pytest.fixture(scope="module")
def mainlike_svm() -> Iterator[SvmChain]:
    """A chain whose channel program has mainnet's treasury, the only one that this server knows."""
    with mainlike() as chain:
        yield chain


@pytest.fixture(scope="module")
def theirs(paykit: Peer, mainlike_svm: SvmChain) -> Iterator[Theirs]:
    """Sells each request for a thousandth, and streams for what they say."""
    with opened(paykit, mainlike_svm, metering={"amount": 5_000}) as server:
        yield server


@contextmanager
def saying(theirs: Theirs, **told: Any) -> Iterator[list[dict[str, Any]]]:
    """Its streams say this meanwhile; the commits that came are in the list afterwards."""
    seen = len(theirs.peer.call("metering", url=theirs.url, told=told))
    commits: list[dict[str, Any]] = []
    try:
        yield commits
    finally:
        usual = {"amount": 5_000, "commit_url": "", "words": 3, "done": True, "lost": 0, "answer": {}}
        commits += theirs.peer.call("metering", url=theirs.url, told=usual)[seen:]


def words(text: str) -> list[Any]:
    """The data of a stream, without its end."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(("usage", "paid"), [(None, 5_000), (2_000, 2_000), (0, 0)])
def test_our_client_pays_a_delivery(theirs: Theirs, usage: int | None, paid: int) -> None:
    """What the directive says, or the usage if there is one; the content is theirs, without the payment events."""
    buyer = Buyer(theirs)
    told: dict[str, Any] = {} if usage is None else {"usage": usage}
    with opened(theirs.peer, theirs.svm, metering={"amount": 5_000, **told}) as server:
        buyer.theirs = server
        with buyer.client() as client:
            answer = client.get(f"{server.url}/stream")
            assert answer.status_code == 200, answer.text
            assert words(answer.text) == [{"word": number} for number in range(3)]
            assert "mpp." not in answer.text
            commits = server.peer.call("metering", url=server.url)
            assert [one["status"] for one in commits] == [200] * bool(paid)
            assert (buyer.held.signed_units, buyer.held.acknowledged_units) == (COST + paid, COST + paid)
            assert buyer.held.spent_units == COST + paid
            assert client.get(f"{server.url}/again").status_code == 200
            assert buyer.held.spent_units == 2 * COST + paid


def test_our_asynchronous_client_pays_a_delivery(theirs: Theirs) -> None:
    """Under asyncio, also where its reader stops at the last event."""
    buyer = Buyer(theirs)

    async def read() -> list[str]:
        table = {"rpc_url": theirs.svm.rpc_url, "private_key": f"0x{seed(buyer.pair)}"}
        policy = Policy(max_deposit="0.03", prefer_sessions=True)
        async with pay_httpx(httpx.AsyncClient(trust_env=False), wallet(solana=table), policy, book=buyer.book) as http:
            found = []
            async with http.stream("GET", f"{theirs.url}/stream") as answer:
                async for line in answer.aiter_lines():
                    found.append(line)
                    if line == "data: [DONE]":
                        break
            return found

    assert asyncio.run(read())[-1] == "data: [DONE]"
    assert (buyer.held.spent_units, buyer.held.acknowledged_units) == (COST + 5_000, COST + 5_000)


def test_our_client_pays_what_it_left_early(theirs: Theirs) -> None:
    """What came by our own count, less than they had set aside: they take it, and go on with the channel."""
    buyer = Buyer(theirs)
    with saying(theirs, done=False) as commits, buyer.client() as client:
        with client.stream("GET", f"{theirs.url}/stream") as answer:
            assert "data:" in next(line for line in answer.iter_lines() if line.startswith("data:"))
        assert (buyer.held.signed_units, buyer.held.acknowledged_units) == (buyer.held.spent_units,) * 2
        assert COST < buyer.held.spent_units <= COST + 3 * COST
        assert client.get(f"{theirs.url}/again").status_code == 200
    assert [one["status"] for one in commits] == [200]


def test_our_client_of_requests_pays_a_delivery(theirs: Theirs) -> None:
    """With requests, and a stream that ends without saying so."""
    buyer = Buyer(theirs)
    table = {"rpc_url": theirs.svm.rpc_url, "private_key": f"0x{seed(buyer.pair)}"}
    policy = Policy(max_deposit="0.03", prefer_sessions=True)
    with saying(theirs, done=False), requests.Session() as plain:
        plain.trust_env = False
        answer = pay_requests(plain, wallet(solana=table), policy, book=buyer.book).get(f"{theirs.url}/stream")
        assert words(answer.text) == [{"word": number} for number in range(3)]
    assert buyer.held.spent_units == COST + 5_000


@pytest.mark.guard("F03")
def test_a_lost_answer_counts_once(theirs: Theirs) -> None:
    """They took the voucher and we never heard: the same bytes go out again, and it is paid once."""
    buyer = Buyer(theirs)
    with saying(theirs, lost=1) as commits, buyer.client() as client:
        assert client.get(f"{theirs.url}/stream").status_code == 200
    assert [one["body"]["status"] for one in commits] == ["committed", "replayed"]
    assert commits[0]["sent"] == commits[1]["sent"]
    assert (buyer.held.spent_units, buyer.held.signed_units) == (COST + 5_000, COST + 5_000)


@pytest.mark.guard("F03")
def test_a_commit_whose_end_is_not_known_goes_out_again_first(theirs: Theirs) -> None:
    """Three answers are lost: the outcome is unknown, and the next request settles it before it pays anything."""
    buyer = Buyer(theirs)
    with saying(theirs, lost=3) as commits, buyer.client() as client:
        with pytest.raises(PaymentOutcomeUnknown, match="whether it counts is not known"):
            client.get(f"{theirs.url}/stream")
        assert (buyer.held.signed_units, buyer.held.acknowledged_units) == (COST + 5_000, COST)
        assert client.get(f"{theirs.url}/again").status_code == 200
    assert len({one["sent"] for one in commits}) == 1
    assert [one["body"]["status"] for one in commits] == ["committed", *["replayed"] * 3]
    assert (buyer.held.spent_units, buyer.held.signed_units) == (2 * COST + 5_000, 2 * COST + 5_000)


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "settled"}, "status is neither"),
        ({"status": None}, "status is neither"),
        ({"sessionId": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"}, "sessionId is another channel"),
        ({"deliveryId": "another"}, "deliveryId is another delivery"),
        ({"cumulative": "6000.0"}, "cumulative is missing, or neither"),
        ({"cumulative": True}, "cumulative is missing, or neither"),
        ({"amount": -1}, "amount is less than 0"),
        ({"amount": 2**64}, "amount is"),
    ],
)
def test_what_is_no_acknowledgement_moves_no_watermark(theirs: Theirs, answer: dict[str, Any], reason: str) -> None:
    """A receipt of another channel or delivery, an unknown status, an amount that is none: named, and not believed."""
    buyer = Buyer(theirs)
    with saying(theirs, answer=answer), buyer.client() as client:
        with pytest.raises(PaymentOutcomeUnknown, match=reason):
            client.get(f"{theirs.url}/stream")
        assert (buyer.held.acknowledged_units, buyer.held.spent_units) == (COST, COST)
        assert buyer.held.signed_units == COST + 5_000


@pytest.mark.guard("T24")
@pytest.mark.parametrize("status", ["replayed", "committed"])
def test_a_receipt_never_moves_the_watermark_above_what_was_signed(theirs: Theirs, status: str) -> None:
    """However much it claims, as text or as an integer; and the next request goes on from what was signed."""
    buyer = Buyer(theirs)
    answer = {"status": status, "cumulative": 9_000_000, "amount": "9000000"}
    with saying(theirs, answer=answer), buyer.client() as client:
        assert client.get(f"{theirs.url}/stream").status_code == 200
        held = buyer.held
        assert (held.acknowledged_units, held.spent_units, held.signed_units) == (COST + 5_000,) * 3


@pytest.mark.guard("T24")
def test_a_replayed_receipt_never_moves_the_watermark_back(theirs: Theirs) -> None:
    """One that tells less than was acknowledged before changes nothing."""
    buyer = Buyer(theirs)
    with saying(theirs, answer={"status": "replayed", "cumulative": 1, "amount": 1}), buyer.client() as client:
        assert client.get(f"{theirs.url}/stream").status_code == 200
        assert (buyer.held.acknowledged_units, buyer.held.spent_units) == (COST, COST)


@pytest.mark.guard("T24")
@pytest.mark.parametrize(
    ("told", "limits", "kind", "reason"),
    [
        ({"session": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"}, {}, MalformedHeader, "sessionId is another"),
        ({"usage": 10, "usage_of": "another"}, {}, MalformedHeader, "deliveryId is not the delivery"),
        ({"usage": 8_001}, {"max_per_request": "0.009"}, PolicyRefused, "beside the price of one request"),
        ({"usage": 6_000}, {"max_window": 2}, PolicyRefused, "a window ahead"),
        ({"usage": 8_000}, {"max_deposit": "0.005"}, PolicyRefused, "max_deposit"),
        ({"usage": 8_000}, {"max_per_day": "0.005"}, PolicyRefused, "budget"),
        ({"commit_url": "http://127.0.0.1:9/commit"}, {}, PolicyRefused, "another site"),
        ({"commit_url": "//elsewhere.example/commit"}, {}, PolicyRefused, "another site"),
    ],
)
def test_nothing_is_signed_beyond_what_was_agreed(
    paykit: Peer,
    mainlike_svm: SvmChain,
    told: dict[str, Any],
    limits: dict[str, Any],
    kind: type[CoinslotError],
    reason: str,
) -> None:
    """Another channel, another delivery, too much, or a voucher for a stranger: refused by name, and nothing signed."""
    with opened(
        paykit, mainlike_svm, suggested_deposit=4_000, metering={"amount": 1_000, "words": 3, **told}
    ) as theirs:
        buyer = Buyer(theirs)
        with buyer.client(**limits) as client:
            with pytest.raises(kind, match=reason):
                client.get(f"{theirs.url}/stream")
            assert (buyer.held.signed_units, buyer.held.opening) == (COST, b"")
            assert theirs.peer.call("metering", url=theirs.url) == []
            assert client.get(f"{theirs.url}/again").status_code == 200


def test_a_usage_may_raise_what_its_delivery_costs(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """Within the limits. Their own server takes no more than it reserved; nothing counts of what it refused."""
    with opened(paykit, mainlike_svm, metering={"amount": 1_000, "usage": 4_000}) as theirs:
        buyer = Buyer(theirs)
        with buyer.client() as client:
            with pytest.raises(CoinslotError, match="refused the voucher for a delivery"):
                client.get(f"{theirs.url}/stream")
            (commit,) = theirs.peer.call("metering", url=theirs.url)
            assert "exceeds reserved amount" in commit["body"]["error"]
            assert (buyer.held.signed_units, buyer.held.acknowledged_units) == (COST + 4_000, COST)
            assert client.get(f"{theirs.url}/again").status_code == 200
            assert buyer.held.spent_units == 2 * COST


def test_a_commit_url_of_the_same_site_is_used(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """A path of its own, as their clients take it, too."""
    with opened(paykit, mainlike_svm, metering={"amount": 1_000, "commit_url": "/__402/session/commit?mine"}) as theirs:
        buyer = Buyer(theirs)
        with buyer.client() as client:
            assert client.get(f"{theirs.url}/stream").status_code == 200
        assert buyer.held.spent_units == 2 * COST
