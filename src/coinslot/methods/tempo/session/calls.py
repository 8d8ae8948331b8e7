"""What is asked of an escrow: calls of both protocols, written and read to the last byte.

                      v1 (TempoStreamChannel as deployed)              v2 (TIP-1034), D = the descriptor, seven words
    OpenCall          open(payee,token,deposit,salt,signer)            open(payee,operator,token,deposit,salt,signer)
    TopUpCall         topUp(id,uint256)                                topUp(D,uint96)
    SettleCall        settle(id,amount,signature)                      settle(D,amount,signature)
    CloseCall         close(id,amount,signature)                       close(D,amount,capture,signature)
    RequestCloseCall  requestClose(id)                                 requestClose(D)
    WithdrawCall      withdraw(id)                                     withdraw(D)

The document's v1 interface has a uint128 in topUp; the deployed contract, which we follow, a uint256.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from coinslot.chains.evm.abi import (
    WORD,
    decode_address,
    decode_uint256,
    encode_address,
    encode_call,
    encode_uint256,
    selector,
    split_words,
)
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.tempo.session.channel import (
    DESCRIPTOR_WORDS,
    ChannelRef,
    channel_ref,
    decode_descriptor,
    encode_descriptor,
)
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, Version
from coinslot.methods.tempo.session.voucher import MAX_SIGNATURE_BYTES
from coinslot.methods.tempo.transaction.fields import Call

_APPROVE = "approve(address,uint256)"
_DESCRIPTOR = "(address,address,address,address,bytes32,address,bytes32)"


@dataclass(frozen=True, slots=True)
class OpenCall:
    """Open a channel: base units of `token` from the caller. `salt` is 32 bytes as lower-case hex; no v1 operator."""

    payee: str
    token: str
    deposit_units: int
    salt: str
    authorized_signer: str = ZERO_ADDRESS
    operator: str = ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class TopUpCall:
    """Add to a channel's deposit."""

    channel: ChannelRef
    additional_units: int


@dataclass(frozen=True, slots=True)
class SettleCall:
    """Pay the payee what a voucher says, and leave the channel open."""

    channel: ChannelRef
    cumulative_units: int
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseCall:
    """Pay the payee and give the rest back. `capture_units` is what the payee takes in all; v1 takes the whole voucher.

    A v1 call is written only where both are equal.
    """

    channel: ChannelRef
    cumulative_units: int
    capture_units: int
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestCloseCall:
    """The payer asks to close: after the grace period it may withdraw."""

    channel: ChannelRef


@dataclass(frozen=True, slots=True)
class WithdrawCall:
    """The payer takes back what is left after the grace period."""

    channel: ChannelRef


SessionCall: TypeAlias = OpenCall | TopUpCall | SettleCall | CloseCall | RequestCloseCall | WithdrawCall

_V1_CALLS: dict[type[SessionCall], str] = {
    OpenCall: "open(address,address,uint128,bytes32,address)",
    TopUpCall: "topUp(bytes32,uint256)",
    SettleCall: "settle(bytes32,uint128,bytes)",
    CloseCall: "close(bytes32,uint128,bytes)",
    RequestCloseCall: "requestClose(bytes32)",
    WithdrawCall: "withdraw(bytes32)",
}
_V2_CALLS: dict[type[SessionCall], str] = {
    OpenCall: "open(address,address,address,uint96,bytes32,address)",
    TopUpCall: f"topUp({_DESCRIPTOR},uint96)",
    SettleCall: f"settle({_DESCRIPTOR},uint96,bytes)",
    CloseCall: f"close({_DESCRIPTOR},uint96,uint96,bytes)",
    RequestCloseCall: f"requestClose({_DESCRIPTOR})",
    WithdrawCall: f"withdraw({_DESCRIPTOR})",
}
_CALLS = {V1.name: _V1_CALLS, V2.name: _V2_CALLS}
_KINDS = {
    version: {selector(signature): kind for kind, signature in calls.items()} for version, calls in _CALLS.items()
}


# --- writing -------------------------------------------------------------------------------------


def write_call(escrow: Escrow, call: SessionCall) -> Call:
    """The call of a transaction. Raises UsageError for amounts or fields that this protocol can't hold."""
    return Call(escrow.address, 0, encode_call(_CALLS[escrow.version.name][type(call)], _arguments(escrow, call)))


def _arguments(escrow: Escrow, call: SessionCall) -> bytes:
    version = escrow.version
    if isinstance(call, OpenCall):
        return _open_arguments(version, call)
    if call.channel.escrow != escrow:
        raise UsageError("the channel lives on another escrow")
    channel = _channel_words(call.channel)
    if isinstance(call, TopUpCall):
        return channel + _amount(version, call.additional_units)
    if isinstance(call, SettleCall):
        return _with_signature(channel + _amount(version, call.cumulative_units), call.signature)
    if isinstance(call, CloseCall):
        return _with_signature(channel + _close_amounts(version, call), call.signature)
    return channel


def _open_arguments(version: Version, call: OpenCall) -> bytes:
    operator = encode_address(call.operator) if version == V2 else b""
    if version == V1 and call.operator != ZERO_ADDRESS:
        raise UsageError("v1 channels have no operator")
    if call.deposit_units == 0:
        raise UsageError("a channel opens with a deposit")
    head = encode_address(call.payee) + operator + encode_address(call.token)
    salt = bytes.fromhex(call.salt[2:])
    return head + _amount(version, call.deposit_units) + salt + encode_address(call.authorized_signer)


