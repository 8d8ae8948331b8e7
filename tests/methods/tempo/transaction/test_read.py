"""Reading strange bytes: refused by name, or one transaction with one spelling; nothing hides in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
import rlp
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import BadSignature, BadTransaction
from coinslot.methods.tempo.transaction.build import (
    sender_digest,
    serialise,
    serialise_for_fee_payer,
    sign,
    sign_as_fee_payer,
    sign_with_access_key,
)
from coinslot.methods.tempo.transaction.fields import (
    AWAITING_FEE_PAYER,
    EXPIRING_NONCE_KEY,
    AccessEntry,
    Call,
    TempoTransaction,
)
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, TokenLimit, sign_key_authorization
from coinslot.methods.tempo.transaction.read import MAX_CALLS, read_transaction

KEY, SPONSOR, ACCESS = (PrivateKey(bytes([each]) * 32) for each in (1, 2, 3))
TOKEN, TO = "0x20c0" + "00" * 18, "0x" + "11" * 20
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GRANT = sign_key_authorization(KeyAuthorization(ACCESS.address, 42431, limits=(TokenLimit(TOKEN, 9),)), KEY)
TX = TempoTransaction(
    42431, (Call(TOKEN, 0, b"\xa9" * 68), Call(TOKEN, 1)), 100_000, 200, 100, (AccessEntry(TO, (bytes(32),)),),
    EXPIRING_NONCE_KEY, 0, 2_000_000_000, 1_900_000_000, TOKEN,
)  # fmt: skip
ASKED = sign(replace(TX, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER), KEY)
FORMS = {
    "plain": serialise(sign(TX, KEY)),
    "access key": serialise(sign_with_access_key(replace(TX, key_authorization=GRANT), ACCESS, KEY.address)),
    "asked": serialise(ASKED),
    "envelope": serialise_for_fee_payer(ASKED, KEY.address),
    "sponsored": serialise(sign_as_fee_payer(ASKED, SPONSOR, sender=KEY.address, fee_token=TOKEN)),
}
NAMES = (
    "chain_id max_priority_fee_per_gas max_fee_per_gas gas_limit calls access_list nonce_key nonce valid_before"
    " valid_after fee_token fee_payer authorization_list signature"
).split()
forms = st.sampled_from(sorted(FORMS))


def rewrite(form: str, at: int, value: object) -> bytes:
    """A form with one of its fields replaced."""
    raw = FORMS[form]
    fields = rlp.decode(raw[1:])
    fields[at] = value
    encoded: bytes = rlp.encode(fields)
    return raw[:1] + encoded


def accepted(raw: bytes) -> bool:
    """Whether the bytes are read; the error must be one of the two named ones."""
    try:
        read = read_transaction(raw)
    except (BadTransaction, BadSignature):
        return False
    again = serialise_for_fee_payer(read.transaction, read.sender) if raw[0] == 0x78 else serialise(read.transaction)
    assert again == raw
    return True


def without_sponsor(tx: TempoTransaction) -> TempoTransaction:
    """A transaction without what its sender leaves open to a sponsor."""
    return replace(tx, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER)


def another_payment(changed: bytes, raw: bytes) -> bool:
    """Whether somebody else would pay: the sender, or, in what the sender leaves open, the sponsor of the fee."""
    read, original = read_transaction(changed), read_transaction(raw)
    if read.signer != original.signer:
        return True
    sender_signed = without_sponsor(read.transaction) == without_sponsor(original.transaction)
    return sender_signed and original.transaction.sponsored and read.fee_payer != original.fee_payer


@pytest.mark.parametrize("form", sorted(FORMS))
def test_each_form_is_read(form: str) -> None:
    """The five forms the field sends are read, and their money comes from the right account."""
    read = read_transaction(FORMS[form])
    assert read.sender == KEY.address
    assert read.signer.key == (ACCESS.address if form == "access key" else KEY.address)
    assert read.fee_payer == (SPONSOR.address if form == "sponsored" else None)


@pytest.mark.guard("T31")
@given(form=forms, data=st.data())
def test_no_changed_byte_leaves_the_same_payer(form: str, data: st.DataObject) -> None:
    """Any change of one byte is refused, or recovers another account: the payer's signature covers it all."""
    raw = FORMS[form]
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    assert not accepted(changed) or another_payment(changed, raw)


