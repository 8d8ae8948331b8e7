"""Receipts of sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import encode_object
from coinslot.core.receipt import Receipt, decode_receipt, receipt_from
from coinslot.errors import MalformedHeader
from coinslot.intents.dry import NeedVoucher, read_need_voucher
from coinslot.methods.tempo.session.fields import read_word
from coinslot.methods.tempo.session.receipt import SessionReceipt, read_session_receipt
from support.temposession import read_v1_units

ID = "0x" + "6d" * 32
ONE = SessionReceipt("2025-01-06T12:08:30Z", "c_8d0e3b5a9f2c1d4e", ID, 250_000, 237_500, 500, "0x" + "1a" * 32)


@pytest.mark.spec("TSES-155", "TSES-157")
def test_the_documents_receipt_is_written_and_read() -> None:
    """All members; the reference is the channel."""
    assert ONE.receipt().members() == {
        "method": "tempo",
        "intent": "session",
        "status": "success",
        "timestamp": "2025-01-06T12:08:30Z",
        "reference": ID,
        "challengeId": "c_8d0e3b5a9f2c1d4e",
        "channelId": ID,
        "acceptedCumulative": "250000",
        "spent": "237500",
        "units": 500,
        "txHash": "0x" + "1a" * 32,
    }
    assert read_session_receipt(decode_receipt(ONE.receipt().encode())) == ONE


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.none() | st.integers(0, 2**53 - 1),
    st.none() | st.just("0x" + "1a" * 32),
)
def test_its_header_is_written_at_once_as_it_would_be_later(
    challenge: str, units: int | None, transaction: str | None
) -> None:
    """Byte for byte the canonical form, also where that takes more than plain ASCII."""
    receipt = replace(ONE, challenge_id=challenge, units=units, transaction_hash=transaction).receipt()
    assert receipt.encode() == encode_object(receipt.members())


def test_optional_members_are_left_out() -> None:
    """Units and hash."""
    short = SessionReceipt(ONE.timestamp, ONE.challenge_id, ID, 1, 0)
    assert not short.receipt().members().keys() & {"units", "txHash"}
    assert read_session_receipt(short.receipt()) == short


@pytest.mark.spec("TSES-056")
def test_unknown_members_are_passed_over() -> None:
    """And hex of any case is the same channel."""
    told = ONE.receipt().members() | {"more": 1, "channelId": "0x" + "6D" * 32}
    assert read_session_receipt(receipt_from(told)) == ONE


@pytest.mark.parametrize(
    "change",
    [{"intent": "charge"}, {"intent": None}, {"method": "other"}, {"challengeId": ""}, {"challengeId": 1},
     {"channelId": "0x12"}, {"reference": "0x" + "11" * 32}, {"acceptedCumulative": 5}, {"spent": "-1"},
     {"spent": str(2**128)}, {"units": -1}, {"units": "5"}, {"units": True}, {"txHash": "0x"}],
)  # fmt: skip
def test_a_malformed_receipt_is_refused(change: dict[str, Any]) -> None:
    """Member by member."""
    with pytest.raises(MalformedHeader):
        read_session_receipt(receipt_from(ONE.receipt().members() | change))


def test_a_receipt_of_something_else_is_refused() -> None:
    """A charge's has no channel."""
    with pytest.raises(MalformedHeader):
        read_session_receipt(Receipt("tempo", ID, ONE.timestamp))


@pytest.mark.spec("TSES-175", "TSES-176", "TSES-177", "TSES-178", "TSES-179")
def test_a_stream_that_ran_dry_says_what_it_needs() -> None:
    """Four members, all required."""
    one = NeedVoucher(ID, 250_025, 250_000, 500_000)
    told = one.members()
    assert told == {
        "channelId": ID, "requiredCumulative": "250025", "acceptedCumulative": "250000", "deposit": "500000",
    }  # fmt: skip
    assert read_need_voucher(told, read_word, read_v1_units) == one
    for name in told:
        with pytest.raises(MalformedHeader):
            read_need_voucher({key: value for key, value in told.items() if key != name}, read_word, read_v1_units)
