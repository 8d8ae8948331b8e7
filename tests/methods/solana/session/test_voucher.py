"""Vouchers: 50 bytes that are signed, JSON that only carries them."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.ed25519 import SignedMessage, build_ed25519
from coinslot.chains.solana.signature import Key
from coinslot.errors import BadTransaction, InvalidVoucher, SignerMismatch, UsageError
from coinslot.methods.solana.session.voucher import (
    SignedVoucher,
    build_voucher_instruction,
    decode_voucher,
    read_message,
    read_signed_voucher,
    read_voucher_instruction,
    sign_voucher,
    voucher_message,
)

KEY, OTHER = Key(sha256(b"signer").digest()), Key(sha256(b"other").digest())
CHANNEL = address_text(sha256(b"channel").digest())
VOUCHER = sign_voucher(KEY, CHANNEL, 250_000, 1_800_000_000)


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1))
@pytest.mark.spec("SSES-140", "SSES-141", "SSES-142", "SSES-143")
def test_a_voucher_survives_every_way_it_travels(units: int, expires_at: int) -> None:
    """As JSON, as it is kept, and as the instruction before a settlement."""
    voucher = sign_voucher(KEY, CHANNEL, units, expires_at)
    voucher.verify(KEY.address)
    assert read_signed_voucher(json.loads(json.dumps(voucher.members()))) == voucher
    assert decode_voucher(voucher.encode()) == voucher
    assert read_voucher_instruction(build_voucher_instruction(voucher)) == voucher
    assert read_message(voucher.message) == (CHANNEL, units, expires_at)


@pytest.mark.spec("SSES-137", "SSES-138", "SSES-164")
def test_the_signed_bytes_stand_where_the_document_says() -> None:
    """Magic, channel, amount and expiry, both little-endian."""
    message = voucher_message(CHANNEL, 0x0102030405060708, -2)
    assert message == b"V\x01" + address_bytes(CHANNEL) + bytes(range(8, 0, -1)) + b"\xfe" + b"\xff" * 7
    assert len(build_voucher_instruction(VOUCHER).data) == 162
    assert "expiresAt" not in sign_voucher(KEY, CHANNEL, 1).members()["voucher"]


@pytest.mark.guard("T13")
@pytest.mark.guard("T15")
@pytest.mark.spec("SSES-145", "SSES-147", "SSES-148", "SSES-135", "SSES-013", "SSES-144")
def test_only_the_channels_signer_signs_and_only_these_numbers() -> None:
    """Another amount, expiry, channel or key, or a signer who only says so."""
    VOUCHER.verify(KEY.address)
    for wrong in (
        replace(VOUCHER, cumulative_units=250_001),
        replace(VOUCHER, expires_at=0),
        replace(VOUCHER, channel_id=KEY.address),
        replace(VOUCHER, signature=VOUCHER.signature[:-1]),
        replace(VOUCHER, cumulative_units=2**64),
        replace(sign_voucher(OTHER, CHANNEL, 250_000, 1_800_000_000), signer=KEY.address),
    ):
        with pytest.raises(InvalidVoucher):
            wrong.verify(KEY.address)
    with pytest.raises(SignerMismatch) as caught:
        sign_voucher(OTHER, CHANNEL, 1).verify(KEY.address)
    assert caught.value.channel_id == CHANNEL


@pytest.mark.guard("T13")
def test_a_signer_of_small_order_signs_for_no_channel() -> None:
    """Under it one signature would be good for every amount."""
    neutral = address_text(bytes((1,)) + bytes(31))
    for signature in (bytes((1,)) + bytes(63), address_bytes(KEY.address) + VOUCHER.signature[32:]):
        with pytest.raises(InvalidVoucher):
            replace(VOUCHER, signer=neutral, signature=signature).verify(neutral)


@pytest.mark.guard("T14")
@pytest.mark.spec("SSES-146")
@pytest.mark.parametrize(
    "message", [VOUCHER.message[2:], b"\x56\x02" + VOUCHER.message[2:], b"\x00" * 50, VOUCHER.message + b"\x00", b""]
)
def test_other_formats_of_vouchers_are_refused(message: bytes) -> None:
    """The 48 bytes of the first clients, a version to come, nothing, more."""
    with pytest.raises(BadTransaction):
        read_message(message)
    with pytest.raises(BadTransaction):
        read_voucher_instruction(build_ed25519(SignedMessage(KEY.address, KEY.sign(message), message)))
    with pytest.raises(UsageError):
        decode_voucher(message + VOUCHER.encode()[50:])


@pytest.mark.spec("SSES-155")
def test_a_voucher_expires_when_the_chain_says_so() -> None:
    """At that very second, give or take the skew of clocks; never, where it says 0."""
    assert [VOUCHER.has_expired(1_800_000_000 + late) for late in (-1, 0, 1)] == [False, True, True]
    assert [VOUCHER.has_expired(1_800_000_000 + late, 30) for late in (0, 29, 30)] == [False, False, True]
    assert not sign_voucher(KEY, CHANNEL, 1).has_expired(2**62)
    assert replace(VOUCHER, expires_at=-5).has_expired(0)


def told(**changes: Any) -> dict[str, Any]:
    """The voucher as JSON; a change to ... leaves a member out, one to `voucher` changes the inner one."""
    members = VOUCHER.members()
    inner = members["voucher"] | changes.pop("voucher", {})
    whole = members | changes | {"voucher": {name: value for name, value in inner.items() if value is not ...}}
    return {name: value for name, value in whole.items() if value is not ...}


@pytest.mark.guard("T20")
@pytest.mark.parametrize("units", ["0", "18446744073709551615", 0, 2**64 - 1])
def test_an_amount_is_decimal_text_or_a_json_integer(units: object) -> None:
    """Both spellings are in use."""
    assert read_signed_voucher(told(voucher={"cumulativeAmount": units})).cumulative_units == int(str(units))


@pytest.mark.guard("T20")
@pytest.mark.parametrize(
    "units",
    ["", "-1", "01", "+1", "1.0", " 1", "1e3", "18446744073709551616", "\u0661", -1, 2**64, 1.0, True, None, ...],
)
def test_any_other_amount_is_refused_by_its_name(units: object) -> None:
    """Rounded, negative, too large, or no integer at all."""
    with pytest.raises(UsageError, match=r"voucher\.voucher\.cumulativeAmount"):
        read_signed_voucher(told(voucher={"cumulativeAmount": units}))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"signatureType": "secp256r1"}, "signatureType"), ({"signatureType": ...}, "signatureType"),
        ({"signer": ...}, "signer"), ({"signer": CHANNEL + " "}, "signer"), ({"signature": "1" * 63}, "signature"),
        ({"voucher": {"channelId": ...}}, "channelId"), ({"voucher": {"channelId": 5}}, "channelId"),
        ({"voucher": {"expiresAt": "2030-01-01T00:00:00Z"}}, "expiresAt"),
        ({"voucher": {"expiresAt": True}}, "expiresAt"),
        ({"voucher": {"expiresAt": 2**63}}, "expiresAt"),
    ],
)  # fmt: skip
def test_a_member_that_cannot_be_right_is_refused_by_its_name(changes: dict[str, Any], name: str) -> None:
    """And never repeated."""
    with pytest.raises(UsageError, match=name):
        read_signed_voucher(told(**changes))


@pytest.mark.parametrize("value", [None, 5, [], "x", {}, {"voucher": 5}])
def test_what_is_no_voucher_is_refused(value: object) -> None:
    """Objects in an object."""
    with pytest.raises(UsageError):
        read_signed_voucher(value)


def test_a_voucher_shows_no_signature() -> None:
    """It is money."""
    assert VOUCHER.signature.hex() not in repr(VOUCHER)
    assert "signature" not in repr(VOUCHER)


def test_numbers_that_do_not_fit_are_never_signed() -> None:
    """What is packed is what was meant."""
    for units, expires_at in ((-1, 0), (2**64, 0), (True, 0), (1, 2**63), (1, False)):
        with pytest.raises(UsageError):
            sign_voucher(KEY, CHANNEL, units, expires_at)
    assert isinstance(VOUCHER, SignedVoucher)
