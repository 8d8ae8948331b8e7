"""Vouchers: signed promises of a channel's whole amount so far (SSES "Voucher Format").

    0  magic 0x56 0x01     2  channel (32)     34  cumulative amount, u64 LE     42  expiry, i64 LE, 0 for none

These 50 bytes are what is signed, and what the chain verifies when a voucher is settled; the JSON around them is only
how they travel. The 48 bytes without magic of the first published clients are not taken, as the chain doesn't.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from coinslot.chains.solana.address import ADDRESS_BYTES, address_bytes, address_text
from coinslot.chains.solana.ed25519 import SignedMessage, build_ed25519, read_ed25519
from coinslot.chains.solana.instruction import I64_MAX, I64_MIN, U64_MAX, Instruction
from coinslot.chains.solana.signature import SIGNATURE_BYTES, Key, signature_text, verify
from coinslot.core.record import quick
from coinslot.errors import BadSignature, BadTransaction, InvalidVoucher, SignerMismatch, UsageError
from coinslot.intents.members import read_object
from coinslot.methods.solana.session.fields import (
    read_address,
    read_signature,
    read_time,
    read_units,
)

MAGIC = b"\x56\x01"
_MESSAGE = struct.Struct("<2s32sQq")
MESSAGE_BYTES = _MESSAGE.size
VOUCHER_BYTES = MESSAGE_BYTES + ADDRESS_BYTES + SIGNATURE_BYTES
SIGNATURE_TYPE = "ed25519"


@quick
@dataclass(frozen=True, slots=True)
class SignedVoucher:
    """All that a channel has authorized so far, who is said to have signed it, and the 64 bytes of the signature.

    Base units; `expires_at` in seconds since 1970, 0 for never. Nothing is verified yet.
    """

    channel_id: str
    cumulative_units: int
    expires_at: int
    signer: str
    signature: bytes = field(repr=False)

    @property
    def message(self) -> bytes:
        """The 50 bytes that are signed. Raises UsageError."""
        return voucher_message(self.channel_id, self.cumulative_units, self.expires_at)

    def has_expired(self, now_s: float, skew_s: float = 0.0) -> bool:
        """Whether the chain would refuse it, as clocks go that are off by at most `skew_s`."""
        return self.expires_at != 0 and now_s >= self.expires_at + skew_s

    def verify(self, signer: str) -> None:
        """That `signer` signed this voucher.

        `signer` is the channel's authorized signer as the chain knows it, never what a request says. Channel, amount
        and expiry are for the caller to judge. Raises InvalidVoucher, SignerMismatch.
        """
        if self.signer != signer:  # T15
            raise SignerMismatch("the voucher was signed by somebody else", channel_id=self.channel_id)
        try:
            verify(signer, self.message, self.signature)  # T13
        except (BadSignature, UsageError) as error:
            raise InvalidVoucher(str(error), channel_id=self.channel_id) from None

    def members(self) -> dict[str, Any]:
        """As JSON; an expiry of 0 is left out."""
        voucher: dict[str, Any] = {"channelId": self.channel_id, "cumulativeAmount": str(self.cumulative_units)}
        if self.expires_at:
            voucher["expiresAt"] = self.expires_at
        return {
            "voucher": voucher,
            "signer": self.signer,
            "signature": signature_text(self.signature),
            "signatureType": SIGNATURE_TYPE,
        }

    def encode(self) -> bytes:
        """The 146 bytes that are kept: message, signer, signature. Raises UsageError."""
        return self.message + address_bytes(self.signer) + self.signature


def voucher_message(channel_id: str, cumulative_units: int, expires_at: int = 0) -> bytes:
    """The 50 bytes to sign. Raises UsageError: no address, or a number out of range."""
    if type(cumulative_units) is not int or not 0 <= cumulative_units <= U64_MAX:  # T20
        raise UsageError("the amount of a voucher is from 0 to 2**64 - 1")
    if type(expires_at) is not int or not I64_MIN <= expires_at <= I64_MAX:
        raise UsageError("the expiry of a voucher is from -2**63 to 2**63 - 1")
    return _MESSAGE.pack(MAGIC, address_bytes(channel_id), cumulative_units, expires_at)


def read_message(message: bytes) -> tuple[str, int, int]:
    """Channel, cumulative units and expiry in 50 bytes. Raises BadTransaction."""
    if len(message) != MESSAGE_BYTES:
        raise BadTransaction(f"what a voucher signs is {MESSAGE_BYTES} bytes")
    magic, channel, units, expires_at = _MESSAGE.unpack(message)
    if magic != MAGIC:  # T14: nothing else that this key may sign begins so
        raise BadTransaction("what a voucher signs starts with other bytes")
    return address_text(channel), units, expires_at


def sign_voucher(key: Key, channel_id: str, cumulative_units: int, expires_at: int = 0) -> SignedVoucher:
    """A voucher signed by `key`. Raises UsageError."""
    message = voucher_message(channel_id, cumulative_units, expires_at)
    return SignedVoucher(channel_id, cumulative_units, expires_at, key.address, key.sign(message))


def decode_voucher(data: bytes) -> SignedVoucher:
    """A voucher as `encode` made it. Raises UsageError."""
    if len(data) != VOUCHER_BYTES:
        raise UsageError(f"a voucher that was kept is {VOUCHER_BYTES} bytes")
    try:
        channel, units, expires_at = read_message(data[:MESSAGE_BYTES])
    except BadTransaction as error:
        raise UsageError(str(error)) from None
    at = MESSAGE_BYTES + ADDRESS_BYTES
    return SignedVoucher(channel, units, expires_at, address_text(data[MESSAGE_BYTES:at]), data[at:])


def read_signed_voucher(value: object, name: str = "voucher") -> SignedVoucher:
    """A signed voucher from JSON. Raises UsageError, which names the member."""
    fields = read_object(value, name)
    inner = read_object(fields.get("voucher"), f"{name}.voucher")
    if fields.get("signatureType") != SIGNATURE_TYPE:
        raise UsageError(f"{name}.signatureType is not {SIGNATURE_TYPE}")
    expires_at = inner.get("expiresAt")
    return SignedVoucher(
        read_address(inner.get("channelId"), f"{name}.voucher.channelId"),
        read_units(inner.get("cumulativeAmount"), f"{name}.voucher.cumulativeAmount"),
        0 if expires_at is None else read_time(expires_at, f"{name}.voucher.expiresAt"),
        read_address(fields.get("signer"), f"{name}.signer"),
        read_signature(fields.get("signature"), f"{name}.signature"),
    )


# --- on the chain --------------------------------------------------------------------------------


def build_voucher_instruction(voucher: SignedVoucher) -> Instruction:
    """What stands right before `settle` or `settleAndSeal`: the runtime verifies the signature. Raises UsageError."""
    return build_ed25519(SignedMessage(voucher.signer, voucher.signature, voucher.message))


def read_voucher_instruction(instruction: Instruction) -> SignedVoucher:
    """Exactly such an instruction. Raises BadTransaction; does not verify."""
    found = read_ed25519(instruction)
    return SignedVoucher(*read_message(found.message), found.signer, found.signature)