@pytest.mark.guard("T31")
@given(form=forms, at=st.integers(0, 14), value=st.recursive(st.binary(max_size=40), st.lists, max_leaves=5))
def test_no_changed_field_leaves_the_same_payer(form: str, at: int, value: object) -> None:
    """A field replaced by anything is refused by name, or is not signed by this payer any more."""
    fields = rlp.decode(FORMS[form][1:])
    at = min(at, len(fields) - 1)
    if value == fields[at]:
        return
    changed = rewrite(form, at, value)
    if accepted(changed) and NAMES[at] not in {"fee_token", "fee_payer"}:
        assert read_transaction(changed).signer != read_transaction(FORMS[form]).signer


@pytest.mark.guard("T31")
@given(form=forms, data=st.data())
def test_inserted_and_removed_bytes_are_refused(form: str, data: st.DataObject) -> None:
    """The same signature never fits under other lengths."""
    raw = FORMS[form]
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, min(len(raw), start + 40)))
    changed = raw[:start] + data.draw(st.binary(max_size=40)) + raw[stop:]
    assert changed == raw or not accepted(changed) or another_payment(changed, raw)


@given(first=st.sampled_from([0x76, 0x78]), rest=st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(first: int, rest: bytes) -> None:
    """Noise is BadTransaction, never a crash."""
    assert not accepted(bytes([first]) + rest)


@given(
    first=st.sampled_from([0x76, 0x78]),
    fields=st.lists(
        st.recursive(st.binary(max_size=33), lambda parts: st.lists(parts, max_size=3), max_leaves=6),
        min_size=13,
        max_size=16,
    ),
)
def test_random_fields_are_refused_by_name(first: int, fields: list[object]) -> None:
    """Well-formed RLP of the right number of fields, with anything in them, is no crash either."""
    accepted(bytes([first]) + rlp.encode(fields))


SIGNED = sign(TX, KEY)


def field(name: str, value: object, form: str = "plain") -> bytes:
    """The plain form with the named field replaced."""
    return rewrite(form, NAMES.index(name), value)


ONE = [bytes.fromhex(TOKEN[2:]), b"", b""]


@pytest.mark.guard("T31")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "0x76", id="nothing"),
        pytest.param(b"\x02" + FORMS["plain"][1:], "0x76", id="another type"),
        pytest.param(b"\x76", "too early", id="only the type"),
        pytest.param(FORMS["plain"] + b"\x00", "follow", id="a byte after the end"),
        pytest.param(b"\x76" + rlp.encode(b"text"), "fields", id="no list"),
        pytest.param(b"\x76" + rlp.encode(rlp.decode(FORMS["plain"][1:])[:-1]), "fields", id="a field missing"),
        pytest.param(b"\x76" + rlp.encode([*rlp.decode(FORMS["access key"][1:]), b""]), "fields", id="one more"),
        pytest.param(field("chain_id", b""), "chain id", id="chain id 0"),
        pytest.param(field("chain_id", b"\x00\xa5\xbf"), "zero byte", id="leading zero"),
        pytest.param(field("chain_id", b"\x01" * 9), "64 bits", id="chain id too wide"),
        pytest.param(field("max_fee_per_gas", b"\x01" * 17), "128 bits", id="fee too wide"),
        pytest.param(field("max_fee_per_gas", b"\x01"), "priority", id="priority above the fee"),
        pytest.param(field("gas_limit", b"\x01" * 9), "64 bits", id="gas too wide"),
        pytest.param(field("gas_limit", [b"\x01"]), "list", id="gas a list"),
        pytest.param(field("nonce_key", b"\x01" * 33), "256 bits", id="nonce key too wide"),
        pytest.param(field("nonce", b"\x00"), "zero byte", id="nonce spelled 00"),
        pytest.param(field("calls", []), "no calls", id="no calls"),
        pytest.param(field("calls", b""), "calls", id="calls not a list"),
        pytest.param(field("calls", [ONE] * (MAX_CALLS + 1)), "calls", id="too many calls"),
        pytest.param(field("calls", [ONE[:2]]), "list of three", id="half a call"),
        pytest.param(field("calls", [[b"", b"", b""]]), "target", id="a contract creation"),
        pytest.param(field("calls", [[bytes(20), b"", b""]]), "zero address", id="a call of nobody"),
        pytest.param(field("calls", [[ONE[0], b"\x00", b""]]), "zero byte", id="a value spelled 00"),
        pytest.param(field("calls", [[ONE[0], b"", []]]), "bytes belong", id="calldata a list"),
        pytest.param(field("access_list", [[ONE[0]]]), "access list", id="half an entry"),
        pytest.param(field("access_list", [[ONE[0], [bytes(31)]]]), "32 bytes", id="a short storage key"),
        pytest.param(field("valid_before", b"\x01"), "starts", id="ends before it starts"),
        pytest.param(field("fee_token", bytes(19)), "20 bytes", id="a short fee token"),
        pytest.param(field("fee_token", bytes(20)), "zero address", id="the zero fee token"),
        pytest.param(field("fee_payer", b"\x01"), "fee payer", id="another placeholder"),
        pytest.param(field("fee_payer", b"\x00" * 20), "fee payer", id="an address in 0x76"),
        pytest.param(field("fee_payer", []), "fee payer", id="an empty list"),
        pytest.param(field("fee_payer", [b"", b"\x01"]), "fee payer", id="two numbers"),
        pytest.param(field("fee_payer", b"\x00", "envelope"), "sender", id="the placeholder in 0x78"),
        pytest.param(field("authorization_list", [[b""]]), "authorization list", id="an authorization"),
        pytest.param(field("authorization_list", b""), "authorization list", id="authorizations not a list"),
        pytest.param(field("signature", [], "plain"), "signature", id="a list as signature"),
        pytest.param(rewrite("access key", 13, []), "key authorization", id="an empty key authorization"),
        pytest.param(rewrite("access key", 13, b"\x01"), "key authorization", id="bytes as key authorization"),
    ],
)
def test_each_deviation_is_refused_by_name(raw: bytes, reason: str) -> None:
    """One thing wrong at a time, and the error says what."""
    with pytest.raises(BadTransaction, match=reason):
        read_transaction(raw)


