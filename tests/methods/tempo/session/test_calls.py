"""Calls of both protocols, to the last byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.tempo.session.calls import (
    CloseCall,
    OpenCall,
    RequestCloseCall,
    SessionCall,
    SettleCall,
    TopUpCall,
    WithdrawCall,
    approve_call,
    read_approve_call,
    read_call,
    write_call,
)
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, Escrow
from coinslot.methods.tempo.transaction.fields import Call
from support.tempochannel import ALPHA, BOTH, E1, E2, KEY, OPERATOR, PATH, PAYEE, SALT, channel, descriptor

D = "(address,address,address,address,bytes32,address,bytes32)"
SIGNATURE = bytes(range(1, 66))


def calls(place: Escrow) -> list[SessionCall]:
    """One of each."""
    ref = channel(place)
    capture = 900 if place.version == V1 else 800
    operator = ZERO_ADDRESS if place.version == V1 else OPERATOR
    return [
        OpenCall(PAYEE, PATH, 1000, SALT, KEY.address, operator),
        TopUpCall(ref, 500),
        SettleCall(ref, 700, SIGNATURE),
        CloseCall(ref, 900, capture, SIGNATURE),
        RequestCloseCall(ref),
        WithdrawCall(ref),
    ]


EVERY = [(place, index) for place in BOTH for index in range(6)]
names = [f"{place.version.name} {type(calls(place)[index]).__name__}" for place, index in EVERY]
each_call = pytest.mark.parametrize(("place", "index"), EVERY, ids=names)


def abi(signature: str, values: Sequence[Any]) -> bytes:
    """Calldata by another ABI library."""
    inside = signature[signature.index("(") + 1 : -1]
    kinds, depth, kind = [], 0, ""
    for letter in inside:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            kinds.append(kind)
            kind = ""
        else:
            kind += letter
    return keccak(text=signature)[:4] + encode([*kinds, kind], values)


def raw(text: str) -> bytes:
    """Bytes of hex."""
    return bytes.fromhex(text[2:])


def standard(place: Escrow) -> list[bytes]:
    """The same calls by another ABI library, from the published interfaces."""
    if place.version == V1:
        channel_id = raw(channel(place).id)
        return [
            abi("open(address,address,uint128,bytes32,address)", [PAYEE, PATH, 1000, raw(SALT), KEY.address]),
            abi("topUp(bytes32,uint256)", [channel_id, 500]),
            abi("settle(bytes32,uint128,bytes)", [channel_id, 700, SIGNATURE]),
            abi("close(bytes32,uint128,bytes)", [channel_id, 900, SIGNATURE]),
            abi("requestClose(bytes32)", [channel_id]),
            abi("withdraw(bytes32)", [channel_id]),
        ]
    told = tuple(value if len(value) == 42 else raw(value) for value in descriptor().members().values())
    opened = [PAYEE, OPERATOR, PATH, 1000, raw(SALT), KEY.address]
    return [
        abi("open(address,address,address,uint96,bytes32,address)", opened),
        abi(f"topUp({D},uint96)", [told, 500]),
        abi(f"settle({D},uint96,bytes)", [told, 700, SIGNATURE]),
        abi(f"close({D},uint96,uint96,bytes)", [told, 900, 800, SIGNATURE]),
        abi(f"requestClose({D})", [told]),
        abi(f"withdraw({D})", [told]),
    ]


@each_call
def test_a_call_is_what_the_interface_says(place: Escrow, index: int) -> None:
    """Byte for byte as another library writes it, and read back."""
    call = write_call(place, calls(place)[index])
    assert (call.to, call.value, call.data.hex()) == (place.address, 0, standard(place)[index].hex())
    assert read_call(place, call) == calls(place)[index]


@pytest.mark.guard("T31")
@each_call
def test_a_call_of_another_length_is_refused(place: Escrow, index: int) -> None:
    """A byte or a word more, a byte or a word less: contracts ignore what follows, so something could hide there."""
    call = write_call(place, calls(place)[index])
    for data in (call.data + b"\x00", call.data + bytes(32), call.data[:-1], call.data[:-32], call.data[:4], b""):
        with pytest.raises(BadTransaction):
            read_call(place, replace(call, data=data))


@pytest.mark.guard("T31")
@each_call
def test_a_call_elsewhere_or_with_value_is_refused(place: Escrow, index: int) -> None:
    """The escrow's address, and no native value."""
    call = write_call(place, calls(place)[index])
    for other in (replace(call, to=PAYEE), replace(call, value=1)):
        with pytest.raises(BadTransaction):
            read_call(place, other)


