"""Entries of payment channels: what goes in comes out, whoever posts it and however often."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.errors import LedgerError
from coinslot.intents.session import Channel, Stage
from coinslot.ledger import Entry, escrow_account, post_deposit, post_refund, post_settlement

ASSET = "toy:1/coin"
KEY = "toy:1/c1"
STEPS = st.lists(st.integers(1, 10**20), min_size=1, max_size=6)


def opened(deposit: int, settled: int = 0) -> Channel:
    """A channel with that deposit, all of it signed for."""
    return Channel(
        KEY, "c1", "toy:1", "toy", "alice", "shop", "alice", ASSET, deposit, deposit, settled=settled, stage=Stage.OPEN
    )


def deposit(proof: str, units: int) -> Entry:
    """An opening or top-up."""
    return post_deposit(KEY, "alice", ASSET, units, proof, 1.0, "0x1")


def accounts(*entries: Entry) -> dict[str, int]:
    """What each account holds after these entries."""
    sums: defaultdict[str, int] = defaultdict(int)
    for entry in entries:
        for posting in entry.postings:
            assert posting.asset == ASSET
            sums[posting.account] += posting.units
    return dict(sums)


@given(STEPS, STEPS, st.integers(0, 10**20))
def test_a_channel_ends_empty(deposits: list[int], payouts: list[int], untold: int) -> None:
    """Deposits, settlements and the close leave nothing in escrow; payee and payer got what the chain paid them."""
    total = sum(deposits)
    entries = [deposit(f"p{n}", units) for n, units in enumerate(deposits)]
    channel = opened(total)
    for units in payouts:
        reached = min(channel.settled + units, total)
        if reached > channel.settled:
            entries.append(post_settlement(channel, reached, 2.0, "0x2"))
            channel = replace(channel, settled=reached)
            assert accounts(*entries)[escrow_account(KEY)] == total - channel.settled
    last = (channel.settled + total) // 2
    entries.append(post_refund(channel, last, total + untold - last, 3.0, "0x3"))
    held = accounts(*entries)
    assert held.pop(escrow_account(KEY)) == 0
    assert held == {"payer:alice": -last, "payee:shop": last} or (last == 0 and held.get("payer:alice") == 0)
    assert len({entry.id for entry in entries}) == len(entries)


def test_a_deposit_is_named_by_its_proof() -> None:
    """The payer gives, the channel holds; less than nothing is no deposit."""
    assert deposit("0xab", 5).id == "deposit/0xab"
    assert accounts(deposit("0xab", 5)) == {"payer:alice": -5, "channel:toy:1/c1": 5}
    with pytest.raises(LedgerError):
        deposit("0xab", -1)


@pytest.mark.guard("F10")
@pytest.mark.parametrize("other", [40, 70, 100])
def test_two_that_saw_a_payout_from_the_same_total_clash(other: int) -> None:
    """Whether one saw more, or a close, both entries bear one id, so that a store keeps only the first."""
    seen = post_settlement(opened(100), 50, 2.0, "0x2")
    assert post_settlement(opened(100), other, 3.0, "0x3").id == seen.id
    assert post_refund(opened(100), other, 100 - other, 3.0, "0x3").id == seen.id
    assert post_settlement(opened(100, settled=50), 60, 3.0, "0x3").id != seen.id


@pytest.mark.parametrize("total", [0, 29, 30])
def test_a_settlement_pays_more_than_was_paid(total: int) -> None:
    """The total that was reached before is no settlement, nor is one below it."""
    with pytest.raises(LedgerError):
        post_settlement(opened(100, settled=30), total, 2.0, "0x2")


@pytest.mark.parametrize(("total", "refund"), [(29, 71), (30, 69), (50, -1), (101, -1)])
def test_a_close_that_contradicts_the_record_is_refused(total: int, refund: int) -> None:
    """Less than was paid out before, or less in all than was deposited, is not what happened to this channel."""
    with pytest.raises(LedgerError):
        post_refund(opened(100, settled=30), total, refund, 3.0, "0x3")


def test_a_close_at_the_settled_total_refunds_the_rest() -> None:
    """Nothing new for the payee, the rest back to the payer."""
    assert accounts(post_refund(opened(100, settled=30), 30, 70, 3.0, "0x3")) == {
        "channel:toy:1/c1": -70,
        "payer:alice": 70,
    }
