"""Who gets what: the program's own arithmetic, to the last unit."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.solana.session.distribution import (
    MAX_RECIPIENTS,
    Payout,
    Split,
    check_splits,
    distribution_hash,
    dust,
    payouts,
    preimage,
    read_preimage,
)

PEOPLE = [address_text(sha256(bytes((each,))).digest()) for each in range(MAX_RECIPIENTS + 1)]
A, B = PEOPLE[:2]


@st.composite
def some_splits(draw: st.DrawFn) -> tuple[Split, ...]:
    """Splits that the program takes."""
    shares = draw(st.lists(st.integers(1, 10_000), max_size=MAX_RECIPIENTS))
    taken: list[Split] = []
    for person, share in zip(PEOPLE, shares, strict=False):
        if sum(split.share_bps for split in taken) + share <= 10_000:
            taken.append(Split(person, share))
    return tuple(taken)


@pytest.mark.spec("SSES-165", "SSES-168", "SSES-170")
def test_the_preimage_stands_as_the_document_says() -> None:
    """Count, then recipient and share, both little-endian; its hash is SHA-256; none is legal."""
    data = b"\x01\x00\x00\x00" + address_bytes(A) + b"\x10\x27"
    assert preimage([Split(A, 10_000)]) == data
    assert distribution_hash([Split(A, 10_000)]) == sha256(data).digest()
    assert distribution_hash([]) == sha256(bytes(4)).digest()


@given(some_splits())
def test_splits_are_read_as_they_were_written(splits: tuple[Split, ...]) -> None:
    """And not with a byte more or less."""
    data = preimage(splits)
    assert read_preimage(data) == splits
    for wrong in (data + b"\x00", data[:-1], bytes((len(splits) + 1,)) + data[1:]):
        with pytest.raises(BadTransaction):
            read_preimage(wrong)


@pytest.mark.spec("SSES-084", "SSES-085", "SSES-086", "SSES-166", "SSES-167", "SSES-025")
@pytest.mark.parametrize(
    "splits",
    [
        [Split(A, 0)],
        [Split(A, -1)],
        [Split(A, 10_001)],
        [Split(A, True)],
        [Split(A, 5_000), Split(B, 5_001)],
        [Split(A, 1), Split(A, 1)],
        [Split(person, 1) for person in PEOPLE],
        [Split(A, 1), Split(B, 1)],
    ],
)
def test_splits_that_the_program_refuses_are_refused(splits: list[Split]) -> None:
    """No share, too much, somebody twice, too many, the channel itself (here B)."""
    with pytest.raises(UsageError):
        check_splits(splits, B)


def test_splits_of_a_transaction_are_checked_as_ours_are() -> None:
    """What stands in the bytes of another."""
    for share in (0, 10_001):
        with pytest.raises(BadTransaction):
            read_preimage(b"\x01\x00\x00\x00" + address_bytes(A) + share.to_bytes(2, "little"))


def test_shares_are_rounded_down_and_made_up_for_later() -> None:
    """A third of one, three times, is one."""
    splits = [Split(A, 3_333), Split(B, 3_333)]
    assert payouts(splits, 1, 0) == Payout((0, 0), 0)
    assert payouts(splits, 4, 1) == Payout((1, 1), 1)
    assert dust(splits, 4) == 1
    assert payouts([], 7, 3) == Payout((), 4)
    assert payouts([Split(A, 10_000)], 7, 0) == Payout((7,), 0)


@given(some_splits(), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_however_often_it_is_paid_out_everybody_gets_the_same(splits: tuple[Split, ...], steps: list[int]) -> None:
    """In one go or in many; nobody gets more than is settled, and less than a unit per beneficiary is left."""
    steps.sort()
    paid = [payouts(splits, after, before) for before, after in zip([0, *steps], steps, strict=False)]
    whole = payouts(splits, steps[-1], 0)
    assert sum(each.payee_units for each in paid) == whole.payee_units
    for place in range(len(splits)):
        assert sum(each.recipients[place] for each in paid) == whole.recipients[place]
    assert whole.total_units + dust(splits, steps[-1]) == steps[-1]
    assert 0 <= dust(splits, steps[-1]) <= len(splits)


@pytest.mark.parametrize(("settled", "watermark"), [(1, 2), (2**64, 0), (1, -1)])
def test_numbers_that_no_channel_has_are_refused(settled: int, watermark: int) -> None:
    """More paid out than settled, or more than a u64."""
    with pytest.raises(UsageError):
        payouts([], settled, watermark)
