"""What the chain says of channels, and the rent that it gives back."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.drive import run
from coinslot.errors import ChainError
from coinslot.methods.solana.session.channel import Status
from support.solanapayouts import Tills, bought
from support.solanatill import COST, DEPOSIT, GRACE_S, PURSE, receipt_of


@pytest.mark.spec("SSES-152", "SSES-213", "SSES-282", "SSES-281", "SSES-016")
@pytest.mark.guard("T27", "F12")
def test_channels_are_seen_as_the_chain_has_them(solana_till: Tills) -> None:
    """Open, closing, closed, and gone; deposits from the channel's account, never from what its escrow holds."""
    till = solana_till()
    buyers = [bought(till) for _ in range(3)]
    till.svm.fund(buyers[0].channel, 77, "USDC")  # anybody may
    buyers[1].ask_to_close()
    assert till.answer(buyers[2].close()).status == 204
    never = till.client()
    records = [one.record for one in buyers]
    seen = run(till.seller.look(records), till.world)
    assert [(one.exists, one.closed, one.deposit_units) for one in seen] == [
        (True, False, DEPOSIT), (True, False, DEPOSIT), (True, True, DEPOSIT),
    ]  # fmt: skip
    assert seen[0].closing_at_s is None
    assert seen[1].closing_at_s is not None
    assert seen[2].settled_units == COST
    assert never.on_chain is None


@pytest.mark.spec("SSES-152", "SSES-213", "SSES-281", "SSES-282", "SSES-286")
@pytest.mark.guard("T07", "T08", "T28", "F12")
def test_what_is_not_our_channel_is_a_fault_and_no_news(solana_till: Tills) -> None:
    """Another owner, another shape, another channel's data, another version: nobody is told that it is closed."""
    till = solana_till()
    buyer, other = bought(till), till.buyer(deposit=DEPOSIT + 1)
    told: Any = till.svm.rpc("getAccountInfo", buyer.channel, {"encoding": "base64"})
    theirs: Any = till.svm.rpc("getAccountInfo", other.channel, {"encoding": "base64"})
    mine = base64.b64decode(told["value"]["data"][0])
    for change in (
        {"owner": TOKEN_PROGRAM},
        {"data": mine[:-1].hex()},
        {"data": base64.b64decode(theirs["value"]["data"][0]).hex()},
        {"data": (b"\x02" + mine[1:]).hex()},
        {"data": (mine[:1] + b"\x02" + mine[2:]).hex()},
        {"data": (mine[:52] + b"\x01\0\0\0" + mine[56:]).hex()},
        {"data": bytes(256).hex()},
    ):
        till.svm.rpc("surfnet_setAccount", buyer.channel, change)
        with pytest.raises(ChainError):
            run(till.seller.look([buyer.record]), till.world)
        till.svm.rpc("surfnet_setAccount", buyer.channel, {"owner": PROGRAM_ID, "data": mine.hex()})
    assert run(till.seller.look([buyer.record]), till.world)[0].exists


@pytest.mark.guard("F12")
def test_a_gift_to_a_channel_that_is_gone_does_not_bring_it_back(solana_till: Tills) -> None:
    """Lamports at its address are no channel."""
    till = solana_till()
    buyer = bought(till)
    assert till.answer(buyer.close()).status == 204
    till.svm.running.advance_slots(1_501)
    assert run(till.seller.tidy(), till.world) == 1
    assert buyer.on_chain is None
    till.svm.fund(buyer.channel, 10**7, "SOL")
    assert not run(till.seller.look([buyer.record]), till.world)[0].exists


@pytest.mark.spec("SSES-043", "SSES-044", "SSES-046", "SSES-051")
def test_the_rent_of_drained_channels_comes_back(solana_till: Tills) -> None:
    """When their addresses can't be opened any more, many at once; others are left alone."""
    till = solana_till()
    before = till.svm.balance(till.payer.address, "SOL")
    closed = [bought(till) for _ in range(3)]
    going = bought(till)
    for buyer in closed:
        assert till.answer(buyer.close()).status == 204
    assert run(till.seller.tidy(), till.world) == 0
    till.svm.running.advance_slots(1_501)
    till.world.at_s += 11
    late = bought(till)
    assert till.answer(late.close()).status == 204
    report = till.settle(turn=0)
    assert report.tidied == 3
    found: list[Any] = [till.svm.rpc("getSignaturesForAddress", one.channel) for one in closed]
    assert len({each[0]["signature"] for each in found}) == 1  # one transaction
    assert [one.on_chain for one in closed] == [None] * 3
    assert going.on_chain is not None
    assert late.on_chain is not None
    spent = before - till.svm.balance(till.payer.address, "SOL")
    # the payee's and the treasury's token accounts were made; two channels are still out
    assert spent < 4 * 2_100_000 + 2 * 5_000_000


@pytest.mark.guard("T28", "T31")
def test_the_rent_of_a_channel_that_its_payer_abandoned_comes_back(solana_till: Tills) -> None:
    """It was opened at our cost and closed at once, and nobody but us would ever free its rent."""
    till = solana_till()
    buyer, going = till.client(), bought(till)
    till.svm.faults.refuse(method="getTransaction", count=1_000)
    assert till.answer(buyer.open()).status == 503
    buyer.ask_to_close()
    till.svm.faults.clear()
    assert till.answer(buyer.open()).status == 402
    assert run(till.seller.tidy(), till.world) == 0  # its payer could still be owed to, or owe: the grace period runs
    till.svm.running.warp_seconds(GRACE_S + 1)
    till.svm.running.advance_slots(1)
    assert run(till.seller.tidy(), till.world) == 1
    account = buyer.on_chain
    assert account is not None
    assert (account.status, buyer.purse) == (Status.DISTRIBUTED, PURSE)
    till.svm.running.advance_slots(1_501)
    assert run(till.seller.tidy(), till.world) == 1
    assert buyer.on_chain is None
    assert going.on_chain is not None


def test_a_channel_closed_after_the_window_is_gone_at_once(solana_till: Tills) -> None:
    """Its account is freed by the distribution itself; what was paid is known by what we sent."""
    till = solana_till()
    buyer = bought(till)
    till.svm.running.advance_slots(1_501)
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    assert buyer.on_chain is None
    assert (buyer.record.settled, buyer.purse) == (COST, PURSE - COST)
    assert receipt_of(answer).extra["refunded"] == str(DEPOSIT - COST)
