"""The proof by which a payer uses a channel whose vouchers the operator signs."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from coinslot.chains.solana.address import address_text
from coinslot.chains.solana.signature import Key
from coinslot.errors import InvalidVoucher, SignerMismatch, UsageError
from coinslot.methods.solana.session.bearer import bearer_message, read_authentication, sign_bearer

PAYER, OTHER = Key(sha256(b"payer").digest()), Key(sha256(b"other").digest())
CHANNEL, ELSEWHERE = (address_text(sha256(name).digest()) for name in (b"channel", b"elsewhere"))
PROOF = sign_bearer(PAYER, CHANNEL, "c_1")


@pytest.mark.spec("SSES-087", "SSES-088", "SSES-089", "SSES-090")
def test_a_proof_signs_canonical_json_of_four_members() -> None:
    """In the order of their names, without a space."""
    who = f'"payer":"{PAYER.address}","sessionChallengeId":"c_1"'
    text = f'{{"channelId":"{CHANNEL}","domain":"mpp-session-auth-v1",{who}}}'
    assert bearer_message(CHANNEL, PAYER.address, "c_1") == text.encode()
    assert PROOF.signature == PAYER.sign(text.encode())
    assert read_authentication(json.loads(json.dumps(PROOF.members()))) == PROOF


@pytest.mark.guard("T15")
@pytest.mark.guard("T08")
@pytest.mark.spec("SSES-088", "SSES-089", "SSES-093", "SSES-095", "SSES-134")
def test_a_proof_is_good_for_one_channel_one_challenge_and_one_payer() -> None:
    """As the server recorded them, whatever the request says; and as often as it is presented."""
    for _ in range(3):
        PROOF.verify(CHANNEL, PAYER.address, "c_1")
    with pytest.raises(InvalidVoucher):
        PROOF.verify(ELSEWHERE, PAYER.address, "c_1")
    with pytest.raises(InvalidVoucher, match="another challenge"):
        PROOF.verify(CHANNEL, PAYER.address, "c_2")
    with pytest.raises(InvalidVoucher):
        replace(PROOF, challenge_id="c_2").verify(CHANNEL, PAYER.address, "c_2")
    with pytest.raises(SignerMismatch):
        PROOF.verify(CHANNEL, OTHER.address, "c_1")
    with pytest.raises(InvalidVoucher):
        replace(sign_bearer(OTHER, CHANNEL, "c_1"), payer=PAYER.address).verify(CHANNEL, PAYER.address, "c_1")


@pytest.mark.guard("T13")
def test_a_payer_of_small_order_proves_nothing() -> None:
    """One signature would be good for every channel."""
    neutral = address_text(bytes((1,)) + bytes(31))
    with pytest.raises(InvalidVoucher):
        replace(PROOF, payer=neutral, signature=bytes((1,)) + bytes(63)).verify(CHANNEL, neutral, "c_1")


@pytest.mark.parametrize(
    "changes",
    [{"type": "hash"}, {"type": None}, {"challengeId": ""}, {"challengeId": 5}, {"payer": "x"}, {"signature": "x"}],
)
def test_a_member_that_cannot_be_right_is_refused_by_its_name(changes: dict[str, Any]) -> None:
    """And never repeated."""
    with pytest.raises(UsageError, match=next(iter(changes))):
        read_authentication(PROOF.members() | changes)


def test_a_proof_shows_no_signature() -> None:
    """Whoever reads it in a log could spend the channel."""
    assert "signature" not in repr(PROOF)
