"""Signatures: exactly what the chain accepts, and keys that don't show themselves."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from eth_account import Account
from eth_keys.datatypes import Signature
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.signature import PrivateKey, recover, sign_digest
from coinslot.errors import BadSignature, UsageError

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = PrivateKey(bytes(31) + b"\x07")
DIGEST = bytes(range(32))
GOOD = sign_digest(KEY, DIGEST)
R, S, V = GOOD[:32], GOOD[32:64], GOOD[64]

secrets = st.integers(1, N - 1).map(lambda number: number.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)


def number(value: int) -> bytes:
    """A 32-byte number."""
    return value.to_bytes(32, "big")


def compact(signature: bytes) -> bytes:
    """The EIP-2098 form."""
    return signature[:32] + bytes([signature[32] | (signature[64] - 27) << 7]) + signature[33:64]


@given(secret=secrets, digest=digests)
def test_signatures_equal_those_of_eth_account(secret: bytes, digest: bytes) -> None:
    """Same key, same digest: the same 65 bytes and the same address as eth_account makes."""
    key, other = PrivateKey(secret), Account.from_key(secret)
    assert key.address == other.address.lower()
    assert sign_digest(key, digest) == bytes(other.unsafe_sign_hash(digest).signature)
    assert recover(digest, sign_digest(key, digest)) == key.address


@given(secret=secrets, digest=digests, other=digests)
def test_another_digest_recovers_another_key(secret: bytes, digest: bytes, other: bytes) -> None:
    """What is recovered agrees with eth_keys for any digest, so it is the signer's only for the one signed."""
    signature = PrivateKey(secret).sign_digest(digest)
    eth = Signature(signature_bytes=signature[:64] + bytes([signature[64] - 27]))
    assert recover(other, signature) == eth.recover_public_key_from_msg_hash(other).to_address()


HIGH = R + number(N - int.from_bytes(S, "big")) + bytes([55 - V])


@pytest.mark.guard("T13")
@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(HIGH, id="high s, the twin of a good one"),
        pytest.param(R + number(N // 2 + 1) + bytes([V]), id="s one above the half"),
        pytest.param(R + number(N) + bytes([V]), id="s is the order"),
        pytest.param(R + number(0) + bytes([V]), id="s is zero"),
        pytest.param(number(0) + S + bytes([V]), id="r is zero"),
        pytest.param(number(N) + S + bytes([V]), id="r is the order"),
        pytest.param(number(2**256 - 1) + S + bytes([V]), id="r above the order"),
    ],
)
def test_only_low_s_and_r_in_range_are_taken(signature: bytes) -> None:
    """A second spelling of a signature, or one out of range, is refused as the chain refuses it."""
    with pytest.raises(BadSignature, match="range"):
        recover(DIGEST, signature)


@pytest.mark.guard("T14")
@pytest.mark.parametrize("v", [0, 1, 2, 26, 29, 30, 35, 36, 37, 38, 255])
def test_only_v_27_and_28_are_taken(v: int) -> None:
    """Other spellings of v would be re-written by the chain, which changes the transaction's hash."""
    with pytest.raises(BadSignature, match="27 or 28"):
        recover(DIGEST, GOOD[:64] + bytes([v]))


@pytest.mark.guard("T14")
@pytest.mark.parametrize(
    "signature",
    [b"", GOOD[:63], GOOD[:64], compact(GOOD), GOOD + b"\x00", b"\x00" + GOOD, GOOD + bytes.fromhex("77" * 32)],
    ids=["empty", "63", "64", "compact", "66", "0 before", "magic after"],
)
def test_only_65_bytes_are_taken(signature: bytes) -> None:
    """No short, long or compact signature passes unless asked for."""
    with pytest.raises(BadSignature, match="65 bytes"):
        recover(DIGEST, signature)


@given(secret=secrets, digest=digests)
def test_compact_signatures_are_taken_on_request(secret: bytes, digest: bytes) -> None:
    """EIP-2098 is the same signature in 64 bytes, for callers who know that their contract takes it."""
    key = PrivateKey(secret)
    signature = key.sign_digest(digest)
    assert recover(digest, compact(signature), allow_compact=True) == key.address
    assert recover(digest, signature, allow_compact=True) == key.address


def test_compact_signatures_have_low_s_too() -> None:
    """The parity bit can't smuggle in a high s."""
    with pytest.raises(BadSignature):
        recover(DIGEST, R + number(N // 2 + 1), allow_compact=True)


def test_an_r_that_is_no_point_is_refused() -> None:
    """Some r are in range and still no point of the curve."""
    with pytest.raises(BadSignature, match="no key"):
        recover(DIGEST, number(5) + S + bytes([V]))


@given(signature=st.binary(max_size=70), digest=digests)
def test_random_bytes_recover_or_are_refused_by_name(signature: bytes, digest: bytes) -> None:
    """Nothing but an address or BadSignature comes out."""
    with contextlib.suppress(BadSignature):
        assert recover(digest, signature).startswith("0x")


@pytest.mark.parametrize(
    "text", ["", "0x", "07", "0x" + "00" * 32, f"{N:064x}", "g" * 64, "0x" + "11" * 33, " " + "11" * 32, None, 7]
)
def test_a_key_is_32_bytes_of_hex_in_range_and_never_repeated(text: object) -> None:
    """A mistyped key is refused without showing it."""
    with pytest.raises(UsageError) as caught:
        PrivateKey.from_hex(text)
    assert "11111111" not in str(caught.value)


def test_a_key_shows_only_its_address() -> None:
    """repr, str, pickle and copy give nothing away."""
    key = PrivateKey.from_hex("0x" + "4f" * 32)
    assert repr(key) == str(key) == f"PrivateKey({key.address})"
    assert PrivateKey(key.secret()).address == key.address
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(UsageError):
            leak(key)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_is_32_bytes(size: int) -> None:
    """Something that was not hashed is neither signed nor recovered from."""
    with pytest.raises(UsageError, match="32 bytes"):
        KEY.sign_digest(bytes(size))
    with pytest.raises(UsageError, match="32 bytes"):
        recover(bytes(size), GOOD)
