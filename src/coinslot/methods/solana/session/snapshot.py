"""What a server says of a channel to its payer besides a receipt: the highest voucher that it has. F04 F05

The document has no way for a client whose records are lost or old to learn what it signed. So our servers send its own
voucher back, in the header that streams of other methods use, to whoever has just proven to sign for the channel. The
client believes of it only its own signature; a client that doesn't know the header loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from coinslot.core.canonical import decode_object, encode_object
from coinslot.errors import InvalidVoucher, MalformedHeader, NoPayableOffer, SignerMismatch, UsageError
from coinslot.intents.acts import Held, Standing
from coinslot.intents.session import Channel
from coinslot.methods.solana.session.fields import read_address, read_units
from coinslot.methods.solana.session.voucher import SignedVoucher, decode_voucher, read_signed_voucher

CHANNEL_HEADER = "Payment-Session"
SNAPSHOT_HEADER = "Payment-Session-Snapshot"
# In these a channel is of no more use, whatever a server says of it.
_OVER = frozenset({Standing.CLOSED, Standing.LOST})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A server's word on a channel, in base units; nothing in it is believed yet."""

    channel_id: str
    accepted_units: int
    spent_units: int
    highest: SignedVoucher

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "channelId": self.channel_id,
            "acceptedCumulative": str(self.accepted_units),
            "spent": str(self.spent_units),
            "highestVoucher": self.highest.members(),
        }

    def encode(self) -> str:
        """The value of the header."""
        return encode_object(self.members())


def snapshot_of(channel: Channel) -> Snapshot | None:
    """What a server can tell of a channel on record; None before its first voucher. Raises UsageError."""
    if not channel.voucher:
        return None
    return Snapshot(channel.id, channel.accepted, channel.spent, decode_voucher(channel.voucher))


def decode_snapshot(value: str) -> Snapshot:
    """A snapshot from the value of its header. Raises UsageError."""
    try:
        told = decode_object(value.strip())
    except MalformedHeader as error:
        raise UsageError(f"{SNAPSHOT_HEADER}: {error}") from None
    return Snapshot(
        read_address(told.get("channelId"), "channelId"),
        read_units(told.get("acceptedCumulative"), "acceptedCumulative"),
        read_units(told.get("spent"), "spent"),
        read_signed_voucher(told.get("highestVoucher"), "highestVoucher"),
    )


# --- what a client makes of it -------------------------------------------------------------------


def names(channel_id: str | None, fields: Mapping[str, str]) -> frozenset[str]:
    """The channels that a server suggests by their ids alone: in the challenge, or in a header (lower-case name)."""
    told = (channel_id, fields.get(CHANNEL_HEADER.lower(), "").strip())
    return frozenset(one for one in told if one)


def believed(fields: Mapping[str, str], held: Held) -> Held | None:
    """Our record of a channel with what the server's snapshot proves of our signatures; None if it tells of none, or of
    another channel.

    Raises NoPayableOffer for a claim that can't be true: above all that we signed. T24
    """
    value = fields.get(SNAPSHOT_HEADER.lower())
    if value is None:
        return None
    try:
        told = decode_snapshot(value)
    except UsageError as error:
        raise NoPayableOffer(f"solana: the server's word on the channel: {error}") from None
    if told.channel_id != held.channel_id or held.standing in _OVER:
        return None
    proven, voucher = held.signed_units, held.voucher
    if told.highest.cumulative_units > proven and _is_ours(told.highest, held):
        proven, voucher = told.highest.cumulative_units, told.highest.encode()
    if not told.spent_units <= told.accepted_units <= proven or proven > held.deposit_units:  # T24
        raise NoPayableOffer("solana: the server's word on the channel can't be true: it claims more than we signed")
    return replace(
        held,
        signed_units=proven,
        voucher=voucher,
        acknowledged_units=max(held.acknowledged_units, told.accepted_units),
        spent_units=max(held.spent_units, told.spent_units),
        standing=Standing.OPEN if held.standing is Standing.OPENING else held.standing,
    )


def _is_ours(voucher: SignedVoucher, held: Held) -> bool:
    """Whether our key signed it for this channel, without an end: a foreign voucher shows nothing. T08 T15"""
    if voucher.channel_id != held.channel_id or voucher.expires_at:  # T08
        return False
    try:
        voucher.verify(held.signer)  # T13
    except (InvalidVoucher, SignerMismatch):
        return False
    return True