def _close_amounts(version: Version, call: CloseCall) -> bytes:
    if call.capture_units > call.cumulative_units:  # TSES-188
        raise UsageError("more is captured than the voucher says")
    if version == V2:
        return _amount(version, call.cumulative_units) + _amount(version, call.capture_units)
    if call.capture_units != call.cumulative_units:  # TSES-186
        raise UsageError("a v1 close captures what its voucher says, neither more nor less")
    return _amount(version, call.cumulative_units)


def _channel_words(channel: ChannelRef) -> bytes:
    if channel.escrow.version == V2:
        return encode_descriptor(channel.required_descriptor())
    return bytes.fromhex(channel.id[2:])


def _amount(version: Version, units: int) -> bytes:
    if type(units) is not int or not 0 <= units <= version.max_units:  # TSES-018
        raise UsageError("the amount is not in the range of this session protocol")
    return encode_uint256(units)


def _with_signature(head: bytes, signature: bytes) -> bytes:
    """The arguments with bytes as the last: their place, their length, and themselves up to a whole word."""
    padding = bytes(-len(signature) % WORD)
    return head + encode_uint256(len(head) + WORD) + encode_uint256(len(signature)) + signature + padding


def approve_call(token: str, spender: str, units: int) -> Call:
    """Allow an escrow to take a deposit (v1 only; the v2 reserve needs no leave)."""
    return Call(token, 0, encode_call(_APPROVE, encode_address(spender), encode_uint256(units)))


# --- reading -------------------------------------------------------------------------------------


def read_call(escrow: Escrow, call: Call) -> SessionCall:
    """What a call asks of this escrow. Raises BadTransaction unless it is exactly one of the six, to the last byte."""
    if call.to != escrow.address:  # T31
        raise BadTransaction("the call is not to the escrow")
    if call.value != 0:
        raise BadTransaction("a call to an escrow carries no native value")
    kind = _KINDS[escrow.version.name].get(call.data[:4])
    if kind is None:
        raise BadTransaction("not a call that an escrow of this protocol takes")
    arguments = call.data[4:]
    if kind is OpenCall:
        return _read_open(escrow.version, arguments)
    width = DESCRIPTOR_WORDS if escrow.version == V2 else 1
    channel = _read_channel(escrow, arguments[: width * WORD], width)
    return _read_rest(kind, channel, arguments[width * WORD :], width)


def _read_open(version: Version, arguments: bytes) -> OpenCall:
    words = list(split_words(arguments, 6 if version == V2 else 5))  # T31
    operator = decode_address(words.pop(1)) if version == V2 else ZERO_ADDRESS
    payee, token, deposit, salt, authorized_signer = words
    return OpenCall(
        payee=decode_address(payee),
        token=decode_address(token),
        deposit_units=_units(version, deposit),
        salt=to_hex(salt),
        authorized_signer=decode_address(authorized_signer),
        operator=operator,
    )


def _read_channel(escrow: Escrow, data: bytes, width: int) -> ChannelRef:
    words = split_words(data, width)
    return channel_ref(escrow, decode_descriptor(words)) if width > 1 else ChannelRef(escrow, to_hex(words[0]))


def _read_rest(kind: type[SessionCall], channel: ChannelRef, data: bytes, width: int) -> SessionCall:
    version = channel.escrow.version
    if kind is TopUpCall:
        (units,) = split_words(data, 1)  # T31
        return TopUpCall(channel, _units(version, units))
    if kind is SettleCall:
        (units,), signature = _split_signature(data, 1, width)
        return SettleCall(channel, _units(version, units), signature)
    if kind is CloseCall:
        amounts, signature = _split_signature(data, 2 if version == V2 else 1, width)
        return CloseCall(channel, _units(version, amounts[0]), _units(version, amounts[-1]), signature)
    split_words(data, 0)  # T31
    return RequestCloseCall(channel) if kind is RequestCloseCall else WithdrawCall(channel)


def _units(version: Version, word: bytes) -> int:
    units = decode_uint256(word)
    if units > version.max_units:
        raise BadTransaction("the amount is not in the range of this session protocol")
    return units


def _split_signature(data: bytes, amounts: int, before: int) -> tuple[tuple[bytes, ...], bytes]:
    """The amounts, and the bytes that are the last argument: at their one place, zeros after them, nothing more."""
    head = (amounts + 2) * WORD
    words = split_words(data[:head], amounts + 2)
    place, size = decode_uint256(words[-2]), decode_uint256(words[-1])
    if place != (before + amounts + 1) * WORD or size > MAX_SIGNATURE_BYTES:
        raise BadTransaction("the signature is not where it belongs, or too long")
    signature, padding = data[head : head + size], data[head + size :]
    if len(signature) != size or padding != bytes(-size % WORD):  # T31
        raise BadTransaction("the signature is cut off, or something follows it")
    return words[:amounts], signature


def read_approve_call(call: Call) -> tuple[str, str, int]:
    """The token, spender and base units of an approval. Raises BadTransaction unless it is exactly that."""
    if call.value != 0 or call.data[:4] != selector(_APPROVE):
        raise BadTransaction("not a call of approve")
    spender, units = split_words(call.data[4:], 2)  # T31
    return call.to, decode_address(spender), decode_uint256(units)
