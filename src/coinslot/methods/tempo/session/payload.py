"""The four actions of a session, as they stand in a credential (TSES "Payload Actions").

Shape only: nothing here asks a chain or a store, so that junk costs microseconds (TSES-201). A v2 payload's channel id
is computed from its descriptor and compared before anything else looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from coinslot.chains.evm.hexdata import parse_hex, to_hex
from coinslot.core.canonical import parse_object
from coinslot.core.record import quick
from coinslot.errors import MalformedCredential, MalformedHeader, UsageError, VerificationFailed
from coinslot.methods.tempo.pull import MAX_RAW_BYTES
from coinslot.methods.tempo.session.channel import KEPT_DESCRIPTORS, ChannelRef, read_channel_ref
from coinslot.methods.tempo.session.escrow import V2, Escrow
from coinslot.methods.tempo.session.fields import read_address, read_units, read_word
from coinslot.methods.tempo.session.voucher import MAX_SIGNATURE_BYTES

OPEN = "open"
TOP_UP = "topUp"
VOUCHER = "voucher"
CLOSE = "close"


@dataclass(frozen=True, slots=True)
class OpenPayload:
    """A signed transaction that opens a channel, and the first voucher."""

    channel: ChannelRef
    transaction: bytes = field(repr=False)
    cumulative_units: int
    signature: bytes = field(repr=False)
    authorized_signer: str | None = None

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told = _channel_members(OPEN, self.channel)
        told |= {"type": "transaction", "transaction": to_hex(self.transaction)}
        if self.authorized_signer is not None:
            told["authorizedSigner"] = self.authorized_signer
        return told | _voucher_members(self.cumulative_units, self.signature)


@dataclass(frozen=True, slots=True)
class TopUpPayload:
    """A signed transaction that adds to a channel's deposit."""

    channel: ChannelRef
    transaction: bytes = field(repr=False)
    additional_units: int

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told = _channel_members(TOP_UP, self.channel)
        told |= {"type": "transaction", "transaction": to_hex(self.transaction)}
        return told | {"additionalDeposit": str(self.additional_units)}


@quick
@dataclass(frozen=True, slots=True)
class VoucherPayload:
    """A voucher."""

    channel: ChannelRef
    cumulative_units: int
    signature: bytes = field(repr=False)

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return _channel_members(VOUCHER, self.channel) | _voucher_members(self.cumulative_units, self.signature)


@dataclass(frozen=True, slots=True)
class ClosePayload:
    """The last voucher, and the wish to close."""

    channel: ChannelRef
    cumulative_units: int
    signature: bytes = field(repr=False)

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return _channel_members(CLOSE, self.channel) | _voucher_members(self.cumulative_units, self.signature)


Payload: TypeAlias = OpenPayload | TopUpPayload | VoucherPayload | ClosePayload


def read_payload(payload: Mapping[str, Any], escrow: Escrow) -> Payload:
    """The action of a credential under a challenge of this escrow; members that we don't know are passed over.

    Raises MalformedCredential; VerificationFailed if a v2 channel id is not that of its descriptor.
    """
    try:
        channel = _channel(payload, escrow)
        match payload.get("action"):
            case "voucher":
                return VoucherPayload(channel, _cumulative(payload, escrow), _signature(payload))
            case "close":
                return ClosePayload(channel, _cumulative(payload, escrow), _signature(payload))
            case "topUp":
                return TopUpPayload(channel, _transaction(payload), _additional(payload, escrow))
            case "open":
                return OpenPayload(
                    channel,
                    _transaction(payload),
                    _cumulative(payload, escrow),
                    _signature(payload),
                    _authorized_signer(payload, channel),
                )
            case _:  # TSES-051
                raise UsageError("action is not open, topUp, voucher or close")
    except UsageError as error:
        raise MalformedCredential(f"payload.{error}") from None


# --- the voucher that comes again and again ------------------------------------------------------

# The descriptor of a voucher as compact writers write it; longer ones are no descriptors that anybody writes.
MAX_DESCRIPTOR_BYTES = 600


class _Voucher(msgspec.Struct, frozen=True):
    action: str
    channelId: str
    cumulativeAmount: str
    descriptor: msgspec.Raw
    signature: str


