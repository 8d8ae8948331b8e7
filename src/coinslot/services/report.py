"""A recorded payment in the words of a list, a file of comma-separated values or another program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from coinslot import method as methods
from coinslot.core.instant import format_instant
from coinslot.errors import CoinslotError, UsageError
from coinslot.intents import charge
from coinslot.intents.charge import Payee, Terms
from coinslot.money import Asset, parse_units, to_text
from coinslot.store.protocol import Payment

# The columns of an export, in order. New ones are only ever added at the end.
COLUMNS = (
    "challenge_id",
    "stage",
    "claimed_at",
    "settled_at",
    "delivered_at",
    "method",
    "payer",
    "payees",
    "amount_units",
    "amount",
    "asset",
    "symbol",
    "reference",
    "external_id",
    "intent",
)
# What makes a spreadsheet run a cell as a formula (OWASP "CSV Injection"), and the mark itself, so it can be undone.
_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


@dataclass(frozen=True, slots=True)
class Line:
    """A payment and what it was for; `terms` is None if its request can't be read (another program wrote it), and where
    it moved a deposit: that is no price, and still the payer's. The journal has its amount.
    """

    payment: Payment
    terms: Terms | None
    external_id: str | None

    def values(self) -> dict[str, str | None]:
        """The value of each of COLUMNS; times are RFC 3339 text, amounts decimal text, payees "WHO=UNITS;WHO=UNITS"."""
        paid, terms = self.payment, self.terms
        known = terms is not None and terms.asset.decimals is not None
        return {
            "challenge_id": paid.challenge.id,
            "stage": str(paid.stage),
            "claimed_at": moment(paid.claimed_at_s),
            "settled_at": moment(paid.settled_at_s),
            "delivered_at": moment(paid.delivered_at_s),
            "method": paid.challenge.method,
            "payer": paid.payer,
            "payees": ";".join(f"{one.recipient}={one.amount_units}" for one in terms.payees) if terms else None,
            "amount_units": str(terms.amount_units) if terms else None,
            "amount": to_text(terms.amount_units, terms.asset.decimals or 0) if terms and known else None,
            "asset": terms.asset.key if terms else None,
            "symbol": (terms.asset.symbol or None) if terms else None,
            "reference": reference(paid),
            "external_id": self.external_id,
            "intent": paid.challenge.intent,
        }

    def cells(self) -> list[str]:
        """The values as cells that no spreadsheet runs."""
        return [cell(value or "") for value in self.values().values()]


def line(payment: Payment) -> Line:
    """What there is to say of a payment without asking a chain, or having its method's libraries."""
    try:
        request = payment.challenge.request_object()
    except CoinslotError:
        return Line(payment, None, None)
    external = request.get("externalId")
    priced = payment.challenge.intent == charge.INTENT
    terms = _terms(payment.challenge.method, request) if priced else None
    return Line(payment, terms, external if isinstance(external, str) else None)


def reference(payment: Payment) -> str | None:
    """What to look up on the chain: the receipt's, else what was broadcast."""
    if payment.receipt is not None:
        return payment.receipt.reference
    return payment.prepared.reference if payment.prepared is not None else None


def moment(at_s: float | None) -> str | None:
    """RFC 3339 text."""
    return None if at_s is None else format_instant(at_s)


def cell(text: str) -> str:
    """A cell that no spreadsheet runs: one that begins like a formula gets an apostrophe before it.

    So does one that begins with an apostrophe: whoever reads the file takes one leading apostrophe off.
    """
    return f"'{text}" if text.startswith(_RUNS) else text


@cache
def _reader(method: str) -> Callable[[Mapping[str, Any]], Terms] | None:
    try:
        return methods.load(method).read_terms
    except CoinslotError:  # not installed any more: the shared fields still tell most
        return None


def _terms(method: str, request: Mapping[str, Any]) -> Terms | None:
    """As the method reads them, else from the fields that all methods share (CHG "Shared Fields")."""
    read = _reader(method)
    try:
        if read is not None:
            return read(request)
        units, currency, recipient = (
            parse_units(request.get("amount")),
            request.get("currency"),
            request.get("recipient"),
        )
    except UsageError:
        return None
    if not isinstance(currency, str):
        return None
    payees = (Payee(recipient, units),) if isinstance(recipient, str) else ()
    return Terms(Asset(method, currency), units, payees)
