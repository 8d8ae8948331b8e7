"""Bases for payment methods of the plain kind: what they answer to the questions that only other kinds need.

A method may derive its sellers and payers from these, or answer all of the protocols in method.py by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coinslot.core.challenge import Challenge
from coinslot.drive import Flow
from coinslot.errors import Problem
from coinslot.intents import acts, session


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
