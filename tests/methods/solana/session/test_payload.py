"""The five actions of a Solana session, read from a credential."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import Json, canonical, parse_object
from coinslot.errors import MalformedCredential
from coinslot.methods.solana.session.bearer import sign_bearer
from coinslot.methods.solana.session.payload import (
    ClosePayload,
    OpenPayload,
    TopUpPayload,
    UsePayload,
    VoucherPayload,
    read_payload,
    read_plain_voucher,
)
from coinslot.methods.solana.session.voucher import sign_voucher
from support.solanaopening import CHALLENGE, OTHER, PAYER, by_operator, payload, recorded, terms

CHANNEL = recorded(terms()).id
VOUCHER = sign_voucher(PAYER, CHANNEL, 5_000)
PROOF = sign_bearer(PAYER, CHANNEL, CHALLENGE)
TRANSACTION = base64.b64encode(b"any bytes").decode()
SPEAKS: dict[str, tuple[dict[str, Any], bool]] = {
    "open": (payload(terms()), False),
    "voucher": (VoucherPayload(CHANNEL, VOUCHER).members(), False),
    "use": (UsePayload(CHANNEL, PROOF).members(), True),
    "topUp": (TopUpPayload(CHANNEL, 500, b"any bytes").members(), False),
    "close": (ClosePayload(CHANNEL, VOUCHER).members(), False),
    "operator-open": (payload(by_operator()), True),
    "operator-close": (ClosePayload(CHANNEL, authentication=PROOF).members(), True),
}
# What must be there, by action and requirement.
REQUIRED = [
    pytest.param("open", "action", marks=pytest.mark.spec("SSES-097")),
    *[
        pytest.param("open", name, marks=pytest.mark.spec(number))
        for name, number in (
            ("channelId", "SSES-098"), ("payer", "SSES-099"), ("payee", "SSES-100"),
            ("mint", "SSES-101"), ("authorizedSigner", "SSES-102"), ("salt", "SSES-103"),
            ("depositAmount", "SSES-104"), ("gracePeriodSeconds", "SSES-105"), ("openSlot", "SSES-107"),
            ("transaction", "SSES-111"),
        )
    ],
    pytest.param("operator-open", "authentication", marks=pytest.mark.spec("SSES-110")),
    pytest.param("voucher", "action", marks=pytest.mark.spec("SSES-119")),
    pytest.param("voucher", "channelId", marks=pytest.mark.spec("SSES-120")),
    pytest.param("voucher", "voucher", marks=pytest.mark.spec("SSES-121")),
    pytest.param("use", "action", marks=pytest.mark.spec("SSES-123")),
    pytest.param("use", "channelId", marks=pytest.mark.spec("SSES-124")),
    pytest.param("use", "authentication", marks=pytest.mark.spec("SSES-125")),
    pytest.param("topUp", "action", marks=pytest.mark.spec("SSES-126")),
    pytest.param("topUp", "channelId", marks=pytest.mark.spec("SSES-127")),
    pytest.param("topUp", "additionalAmount", marks=pytest.mark.spec("SSES-128")),
    pytest.param("topUp", "transaction", marks=pytest.mark.spec("SSES-129")),
    pytest.param("close", "action", marks=pytest.mark.spec("SSES-130")),
    pytest.param("close", "channelId", marks=pytest.mark.spec("SSES-131")),
    pytest.param("close", "voucher", marks=pytest.mark.spec("SSES-132")),
    pytest.param("operator-close", "authentication", marks=pytest.mark.spec("SSES-133")),
]  # fmt: skip


def read(told: dict[str, Any], *, operator: bool = False) -> Any:
    """What a server reads."""
    return read_payload(told, operator=operator)


@pytest.mark.parametrize("kind", SPEAKS)
def test_each_action_is_read_as_it_was_written(kind: str) -> None:
    """Members that nobody knows are passed over."""
    told, operator = SPEAKS[kind]
    assert read({**told, "capabilities": {"x": 1}}, operator=operator).members() == told


@pytest.mark.parametrize(("kind", "name"), REQUIRED)
def test_an_action_without_one_of_its_members_is_malformed(kind: str, name: str) -> None:
    """Whichever is missing, or is something else than it must be."""
    told, operator = SPEAKS[kind]
    others: tuple[object, ...] = (None, [], "", "0x!", -1, True, {})
    for other in others:
        changed = {**told, name: other} if other is not None else {key: told[key] for key in told if key != name}
        with pytest.raises(MalformedCredential):
            read(changed, operator=operator)


@pytest.mark.spec("SSES-141", "SSES-142", "SSES-143", "SSES-137", "SSES-138", "SSES-140")
@pytest.mark.parametrize("name", ["voucher", "signer", "signature", "signatureType", "channelId", "cumulativeAmount"])
def test_a_voucher_without_one_of_its_members_is_malformed(name: str) -> None:
    """Also those of its inner object."""
    told = VoucherPayload(CHANNEL, VOUCHER).members()
    voucher = told["voucher"]
    for holder in (voucher, voucher["voucher"]):
        if name in holder:
            del holder[name]
            with pytest.raises(MalformedCredential):
                read(told)
            return
    raise AssertionError(name)


@pytest.mark.spec("SSES-087", "SSES-088", "SSES-089", "SSES-090")
@pytest.mark.parametrize("name", ["type", "challengeId", "payer", "signature"])
def test_a_proof_without_one_of_its_members_is_malformed(name: str) -> None:
    """All four are required."""
    told = UsePayload(CHANNEL, PROOF).members()
    assert read(told, operator=True) == UsePayload(CHANNEL, PROOF)
    del told["authentication"][name]
    with pytest.raises(MalformedCredential):
        read(told, operator=True)


@pytest.mark.spec("SSES-143")
def test_only_ed25519_vouchers_are_taken() -> None:
    """Passkeys would need a type, a message and a program of their own."""
    told = VoucherPayload(CHANNEL, VOUCHER).members()
    told["voucher"]["signatureType"] = "secp256r1"
    with pytest.raises(MalformedCredential):
        read(told)


@pytest.mark.spec("SSES-114", "SSES-115")
@pytest.mark.parametrize("bump", [255, "255", None, 0])
def test_an_opening_with_a_bump_is_malformed(bump: object) -> None:
    """Whatever it says, and even the right one."""
    with pytest.raises(MalformedCredential, match="bump"):
        read({**payload(terms()), "bump": bump})


@pytest.mark.spec("SSES-112")
def test_an_opening_with_a_voucher_is_malformed() -> None:
    """The first one comes with the first request."""
    with pytest.raises(MalformedCredential, match="voucher"):
        read({**payload(terms()), "voucher": VOUCHER.members()})


@pytest.mark.spec("SSES-110")
def test_a_client_that_signs_by_itself_opens_without_a_proof() -> None:
    """The proof belongs to channels whose vouchers the server signs."""
    with pytest.raises(MalformedCredential, match="authentication"):
        read({**payload(terms()), "authentication": PROOF.members()})


@pytest.mark.spec("SSES-132", "SSES-133")
def test_a_close_is_asked_with_one_thing_and_not_with_the_other() -> None:
    """A voucher where the client signs, a proof where the server does."""
    both = {**ClosePayload(CHANNEL, VOUCHER).members(), "authentication": PROOF.members()}
    for operator in (False, True):
        with pytest.raises(MalformedCredential):
            read(both, operator=operator)


@pytest.mark.spec("SSES-122")
def test_a_voucher_authenticates_nobody_where_the_server_signs_them() -> None:
    """And a proof buys nothing where it does not."""
    with pytest.raises(MalformedCredential):
        read(SPEAKS["voucher"][0], operator=True)
    with pytest.raises(MalformedCredential):
        read(SPEAKS["use"][0], operator=False)


def test_a_voucher_of_another_channel_than_the_payloads_is_malformed() -> None:
    """The routing key may not differ from what was signed."""
    told = VoucherPayload(OTHER.address, VOUCHER).members()
    with pytest.raises(MalformedCredential):
        read(told)


@pytest.mark.spec("SSES-109")
def test_a_policy_agrees_with_the_signer() -> None:
    """Where there is one."""
    told = payload(terms())
    assert isinstance(read({**told, "authorizationPolicy": {"authorizedSigner": PAYER.address}}), OpenPayload)
    with pytest.raises(MalformedCredential):
        read({**told, "authorizationPolicy": {"authorizedSigner": OTHER.address}})
    with pytest.raises(MalformedCredential):
        read({**told, "authorizationPolicy": "any"})


@pytest.mark.spec("SSES-111")
@pytest.mark.parametrize("text", ["YQ", "YR==", "YQ==\n", "Y-_=", "", "A" * 1_645], ids=repr)
def test_a_transaction_has_one_spelling(text: str) -> None:
    """Padded base64 of the standard alphabet, and not more than a packet holds."""
    with pytest.raises(MalformedCredential):
        read({**SPEAKS["topUp"][0], "transaction": text})


@pytest.mark.spec("SSES-018", "SSES-031", "SSES-019")
@pytest.mark.parametrize(
    ("kind", "name", "zero"),
    [("open", "depositAmount", "0"), ("topUp", "additionalAmount", "0"), ("open", "gracePeriodSeconds", 0)],
)
def test_amounts_and_times_are_not_zero(kind: str, name: str, zero: object) -> None:
    """Deposits, top-ups and grace periods."""
    with pytest.raises(MalformedCredential):
        read({**SPEAKS[kind][0], name: zero})


@pytest.mark.guard("T20")
@pytest.mark.parametrize("text", ["-1", "1.0", "01", "1e3", str(2**64), 1.5, True, None])
def test_an_amount_is_a_u64_in_its_one_spelling(text: object) -> None:
    """Anything else is malformed before anything looks at it."""
    for name in ("salt", "openSlot", "depositAmount"):
        with pytest.raises(MalformedCredential):
            read({**payload(terms()), name: text})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SPEAKS)), st.data(), JSON)
def test_junk_in_any_member_is_refused_by_name_or_taken(kind: str, data: st.DataObject, junk: object) -> None:
    """Nothing but MalformedCredential leaves the reader."""
    told, operator = SPEAKS[kind]
    name = data.draw(st.sampled_from([*told, "idleTimeoutSeconds", "distributionSplits", "authorizationPolicy"]))
    with suppress(MalformedCredential):
        read({**told, name: junk}, operator=operator)


# --- the voucher that comes again and again ------------------------------------------------------


def changed(members: dict[str, Any], how: str) -> bytes:
    """The JSON of a voucher, spoilt or spelled otherwise in one place."""
    raw, signed = canonical(members), members["voucher"]

    def inner(**others: Json) -> bytes:
        return canonical({**members, "voucher": {**signed, "voucher": {**signed["voucher"], **others}}})

    spelled: dict[str, Callable[[], bytes]] = {
        "as it is": lambda: raw,
        "another order": lambda: json.dumps(dict(reversed(members.items())), separators=(",", ":")).encode(),
        "an expiry": lambda: inner(expiresAt=4_102_444_800),
        "an expiry of 0": lambda: inner(expiresAt=0),
        "an expiry of nothing": lambda: inner(expiresAt=None),
        "an expiry of another kind": lambda: inner(expiresAt="4102444800"),
        "an expiry with a sign": lambda: inner(expiresAt=1).replace(b'"expiresAt":1', b'"expiresAt":-0'),
        "an expiry as a float": lambda: inner(expiresAt=1).replace(b'"expiresAt":1', b'"expiresAt":1e3'),
        "too late an expiry": lambda: inner(expiresAt=1).replace(b'"expiresAt":1', b'"expiresAt":%d' % 2**63),
        "spaces": lambda: json.dumps(members, indent=1).encode(),
        "a member more": lambda: canonical({**members, "more": 1}),
        "a member more below": lambda: canonical({**members, "voucher": {**signed, "more": 1}}),
        "a member more at the bottom": lambda: inner(more=1),
        "a member twice": lambda: raw[:-1] + b',"channelId":"x"}',
        "a member twice below": lambda: raw.replace(b'"signer"', b'"signer":"x","signer"'),
        "a member twice at the bottom": lambda: raw.replace(b'"cumul', b'"cumulativeAmount":"1","cumul'),
        "an escape": lambda: raw.replace(b'"ed25519"', b'"ed2551\\u0039"'),
        "another channel outside": lambda: canonical({**members, "channelId": OTHER.address}),
        "another channel inside": lambda: inner(channelId=OTHER.address),
        "no channel": lambda: canonical({**members, "channelId": "x"}),
        "no such channel twice": lambda: raw.replace(CHANNEL.encode(), b"x"),
        "another kind of signature": lambda: canonical({**members, "voucher": {**signed, "signatureType": "p256"}}),
        "no signer": lambda: canonical({**members, "voucher": {**signed, "signer": ""}}),
        "half a signature": lambda: canonical({**members, "voucher": {**signed, "signature": "5" * 44}}),
        "an amount as a number": lambda: inner(cumulativeAmount=5_000),
        "a negative amount": lambda: inner(cumulativeAmount="-1"),
        "too large an amount": lambda: inner(cumulativeAmount=str(2**64)),
        "an amount with a zero before it": lambda: inner(cumulativeAmount="05000"),
        "another action": lambda: canonical({**members, "action": "close"}),
        "half of it": lambda: raw[: len(raw) // 2],
        "no text": lambda: raw.replace(b"voucher", b"\xff\xfe"),
        "nothing": lambda: b"{}",
        "very deep": lambda: b'{"voucher":' * 5_000,
    }
    return spelled[how]()


GOOD = SPEAKS["voucher"][0]
ALIKE = ["as it is", "another order", "an expiry", "an expiry of 0"]
OTHERWISE = [
    "an expiry of nothing", "an expiry of another kind", "an expiry with a sign", "an expiry as a float",
    "too late an expiry", "spaces", "a member more", "a member more below", "a member more at the bottom",
    "a member twice", "a member twice below", "a member twice at the bottom", "an escape", "another channel outside",
    "another channel inside", "no channel", "no such channel twice", "another kind of signature", "no signer",
    "half a signature", "an amount as a number", "a negative amount", "too large an amount",
    "an amount with a zero before it", "another action", "half of it", "no text", "nothing", "very deep",
]  # fmt: skip


@pytest.mark.parametrize("how", ALIKE)
def test_a_plain_voucher_is_read_quickly_and_alike(how: str) -> None:
    """In any order of its members, with an expiry or without."""
    raw = changed(GOOD, how)
    assert read_plain_voucher(raw) == read_payload(parse_object(raw), operator=False)


@pytest.mark.guard("T08")
@pytest.mark.guard("T09")
@pytest.mark.parametrize("how", OTHERWISE)
def test_what_is_odd_in_any_way_has_no_quick_answer(how: str) -> None:
    """Whether it is good after all, and what is wrong with it, is for the thorough reader to say."""
    assert read_plain_voucher(changed(GOOD, how)) is None


@given(at=st.integers(0, 2_000), byte=st.integers(0, 255))
def test_no_other_byte_is_read_otherwise(at: int, byte: int) -> None:
    """Any byte of a voucher's JSON changed: both ways of reading agree, or the quick one has no answer."""
    raw = bytearray(changed(GOOD, "an expiry"))
    raw[at % len(raw)] = byte
    quick = read_plain_voucher(bytes(raw))
    if quick is not None:
        assert quick == read_payload(parse_object(bytes(raw)), operator=False)
