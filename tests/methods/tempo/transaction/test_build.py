"""What we write is what pytempo writes, byte for byte, and reads back as what was meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import rlp
from hypothesis import given

from coinslot.chains.evm.address import address_bytes
from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import UsageError
from coinslot.methods.tempo.transaction.build import (
    fee_payer_digest,
    sender_digest,
    serialise,
    serialise_for_fee_payer,
    sign,
    sign_as_fee_payer,
    sign_with_access_key,
    transaction_hash,
)
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, Call, TempoTransaction
from coinslot.methods.tempo.transaction.read import read_transaction
from coinslot.methods.tempo.transaction.sender import Signer
from support.tempotx import addresses, as_pytempo, keys, transactions

KEY, OTHER = PrivateKey(bytes([1] * 32)), PrivateKey(bytes([2] * 32))
TX = TempoTransaction(42431, (Call("0x" + "20" * 20, 0, b"data"),), 100_000, 10)


def secret(key: PrivateKey) -> str:
    """The key as pytempo wants it."""
    return "0x" + key.secret().hex()


@given(tx=transactions(), key=keys)
def test_a_plain_transaction_equals_that_of_pytempo(tx: TempoTransaction, key: PrivateKey) -> None:
    """Digest, bytes and hash are the same, and reading gives the same transaction and its sender."""
    theirs = as_pytempo(tx).sign(secret(key))
    ours = sign(tx, key)
    raw = serialise(ours)
    assert sender_digest(tx) == theirs.get_signing_hash()
    assert raw == theirs.encode()
    assert transaction_hash(raw) == "0x" + theirs.hash().hex()
    read = read_transaction(raw)
    assert (read.transaction, read.signer, read.fee_payer) == (ours, Signer(key.address, key.address), None)
    assert read.raw == raw
    assert not read.signer.by_access_key


@given(tx=transactions(), key=keys, account=addresses)
def test_an_access_key_transaction_equals_that_of_pytempo(tx: TempoTransaction, key: PrivateKey, account: str) -> None:
    """The same 86-byte signature; the sender read is the account, the key is the one that signed."""
    ours = sign_with_access_key(tx, key, account)
    raw = serialise(ours)
    assert raw == as_pytempo(tx).sign_access_key(secret(key), account).encode()
    read = read_transaction(raw)
    assert (read.transaction, read.signer, read.sender) == (ours, Signer(account, key.address), account)
    assert read.signer.by_access_key


@given(tx=transactions(), key=keys, sponsor=keys, fee_token=addresses)
def test_a_sponsored_transaction_equals_that_of_pytempo(
    tx: TempoTransaction, key: PrivateKey, sponsor: PrivateKey, fee_token: str
) -> None:
    """Sender and sponsor sign the same digests as with pytempo, from either form of the hand-over."""
    asked = sign(replace(tx, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER), key)
    theirs = as_pytempo(replace(tx, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER)).sign(secret(key))
    assert asked.sender_signature == theirs.sender_signature.to_bytes()
    handed = [read_transaction(serialise(asked)), read_transaction(serialise_for_fee_payer(asked, key.address))]
    for read in handed:
        assert (read.transaction, read.sender, read.fee_payer) == (asked, key.address, None)

    ours = sign_as_fee_payer(handed[1].transaction, sponsor, sender=key.address, fee_token=fee_token)
    completed = as_pytempo(replace(asked, fee_token=fee_token), key.address)
    assert fee_payer_digest(ours, key.address) == completed.get_signing_hash(for_fee_payer=True)
    raw = serialise(ours)
    assert raw == completed.sign(secret(sponsor), for_fee_payer=True).encode()
    final = read_transaction(raw)
    assert (final.transaction, final.sender, final.fee_payer) == (ours, key.address, sponsor.address)


@given(tx=transactions(), key=keys)
def test_the_envelope_for_a_sponsor_is_what_it_signs_and_the_signature(tx: TempoTransaction, key: PrivateKey) -> None:
    """0x78 and the fields that pytempo has a fee payer sign, with the sender's signature at their end."""
    asked = sign(replace(tx, fee_payer_signature=AWAITING_FEE_PAYER), key)
    signed = as_pytempo(asked, key.address).encode_for_signing(for_fee_payer=True)
    expected = b"\x78" + rlp.encode([*rlp.decode(signed[1:]), asked.sender_signature])
    assert serialise_for_fee_payer(asked, key.address) == expected


def test_a_sponsored_sender_leaves_the_fee_token_open() -> None:
    """The sponsor may choose the token without touching what the sender signed; a payer of its own fee may not."""
    token = "0x" + "20" * 20
    asked = replace(TX, fee_payer_signature=AWAITING_FEE_PAYER)
    assert sender_digest(asked) == sender_digest(replace(asked, fee_token=token))
    assert sender_digest(asked) != sender_digest(TX)
    assert sender_digest(TX) != sender_digest(replace(TX, fee_token=token))


def test_a_sponsor_signs_for_one_sender_and_one_token() -> None:
    """Its signature fits no other sender and no other fee token."""
    token = "0x" + "20" * 20
    digests = {
        fee_payer_digest(replace(TX, fee_token=fee_token), sender)
        for fee_token in (None, token) for sender in (KEY.address, OTHER.address)
    }  # fmt: skip
    assert len(digests) == 4


@pytest.mark.parametrize(
    "tx",
    [
        sign(TX, KEY),
        replace(TX, fee_payer_signature=AWAITING_FEE_PAYER),
        sign(replace(TX, fee_payer_signature=KEY.sign_digest(bytes(32))), KEY),
    ],
    ids=["not asked for", "not signed by the sender", "sponsored already"],
)
def test_a_sponsor_signs_only_what_waits_for_it(tx: TempoTransaction) -> None:
    """The sponsor's signature comes last."""
    with pytest.raises(UsageError, match="sponsored"):
        sign_as_fee_payer(tx, OTHER, sender=KEY.address, fee_token=None)


@pytest.mark.parametrize(
    "change",
    [
        {"valid_before": 0}, {"valid_after": 0}, {"nonce": -1}, {"gas_limit": -1},
        {"fee_payer_signature": bytes(64)}, {"fee_payer_signature": b"\x01"},
    ],
)  # fmt: skip
def test_values_that_would_be_written_as_something_else_are_refused(change: dict[str, Any]) -> None:
    """Zero as a bound in time would mean no bound; negative numbers and half signatures have no bytes."""
    with pytest.raises(UsageError):
        serialise(replace(TX, **change))


def test_the_sender_of_an_access_key_is_part_of_what_it_signs() -> None:
    """The signature of an access key can't be moved to another account."""
    signed = sign_with_access_key(TX, KEY, OTHER.address)
    moved = b"\x04" + address_bytes("0x" + "77" * 20) + signed.sender_signature[21:]
    read = read_transaction(serialise(replace(TX, sender_signature=moved)))
    assert read.signer.key != KEY.address


def test_the_most_a_fee_can_be_is_gas_times_price() -> None:
    """What a sponsor's budget must reserve."""
    assert TX.max_fee == 1_000_000
