"""Channel ids and descriptors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.abi import split_words
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import BadTransaction, UsageError, VerificationFailed
from coinslot.methods.tempo.session.channel import (
    ChannelRef,
    Descriptor,
    StreamChannel,
    channel_id,
    channel_ref,
    decode_descriptor,
    encode_descriptor,
    expected_signer,
    expiring_nonce_hash,
    read_descriptor,
    stream_channel_id,
)
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow
from coinslot.methods.tempo.transaction.build import encode_for_signing, sender_digest, sign
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, TempoTransaction
from support.tempochannel import ALPHA, E1, E2, KEY, OTHER_KEY, PATH, PAYEE, SALT, descriptor, opening
from support.tempotx import transactions

V1_ID = "0x01d45f8b31c5dcafddf1b08fa8def9dd0c42462cfcbab685abcf55bc1cdc18bf"
V2_ID = "0x4c7416d0c0aaa4e7794f4447994d78f82980f99debc0d8162ec56c1d08d09614"

addresses = st.binary(min_size=20, max_size=20).filter(any).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
descriptors = st.builds(
    Descriptor, addresses, addresses, addresses | st.just(ZERO_ADDRESS), addresses, words,
    addresses | st.just(ZERO_ADDRESS), words,
)  # fmt: skip


@pytest.mark.spec("TSES-009", "TSES-010")
def test_the_id_of_a_v1_channel_is_pinned() -> None:
    """Made once with another ABI library."""
    assert stream_channel_id(E1, StreamChannel(KEY.address, PAYEE, PATH, SALT, KEY.address)) == V1_ID


@pytest.mark.spec("TSES-011")
def test_the_id_of_a_v2_channel_is_pinned() -> None:
    """Made once with another ABI library."""
    assert channel_id(E2, descriptor()) == V2_ID


@given(descriptors, addresses, st.integers(1, 2**53 - 1))
def test_ids_are_those_of_the_standard_encoding(one: Descriptor, place: str, chain: int) -> None:
    """Whatever the members are."""
    told = one.members()
    v2 = encode(
        ["address"] * 4 + ["bytes32", "address", "bytes32", "address", "uint256"],
        [_raw(value) for value in told.values()] + [place, chain],
    )
    assert channel_id(Escrow(V2, chain, place), one) == "0x" + keccak(v2).hex()
    v1 = encode(
        ["address"] * 3 + ["bytes32", "address", "address", "uint256"],
        [_raw(told[name]) for name in ("payer", "payee", "token", "salt", "authorizedSigner")] + [place, chain],
    )
    stream = StreamChannel(one.payer, one.payee, one.token, one.salt, one.authorized_signer)
    assert stream_channel_id(Escrow(V1, chain, place), stream) == "0x" + keccak(v1).hex()


def _raw(value: str) -> str | bytes:
    return value if len(value) == 42 else bytes.fromhex(value[2:])


@pytest.mark.guard("T07")
def test_the_same_channel_elsewhere_has_another_id() -> None:
    """Another escrow, another chain: another channel."""
    others = [Escrow(V2, E2.chain_id, PAYEE), Escrow(V2, 4217, E2.address)]
    assert len({channel_id(place, descriptor()) for place in (E2, *others)}) == 3
    stream = StreamChannel(KEY.address, PAYEE, PATH, SALT, KEY.address)
    others = [Escrow(V1, E1.chain_id, PAYEE), Escrow(V1, 4217, E1.address)]
    assert len({stream_channel_id(place, stream) for place in (E1, *others)}) == 3


@given(descriptors)
def test_a_descriptor_comes_back_from_json_and_calldata(one: Descriptor) -> None:
    """Both spellings hold all of it."""
    assert read_descriptor(one.members() | {"unknown": 1}) == one
    assert decode_descriptor(split_words(encode_descriptor(one), 7)) == one


@pytest.mark.spec("TSES-007", "TSES-008")
def test_hex_of_any_case_is_one_descriptor() -> None:
    """Mixed case comes in, lower case goes out; the id is the same."""
    upper = {name: "0x" + value[2:].upper() for name, value in descriptor().members().items()}
    assert read_descriptor(upper) == descriptor()
    assert read_descriptor(upper).members() == {name: value.lower() for name, value in upper.items()}
    assert channel_ref(E2, read_descriptor(upper)).id == V2_ID


@pytest.mark.parametrize("name", list(descriptor().members()))
@pytest.mark.parametrize("value", [None, 5, "", "0x", "0x" + "0" * 39, "0x" + "g" * 40, "0x" + "1" * 65, " " + PATH])
def test_a_descriptor_with_a_bad_member_is_refused(name: str, value: object) -> None:
    """Each member has one shape."""
    with pytest.raises(UsageError):
        read_descriptor(descriptor().members() | {name: value})


@pytest.mark.parametrize("name", ["payer", "payee", "token"])
def test_a_descriptor_without_a_party_is_refused(name: str) -> None:
    """Nobody is only an operator or an authorized signer."""
    with pytest.raises(UsageError, match="zero address"):
        read_descriptor(descriptor().members() | {name: ZERO_ADDRESS})


def test_calldata_that_is_no_descriptor_is_refused() -> None:
    """Six words, or dirt above an address."""
    raw = split_words(encode_descriptor(descriptor()), 7)
    with pytest.raises(BadTransaction):
        decode_descriptor(raw[:6])
    with pytest.raises(BadTransaction):
        decode_descriptor((b"\x01" + raw[0][1:], *raw[1:]))


@pytest.mark.guard("T15")
def test_a_channel_of_nobody_has_no_signer() -> None:
    """The zero address never signs."""
    assert expected_signer(KEY.address, ZERO_ADDRESS) == KEY.address
    assert expected_signer(KEY.address, PAYEE) == PAYEE
    with pytest.raises(VerificationFailed):
        expected_signer(ZERO_ADDRESS, ZERO_ADDRESS)


@given(transactions())
def test_the_hash_of_an_open_is_known_before_the_sponsor_signs(tx: TempoTransaction) -> None:
    """It hashes what the sender signs and the sender; fee token and sponsor of a sponsored one don't change it."""
    asked = replace(tx, fee_payer_signature=AWAITING_FEE_PAYER)
    before = expiring_nonce_hash(asked, KEY.address)
    done = replace(sign(asked, KEY), fee_token=ALPHA, fee_payer_signature=KEY.sign_digest(bytes(32)))
    assert expiring_nonce_hash(done, KEY.address) == before
    assert before != expiring_nonce_hash(asked, OTHER_KEY.address)


def test_the_preimage_of_the_hash_is_what_the_sender_signs() -> None:
    """The hash is not the digest, but grows from the same bytes."""
    tx = opening(E2).tx
    assert keccak256(encode_for_signing(tx)) == sender_digest(tx)
    sender = bytes.fromhex(KEY.address[2:])
    assert expiring_nonce_hash(tx, KEY.address) == "0x" + keccak256(encode_for_signing(tx) + sender).hex()


@pytest.mark.guard("T08")
def test_a_channel_opened_again_is_another_channel() -> None:
    """The same terms and salt in a later transaction: another hash, another id."""
    first, again = opening(E2), opening(E2, valid_before=int(opening(E2).tx.valid_before or 0) + 1)
    assert first.channel.required_descriptor().salt == again.channel.required_descriptor().salt
    assert first.channel.id != again.channel.id


def test_a_v1_channel_has_no_descriptor() -> None:
    """And no descriptor makes one."""
    with pytest.raises(UsageError):
        ChannelRef(E1, V1_ID).required_descriptor()
    with pytest.raises(UsageError):
        channel_ref(E1, descriptor())
