"""Tracebacks that show the values of variables: what a record hides from its repr must stay hidden there, too."""

from __future__ import annotations

import pytest

from coinslot.cli.gate import _announce
from coinslot.intents.session import Voucher
from coinslot.server.request import Incoming
from coinslot.services.config import from_table

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


@pytest.mark.guard("T38")
@pytest.mark.parametrize("url", [f"postgresql://me:{CANARY}@db/pay", f"postgresql://db/pay?user=me&password={CANARY}"])
def test_a_gate_announces_no_password_of_its_store(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever in the URL it stands; what a service prints first ends up in its logs."""
    table = {
        "upstream": "http://127.0.0.1:9",
        "prices": {"GET /a": "0.01"},
        "accept": [{"method": "toy"}],
        "store": url,
    }
    for as_json in (False, True):
        _announce(from_table(table, "test"), "http://127.0.0.1:8402", as_json)
    assert CANARY not in capsys.readouterr().out
