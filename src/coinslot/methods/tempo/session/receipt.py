"""Receipts of sessions, and the event that asks for the next voucher (TSES "Receipt Generation")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from coinslot.core.canonical import encode_ordered
from coinslot.core.receipt import SUCCESS, Receipt
from coinslot.core.record import quick
from coinslot.errors import MalformedHeader, UsageError
from coinslot.methods.tempo.session.escrow import V1
from coinslot.methods.tempo.session.fields import read_units, read_word

_METHOD = "tempo"
_INTENT = "session"
NEED_VOUCHER_EVENT = "payment-need-voucher"
RECEIPT_EVENT = "payment-receipt"


class _Members(msgspec.Struct, frozen=True, omit_defaults=True):
    """A receipt's members in canonical order."""

    acceptedCumulative: str
    challengeId: str
    channelId: str
    intent: str
    method: str
    reference: str
    spent: str
    status: str
    timestamp: str
    txHash: str | None = None
    units: int | None = None


@quick
@dataclass(frozen=True, slots=True)
class SessionReceipt:
    """What a server says after a request: base units accepted and spent so far on the channel.

    `timestamp` is RFC 3339 text, `units` what this request consumed, `transaction_hash` the settlement where one was
    made for it.
    """

    timestamp: str
    challenge_id: str
    channel_id: str
    accepted_units: int
    spent_units: int
    units: int | None = None
    transaction_hash: str | None = None

    def receipt(self) -> Receipt:
        """As it travels; `reference` is the channel's id."""
        accepted, spent = str(self.accepted_units), str(self.spent_units)
        extra: dict[str, Any] = {
            "intent": _INTENT,
            "challengeId": self.challenge_id,
            "channelId": self.channel_id,
            "acceptedCumulative": accepted,
            "spent": spent,
        }
        if self.units is not None:
            extra["units"] = self.units
        if self.transaction_hash is not None:
            extra["txHash"] = self.transaction_hash
        told = _Members(
            accepted, self.challenge_id, self.channel_id, _INTENT, _METHOD, self.channel_id, spent, SUCCESS,
            self.timestamp, self.transaction_hash, self.units,
        )  # fmt: skip
        return Receipt(_METHOD, self.channel_id, self.timestamp, extra, encode_ordered(told))


def read_session_receipt(receipt: Receipt) -> SessionReceipt:
    """The session's members of a receipt; others are passed over (TSES-056). Raises MalformedHeader."""
    extra = receipt.extra
    if receipt.method != _METHOD or extra.get("intent") != _INTENT:
        raise MalformedHeader("not a receipt of a tempo session")
    challenge_id, units, transaction_hash = extra.get("challengeId"), extra.get("units"), extra.get("txHash")
    if type(challenge_id) is not str or not challenge_id:
        raise MalformedHeader("a session's receipt without challengeId")
    if units is not None and (type(units) is not int or units < 0):
        raise MalformedHeader("a session's receipt whose units are not a count")
    try:
        channel_id = read_word(extra.get("channelId"), "channelId")
        if read_word(receipt.reference, "reference") != channel_id:
            raise UsageError("reference is not the channel's id")
        return SessionReceipt(
            timestamp=receipt.timestamp,
            challenge_id=challenge_id,
            channel_id=channel_id,
            accepted_units=read_units(extra.get("acceptedCumulative"), "acceptedCumulative", V1.max_units),
            spent_units=read_units(extra.get("spent"), "spent", V1.max_units),
            units=units,
            transaction_hash=None if transaction_hash is None else read_word(transaction_hash, "txHash"),
        )
    except UsageError as error:
        raise MalformedHeader(f"a session's receipt: {error}") from None
