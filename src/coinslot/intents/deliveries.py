"""Deliveries: what is streamed first and paid for afterwards, as deployed servers and clients tell each other of it.

    event: mpp.metering     {deliveryId, sessionId, amount, currency, sequence, expiresAt, commitUrl?}   a directive
    event: mpp.usage        {deliveryId, amount}               what it came to, for that delivery only
    data: [DONE]
    POST commitUrl          {deliveryId, ...}                  a commit: the members of a voucher's credential beside it
    the answer              {deliveryId, sessionId, amount, cumulative, status}     "committed" or "replayed"

`sessionId` is the channel's id. Amounts are a u64 in base units, as decimal text, or as a JSON integer. No document has
any of this; docs/adr/0015 says what we make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.core.header import printable_ascii
from coinslot.errors import UsageError
from coinslot.money import parse_units

DIRECTIVE_EVENT = "mpp.metering"
USAGE_EVENT = "mpp.usage"
# What ends a stream: this as data, or an event of this name.
DONE_DATA = "[DONE]"
DONE_EVENT = "done"
RESERVE_PATH = "/__402/session/deliveries"
COMMIT_PATH = "/__402/session/commit"
# The width of an amount in all of these.
BITS = 64
# A channel's id and a number have a third of this.
MAX_ID_CHARS = 200
MAX_URL_CHARS = 2048
# Whole seconds, and counts, that every JSON reader keeps exactly.
MAX_INTEGER = 2**53 - 1
COMMITTED, REPLAYED = "committed", "replayed"


@dataclass(frozen=True, slots=True)
class Directive:
    """What a delivery may cost at most, unless its usage says otherwise; nothing in it is believed yet.

    `amount_units` are base units of `currency`, `expires_at_s` seconds since 1970.
    """

    delivery_id: str
    channel_id: str
    amount_units: int
    currency: str
    sequence: int
    expires_at_s: int
    commit_url: str | None = None

    def members(self) -> dict[str, Any]:
        """As JSON."""
        told: dict[str, Any] = {
            "deliveryId": self.delivery_id,
            "sessionId": self.channel_id,
            "amount": str(self.amount_units),
            "currency": self.currency,
            "sequence": self.sequence,
            "expiresAt": self.expires_at_s,
        }
        return told if self.commit_url is None else {**told, "commitUrl": self.commit_url}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a delivery came to, in base units."""

    delivery_id: str
    amount_units: int

    def members(self) -> dict[str, str]:
        """As JSON."""
        return {"deliveryId": self.delivery_id, "amount": str(self.amount_units)}


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """A server's word that a delivery is paid: what it charged, and the total that it has accepted on the channel.

    `replayed`: it had been paid before, by the same voucher.
    """

    delivery_id: str
    channel_id: str
    amount_units: int
    cumulative_units: int
    replayed: bool

    def members(self) -> dict[str, str]:
        """As JSON."""
        return {
            "deliveryId": self.delivery_id,
            "sessionId": self.channel_id,
            "amount": str(self.amount_units),
            "cumulative": str(self.cumulative_units),
            "status": REPLAYED if self.replayed else COMMITTED,
        }


def read_directive(told: Mapping[str, Any]) -> Directive:
    """A directive from JSON; members that we don't know are passed over. Raises UsageError, which names the member."""
    url = told.get("commitUrl")
    return Directive(
        read_id(told.get("deliveryId"), "deliveryId"),
        read_id(told.get("sessionId"), "sessionId"),
        read_units(told.get("amount"), "amount"),
        read_id(told.get("currency"), "currency"),
        read_integer(told.get("sequence"), "sequence"),
        read_integer(told.get("expiresAt"), "expiresAt"),
        None if url is None else _text(url, "commitUrl", MAX_URL_CHARS),
    )


def read_usage(told: Mapping[str, Any]) -> Usage:
    """A usage from JSON. Raises UsageError, which names the member."""
    return Usage(read_id(told.get("deliveryId"), "deliveryId"), read_units(told.get("amount"), "amount"))


def read_commit_receipt(told: Mapping[str, Any]) -> CommitReceipt:
    """A receipt from JSON. Raises UsageError, which names the member; also for a status that is neither of the two."""
    status = told.get("status")
    if status not in (COMMITTED, REPLAYED):
        raise UsageError(f"status is neither {COMMITTED} nor {REPLAYED}")
    return CommitReceipt(
        read_id(told.get("deliveryId"), "deliveryId"),
        read_id(told.get("sessionId"), "sessionId"),
        read_units(told.get("amount"), "amount"),
        read_units(told.get("cumulative"), "cumulative"),
        status == REPLAYED,
    )


# --- single members ------------------------------------------------------------------------------


def read_units(value: object, name: str) -> int:
    """A u64 from decimal text or a JSON integer; never a bool, a float, or a second spelling. Raises UsageError."""
    try:
        units = value if type(value) is int else parse_units(value)  # T20
    except UsageError:
        raise UsageError(f"{name} is missing, or neither decimal text nor an integer") from None
    if not 0 <= units < 1 << BITS:  # T20
        raise UsageError(f"{name} is less than 0 or more than {BITS} bits hold")
    return units


def read_integer(value: object, name: str) -> int:
    """A JSON integer from 0 on. Raises UsageError."""
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:  # T20
        raise UsageError(f"{name} is missing or no integer from 0 to {MAX_INTEGER}")
    return value


def read_id(value: object, name: str) -> str:
    """A name: printable ASCII that is not absurdly long. Raises UsageError."""
    return _text(value, name, MAX_ID_CHARS)


def _text(value: object, name: str, most: int) -> str:
    if type(value) is not str or not 0 < len(value) <= most or not printable_ascii(value):  # T41
        raise UsageError(f"{name} is missing or not 1 to {most} printable ASCII characters")
    return value
