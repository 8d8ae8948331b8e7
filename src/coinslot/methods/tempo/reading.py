"""The terms of a charge as lists and reports show them: read from the record, with no chain asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coinslot.methods.tempo import tokens
from coinslot.methods.tempo.terms import TempoTerms, read_terms
from coinslot.money import Asset


def read_recorded(request: Mapping[str, Any]) -> TempoTerms:
    """The terms of a recorded request; decimals and symbol only of tokens that we know. Raises UsageError."""
    return read_terms(request, _asset)


def _asset(chain_id: int, address: str) -> Asset:
    return tokens.asset(chain_id, address, tokens.pinned(chain_id).get(address))
