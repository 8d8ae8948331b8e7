"""The five actions of a session, as they stand in a credential (SSES "Credential Schema").

Shape only: nothing here asks a chain or a store or verifies a signature, so that junk costs microseconds. Which members
belong to an action depends on who signs the vouchers; that is the challenge's word, and the reader is told.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from coinslot.chains.solana.message import MAX_BYTES
from coinslot.core.record import quick
from coinslot.errors import MalformedCredential, UsageError
from coinslot.intents.members import read_object
from coinslot.methods.solana.session.bearer import Authentication, read_authentication
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.fields import (
    MAX_IDLE_S,
    read_address,
    read_count,
    read_signature,
    read_time,
    read_units,
)
from coinslot.methods.solana.session.terms import read_splits, splits_members
from coinslot.methods.solana.session.voucher import SIGNATURE_TYPE, SignedVoucher, read_signed_voucher

OPEN = "open"
VOUCHER = "voucher"
USE = "use"
TOP_UP = "topUp"
CLOSE = "close"
# 1232 bytes in padded base64.
_MAX_BASE64 = (MAX_BYTES + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class OpenPayload:
    """A signed transaction that opens a channel, and what it is said to do; the transaction is what counts.

    `splits` are as they were written. `idle_s` is what the client chose of what was offered. `authentication` is there
    where the server signs the vouchers.
    """

    channel_id: str
    payer: str
    payee: str
    mint: str
    authorized_signer: str
    salt: int
    deposit_units: int
    grace_s: int
    open_slot: int
    transaction: bytes = field(repr=False)
    splits: tuple[Split, ...] = ()
    idle_s: int | None = None
    authentication: Authentication | None = None

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told: dict[str, Any] = {
            "action": OPEN,
            "channelId": self.channel_id,
            "payer": self.payer,
            "payee": self.payee,
            "mint": self.mint,
            "authorizedSigner": self.authorized_signer,
            "salt": str(self.salt),
            "depositAmount": str(self.deposit_units),
            "gracePeriodSeconds": self.grace_s,
            "openSlot": str(self.open_slot),
            "transaction": base64.b64encode(self.transaction).decode("ascii"),
        }
        if self.splits:
            told["distributionSplits"] = splits_members(self.splits)
        if self.idle_s is not None:
            told["idleTimeoutSeconds"] = self.idle_s
        if self.authentication is not None:
            told["authentication"] = self.authentication.members()
        return told


@quick
@dataclass(frozen=True, slots=True)
class VoucherPayload:
    """A voucher of the client's."""

    channel_id: str
    voucher: SignedVoucher

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return {"action": VOUCHER, "channelId": self.channel_id, "voucher": self.voucher.members()}


@dataclass(frozen=True, slots=True)
class UsePayload:
    """The proof of who pays, where the server signs the vouchers."""

    channel_id: str
    authentication: Authentication

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return {"action": USE, "channelId": self.channel_id, "authentication": self.authentication.members()}


@dataclass(frozen=True, slots=True)
class TopUpPayload:
    """A signed transaction that adds to a channel's deposit."""

    channel_id: str
    additional_units: int
    transaction: bytes = field(repr=False)

    def members(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "action": TOP_UP,
            "channelId": self.channel_id,
            "additionalAmount": str(self.additional_units),
            "transaction": base64.b64encode(self.transaction).decode("ascii"),
        }


@dataclass(frozen=True, slots=True)
class ClosePayload:
    """The wish to close, with the last voucher or with the proof of who pays: exactly one of them."""

    channel_id: str
    voucher: SignedVoucher | None = None
    authentication: Authentication | None = None

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told: dict[str, Any] = {"action": CLOSE, "channelId": self.channel_id}
        if self.voucher is not None:
            told["voucher"] = self.voucher.members()
        if self.authentication is not None:
            told["authentication"] = self.authentication.members()
        return told


Payload: TypeAlias = OpenPayload | VoucherPayload | UsePayload | TopUpPayload | ClosePayload


def read_payload(payload: Mapping[str, Any], *, operator: bool) -> Payload:
    """The action of a credential; members that we don't know are passed over.

    `operator`: whether the challenge says that the server signs the vouchers. Raises MalformedCredential.
    """
    try:
        channel_id = read_address(payload.get("channelId"), "channelId")
        match payload.get("action"):
            case "voucher":
                if operator:  # SSES-122: such a voucher shows that the server signed it, not who asks
                    raise UsageError("action is voucher, but the server signs the vouchers here")
                return VoucherPayload(channel_id, _voucher(payload, channel_id))
            case "use":
                if not operator:
                    raise UsageError("action is use, but the client signs the vouchers here")
                return UsePayload(channel_id, _authentication(payload))
            case "topUp":
                return TopUpPayload(channel_id, _additional(payload), _transaction(payload))
            case "close":
                return _close(payload, channel_id, operator=operator)
            case "open":
                return _open(payload, channel_id, operator=operator)
            case _:
                raise UsageError("action is not open, voucher, use, topUp or close")
    except UsageError as error:
        raise MalformedCredential(f"payload.{error}") from None


# --- the voucher that comes again and again ------------------------------------------------------


