"""Tokens by their ledger keys."""

from __future__ import annotations

import pytest

from coinslot.method import known_asset, load
from coinslot.methods.tempo.tokens import PATH_USD
from coinslot.money import Asset


def test_a_pinned_token_is_known_by_its_key() -> None:
    """With decimals, symbol and peg."""
    found = known_asset(load("tempo"), f"eip155:42431/{PATH_USD}")
    assert found == Asset("eip155:42431", PATH_USD, 6, "pathUSD", "USD")


@pytest.mark.parametrize(
    "place", ["eip155:1", "eip155:x", "eip155:", "eip155:²", "eip155:" + "9" * 9999, "toy:bank", ""]
)
def test_of_any_other_only_its_place_is_known(place: str) -> None:
    """Whatever the key says."""
    assert known_asset(load("tempo"), f"{place}/{PATH_USD}") == Asset(place, PATH_USD)
