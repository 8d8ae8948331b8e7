"""The four actions in a credential."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import canonical, parse_object
from coinslot.errors import MalformedCredential, VerificationFailed
from coinslot.methods.tempo.session.escrow import V2, Escrow, pinned_escrow
from coinslot.methods.tempo.session.payload import (
    ClosePayload,
    OpenPayload,
    Payload,
    TopUpPayload,
    VoucherPayload,
    read_known_voucher,
    read_payload,
)
from support.tempochannel import ALPHA, BOTH, E1, E2, KEY, PAYEE, channel

SIGNATURE = bytes(range(1, 66))


def payloads(place: Escrow) -> dict[str, Payload]:
    """One of each."""
    ref = channel(place)
    return {
        "open": OpenPayload(ref, b"\x76\xf9", 0, SIGNATURE, KEY.address),
        "topUp": TopUpPayload(ref, b"\x76\xf9", 5000),
        "voucher": VoucherPayload(ref, 250_000, SIGNATURE),
        "close": ClosePayload(ref, 500_000, SIGNATURE),
    }


ACTIONS = ["open", "topUp", "voucher", "close"]
TSES = pytest.mark.spec(
    "TSES-055", "TSES-057", "TSES-058", "TSES-059", "TSES-060", "TSES-061", "TSES-062", "TSES-063", "TSES-064",
    "TSES-070", "TSES-071", "TSES-072", "TSES-073", "TSES-074", "TSES-075", "TSES-076", "TSES-077", "TSES-078",
    "TSES-079", "TSES-080", "TSES-081", "TSES-082", "TSES-084", "TSES-085", "TSES-086",
)  # fmt: skip


@TSES
@pytest.mark.parametrize("place", BOTH)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_written_is_read(place: Escrow, action: str) -> None:
    """Flat members, the descriptor in v2 and only there."""
    one = payloads(place)[action]
    told = one.members()
    assert told["action"] == action
    assert ("descriptor" in told) == (place.version == V2)
    assert read_payload(told, place) == one


@TSES
@pytest.mark.parametrize("place", BOTH)
@pytest.mark.parametrize("action", ACTIONS)
def test_without_any_one_required_member_it_is_refused(place: Escrow, action: str) -> None:
    """All but the authorized signer are required."""
    told = payloads(place)[action].members()
    for name in told.keys() - {"authorizedSigner"}:
        with pytest.raises(MalformedCredential):
            read_payload({key: value for key, value in told.items() if key != name}, place)
    told.pop("authorizedSigner", None)
    read_payload(told, place)


@pytest.mark.spec("TSES-007", "TSES-008", "TSES-056")
@pytest.mark.parametrize("action", ACTIONS)
def test_case_and_unknown_members_change_nothing(action: str) -> None:
    """Upper-case hex is the same bytes."""
    one = payloads(E2)[action]
    told: dict[str, Any] = one.members() | {"requestedAt": "1", "more": {}}
    for name in ("channelId", "signature", "transaction", "authorizedSigner"):
        if name in told:
            told[name] = "0x" + told[name][2:].upper()
    assert read_payload(told, E2) == one


@pytest.mark.spec("TSES-051")
@pytest.mark.parametrize("action", [None, "", "Open", "topup", "settle", 1, ["open"], {}])
def test_an_unknown_action_is_refused(action: object) -> None:
    """Four names, exactly."""
    with pytest.raises(MalformedCredential, match="action"):
        read_payload(payloads(E1)["voucher"].members() | {"action": action}, E1)


@pytest.mark.guard("T20")
@pytest.mark.spec("TSES-018")
@pytest.mark.parametrize(
    "value", ["", "0x1", "1.0", "-1", "+1", "00", "1_0", " 1", 1, True, None, str(2**96), "9" * 99]
)
def test_amounts_are_strict(value: object) -> None:
    """Decimal digits up to 2^96 - 1."""
    for action, name in (("open", "cumulativeAmount"), ("voucher", "cumulativeAmount"), ("topUp", "additionalDeposit")):
        with pytest.raises(MalformedCredential, match=name):
            read_payload(payloads(E2)[action].members() | {name: value}, E2)


def test_v1_amounts_may_be_wider() -> None:
    """uint128."""
    told = payloads(E1)["voucher"].members() | {"cumulativeAmount": str(2**128 - 1)}
    found = read_payload(told, E1)
    assert isinstance(found, VoucherPayload)
    assert found.cumulative_units == 2**128 - 1
    with pytest.raises(MalformedCredential):
        read_payload(told | {"cumulativeAmount": str(2**128)}, E1)


@pytest.mark.parametrize("name", ["channelId", "signature", "transaction"])
@pytest.mark.parametrize("value", [None, 7, "", "ab", "0xabc", "0xzz", "0x" + "00" * 20_000])
def test_hex_is_strict_and_bounded(name: str, value: object) -> None:
    """ "0x", whole bytes, a limit."""
    with pytest.raises(MalformedCredential):
        read_payload(payloads(E1)["open"].members() | {name: value}, E1)


@pytest.mark.parametrize("action", ["open", "topUp"])
def test_funding_is_by_transaction(action: str) -> None:
    """No other type is known."""
    with pytest.raises(MalformedCredential, match="type"):
        read_payload(payloads(E1)[action].members() | {"type": "hash"}, E1)


def test_a_top_up_of_nothing_is_refused() -> None:
    """It would only cancel a close."""
    with pytest.raises(MalformedCredential, match="zero"):
        read_payload(payloads(E2)["topUp"].members() | {"additionalDeposit": "0"}, E2)


@pytest.mark.guard("T07", "T08")
@pytest.mark.spec("TSES-012", "TSES-065", "TSES-118")
@pytest.mark.parametrize("action", ACTIONS)
def test_an_id_that_is_not_its_descriptors_is_refused(action: str) -> None:
    """Another id, another descriptor, or the id of the same channel on another chain or escrow."""
    told = payloads(E2)[action].members()
    mainnet = pinned_escrow(V2, 4217)
    assert mainnet is not None
    for change, place in (
        ({"channelId": "0x" + "11" * 32}, E2),
        ({"descriptor": told["descriptor"] | {"expiringNonceHash": "0x" + "99" * 32}}, E2),
        ({}, mainnet),
        ({}, replace(E2, address=PAYEE)),
    ):
        with pytest.raises(VerificationFailed):
            read_payload(told | change, place)


@pytest.mark.spec("TSES-066")
def test_an_authorized_signer_contradicts_no_descriptor() -> None:
    """In v2 it must be the descriptor's."""
    told = payloads(E2)["open"].members()
    with pytest.raises(MalformedCredential, match="authorizedSigner"):
        read_payload(told | {"authorizedSigner": ALPHA}, E2)


