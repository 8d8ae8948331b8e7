"""The attribution memo: made as the field makes it, and bound to one challenge of one server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.errors import BadTransaction
from coinslot.methods.tempo.memo import attribution_memo, is_attribution_memo, verify_attribution_memo

# Of the public conformance suite (tempo-receipt, matching_challenge_bound_memo).
HEAD, TAIL = "ef1ed712011ece072f76bd8b82350e", "00000000000000000000eb18f2d4402269"
PUBLISHED = bytes.fromhex(HEAD + TAIL)
texts = st.text(st.characters(codec="utf-8"), max_size=30)


def test_the_memo_is_the_published_one() -> None:
    """Realm, challenge and no client give the bytes of the public vector."""
    assert attribution_memo("api.example.com", "challenge-123") == PUBLISHED
    verify_attribution_memo(PUBLISHED, "api.example.com", "challenge-123")


@given(realm=texts, challenge=texts, client=st.none() | texts)
def test_a_memo_fits_its_challenge_whoever_wrote_it(realm: str, challenge: str, client: str | None) -> None:
    """The client's name is in it, and is not asked for."""
    memo = attribution_memo(realm, challenge, client)
    assert len(memo) == 32
    assert is_attribution_memo(memo)
    assert (memo[15:25] == bytes(10)) == (not client)
    verify_attribution_memo(memo, realm, challenge)


@pytest.mark.guard("T12")
@pytest.mark.parametrize(
    ("memo", "reason"),
    [
        pytest.param(HEAD + "00" * 10 + "0ba7f8d2502b26", "another challenge", id="challenge"),
        pytest.param("ef1ed712019daa026d82c6f784db2b" + TAIL, "another server", id="realm"),
        pytest.param("ab" * 32, "no attribution", id="not ours"),
        pytest.param("ef1ed712021ece072f76bd8b82350e" + TAIL, "no attribution", id="version 2"),
        pytest.param(PUBLISHED.hex()[:-2], "no attribution", id="31 bytes"),
        pytest.param(PUBLISHED.hex() + "00", "no attribution", id="33 bytes"),
        pytest.param("", "no attribution", id="none"),
    ],
)  # fmt: skip
def test_another_memo_is_refused_by_name(memo: str, reason: str) -> None:
    """The public vectors that must fail, and other lengths: a transfer pays for one challenge only."""
    with pytest.raises(BadTransaction, match=reason):
        verify_attribution_memo(bytes.fromhex(memo), "api.example.com", "challenge-123")
