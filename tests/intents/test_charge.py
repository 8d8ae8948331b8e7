"""What a charge means on any method; the gate's tests show the rest."""

from __future__ import annotations

import pytest

from coinslot.intents.charge import Budget, DailyLimits


@pytest.mark.guard("T31")
def test_what_is_paid_for_one_payer_counts_against_it_and_against_all() -> None:
    """Each payer has a limit of its own, and all of them share one, for 24 hours."""
    daily = DailyLimits(payer_units=50, all_units=700)
    one, two = daily.budgets("net/sponsor/us", "one", 3), daily.budgets("net/sponsor/us", "two", 3)
    assert one == (Budget("net/sponsor/us/payer/one", 3, 50, 86_400), Budget("net/sponsor/us", 3, 700, 86_400))
    assert two[0].key != one[0].key
    assert two[1] == one[1]
