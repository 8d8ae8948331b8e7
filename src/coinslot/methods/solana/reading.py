"""The terms of a charge as lists and reports show them: read from the record, with no chain asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coinslot.methods.solana import tokens
from coinslot.methods.solana.terms import SolanaTerms, read_terms
from coinslot.money import Asset


def read_recorded(request: Mapping[str, Any]) -> SolanaTerms:
    """The terms of a recorded request; symbol and peg only of tokens that we know. Raises UsageError."""
    return read_terms(request, _asset)


def _asset(cluster: str, mint: str, decimals: int | None) -> Asset:
    found = tokens.asset(tokens.network_of(cluster), mint, tokens.pinned(cluster).get(mint))
    return replace(found, decimals=decimals) if found.decimals is None else found
