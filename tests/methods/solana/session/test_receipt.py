"""Receipts of sessions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import encode_object
from coinslot.methods.solana.session.receipt import SessionReceipt


@given(
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.none() | st.integers(0, 2**53 - 1),
    st.none() | st.just("5" * 88),
    st.none() | st.integers(0, 2**64 - 1),
)
def test_its_header_is_written_at_once_as_it_would_be_later(
    challenge: str | None, units: int | None, transaction: str | None, refunded: int | None
) -> None:
    """Byte for byte the canonical form, also where that takes more than plain ASCII."""
    told = SessionReceipt(
        "2026-11-21T12:00:00Z", "4" * 44, 250_000, 237_500, 600, challenge, units, transaction, refunded
    )
    receipt = told.receipt()
    assert receipt.encode() == encode_object(receipt.members())