_quick, _compact = msgspec.json.Decoder(_Voucher), msgspec.json.Encoder()


def read_known_voucher(raw: bytes, escrow: Escrow) -> VoucherPayload | None:
    """A v2 voucher from its plainest JSON, with what its descriptor stands for known from the one before; else None.

    What it reads `read_payload` reads alike, three times as slowly. None of its doubts is an answer: whatever is wrong,
    odd or new in any member is for `read_payload` to say.
    """
    try:
        told = _quick.decode(raw)
        if told.action != VOUCHER or len(_compact.encode(told)) != len(raw):  # T09: nothing stands twice or beside
            return None
        descriptor = bytes(told.descriptor)
        if escrow.version is not V2 or len(descriptor) > MAX_DESCRIPTOR_BYTES:  # F28
            return None
        channel = _known_channel(escrow, descriptor)
        if channel.id != told.channelId:  # T07 T08 TSES-012
            return None
        units = read_units(told.cumulativeAmount, "cumulativeAmount", escrow.version.max_units)
        return VoucherPayload(channel, units, parse_hex(told.signature, most=MAX_SIGNATURE_BYTES))
    except (ValueError, RecursionError, MalformedHeader, UsageError, VerificationFailed):
        return None


@lru_cache(maxsize=KEPT_DESCRIPTORS)
def _known_channel(escrow: Escrow, descriptor: bytes) -> ChannelRef:
    """The channel of a descriptor in JSON. Raises MalformedHeader, UsageError, VerificationFailed."""
    return read_channel_ref(escrow, parse_object(descriptor))


# --- single members ------------------------------------------------------------------------------


def _channel(payload: Mapping[str, Any], escrow: Escrow) -> ChannelRef:
    channel_id = read_word(payload.get("channelId"), "channelId")
    if escrow.version != V2:
        return ChannelRef(escrow, channel_id)
    channel = read_channel_ref(escrow, payload.get("descriptor"))
    if channel.id != channel_id:  # T07 T08 TSES-012
        raise VerificationFailed("payload.channelId is not the id of its descriptor on this escrow and chain")
    return channel


def _cumulative(payload: Mapping[str, Any], escrow: Escrow) -> int:
    return read_units(payload.get("cumulativeAmount"), "cumulativeAmount", escrow.version.max_units)


def _additional(payload: Mapping[str, Any], escrow: Escrow) -> int:
    units = read_units(payload.get("additionalDeposit"), "additionalDeposit", escrow.version.max_units)
    if units == 0:
        raise UsageError("additionalDeposit is zero")
    return units


def _signature(payload: Mapping[str, Any]) -> bytes:
    """Any form that a chain might take: those that we don't are refused by name when it is verified."""
    try:
        return parse_hex(payload.get("signature"), most=MAX_SIGNATURE_BYTES)
    except UsageError as error:
        raise UsageError(f"signature: {error}") from None


def _transaction(payload: Mapping[str, Any]) -> bytes:
    if payload.get("type") != "transaction":
        raise UsageError("type is not transaction")
    try:
        return parse_hex(payload.get("transaction"), most=MAX_RAW_BYTES)
    except UsageError as error:
        raise UsageError(f"transaction: {error}") from None


def _authorized_signer(payload: Mapping[str, Any], channel: ChannelRef) -> str | None:
    value = payload.get("authorizedSigner")
    if value is None:
        return None
    signer = read_address(value, "authorizedSigner")
    if channel.descriptor is not None and channel.descriptor.authorized_signer != signer:  # TSES-066
        raise UsageError("authorizedSigner is not that of the descriptor")
    return signer


def _channel_members(action: str, channel: ChannelRef) -> dict[str, Any]:
    told: dict[str, Any] = {"action": action, "channelId": channel.id}
    if channel.escrow.version == V2:  # TSES-064
        told["descriptor"] = channel.required_descriptor().members()
    return told


def _voucher_members(cumulative_units: int, signature: bytes) -> dict[str, str]:
    return {"cumulativeAmount": str(cumulative_units), "signature": to_hex(signature)}
