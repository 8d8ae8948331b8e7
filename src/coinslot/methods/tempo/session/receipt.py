"""Receipts of sessions, and the event that asks for the next voucher (TSES "Receipt Generation")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coinslot.core.receipt import Receipt
from coinslot.core.record import quick
from coinslot.errors import MalformedHeader, UsageError
from coinslot.methods.tempo.session.escrow import V1
from coinslot.methods.tempo.session.fields import read_units, read_word

_METHOD = "tempo"
_INTENT = "session"
NEED_VOUCHER_EVENT = "payment-need-voucher"
RECEIPT_EVENT = "payment-receipt"


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
        extra: dict[str, Any] = {
            "intent": _INTENT,
            "challengeId": self.challenge_id,
            "channelId": self.channel_id,
            "acceptedCumulative": str(self.accepted_units),
            "spent": str(self.spent_units),
        }
        if self.units is not None:
            extra["units"] = self.units
        if self.transaction_hash is not None:
            extra["txHash"] = self.transaction_hash
        return Receipt(_METHOD, self.channel_id, self.timestamp, extra)


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