@pytest.mark.parametrize("place", BOTH)
def test_a_call_of_another_name_is_refused(place: Escrow) -> None:
    """Also one of the other protocol."""
    (other,) = [one for one in BOTH if one != place]
    for data in (b"\xde\xad\xbe\xef" + bytes(64), approve_call(PATH, PAYEE, 1).data, *standard(other)):
        with pytest.raises(BadTransaction):
            read_call(place, Call(place.address, 0, data))


@pytest.mark.guard("T31")
@pytest.mark.parametrize("place", BOTH)
def test_the_signature_has_one_place(place: Escrow) -> None:
    """Another offset, dirt in the padding, or a length that doesn't fit is no call of ours."""
    call = write_call(place, calls(place)[2])
    size = len(call.data)
    at_length = size - 96 - 32
    dirty = call.data[:-1] + b"\x01"
    moved = call.data[: at_length - 1] + b"\x40" + call.data[at_length:]
    longer = call.data[: at_length + 31] + b"\x61" + call.data[at_length + 32 :]
    shorter = call.data[: at_length + 31] + b"\x40" + call.data[at_length + 32 :]
    huge = call.data[:at_length] + b"\xff" * 32 + call.data[at_length + 32 :]
    for data in (dirty, moved, longer, shorter, huge):
        assert data != call.data
        with pytest.raises(BadTransaction):
            read_call(place, replace(call, data=data))


@pytest.mark.spec("TSES-018")
@pytest.mark.parametrize("place", BOTH)
def test_amounts_beyond_the_protocol_are_neither_written_nor_read(place: Escrow) -> None:
    """A contract would revert: nobody pays a fee for that."""
    ref, beyond = channel(place), place.version.max_units + 1
    for bad in (
        OpenCall(PAYEE, PATH, beyond, SALT),
        TopUpCall(ref, beyond),
        SettleCall(ref, beyond, SIGNATURE),
        CloseCall(ref, beyond, beyond, SIGNATURE),
        TopUpCall(ref, -1),
    ):
        with pytest.raises(UsageError):
            write_call(place, bad)
    call = write_call(place, TopUpCall(ref, 1))
    with pytest.raises(BadTransaction):
        read_call(place, replace(call, data=call.data[:-32] + beyond.to_bytes(32, "big")))


@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-186", "TSES-188")
def test_a_close_never_captures_more_than_its_voucher() -> None:
    """v2 captures what was spent and at most the voucher; v1 exactly the voucher."""
    write_call(E2, CloseCall(channel(E2), 900, 0, SIGNATURE))
    write_call(E2, CloseCall(channel(E2), 900, 900, SIGNATURE))
    for bad, place in (
        (CloseCall(channel(E2), 900, 901, SIGNATURE), E2),
        (CloseCall(channel(E1), 900, 901, SIGNATURE), E1),
        (CloseCall(channel(E1), 900, 899, SIGNATURE), E1),
    ):
        with pytest.raises(UsageError):
            write_call(place, bad)


def test_what_a_protocol_does_not_know_is_not_written() -> None:
    """An operator in v1, a v2 channel without its descriptor, a channel of another escrow, an open of nothing."""
    for place, bad in (
        (E1, OpenCall(PAYEE, PATH, 1, SALT, operator=OPERATOR)),
        (E2, WithdrawCall(ChannelRef(E2, channel(E2).id))),
        (E2, WithdrawCall(channel(E1))),
        (E2, OpenCall(PAYEE, PATH, 0, SALT)),
    ):
        with pytest.raises(UsageError):
            write_call(place, bad)


def test_an_approval_is_exactly_that() -> None:
    """Token, spender, amount; nothing after."""
    call = approve_call(ALPHA, PAYEE, 77)
    assert call.data == abi("approve(address,uint256)", [PAYEE, 77])
    assert read_approve_call(call) == (ALPHA, PAYEE, 77)
    for bad in (
        replace(call, value=1),
        replace(call, data=call.data + b"\x00"),
        replace(call, data=call.data[:-1]),
        replace(call, data=b"\xa9\x05\x9c\xbb" + call.data[4:]),
    ):
        with pytest.raises(BadTransaction):
            read_approve_call(bad)


@given(st.binary(max_size=2049), st.integers(0, 2**96 - 1), st.sampled_from(BOTH))
def test_signatures_of_any_length_come_back(signature: bytes, units: int, place: Escrow) -> None:
    """The padding follows the length."""
    call = SettleCall(channel(place), units, signature)
    assert read_call(place, write_call(place, call)) == call


@given(st.binary(max_size=400), st.sampled_from(BOTH), st.integers(0, 5))
def test_no_bytes_are_read_that_would_be_written_otherwise(tail: bytes, place: Escrow, index: int) -> None:
    """Whatever is read has one spelling."""
    data = standard(place)[index][:4] + tail
    try:
        found = read_call(place, Call(place.address, 0, data))
    except BadTransaction:
        return
    assert write_call(place, found).data == data
