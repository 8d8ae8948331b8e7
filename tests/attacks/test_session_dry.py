"""Streams that a payer leaves dry on purpose cost the server next to nothing while they wait."""

from __future__ import annotations

from typing import Any

import pytest

from coinslot.drive import run
from coinslot.errors import UsageError
from coinslot.server.price import Metering
from support.sessiontill import COST, SessionTill
from support.toybank import Bank

PATIENCE_S = 60.0
# It was twenty a second: a thousand dry streams, for the price of a unit each, kept half a processor busy.
LOOKS = 120


@pytest.mark.guard("F28")
def test_a_stream_that_nobody_pays_for_looks_less_and_less(bank: Bank, alice: dict[str, Any]) -> None:
    """A minute of waiting for a voucher takes few looks; at first a voucher is noticed at once."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4, patience_s=PATIENCE_S))
    meter = till.admitted(till.buyer(deposit=COST).voucher(COST)).meter
    assert meter is not None
    while meter.take():
        pass
    began = len(till.world.slept)
    assert not run(meter.wait_for(), till.world)
    pauses = till.world.slept[began:]
    assert sum(pauses) >= PATIENCE_S
    assert len(pauses) < LOOKS, f"{len(pauses)} looks at the store in a minute"
    assert pauses[0] <= 0.05


@pytest.mark.guard("F28")
def test_a_meter_that_ended_sets_nothing_aside(bank: Bank, alice: dict[str, Any]) -> None:
    """Who still waits on it is told so: a window that it set aside now would be nobody's, and never be freed."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4, patience_s=PATIENCE_S))
    buyer = till.buyer()
    meter = till.admitted(buyer.voucher(8 * COST)).meter
    assert meter is not None
    assert meter.take(4)
    run(meter.finish(), till.world)
    with pytest.raises(UsageError):
        run(meter.wait_for(), till.world)
    assert buyer.record.reserved == 0