def test_no_payload_shows_its_signature_or_transaction() -> None:
    """Whoever logs one gives nothing away."""
    for one in payloads(E2).values():
        assert "signature" not in repr(one)
        assert "transaction" not in repr(one)


def changed(members: dict[str, Any], how: str) -> bytes:
    """The JSON of a payload, spoilt or spelled otherwise in one place."""
    raw = canonical(members)
    spelled: dict[str, Callable[[], bytes]] = {
        "as it is": lambda: raw,
        "spaces": lambda: json.dumps(members, indent=1).encode(),
        "a member more": lambda: canonical({**members, "more": 1}),
        "a member more below": lambda: canonical({**members, "descriptor": {**members["descriptor"], "more": 1}}),
        "a member twice": lambda: raw[:-1] + b',"signature":"0x00"}',
        "a member twice below": lambda: raw.replace(b'"operator"', b'"salt":"0x00","operator"'),
        "upper case": lambda: raw.replace(b"ab", b"AB"),
        "an escape": lambda: raw.replace(b'"voucher"', b'"v\\u006fucher"'),
        "another id": lambda: canonical({**members, "channelId": "0x" + "77" * 32}),
        "another salt": lambda: canonical(
            {**members, "descriptor": {**members["descriptor"], "salt": "0x" + "77" * 32}}
        ),
        "no descriptor": lambda: canonical({k: v for k, v in members.items() if k != "descriptor"}),
        "a descriptor of another kind": lambda: canonical({**members, "descriptor": [1]}),
        "an amount of another kind": lambda: canonical({**members, "cumulativeAmount": 250_000}),
        "a negative amount": lambda: canonical({**members, "cumulativeAmount": "-1"}),
        "too large an amount": lambda: canonical({**members, "cumulativeAmount": str(2**96)}),
        "odd hex": lambda: canonical({**members, "signature": members.get("signature", "0x0")[:-1]}),
        "a white space in hex": lambda: canonical({**members, "signature": "0x00 11"}),
        "a very long descriptor": lambda: raw.replace(b'"descriptor":{', b'"descriptor":{' + b" " * 600),
        "half of it": lambda: raw[: len(raw) // 2],
        "no text": lambda: raw.replace(b"voucher", b"\xff\xfe"),
        "nothing": lambda: b"{}",
    }
    return spelled[how]()


SPELLINGS = [
    "as it is", "spaces", "a member more", "a member more below", "a member twice", "a member twice below",
    "upper case", "an escape", "another id", "another salt", "no descriptor", "a descriptor of another kind",
    "an amount of another kind", "a negative amount", "too large an amount", "odd hex", "a white space in hex",
    "a very long descriptor", "half of it", "no text", "nothing",
]  # fmt: skip


@pytest.mark.guard("T07")
@pytest.mark.guard("T08")
@pytest.mark.guard("T09")
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("how", SPELLINGS)
def test_what_is_read_quickly_is_what_is_read(action: str, how: str) -> None:
    """A quick answer equals the thorough one, and where that refuses there is no quick answer, whatever came before."""
    good = payloads(E2)[action].members()
    read_known_voucher(canonical(payloads(E2)["voucher"].members()), E2)
    raw = changed(good, how)
    quick = read_known_voucher(raw, E2)
    if quick is not None:
        assert quick == read_payload(parse_object(raw), E2)
    assert read_known_voucher(raw, E1) is None
    if action == "voucher" and how == "as it is":
        assert quick == payloads(E2)["voucher"]


@pytest.mark.guard("F28")
def test_a_long_descriptor_is_not_kept() -> None:
    """What a stranger sends costs us no memory that lasts: such a voucher is read from the start each time."""
    raw = changed(payloads(E2)["voucher"].members(), "a very long descriptor")
    assert read_known_voucher(raw, E2) is None
    assert read_payload(parse_object(raw), E2) == payloads(E2)["voucher"]


@given(at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_no_other_byte_is_read_otherwise(at: int, byte: int) -> None:
    """Any byte of a voucher's JSON changed: both ways of reading agree, or the quick one has no answer."""
    raw = bytearray(canonical(payloads(E2)["voucher"].members()))
    raw[at % len(raw)] = byte
    quick = read_known_voucher(bytes(raw), E2)
    if quick is not None:
        assert quick == read_payload(parse_object(bytes(raw)), E2)