class _Inner(msgspec.Struct, frozen=True):
    channelId: str
    cumulativeAmount: str
    expiresAt: int | msgspec.UnsetType = msgspec.UNSET


class _Signed(msgspec.Struct, frozen=True):
    signature: str
    signatureType: str
    signer: str
    voucher: _Inner


class _Voucher(msgspec.Struct, frozen=True):
    action: str
    channelId: str
    voucher: _Signed


_quick, _compact = msgspec.json.Decoder(_Voucher), msgspec.json.Encoder()


def read_plain_voucher(raw: bytes) -> VoucherPayload | None:
    """A client's voucher from its plainest JSON; else None.

    What it reads `read_payload` reads alike, in twice the time and more. None of its doubts is an answer: whatever is
    wrong, odd or new in any member is for `read_payload` to say.
    """
    try:
        told = _quick.decode(raw)
        if told.action != VOUCHER or len(_compact.encode(told)) != len(raw):  # T09: nothing stands twice or beside
            return None
        shown = told.voucher
        inner = shown.voucher
        if told.channelId != inner.channelId or shown.signatureType != SIGNATURE_TYPE:  # T08
            return None
        channel_id, expires_at = read_address(inner.channelId, "channelId"), inner.expiresAt
        units = read_units(inner.cumulativeAmount, "cumulativeAmount")
        until = 0 if expires_at is msgspec.UNSET else read_time(expires_at, "expiresAt")
        signer, signature = read_address(shown.signer, "signer"), read_signature(shown.signature, "signature")
        return VoucherPayload(channel_id, SignedVoucher(channel_id, units, until, signer, signature))
    except (ValueError, RecursionError, UsageError):
        return None


# --- single members ------------------------------------------------------------------------------


def _open(payload: Mapping[str, Any], channel_id: str, *, operator: bool) -> OpenPayload:
    if "bump" in payload:  # SSES-114 SSES-115: a wrong one could hide behind the right address
        raise UsageError("bump: the chain derives it; an opening must not say one")
    if "voucher" in payload:  # SSES-112
        raise UsageError("voucher: an opening carries none; the first one comes with the first request")
    if not operator and payload.get("authentication") is not None:  # SSES-110
        raise UsageError("authentication: the client signs the vouchers here")
    idle = payload.get("idleTimeoutSeconds")
    opening = OpenPayload(
        channel_id=channel_id,
        payer=read_address(payload.get("payer"), "payer"),
        payee=read_address(payload.get("payee"), "payee"),
        mint=read_address(payload.get("mint"), "mint"),
        authorized_signer=read_address(payload.get("authorizedSigner"), "authorizedSigner"),
        salt=read_units(payload.get("salt"), "salt"),
        deposit_units=_positive(payload, "depositAmount"),
        grace_s=read_count(payload.get("gracePeriodSeconds"), "gracePeriodSeconds", 1),
        open_slot=read_units(payload.get("openSlot"), "openSlot"),
        transaction=_transaction(payload),
        splits=read_splits(payload.get("distributionSplits"), "distributionSplits"),
        idle_s=None if idle is None else read_count(idle, "idleTimeoutSeconds", 1, MAX_IDLE_S),
        authentication=_authentication(payload) if operator else None,
    )
    _require_policy(payload.get("authorizationPolicy"), opening.authorized_signer)
    return opening


def _require_policy(value: object, authorized_signer: str) -> None:
    """The document gives the policy no shape but this: it must agree with the signer (SSES-109)."""
    if value is None:
        return
    policy = read_object(value, "authorizationPolicy")
    if policy.get("authorizedSigner", authorized_signer) != authorized_signer:
        raise UsageError("authorizationPolicy names another signer")


def _close(payload: Mapping[str, Any], channel_id: str, *, operator: bool) -> ClosePayload:
    wrong = "voucher" if operator else "authentication"
    if payload.get(wrong) is not None:  # SSES-132 SSES-133
        raise UsageError(f"{wrong}: not what a close is asked with here")
    if operator:
        return ClosePayload(channel_id, authentication=_authentication(payload))
    return ClosePayload(channel_id, _voucher(payload, channel_id))


def _voucher(payload: Mapping[str, Any], channel_id: str) -> SignedVoucher:
    voucher = read_signed_voucher(payload.get("voucher"))
    if voucher.channel_id != channel_id:
        raise UsageError("voucher is of another channel than channelId")
    return voucher


def _authentication(payload: Mapping[str, Any]) -> Authentication:
    return read_authentication(payload.get("authentication"))


def _additional(payload: Mapping[str, Any]) -> int:
    return _positive(payload, "additionalAmount")


def _positive(payload: Mapping[str, Any], name: str) -> int:
    units = read_units(payload.get(name), name)
    if units == 0:
        raise UsageError(f"{name} is zero")
    return units


def _transaction(payload: Mapping[str, Any]) -> bytes:
    """Standard base64 with its padding, in its one spelling (SSES-111)."""
    value = payload.get("transaction")
    if type(value) is not str or not 0 < len(value) <= _MAX_BASE64:
        raise UsageError(f"transaction is missing or not the base64 of up to {MAX_BYTES} bytes")
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("transaction is not base64") from None
    if base64.b64encode(raw).decode("ascii") != value:
        raise UsageError("transaction is not base64 in its one spelling")
    return raw
