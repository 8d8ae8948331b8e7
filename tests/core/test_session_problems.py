"""The problems of payment channels, as they travel."""

from __future__ import annotations

import json

import pytest

from coinslot import errors
from coinslot.core.problem import BASE, problem_body, problem_slug

TABLE = [
    (errors.InvalidVoucher, "invalid-signature", 402),
    (errors.SignerMismatch, "signer-mismatch", 402),
    (errors.AmountExceedsDeposit, "amount-exceeds-deposit", 402),
    (errors.DeltaTooSmall, "delta-too-small", 402),
    (errors.ChannelNotFound, "channel-not-found", 410),
    (errors.ChannelFinalized, "channel-finalized", 410),
    (errors.ChallengeNotFound, "challenge-not-found", 402),
    (errors.InsufficientBalance, "insufficient-balance", 402),
]


@pytest.mark.parametrize(("kind", "slug", "status"), TABLE)
def test_the_document_s_problems_have_its_names(kind: type[errors.SessionProblem], slug: str, status: int) -> None:
    """Types and statuses of the table, the channel named in the body, a fresh challenge with each 402 and no other."""
    told = json.loads(problem_body(kind("why", channel_id="0xab")))
    assert (told["type"], told["status"]) == (f"{BASE}session/{slug}", status)
    assert told["channelId"] == "0xab"
    assert kind.challenge == (status == 402)
    assert problem_slug(json.dumps(told).encode()) == f"session/{slug}"


@pytest.mark.spec("TSES-151")
def test_what_is_missing_is_told() -> None:
    """`requiredTopUp` is decimal text of base units, exact beyond any machine integer, and absent where unknown."""
    told = json.loads(problem_body(errors.InsufficientBalance(required_top_up=2**127 + 1)))
    assert told["requiredTopUp"] == str(2**127 + 1)
    assert "requiredTopUp" not in json.loads(problem_body(errors.InsufficientBalance()))


@pytest.mark.parametrize("slug", ["session/", "/x", "a/b/c", "session/x\x1b[2J", "s" * 33 + "/x"])
def test_below_our_base_only_plain_words_are_reported(slug: str) -> None:
    """One folder of plain words at most."""
    assert problem_slug(json.dumps({"type": BASE + slug}).encode()) is None
