"""What a client believes of a server's snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import encode_object
from coinslot.errors import UsageError
from coinslot.methods.tempo.session.escrow import V2, Escrow
from coinslot.methods.tempo.session.snapshot import (
    HighestVoucher,
    Snapshot,
    believe_snapshot,
    decode_snapshot,
    proven_units,
    read_snapshot,
)
from coinslot.methods.tempo.session.voucher import VoucherScheme
from support.tempochannel import E2, KEY, OTHER_KEY, PAYEE, channel, descriptor

ID = channel(E2).id
ONE = Snapshot(E2, ID, descriptor(), 1000, 100, 500, 600, 400)


def highest(units: int, key: Any = KEY) -> HighestVoucher:
    """The voucher that a server sends along."""
    return HighestVoucher(units, VoucherScheme(E2).sign(key, ID, units))


def believe(snapshot: Snapshot, signed: int = 500) -> None:
    """Our reading, by the client whose key is KEY."""
    found = believe_snapshot(snapshot, E2, signer=KEY.address, signed_units=signed)
    assert found == channel(E2)


amounts = st.integers(0, 2**96 - 1)


@pytest.mark.spec(
    "TSES-038", "TSES-039", "TSES-040", "TSES-041", "TSES-042", "TSES-043", "TSES-044", "TSES-045", "TSES-046",
)  # fmt: skip
@given(amounts, amounts, amounts, amounts, amounts, st.integers(0, 2**32), st.none() | st.integers(0, 9))
def test_a_snapshot_comes_back(
    deposit: int, settled: int, accepted: int, required: int, spent: int, closing: int, units: int | None
) -> None:
    """From JSON and from its header."""
    one = Snapshot(E2, ID, descriptor(), deposit, settled, accepted, required, spent, closing, units)
    assert read_snapshot(one.members()) == one
    assert decode_snapshot(one.encode()) == one


def test_the_highest_voucher_comes_along() -> None:
    """Deployed servers send it; ours too."""
    one = replace(ONE, highest_voucher=highest(500))
    assert decode_snapshot(one.encode()) == one
    other = one.members()
    other["highestVoucher"]["channelId"] = "0x" + "11" * 32
    with pytest.raises(UsageError, match="another channel"):
        read_snapshot(other)


@pytest.mark.spec(
    "TSES-038", "TSES-039", "TSES-040", "TSES-041", "TSES-042", "TSES-043", "TSES-044", "TSES-045", "TSES-046",
)  # fmt: skip
def test_without_any_one_required_member_it_is_refused() -> None:
    """Nine are required."""
    told = ONE.members()
    assert len(told) == 9
    for name in told:
        with pytest.raises(UsageError):
            read_snapshot({key: value for key, value in told.items() if key != name})


@pytest.mark.parametrize(
    "change",
    [{"spent": 5}, {"deposit": "-1"}, {"settled": str(2**96)}, {"units": -1}, {"units": "1"}, {"units": True},
     {"chainId": "42431"}, {"closeRequestedAt": "soon"}, {"highestVoucher": 7}, {"escrow": "0x"}],
)  # fmt: skip
def test_a_malformed_member_is_refused(change: dict[str, Any]) -> None:
    """Strictly, as all amounts."""
    with pytest.raises(UsageError):
        read_snapshot(ONE.members() | change)


def test_a_header_that_is_no_snapshot_is_refused() -> None:
    """Junk, padding, another object."""
    for text in ("", "x", "e30=", encode_object({"a": 1}), "A" * 20_000):
        with pytest.raises(UsageError):
            decode_snapshot(text)


@pytest.mark.spec("TSES-047")
def test_a_true_snapshot_is_believed() -> None:
    """Its id is computed from its descriptor; accepted is what we signed or less."""
    believe(ONE)
    believe(ONE, signed=900)


@pytest.mark.guard("T07", "T08", "T15")
@pytest.mark.spec("TSES-047")
@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (replace(ONE, escrow=Escrow(V2, 4217, E2.address)), "escrow or chain"),
        (replace(ONE, escrow=Escrow(V2, E2.chain_id, PAYEE)), "escrow or chain"),
        (replace(ONE, channel_id="0x" + "11" * 32), "not that of its descriptor"),
        (replace(ONE, descriptor=descriptor(salt="0x" + "11" * 32)), "not that of its descriptor"),
        (
            replace(
                ONE,
                descriptor=descriptor(authorized_signer=OTHER_KEY.address),
                channel_id=channel(E2, authorized_signer=OTHER_KEY.address).id,
            ),
            "not ours",
        ),
    ],
)
def test_another_channel_is_not_believed(snapshot: Snapshot, reason: str) -> None:
    """Whatever contradicts the id, or is not ours to sign for."""
    with pytest.raises(UsageError, match=reason):
        believe(snapshot)


@pytest.mark.guard("T24")
def test_a_server_never_has_more_than_we_signed() -> None:
    """One unit more is refused, with somebody's signature as well as with none."""
    believe(replace(ONE, accepted_units=500))
    for snapshot in (
        replace(ONE, accepted_units=501),
        replace(ONE, accepted_units=501, highest_voucher=highest(501, OTHER_KEY)),
        replace(ONE, accepted_units=501, highest_voucher=HighestVoucher(501, highest(500).signature)),
        replace(ONE, accepted_units=501, highest_voucher=HighestVoucher(501, b"")),
        replace(ONE, accepted_units=502, highest_voucher=highest(501)),
    ):
        with pytest.raises(UsageError, match="more than we signed"):
            believe(snapshot)


def test_our_own_signature_shows_what_a_lost_store_forgot() -> None:
    """An empty or old record is brought forward, never back."""
    told = replace(ONE, highest_voucher=highest(500))
    believe(told, signed=0)
    assert proven_units(told, signer=KEY.address, signed_units=0) == 500
    assert proven_units(told, signer=KEY.address, signed_units=700) == 700


def test_amounts_that_contradict_each_other_are_refused() -> None:
    """Nobody spends more than was accepted, or settles more than was put in."""
    for snapshot in (replace(ONE, spent_units=501), replace(ONE, settled_units=1001)):
        with pytest.raises(UsageError, match="contradict"):
            believe(snapshot)
