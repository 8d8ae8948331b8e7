"""References: external ids that tie a payment to one challenge."""

from __future__ import annotations

import pytest

from coinslot.drive import RealWorld, run
from coinslot.methods.solana.memo import is_reference, new_reference


@pytest.mark.guard("T05")
def test_references_are_told_from_order_numbers_and_never_repeat() -> None:
    """A route's own external id is none: it may be the same for many challenges."""
    world = RealWorld()
    made = {run(new_reference(), world) for _ in range(100)}
    assert len(made) == 100
    assert all(is_reference(each) for each in made)
    for text in (None, "", "order 17", "mpp-", "mpp-" + "a" * 15, "mpp-" + "a" * 17, "mpp-" + "a" * 15 + "\n"):
        assert not is_reference(text)
