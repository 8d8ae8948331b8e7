"""Key authorizations: written as pytempo writes them, read in one spelling only."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytempo
import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import BadSignature, BadTransaction, UsageError
from coinslot.methods.tempo.transaction.build import serialise, sign_with_access_key
from coinslot.methods.tempo.transaction.fields import Call, TempoTransaction
from coinslot.methods.tempo.transaction.key_authorization import (
    CallScope,
    KeyAuthorization,
    SelectorRule,
    TokenLimit,
    key_authorization_digest,
    read_key_authorization,
    sign_key_authorization,
)
from coinslot.methods.tempo.transaction.read import read_transaction
from support.tempotx import U64, U256, addresses, as_pytempo, keys, uints, words

KEY, ACCESS = PrivateKey(bytes([1] * 32)), PrivateKey(bytes([2] * 32))
TOKEN = "0x20c0" + "00" * 18
FULL = KeyAuthorization(
    ACCESS.address, 42431, 0, 2_000_000_000,
    (TokenLimit(TOKEN, 9), TokenLimit(TOKEN, 0, 3600)),
    (CallScope(TOKEN, (SelectorRule(b"\xa9\x05\x9c\xbb", (KEY.address,)), SelectorRule(bytes(4)))), CallScope(TOKEN)),
    bytes(32), True, KEY.address,
)  # fmt: skip

limits = st.lists(st.builds(TokenLimit, addresses, uints(U256)), max_size=3).map(tuple)
periodic = st.lists(st.builds(TokenLimit, addresses, uints(U256), uints(U64)), max_size=3).map(tuple)
rules = st.builds(SelectorRule, st.binary(min_size=4, max_size=4), st.lists(addresses, max_size=2).map(tuple))
scopes = st.lists(st.builds(CallScope, addresses, st.lists(rules, max_size=2).map(tuple)), max_size=2).map(tuple)


@st.composite
def known_to_pytempo(draw: st.DrawFn) -> KeyAuthorization:
    """What pytempo can write: no scopes, no periods; an admin key without expiry and limits."""
    admin = draw(st.booleans())
    return KeyAuthorization(
        key_id=draw(addresses),
        chain_id=draw(uints(U64)),
        key_type=draw(st.integers(0, 2)),
        expires_at=None if admin else draw(st.none() | st.integers(1, U64)),
        limits=None if admin else draw(st.none() | limits),
        witness=draw(st.none() | words),
        is_admin=admin,
        account=draw(st.none() | addresses),
    )


def theirs(authorization: KeyAuthorization) -> pytempo.KeyAuthorization:
    """The same for pytempo."""
    token_limits = authorization.limits
    return pytempo.KeyAuthorization(
        key_id=authorization.key_id,
        chain_id=authorization.chain_id,
        key_type=authorization.key_type,
        expiry=authorization.expires_at,
        limits=(
            None
            if token_limits is None
            else [pytempo.TokenLimit(token=each.token, limit=each.amount_units) for each in token_limits]
        ),
        witness=authorization.witness,
        is_admin=authorization.is_admin,
        account=authorization.account,
    )


@given(authorization=known_to_pytempo(), key=keys)
def test_an_authorization_equals_that_of_pytempo(authorization: KeyAuthorization, key: PrivateKey) -> None:
    """The same digest and bytes; what is read is what was meant and who signed it."""
    other = theirs(authorization)
    assert key_authorization_digest(authorization) == other.signature_hash()
    raw = sign_key_authorization(authorization, key)
    assert raw == other.sign("0x" + key.secret().hex()).rlp_encode()
    read = read_key_authorization(raw)
    assert (read.authorization, read.signer) == (authorization, key.address)


@given(
    authorization=st.builds(
        KeyAuthorization, addresses, uints(U64), st.integers(0, 3), st.none() | st.integers(1, U64),
        st.none() | periodic, st.none() | scopes, st.none() | words, st.booleans(), st.none() | addresses,
    ),
    key=keys,
)  # fmt: skip
def test_any_authorization_reads_back(authorization: KeyAuthorization, key: PrivateKey) -> None:
    """Periods, scopes and their recipients survive the way there and back."""
    read = read_key_authorization(sign_key_authorization(authorization, key))
    assert (read.authorization, read.signer) == (authorization, key.address)


def test_no_limit_and_no_spending_are_different() -> None:
    """None means unlimited, an empty tuple nothing at all: one must never be read as the other."""
    for field in ("limits", "allowed_calls"):
        values: tuple[dict[str, Any], ...] = ({field: None}, {field: ()})
        none, empty = (KeyAuthorization(ACCESS.address, 1, **each) for each in values)
        assert key_authorization_digest(none) != key_authorization_digest(empty)
        for each in (none, empty):
            assert read_key_authorization(sign_key_authorization(each, KEY)).authorization == each


@given(data=st.data())
def test_no_changed_byte_keeps_the_signer(data: st.DataObject) -> None:
    """A changed byte is refused by name or recovers another key."""
    raw = sign_key_authorization(FULL, KEY)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    with contextlib.suppress(BadTransaction, BadSignature):
        assert read_key_authorization(changed).signer != KEY.address


def with_part(at: int, value: object) -> bytes:
    """FULL, signed before one of its parts was replaced."""
    authorization, signature = rlp.decode(sign_key_authorization(FULL, KEY))
    if at >= len(authorization):
        authorization.append(value)
    else:
        authorization[at] = value
    encoded: bytes = rlp.encode([authorization, signature])
    return encoded


TAIL = [b"\x01", b"", bytes.fromhex(ACCESS.address[2:])]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(rlp.encode([[], b"", b""]), id="three parts"),
        pytest.param(rlp.encode([TAIL[:2], b""]), id="no key"),
        pytest.param(rlp.encode([TAIL, []]), id="a list as signature"),
        pytest.param(rlp.encode([TAIL, b"\x09" * 70]), id="an unknown signature"),
        pytest.param(rlp.encode([[*TAIL, b""], bytes(65)]), id="an absent field at the end"),
        pytest.param(rlp.encode([[*TAIL, b"\x00"], bytes(65)]), id="expiry 00"),
        pytest.param(with_part(9, b""), id="one field more"),
        pytest.param(with_part(1, b"\x04"), id="unknown key type"),
        pytest.param(with_part(2, bytes(19)), id="short key"),
        pytest.param(with_part(4, b"\x01"), id="limits not a list"),
        pytest.param(with_part(4, [[bytes(20)]]), id="half a limit"),
        pytest.param(with_part(4, [[bytes(20), b"\x01", b""]]), id="period 0 spelled out"),
        pytest.param(with_part(5, [[bytes(20)]]), id="half a scope"),
        pytest.param(with_part(5, [[bytes(20), [[b"\x01" * 4]]]]), id="half a rule"),
        pytest.param(with_part(5, [[bytes(20), [[b"\x01" * 3, []]]]]), id="short selector"),
        pytest.param(with_part(5, [[bytes(20), [[[], []]]]]), id="a list as selector"),
        pytest.param(with_part(6, bytes(31)), id="short witness"),
        pytest.param(with_part(7, b"\x02"), id="admin 2"),
        pytest.param(with_part(8, bytes(19)), id="short account"),
    ],
)
def test_other_spellings_are_refused(raw: bytes) -> None:
    """Everything that the chain's own decoder refuses, we refuse by name."""
    with pytest.raises(BadTransaction):
        read_key_authorization(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": -1}, {"chain_id": 2**64}, {"key_type": 4}, {"expires_at": 0}, {"expires_at": 2**64},
        {"witness": bytes(31)}, {"limits": (TokenLimit(TOKEN, -1),)}, {"limits": (TokenLimit(TOKEN, 1, 2**64),)},
        {"limits": (TokenLimit(TOKEN, 2**256),)}, {"allowed_calls": (CallScope(TOKEN, (SelectorRule(b"\x01"),)),)},
    ],
)  # fmt: skip
def test_values_out_of_range_are_not_signed(change: dict[str, Any]) -> None:
    """A mistake is refused before the root key signs it."""
    with pytest.raises(UsageError):
        sign_key_authorization(replace(FULL, **change), KEY)


def test_another_kind_of_root_signature_is_kept_but_not_checked() -> None:
    """A passkey wallet may authorise a key: we can't check its signature and say so by None."""
    raw = rlp.encode([rlp.decode(sign_key_authorization(FULL, KEY))[0], b"\x01" + bytes(129)])
    assert read_key_authorization(raw).signer is None


def test_a_transaction_carries_the_authorization_of_the_key_that_signs_it() -> None:
    """Bytes equal those of pytempo, and both signatures are read."""
    grant = KeyAuthorization(ACCESS.address, 42431, limits=(TokenLimit(TOKEN, 9),))
    tx = TempoTransaction(42431, (Call(TOKEN),), 100_000, 10, key_authorization=sign_key_authorization(grant, KEY))
    raw = serialise(sign_with_access_key(tx, ACCESS, KEY.address))
    other = as_pytempo(tx).sign_access_key("0x" + ACCESS.secret().hex(), KEY.address)
    assert raw == other.encode()
    read = read_transaction(raw)
    carried = read_key_authorization(read.transaction.key_authorization or b"")
    assert (carried.authorization, carried.signer, read.sender) == (grant, KEY.address, KEY.address)
