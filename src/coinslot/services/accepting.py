"""What a seller accepts: `[[accept]]` tables become sellers, through what each method publishes and nothing else.

[[accept]]
method = "tempo"          # which method; every other field is that method's own (its `Accept` settings)
rpc_url = "http://127.0.0.1:8545"
recipient = "0x..."
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from coinslot import method as methods
from coinslot.drive import Flow
from coinslot.errors import ConfigError
from coinslot.method import ChargeSeller, Method, Seller, SessionSeller, sessions_of


@dataclass(frozen=True, slots=True)
class Accepted:
    """One table, read: its method, that method's typed settings, and the sellers they make."""

    method: Method
    settings: msgspec.Struct
    sellers: tuple[ChargeSeller, ...]
    sessions: tuple[SessionSeller, ...] = ()


def accept(tables: Sequence[Mapping[str, object]]) -> Flow[list[Accepted]]:
    """Sellers of all tables, in order. Asks the chains who they are.

    Raises ConfigError naming the table and field, MissingDependency, ChainError.
    """
    if not tables:
        raise ConfigError("nothing is accepted: at least one [[accept]] table is needed")
    found: list[Accepted] = []
    for number, table in enumerate(tables, 1):
        where = f"accept table {number}"
        fields = dict(table)
        name = fields.pop("method", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: 'method' must name a payment method; installed: {_installed()}")
        method = methods.load(name)
        settings = methods.settings(method.Accept, fields, f"{where} ({name})", os.environ)
        sellers = tuple((yield from method.sellers(settings)))
        published = sessions_of(method)
        sessions = () if published is None else tuple((yield from published.sellers(settings)))
        found.append(Accepted(method, settings, sellers, sessions))
    return found


def all_sellers(accepted: Sequence[Accepted]) -> tuple[Seller, ...]:
    """Everybody who can be paid, in the order of the tables, charges before sessions within each."""
    found: list[Seller] = []
    for table in accepted:
        found += [*table.sellers, *table.sessions]
    return tuple(found)


def only_method() -> str:
    """The name of the installed method if there is one only. Raises ConfigError."""
    names = methods.installed()
    if len(names) != 1:
        raise ConfigError(f"which payment method? Choose one of: {_installed()}")
    return names[0]


def _installed() -> str:
    return ", ".join(methods.installed()) or "none"
