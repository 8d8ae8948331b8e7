"""What servers and clients tell each other of deliveries: read strictly, written as it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.errors import UsageError
from coinslot.intents.deliveries import (
    MAX_ID_CHARS,
    CommitReceipt,
    Directive,
    Usage,
    read_commit_receipt,
    read_directive,
    read_units,
    read_usage,
)

U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=MAX_ID_CHARS)
COUNTS = st.integers(0, 2**53 - 1)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)
DIRECTIVE = {"deliveryId": "d", "sessionId": "c", "amount": "5", "currency": "coin", "sequence": 1, "expiresAt": 9}
RECEIPT = {"deliveryId": "d", "sessionId": "c", "amount": "5", "cumulative": "7", "status": "committed"}


@given(NAMES, NAMES, U64, NAMES, COUNTS, COUNTS, st.none() | NAMES)
def test_a_directive_is_read_as_it_was_written(
    delivery: str, channel: str, units: int, currency: str, sequence: int, until: int, url: str | None
) -> None:
    """Through JSON and back; the amount also as an integer, as some servers write it."""
    told = Directive(delivery, channel, units, currency, sequence, until, url)
    members = json.loads(json.dumps(told.members()))
    assert read_directive(members) == told
    assert read_directive({**members, "amount": units, "proof": "x", "more": [1]}) == told


@given(NAMES, NAMES, U64, U64, st.booleans())
def test_a_receipt_and_a_usage_are_read_as_they_were_written(
    delivery: str, channel: str, units: int, total: int, replayed: bool
) -> None:
    """Through JSON and back."""
    receipt = CommitReceipt(delivery, channel, units, total, replayed)
    assert read_commit_receipt(json.loads(json.dumps(receipt.members()))) == receipt
    usage = Usage(delivery, units)
    assert read_usage(json.loads(json.dumps(usage.members()))) == usage


@pytest.mark.guard("T20")
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e3",
        " 1",
        "1 ",
        "0x1",
        "\u0661",
        1.0,
        -1,
        True,
        False,
        2**64,
        str(2**64),
        [1],
        {},
    ],
)
def test_an_amount_is_a_u64_in_one_spelling(value: object) -> None:
    """As text or as an integer; the error names the member."""
    with pytest.raises(UsageError, match="amount is"):
        read_units(value, "amount")
    with pytest.raises(UsageError, match="cumulative is"):
        read_commit_receipt({**RECEIPT, "cumulative": value})


@pytest.mark.parametrize("name", sorted(DIRECTIVE))
@given(value=ANYTHING)
def test_junk_in_a_directive_is_named(name: str, value: Any) -> None:
    """Whatever stands in a member, it is read, or refused by its name; nothing else is raised."""
    refused = []
    try:
        read_directive({**DIRECTIVE, name: value})
    except UsageError as error:
        refused.append(str(error))
    assert all(one.startswith(name) for one in refused)


@pytest.mark.parametrize("name", sorted(DIRECTIVE))
def test_a_missing_member_is_named(name: str) -> None:
    """None has a value of its own."""
    with pytest.raises(UsageError, match=f"^{name} is missing"):
        read_directive({key: value for key, value in DIRECTIVE.items() if key != name})


@pytest.mark.guard("T24")
@given(ANYTHING.filter(lambda value: value not in ("committed", "replayed")))
def test_a_status_is_one_of_two(value: Any) -> None:
    """Nothing else is an acknowledgement."""
    with pytest.raises(UsageError, match="status is neither"):
        read_commit_receipt({**RECEIPT, "status": value})


@pytest.mark.guard("T41")
@pytest.mark.parametrize("value", ["x" * (MAX_ID_CHARS + 1), "line\nend", "é", "\0", 7, None])
def test_a_name_is_short_and_printable(value: object) -> None:
    """It goes into errors, and into a database."""
    with pytest.raises(UsageError, match="deliveryId is missing or not"):
        read_usage({"deliveryId": value, "amount": "1"})
