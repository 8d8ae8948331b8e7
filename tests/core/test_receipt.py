"""The receipt: the server's word, and only of success."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import encode_object
from coinslot.core.receipt import Receipt, decode_receipt, receipt_from
from coinslot.errors import MalformedHeader

WHEN = "2026-11-21T12:00:00Z"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
EXTRA = st.dictionaries(TEXT, TEXT | st.integers(-9, 9) | st.lists(TEXT, max_size=2), max_size=3)


@given(TEXT, TEXT, EXTRA)
@pytest.mark.spec("CORE-046")
def test_what_is_written_is_read(method: str, reference: str, extra: dict[str, Any]) -> None:
    """A receipt comes back equal; members that would contradict its own are overruled."""
    extra = {**extra, "status": "failed", "reference": "other"}
    value = Receipt(method, reference, WHEN, MappingProxyType(extra)).encode()
    read = decode_receipt(value)
    kept = {name: item for name, item in extra.items() if name not in ("status", "method", "timestamp", "reference")}
    assert (read.method, read.reference, read.timestamp, dict(read.extra)) == (method, reference, WHEN, kept)
    assert json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))["status"] == "success"


def test_receipts_are_equal_that_say_the_same() -> None:
    """Whether their header is written already or not."""
    one = Receipt("toy", "0xab", WHEN, {"challengeId": "i"})
    assert replace(one, header=one.encode()) == one == decode_receipt(one.encode())
    assert one != replace(one, reference="0xac")
    assert replace(one, header="written").encode() == "written"


def test_a_receipt_is_unpadded_base64url_of_sorted_json() -> None:
    """Byte for byte: what others parse, compare and store."""
    value = Receipt("toy", "0xab", WHEN, {"challengeId": "i"}).encode()
    text = '{"challengeId":"i","method":"toy","reference":"0xab","status":"success","timestamp":"2026-11-21T12:00:00Z"}'
    assert value == base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.spec("CORE-046")
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"status": "Success"},
        {"status": None},
        {"method": ""},
        {"reference": None},
        {"reference": 7},
        {"timestamp": "yesterday"},
        {"timestamp": "2026-11-21T12:00:00"},
        {"timestamp": 1795262400},
    ],
)
def test_what_does_not_say_success_is_no_receipt(changes: dict[str, Any]) -> None:
    """Status, method, reference and time are all there, or a client has nothing in hand."""
    told = {"status": "success", "method": "toy", "reference": "r", "timestamp": WHEN}
    assert receipt_from(told).reference == "r"
    with pytest.raises(MalformedHeader):
        decode_receipt(encode_object({**told, **changes}))


@given(st.text(max_size=40))
def test_arbitrary_text_is_malformed(value: str) -> None:
    """Nothing but MalformedHeader comes out."""
    with pytest.raises(MalformedHeader):
        decode_receipt(value)
