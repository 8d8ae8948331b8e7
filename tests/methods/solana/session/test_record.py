"""What is kept of a Solana channel, and what receipts say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.errors import MalformedHeader, UsageError
from coinslot.intents.dry import NeedVoucher, read_need_voucher
from coinslot.methods.solana.session.fields import read_address, read_units
from coinslot.methods.solana.session.receipt import (
    SessionReceipt,
    read_session_receipt,
)
from coinslot.methods.solana.session.record import (
    Recorded,
    channel_key,
    proof_hash,
    read_record,
    recorded_of,
)
from support.solanaopening import NETWORK, OTHER, PAYER, by_operator, recorded, terms

U64 = 2**64 - 1
MINE = recorded(terms())
THEIRS = recorded(by_operator(), operator=True, challenge_id="c1", proof=proof_hash(b"a signature"), echo="{}")
UNITS = st.integers(min_value=0, max_value=U64)


@pytest.mark.parametrize("kept", [MINE, THEIRS, replace(MINE, splits=(), idle_s=None)])
def test_a_record_is_read_as_it_was_kept(kept: Recorded) -> None:
    """All of it."""
    assert read_record(kept.encode()) == kept
    assert recorded_of(kept.encode(), kept.id) == kept


@pytest.mark.guard("T08")
@pytest.mark.spec("SSES-139", "SSES-149", "SSES-255", "SSES-014")
@pytest.mark.parametrize("part", ["payer", "payee", "mint", "authorizedSigner", "salt", "openSlot", "program"])
def test_a_record_that_was_changed_is_of_another_channel(part: str) -> None:
    """The id is derived anew, from every one of its parts and from the program."""
    state = MINE.encode()
    other = b'"salt":"8"' if part == "salt" else b'"openSlot":"1"' if part == "openSlot" else OTHER.address.encode()
    if part in ("salt", "openSlot"):
        start = state.index(f'"{part}"'.encode())
        changed = state[:start] + other + state[state.index(b",", start) :]
    else:
        start = state.index(f'"{part}":"'.encode()) + len(part) + 4
        changed = state[:start] + other + state[state.index(b'"', start) :]
    assert read_record(changed) != MINE
    with pytest.raises(UsageError):
        recorded_of(changed, MINE.id)


@pytest.mark.guard("T38")
@pytest.mark.spec("SSES-250")
def test_of_a_proof_only_its_hash_is_kept() -> None:
    """Who reads the database can't present it."""
    assert b"a signature".hex().encode() not in THEIRS.encode()
    assert proof_hash(b"a signature") != proof_hash(b"another one")
    assert "{}" not in repr(replace(THEIRS, echo="{}"))


def test_a_channels_key_is_lower_case_and_one_for_each_channel() -> None:
    """Base58 knows case, and stores' keys do not."""
    assert MINE.key == MINE.key.lower() == channel_key(NETWORK, MINE.id)
    assert MINE.key != THEIRS.key


@pytest.mark.parametrize("junk", [b"", b"{}", b"[1]", b"\xff", MINE.encode()[:-1]])
def test_junk_is_no_record(junk: bytes) -> None:
    """And is not repeated."""
    with pytest.raises(UsageError, match="not the record of a solana channel"):
        read_record(junk)


# --- receipts ------------------------------------------------------------------------------------

TOLD = SessionReceipt("2026-11-21T10:00:00Z", MINE.id, 3_000, 2_000, 60, "c1", 1)


@given(UNITS, UNITS, st.integers(min_value=1, max_value=2_592_000), st.none() | UNITS)
@pytest.mark.spec("SSES-231", "SSES-232", "SSES-233", "SSES-234", "SSES-235", "SSES-236", "SSES-237", "SSES-238")
def test_a_receipt_is_read_as_it_was_written(accepted: int, spent: int, idle_s: int, refunded: int | None) -> None:
    """With everything that the document requires in it."""
    told = replace(TOLD, accepted_units=accepted, spent_units=spent, idle_s=idle_s, refunded_units=refunded)
    travelled = decode_receipt(told.receipt().encode())
    assert read_session_receipt(travelled) == told
    members = travelled.members()
    assert (members["method"], members["intent"], members["status"]) == ("solana", "session", "success")
    assert (members["reference"], members["timestamp"]) == (MINE.id, TOLD.timestamp)
    assert (members["acceptedCumulative"], members["spent"]) == (str(accepted), str(spent))
    assert members["idleTimeoutSeconds"] == idle_s


@pytest.mark.parametrize(
    "change",
    [
        {"acceptedCumulative": None}, {"acceptedCumulative": "-1"}, {"spent": None}, {"spent": str(2**64)},
        {"idleTimeoutSeconds": None}, {"idleTimeoutSeconds": 0}, {"intent": "charge"}, {"units": -1}, {"units": True},
        {"txHash": "0x12"}, {"refunded": "x"}, {"challengeId": ""},
    ],
)  # fmt: skip
def test_a_receipt_that_can_not_be_right_is_refused(change: dict[str, Any]) -> None:
    """Whichever member it is."""
    given = TOLD.receipt()
    extra = {name: value for name, value in {**given.extra, **change}.items() if value is not None}
    with pytest.raises(MalformedHeader):
        read_session_receipt(Receipt(given.method, given.reference, given.timestamp, extra))


def test_a_receipt_of_another_method_is_none_of_ours() -> None:
    """Nor one whose reference is no channel."""
    given = TOLD.receipt()
    for method, reference in (("tempo", given.reference), ("solana", "0x00")):
        with pytest.raises(MalformedHeader):
            read_session_receipt(Receipt(method, reference, given.timestamp, given.extra))


@given(UNITS, UNITS, UNITS)
def test_what_a_dry_stream_says_is_read_as_it_was_written(required: int, accepted: int, deposit: int) -> None:
    """Decimal text each."""
    need = NeedVoucher(PAYER.address, required, accepted, deposit)
    assert read_need_voucher(need.members(), read_address, read_units) == need
