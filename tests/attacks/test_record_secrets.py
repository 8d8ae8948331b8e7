"""Tracebacks that show the values of variables: what a record hides from its repr must stay hidden there, too."""

from __future__ import annotations

import pytest

from coinslot.intents.session import Voucher
from coinslot.server.request import Incoming

CANARY = "c4n4ry"


@pytest.mark.guard("T38")
@pytest.mark.parametrize(
    "record",
    [
        Incoming("GET", "/a", "", {"authorization": (f"Payment {CANARY}",)}, CANARY.encode()),
        Voucher("c", 1, CANARY.encode()),
    ],
)
def test_printers_show_no_more_of_a_record_than_its_repr(record: object) -> None:
    """By the protocol of rich, which asks a struct for all of its fields; its tracebacks end up in logs."""
    shown = dict(record.__rich_repr__())  # type: ignore[attr-defined]
    assert shown
    assert CANARY not in repr(record)
    assert CANARY not in repr(shown)
