"""What payment methods of the plain kind share: bases that answer the questions that only other kinds need, and the
members that requests of every method have.

A method may derive its sellers and payers from these, or answer all of the protocols in method.py by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coinslot.core.challenge import Challenge
from coinslot.drive import Flow
from coinslot.errors import Problem
from coinslot.intents import acts, session
from coinslot.method import Extras
from coinslot.money import Asset, to_units


class PlainSeller:
    """A base for sellers whose offers hold nothing that only the chain knows."""

    __slots__ = ()

    def complete(self, request: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """It is complete."""
        yield from ()
        return request


class PlainSessionSeller(PlainSeller):
    """A base for sellers of plain sessions: their vouchers never expire, and closed channels leave nothing behind."""

    __slots__ = ()

    def read_voucher(self, payload: bytes, terms: acts.Terms) -> acts.Presented | None:
        """There is no shorter way."""
        return None

    def idle_s(self, channel: session.Channel) -> float | None:
        """Nothing is agreed on."""
        return None

    @property
    def credit_units(self) -> int:
        """Nothing comes before it is paid."""
        return 0

    def collectable_until_s(self, channel: session.Channel) -> float | None:
        """For ever."""
        return None

    def open_keys(self) -> Flow[frozenset[str] | None]:
        """The chain can't be asked."""
        yield from ()
        return None

    def tidy(self) -> Flow[int]:
        """There is nothing to collect."""
        yield from ()
        return 0

    def named(self, problem: Problem) -> Problem:
        """As it is."""
        return problem


class PlainSessionPayer:
    """A base for payers of plain sessions: they sign for their channels, under the challenge at hand."""

    __slots__ = ()

    @property
    def opens_signed(self) -> bool:
        """An opening carries its first voucher."""
        return True

    def signs(self, held: acts.Held) -> bool:
        """Always: no payee signs for its payers."""
        return True

    def most_units(self, terms: acts.Terms) -> int | None:
        """As much as the policy allows."""
        return None

    def require_openable(self, terms: acts.Terms) -> None:
        """Whatever can be paid may be opened."""

    def echoed(self, held: acts.Held, challenge: Challenge) -> Challenge:
        """The one at hand."""
        return challenge

    def left(self, known: Sequence[acts.Held]) -> Flow[acts.Left]:
        """Nothing: an account of a channel costs nothing that stays in it."""
        yield from ()
        return acts.Left()

    def collect(self, left: acts.Left) -> Flow[Sequence[acts.Sendable]]:
        """Nothing."""
        yield from ()
        return ()


def charge_request(
    asset: Asset,
    recipient: str,
    amount_units: int,
    details: Mapping[str, Any],
    extras: Extras,
    parse_address: Callable[[str], str],
) -> dict[str, Any]:
    """The request object of a charge (CHG "Shared Fields"). `details` are the method's own members, which splits join.

    Raises UsageError for splits that are no addresses or amounts.
    """
    shares = [
        {"recipient": parse_address(who), "amount": str(to_units(share, asset.decimals or 0))}
        for who, share in extras.splits
    ]
    request: dict[str, Any] = {
        "amount": str(amount_units),
        "currency": asset.id,
        "recipient": recipient,
        "methodDetails": {**details, "splits": shares} if shares else dict(details),
    }
    if extras.external_id is not None:
        request["externalId"] = extras.external_id
    if extras.description is not None:
        request["description"] = extras.description
    return request


def session_request(terms: acts.Terms, details: Mapping[str, Any]) -> dict[str, Any]:
    """The request object of a session (SES "Shared Fields"). `details` are the method's own members."""
    request: dict[str, Any] = {
        "amount": str(terms.amount_units),
        "currency": terms.asset.id,
        "recipient": terms.recipient,
        "methodDetails": dict(details),
    }
    if terms.unit_type is not None:
        request["unitType"] = terms.unit_type
    if terms.suggested_deposit_units is not None:
        request["suggestedDeposit"] = str(terms.suggested_deposit_units)
    return request