def flip(signature: bytes) -> bytes:
    """The high-s twin of a signature."""
    s = N - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


SIGNATURE = SIGNED.sender_signature
V1 = b"\x03" + bytes.fromhex(KEY.address[2:]) + ACCESS.sign_digest(sender_digest(TX))
V2 = sign_with_access_key(TX, ACCESS, KEY.address).sender_signature


@pytest.mark.guard("T13", "T14", "T15")
@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        pytest.param(b"", "unknown", id="none"),
        pytest.param(flip(SIGNATURE), "lower half", id="high s"),
        pytest.param(SIGNATURE[:64] + bytes([SIGNATURE[64] - 27]), "27 or 28", id="v 0 or 1"),
        pytest.param(SIGNATURE[:64], "unknown", id="64 bytes"),
        pytest.param(SIGNATURE + b"\x77" * 32, "unknown", id="magic bytes after it"),
        pytest.param(V2[:21] + flip(V2[21:]), "lower half", id="access key, high s"),
        pytest.param(V2[:21] + V2[21:85] + bytes([V2[85] - 27]), "27 or 28", id="access key, v 0 or 1"),
        pytest.param(V2[:-1], "unknown", id="access key, short"),
        pytest.param(V2 + b"\x00", "unknown", id="access key, long"),
        pytest.param(b"\x04" + bytes(20) + V2[21:], "zero address", id="access key for nobody"),
        pytest.param(V2[:21] + V2, "unknown", id="access key of an access key"),
        pytest.param(V1, "version 1", id="access key, version 1"),
        pytest.param(b"\x01" + bytes(129), "unsupported signature type: P-256", id="P-256"),
        pytest.param(b"\x02" + bytes(200), "unsupported signature type: WebAuthn", id="WebAuthn"),
        pytest.param(b"\x05" + bytes(99), "unsupported signature type: multisig", id="multisig"),
        pytest.param(b"\x06" + bytes(99), "unknown", id="a type to come"),
    ],
)
def test_signatures_of_other_kinds_and_spellings_are_refused_by_name(signature: bytes, reason: str) -> None:
    """The kinds we take, in the spelling the chain keeps; the others say what they are."""
    with pytest.raises(BadSignature, match=reason):
        read_transaction(serialise(replace(TX, sender_signature=signature)))


@pytest.mark.guard("T15")
def test_an_envelope_names_the_sender_who_signed() -> None:
    """A sponsor can't be made to sign for an account that asked for nothing."""
    with pytest.raises(BadSignature, match="another sender"):
        read_transaction(serialise_for_fee_payer(ASKED, SPONSOR.address))


def test_a_sponsors_signature_is_strict_too() -> None:
    """High s, a parity above 1, and numbers out of range are refused."""
    tx = sign_as_fee_payer(ASKED, SPONSOR, sender=KEY.address, fee_token=TOKEN)
    high = flip(tx.fee_payer_signature or b"")
    with pytest.raises(BadSignature, match="lower half"):
        read_transaction(serialise(replace(tx, fee_payer_signature=high)))
    parity, r, s = rlp.decode(FORMS["sponsored"][1:])[11]
    for value in ([b"\x02", r, s], [b"\x1b", r, s], [parity, b"", s], [parity, r, b""], [parity, b"\xff" * 32, s]):
        with pytest.raises(BadSignature):
            read_transaction(field("fee_payer", value, "sponsored"))
