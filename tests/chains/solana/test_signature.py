"""Ed25519 as the validators take it, and keys that never show themselves."""

from __future__ import annotations

import copy
import json
import os
import pickle
from hashlib import sha512

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from coinslot.chains.solana.address import address_bytes, address_text
from coinslot.chains.solana.signature import Key, parse_signature, signature_text, verify
from coinslot.errors import BadSignature, UsageError

ORDER = 2**252 + 27742317777372353535851937790883648493
MESSAGE = b"two coffees"
# All points of order 1, 2, 4 and 8, in every spelling that some library reads.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def scalar(seed: bytes) -> int:
    """The secret scalar of a seed (RFC 8032)."""
    digits = bytearray(sha512(seed).digest()[:32])
    digits[0] &= 248
    digits[31] = digits[31] & 127 | 64
    return int.from_bytes(digits, "little")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_what_a_key_signs_verifies_and_nothing_near_it_does(seed: bytes, message: bytes) -> None:
    """One bit of the message, the signature or the key, and it is over."""
    key = Key(seed)
    signature = key.sign(message)
    verify(key.address, message, signature)
    for wrong in (bytes((signature[0] ^ 1,)) + signature[1:], signature[:-1] + bytes((signature[-1] ^ 1,))):
        with pytest.raises(BadSignature):
            verify(key.address, message, wrong)
    with pytest.raises(BadSignature):
        verify(key.address, message + b"!", signature)
    with pytest.raises(BadSignature):
        verify(Key(sha512(seed).digest()[:32]).address, message, signature)


@pytest.mark.guard("T13")
def test_a_key_of_small_order_signs_nothing() -> None:
    """Under the neutral key one signature would be good for every message; libraries that follow the RFC take it."""
    seed = os.urandom(32)
    point = address_bytes(Key(seed).address)
    forged = point + (scalar(seed) % ORDER).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[0])).verify(forged, MESSAGE)  # says nothing: taken
    for message in (MESSAGE, b"", b"all the money"):
        for public in SMALL_ORDER:
            with pytest.raises(BadSignature):
                verify(address_text(bytes.fromhex(public)), message, forged)


@pytest.mark.guard("T13")
def test_a_signature_with_a_point_of_small_order_is_refused() -> None:
    """With the neutral R a key's holder could make a second signature that some verify and the chain doesn't."""
    seed = os.urandom(32)
    key, neutral = Key(seed), bytes.fromhex(SMALL_ORDER[0])
    challenge = int.from_bytes(sha512(neutral + address_bytes(key.address) + MESSAGE).digest(), "little")
    forged = neutral + (challenge * scalar(seed) % ORDER).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(address_bytes(key.address)).verify(forged, MESSAGE)  # says nothing: taken
    with pytest.raises(BadSignature):
        verify(key.address, MESSAGE, forged)
    for point in SMALL_ORDER:
        with pytest.raises(BadSignature):
            verify(key.address, MESSAGE, bytes.fromhex(point) + key.sign(MESSAGE)[32:])


@pytest.mark.guard("T13")
def test_a_second_spelling_of_s_is_refused() -> None:
    """S plus the order of the group is the same number to a careless verifier."""
    key = Key(os.urandom(32))
    signature = key.sign(MESSAGE)
    s = int.from_bytes(signature[32:], "little")
    with pytest.raises(BadSignature):
        verify(key.address, MESSAGE, signature[:32] + (s + ORDER).to_bytes(32, "little"))


@pytest.mark.guard("T14")
@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_only_64_bytes_are_a_signature(size: int) -> None:
    """No more, no less."""
    key = Key(os.urandom(32))
    with pytest.raises(BadSignature, match="64 bytes"):
        verify(key.address, MESSAGE, (key.sign(MESSAGE) * 2)[:size])


def test_an_address_that_is_none_is_the_callers_mistake() -> None:
    """It must not read as a bad signature."""
    with pytest.raises(UsageError):
        verify("nobody", MESSAGE, bytes(64))


@given(st.binary(min_size=64, max_size=64))
def test_every_signature_has_one_spelling(signature: bytes) -> None:
    """Text and bytes go over into each other."""
    assert parse_signature(signature_text(signature)) == signature


@pytest.mark.parametrize("text", ["", "1" * 63, "1" * 65, "z" * 88, " " + "1" * 64, "0" * 64, None, b"1" * 64])
def test_text_that_is_no_signature_is_refused(text: object) -> None:
    """Wrong length, other letters, other types."""
    with pytest.raises(UsageError):
        parse_signature(text)


def test_a_key_is_read_from_all_forms_that_wallets_write() -> None:
    """The seed, the pair, base58 of the pair, the file of solana-keygen."""
    native = Keypair()
    pair = bytes(native)
    keys = [
        Key(pair[:32]),
        Key.from_bytes(pair),
        Key.from_base58(str(native)),
        Key.from_keygen(native.to_json()),
    ]
    assert {key.address for key in keys} == {str(native.pubkey())}
    assert {key.secret() for key in keys} == {pair[:32]}


def test_a_pair_whose_halves_do_not_belong_together_is_refused() -> None:
    """Signing with a foreign public half gives the secret away."""
    pair = bytes(Keypair())[:32] + bytes(Keypair())[32:]
    with pytest.raises(UsageError, match="doesn't belong") as caught:
        Key.from_bytes(pair)
    assert pair[:32].hex() not in str(caught.value)
    with pytest.raises(UsageError, match="doesn't belong"):
        Key.from_keygen(json.dumps(list(pair)))


@pytest.mark.parametrize(
    "text",
    ["[1,2]", json.dumps([256] + [0] * 63), json.dumps([True] * 64), "[" * 500, "{}", "[1.0]", "", None, b"[]"],
)
def test_a_file_that_is_no_keygen_file_is_refused(text: object) -> None:
    """Numbers only, bytes only, 64 of them."""
    with pytest.raises(UsageError):
        Key.from_keygen(text)


def test_a_key_shows_its_address_and_nothing_else() -> None:
    """Not in repr, not in an error, not in a pickle, not in a copy."""
    seed = os.urandom(32)
    key = Key(seed)
    assert repr(key) == f"Key({key.address})"
    assert not hasattr(key, "__dict__")
    for copied in (pickle.dumps, copy.copy):
        with pytest.raises(UsageError):
            copied(key)
    with pytest.raises(UsageError) as caught:
        Key(seed[:31])
    assert seed[:31].hex() not in str(caught.value)
