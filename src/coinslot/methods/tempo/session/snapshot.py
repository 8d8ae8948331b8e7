"""What a server says of a v2 channel, and what a client may believe of it (TSES "Session Snapshot").

member               who is the truth          what we do
descriptor, escrow   the channel's id          compute the id anew and compare
acceptedCumulative   what we signed            refuse more; after a lost store our own signature on the highest
                                               voucher, which deployed servers send along, shows what we signed
deposit, settled     the chain                 ask it before new money follows
spent                the server                show it; it is bounded by what was accepted
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coinslot.chains.evm.hexdata import parse_hex, to_hex
from coinslot.core.canonical import decode_object, encode_object
from coinslot.errors import InvalidVoucher, MalformedHeader, SignerMismatch, UsageError
from coinslot.intents.members import read_object
from coinslot.methods.tempo.session.channel import ChannelRef, Descriptor, channel_ref, read_descriptor
from coinslot.methods.tempo.session.escrow import V2, Escrow
from coinslot.methods.tempo.session.fields import (
    MAX_TIME_S,
    read_chain_id,
    read_party,
    read_units,
    read_word,
)
from coinslot.methods.tempo.session.voucher import MAX_SIGNATURE_BYTES, VoucherScheme

SNAPSHOT_HEADER = "Payment-Session-Snapshot"
CHANNEL_HEADER = "Payment-Session"


@dataclass(frozen=True, slots=True)
class HighestVoucher:
    """The highest voucher that a server says it has: base units and the signature on them."""

    cumulative_units: int
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server's word about a v2 channel; amounts are base units, times seconds since 1970.

    `close_requested_at` is 0 where nobody asked to close it; `units` is what was delivered, where it is told.
    """

    escrow: Escrow
    channel_id: str
    descriptor: Descriptor
    deposit_units: int
    settled_units: int
    accepted_units: int
    required_units: int
    spent_units: int
    close_requested_at: int = 0
    units: int | None = None
    highest_voucher: HighestVoucher | None = None

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told: dict[str, Any] = {
            "acceptedCumulative": str(self.accepted_units),
            "chainId": self.escrow.chain_id,
            "channelId": self.channel_id,
            "deposit": str(self.deposit_units),
            "descriptor": self.descriptor.members(),
            "escrow": self.escrow.address,
            "requiredCumulative": str(self.required_units),
            "settled": str(self.settled_units),
            "spent": str(self.spent_units),
        }
        if self.close_requested_at:
            told["closeRequestedAt"] = str(self.close_requested_at)
        if self.units is not None:
            told["units"] = self.units
        if self.highest_voucher is not None:
            told["highestVoucher"] = {
                "channelId": self.channel_id,
                "cumulativeAmount": str(self.highest_voucher.cumulative_units),
                "signature": to_hex(self.highest_voucher.signature),
            }
        return told

    def encode(self) -> str:
        """The value of a Payment-Session-Snapshot header."""
        return encode_object(self.members())


def read_snapshot(value: object) -> Snapshot:
    """A snapshot from its JSON object; nothing in it is believed yet. Raises UsageError."""
    told = read_object(value, "sessionSnapshot")

    def units(name: str) -> int:
        return read_units(told.get(name), name, V2.max_units)

    closing = told.get("closeRequestedAt")
    return Snapshot(
        escrow=Escrow(V2, read_chain_id(told.get("chainId"), "chainId"), read_party(told.get("escrow"), "escrow")),
        channel_id=read_word(told.get("channelId"), "channelId"),
        descriptor=read_descriptor(told.get("descriptor")),
        deposit_units=units("deposit"),
        settled_units=units("settled"),
        accepted_units=units("acceptedCumulative"),
        required_units=units("requiredCumulative"),
        spent_units=units("spent"),
        close_requested_at=0 if closing is None else read_units(closing, "closeRequestedAt", MAX_TIME_S),
        units=_count(told.get("units")),
        highest_voucher=_highest(told),
    )


def _count(value: object) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < 2**53):
        raise UsageError("units is not a count")
    return value


def _highest(told: Mapping[str, Any]) -> HighestVoucher | None:
    value = told.get("highestVoucher")
    if value is None:
        return None
    voucher = read_object(value, "highestVoucher")
    if read_word(voucher.get("channelId"), "highestVoucher.channelId") != str(told.get("channelId")).lower():
        raise UsageError("highestVoucher is of another channel")
    return HighestVoucher(
        read_units(voucher.get("cumulativeAmount"), "highestVoucher.cumulativeAmount", V2.max_units),
        parse_hex(voucher.get("signature"), most=MAX_SIGNATURE_BYTES),
    )


def decode_snapshot(value: str) -> Snapshot:
    """A snapshot from the value of its header. Raises UsageError."""
    try:
        return read_snapshot(decode_object(value.strip().rstrip("=")))  # deployed servers pad it
    except MalformedHeader as error:
        raise UsageError(f"{SNAPSHOT_HEADER}: {error}") from None


def believe_snapshot(snapshot: Snapshot, escrow: Escrow, *, signer: str, signed_units: int) -> ChannelRef:
    """The channel of a snapshot that a client may go on with (TSES-047).

    `signer` is the address of our voucher key, `signed_units` the most that we know to have signed on this channel (0
    after a lost store). The descriptor's own payer, payee, token and operator are for the caller to compare with the
    terms, deposit and settled amount with the chain. Raises UsageError, which says what can't be true.
    """
    if snapshot.escrow != escrow:  # T07
        raise UsageError("the snapshot is of another escrow or chain")
    ref = channel_ref(escrow, snapshot.descriptor)
    if ref.id != snapshot.channel_id:  # T08
        raise UsageError("the snapshot's id is not that of its descriptor")
    if snapshot.descriptor.signer != signer:  # T15
        raise UsageError("the snapshot's channel is not ours to sign for")
    if snapshot.accepted_units > proven_units(snapshot, signer=signer, signed_units=signed_units):  # T24
        raise UsageError("the snapshot claims more than we signed")
    if not snapshot.spent_units <= snapshot.accepted_units or not snapshot.settled_units <= snapshot.deposit_units:
        raise UsageError("the amounts of the snapshot contradict each other")
    return ref


def proven_units(snapshot: Snapshot, *, signer: str, signed_units: int) -> int:
    """The most that we signed on this channel: what we know of, or what our own signature in the snapshot shows."""
    told = snapshot.highest_voucher
    if told is None or told.cumulative_units <= signed_units:
        return signed_units
    try:
        VoucherScheme(snapshot.escrow).verify(snapshot.channel_id, told.cumulative_units, told.signature, signer)
    except (InvalidVoucher, SignerMismatch):  # not ours: it shows nothing
        return signed_units
    return told.cumulative_units
