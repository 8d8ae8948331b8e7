"""Vouchers that buy nothing have a limit, those that buy have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.server.flood import BURST, FRUITLESS_PER_S, REMEMBERED, Flood

T0 = 1_000_000.0


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=200))
def test_no_more_than_the_rate_and_the_burst(pauses: list[float]) -> None:
    """Whatever the rhythm, what is allowed in a time is bounded by the rate and the burst."""
    flood, now_s, allowed = Flood(), T0, 0
    for pause_s in pauses:
        now_s += pause_s
        allowed += flood.allows("c", now_s)
    assert allowed <= BURST + (now_s - T0) * FRUITLESS_PER_S + 1e-6


def test_channels_do_not_share_an_allowance() -> None:
    """One that floods takes nothing from another."""
    flood = Flood()
    while flood.allows("loud", T0):
        pass
    assert flood.allows("quiet", T0)


@pytest.mark.guard("F21")
def test_a_clock_that_jumps_back_fills_nothing() -> None:
    """Only time that passed counts."""
    flood = Flood()
    while flood.allows("c", T0):
        pass
    assert not flood.allows("c", T0 - 3600)
    assert not flood.allows("c", T0 - 3600)


@pytest.mark.guard("F28")
def test_memory_is_bounded() -> None:
    """More channels than are remembered cost no more memory."""
    flood = Flood()
    for number in range(REMEMBERED + 10):
        flood.allows(str(number), T0)
    assert len(flood._left) <= REMEMBERED
