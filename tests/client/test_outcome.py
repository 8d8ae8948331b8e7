"""What a client tells of a refusal that somebody else wrote."""

from __future__ import annotations

import json

import pytest

from coinslot.client.outcome import refusal

TYPE = "https://paymentauth.org/problems/payment_invalid"


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"detail": "too late"}, "too late"),
        ({"message": "too late"}, "too late"),
        ({"detail": "too late", "message": "something else"}, "too late"),
        ({"detail": 7, "message": "something else"}, ""),
        ({"message": ["too late"]}, ""),
        ({"message": "you sent abc"}, "you sent [credential]"),
        ({"message": "a\u001b[2Jb"}, "a[2Jb"),
        ({}, ""),
    ],
)
def test_the_reason_is_the_detail_or_what_others_call_message(members: dict[str, object], told: str) -> None:
    """Cleaned, and without our credential, wherever it stands."""
    assert refusal(json.dumps({"type": TYPE, **members}).encode(), "Payment abc") == ("payment_invalid", told)
