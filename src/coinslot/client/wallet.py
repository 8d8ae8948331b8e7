"""What a program pays with: settings of payment methods by name, turned into payers when first asked to pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from coinslot.core.accept import Range
from coinslot.drive import Flow
from coinslot.errors import ConfigError
from coinslot.intents import charge, session
from coinslot.method import (
    ChargePayer,
    Method,
    Payer,
    SessionPayer,
    load,
    pays_sessions,
)
from coinslot.settings import settings

# A method listed later is liked less, by a tenth each, and never "not at all": 1, 0.9 ... 0.1.
_STEP = 100
# Of one method, the intent that is not preferred is liked a little less.
_SECOND = 50


class Wallet:
    """Payers in the order of preference. No chain is asked before the first payment. Its repr holds no secret."""

    def __init__(self, methods: Sequence[tuple[Method, msgspec.Struct]], payers: Sequence[Payer] = ()) -> None:
        self._methods = tuple(methods)
        self._given = tuple(cast("ChargePayer", one) for one in payers if not pays_sessions(one))
        self._given_sessions: tuple[SessionPayer, ...] = tuple(one for one in payers if pays_sessions(one))
        self._payers: tuple[ChargePayer, ...] | None = None
        self._session_payers: tuple[SessionPayer, ...] | None = None

    def __repr__(self) -> str:
        return f"Wallet({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the methods, liked best first."""
        names = [payer.method for payer in self._given] + [payer.method for payer in self._given_sessions]
        return tuple(dict.fromkeys([*names, *(method.name for method, _ in self._methods)]))

    def accepts(self, *, sessions: bool = False, prefer_sessions: bool = False) -> list[Range]:
        """What we can pay, for Accept-Payment; with `sessions` those, too, after charges unless they are preferred."""
        channels = {payer.method for payer in self._given_sessions}
        channels |= {method.name for method, _ in self._methods if method.sessions is not None}
        charges = {payer.method for payer in self._given} | {method.name for method, _ in self._methods}
        found: list[Range] = []
        for index, name in enumerate(self.names):
            weight = max(1000 - _STEP * index, _STEP)
            both = [charge.INTENT] if name in charges else []
            if sessions and name in channels:
                both.insert(0 if prefer_sessions else len(both), session.INTENT)
            found += [Range(name, intent, weight - _SECOND * at) for at, intent in enumerate(both)]
        return found

    def payers(self) -> Flow[Sequence[ChargePayer]]:
        """The payers, made once. Raises ConfigError, MissingDependency, ChainError."""
        if self._payers is None:
            made: list[ChargePayer] = list(self._given)
            for method, table in self._methods:
                made.extend((yield from method.payers(table)))
            self._payers = tuple(made)
        return self._payers

    def session_payers(self) -> Flow[Sequence[SessionPayer]]:
        """Those that pay through channels, made once. Raises as `payers` does."""
        if self._session_payers is None:
            made: list[SessionPayer] = list(self._given_sessions)
            for method, table in self._methods:
                if method.sessions is not None:
                    made.extend((yield from method.sessions.payers(table)))
            self._session_payers = tuple(made)
        return self._session_payers


def wallet(**methods: Mapping[str, object] | Sequence[Mapping[str, object]]) -> Wallet:
    """A wallet from settings by method name, liked best first: `wallet(NAME={"setting": "value"})`.

    A list of settings makes several payers of one method (two chains, two accounts). Raises ConfigError for a method
    that is not installed or a setting that is wrong.
    """
    if not methods:
        raise ConfigError("a wallet needs at least one payment method: wallet(NAME={...})")
    found: list[tuple[Method, msgspec.Struct]] = []
    for name, given in methods.items():
        method = load(name)
        tables = [given] if isinstance(given, Mapping) else list(given)
        found += [(method, settings(method.Wallet, table, f"wallet {name}")) for table in tables]
    return Wallet(found)


def as_wallet(given: Wallet | Sequence[Payer]) -> Wallet:
    """A wallet, also from ready-made payers."""
    return given if isinstance(given, Wallet) else Wallet((), given)
