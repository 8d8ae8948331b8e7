"""Receipts of sessions, and the event that asks for the next voucher (SSES "Receipt Format")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from coinslot.core.canonical import encode_ordered
from coinslot.core.receipt import SUCCESS, Receipt
from coinslot.core.record import quick
from coinslot.errors import MalformedHeader, UsageError
from coinslot.methods.solana.session.fields import (
    MAX_IDLE_S,
    read_address,
    read_count,
    read_signature,
    read_text,
    read_units,
)

_METHOD = "solana"
_INTENT = "session"


class _Members(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A receipt's members in canonical order."""

    acceptedCumulative: str
    challengeId: str | None = None
    idleTimeoutSeconds: int
    intent: str
    method: str
    reference: str
    refunded: str | None = None
    spent: str
    status: str
    timestamp: str
    txHash: str | None = None
    units: int | None = None


@quick
@dataclass(frozen=True, slots=True)
class SessionReceipt:
    """What a server says after a request: base units accepted and spent so far on the channel.

    `timestamp` is RFC 3339 text, `units` what this request consumed. Of a close: `transaction` is the signature of
    what settled it, base58, and `refunded_units` what went back to the payer.
    """

    timestamp: str
    channel_id: str
    accepted_units: int
    spent_units: int
    idle_s: int
    challenge_id: str | None = None
    units: int | None = None
    transaction: str | None = None
    refunded_units: int | None = None

    def receipt(self) -> Receipt:
        """As it travels; `reference` is the channel's id."""
        accepted, spent = str(self.accepted_units), str(self.spent_units)
        refunded = None if self.refunded_units is None else str(self.refunded_units)
        extra: dict[str, Any] = {
            "intent": _INTENT,
            "acceptedCumulative": accepted,
            "spent": spent,
            "idleTimeoutSeconds": self.idle_s,
        }
        if self.challenge_id is not None:
            extra["challengeId"] = self.challenge_id
        if self.units is not None:
            extra["units"] = self.units
        if self.transaction is not None:
            extra["txHash"] = self.transaction
        if refunded is not None:
            extra["refunded"] = refunded
        told = _Members(
            acceptedCumulative=accepted,
            challengeId=self.challenge_id,
            idleTimeoutSeconds=self.idle_s,
            intent=_INTENT,
            method=_METHOD,
            reference=self.channel_id,
            refunded=refunded,
            spent=spent,
            status=SUCCESS,
            timestamp=self.timestamp,
            txHash=self.transaction,
            units=self.units,
        )
        return Receipt(_METHOD, self.channel_id, self.timestamp, extra, encode_ordered(told))


def read_session_receipt(receipt: Receipt) -> SessionReceipt:
    """The session's members of a receipt; others are passed over. Raises MalformedHeader."""
    extra = receipt.extra
    if receipt.method != _METHOD or extra.get("intent") != _INTENT:
        raise MalformedHeader("not a receipt of a solana session")
    challenge_id, units = extra.get("challengeId"), extra.get("units")
    transaction, refunded = extra.get("txHash"), extra.get("refunded")
    if units is not None and (type(units) is not int or units < 0):
        raise MalformedHeader("a session's receipt whose units are not a count")
    try:
        if transaction is not None:
            read_signature(transaction, "txHash")
        return SessionReceipt(
            timestamp=receipt.timestamp,
            channel_id=read_address(receipt.reference, "reference"),
            accepted_units=read_units(extra.get("acceptedCumulative"), "acceptedCumulative"),
            spent_units=read_units(extra.get("spent"), "spent"),
            idle_s=read_count(extra.get("idleTimeoutSeconds"), "idleTimeoutSeconds", 1, MAX_IDLE_S),
            challenge_id=None if challenge_id is None else read_text(challenge_id, "challengeId"),
            units=units,
            transaction=transaction,
            refunded_units=None if refunded is None else read_units(refunded, "refunded"),
        )
    except UsageError as error:
        raise MalformedHeader(f"a session's receipt: {error}") from None
