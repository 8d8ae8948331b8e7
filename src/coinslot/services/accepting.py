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
from coinslot.errors import ChainError, ConfigError, MissingDependency, RpcUnreachable, UsageError
from coinslot.method import ChargeSeller, Method, Seller, SessionSeller
from coinslot.settings import settings as typed_settings

# Which method is meant where none is named and several are installed.
VARIABLE = "COINSLOT_METHOD"


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
        settings = typed_settings(method.Accept, fields, f"{where} ({name})", os.environ)
        sellers = tuple((yield from method.sellers(settings)))
        sessions = () if method.sessions is None else tuple((yield from method.sessions.sellers(settings)))
        found.append(Accepted(method, settings, sellers, sessions))
    return found


def all_sellers(accepted: Sequence[Accepted]) -> tuple[Seller, ...]:
    """Everybody who can be paid, in the order of the tables, charges before sessions within each."""
    found: list[Seller] = []
    for table in accepted:
        found += [*table.sellers, *table.sessions]
    return tuple(found)


def chosen_method(rpc_url: object, environ: Mapping[str, str]) -> Flow[str]:
    """The method that is meant where none is named: COINSLOT_METHOD, else the only one whose libraries are installed,
    else the one whose language the node at `rpc_url` speaks.

    Raises ConfigError, MissingDependency, RpcUnreachable where nobody answers.
    """
    if environ.get(VARIABLE):
        return methods.load(environ[VARIABLE]).name
    names = _usable()
    if len(names) == 1:
        return names[0]
    found, unreachable = [], None
    for name in names if isinstance(rpc_url, str) else ():
        keys = methods.load(name).keys
        if keys is None:
            continue
        try:
            yield from keys.chain_time_s(str(rpc_url))
        except RpcUnreachable as error:
            unreachable = error
        except (ChainError, UsageError):
            continue
        else:
            found.append(name)
    if len(found) == 1:
        return found[0]
    if not found and unreachable is not None:
        raise unreachable
    raise ConfigError(f"which payment method? Choose with --method or {VARIABLE}: {', '.join(found or names)}")


def _usable() -> list[str]:
    """The methods whose libraries are installed. Raises MissingDependency if there is none but could be."""
    found: list[str] = []
    missing: MissingDependency | None = None
    for name in methods.installed():
        try:
            methods.load(name)
        except MissingDependency as error:
            missing = error
        else:
            found.append(name)
    if not found and missing is not None:
        raise missing
    return found


def _installed() -> str:
    return ", ".join(methods.installed()) or "none"
