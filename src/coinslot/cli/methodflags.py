"""Flags that payment methods publish: one for each plain field of their settings; a new method needs no change here.

A flag that is not given comes from the environment, COINSLOT_<FIELD>. Secrets get no flag, since command lines are
public on a machine.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import typer

from coinslot import method as methods
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError, MissingDependency
from coinslot.services.accepting import chosen_method
from coinslot.settings import is_secret

Side = Literal["Accept", "Wallet"]
_PLAIN = (str, int, bool)


def _described(kind: Any) -> tuple[tuple[type, ...], str, bool]:
    """The plain types a field takes, what it is for, and whether it is secret."""
    text, secret = "", is_secret(kind)
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        for note in notes:
            if isinstance(note, msgspec.Meta):
                text = note.description or text
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(one for one in members if one is not type(None)), text, secret


def _fields(side: Side) -> dict[str, tuple[type, str, bool, list[str]]]:
    """Name -> (type, help, secret, methods that have it), over all installed methods."""
    found: dict[str, tuple[type, str, bool, list[str]]] = {}
    for name in methods.installed():
        try:
            kind: type[msgspec.Struct] = getattr(methods.load(name), side)
        except MissingDependency:
            continue  # its extra is not installed: using it says so, a help page need not
        for field in msgspec.structs.fields(kind):
            types, text, secret = _described(field.type)
            if len(types) != 1 or types[0] not in _PLAIN:
                continue  # lists and tables belong into a configuration file
            known = found.setdefault(field.encode_name, (types[0], text, secret, []))
            known[3].append(name)
    return found


def with_method_flags(side: Side, command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with a flag for each published field; it receives those that were given as the mapping `flags`."""
    fields = {name: one for name, one in _fields(side).items() if not one[2]}
    own = inspect.signature(command, eval_str=True)
    taken = set(own.parameters) - {"flags"}

    def called(**given: Any) -> Any:
        flags = {name: given.pop(name) for name in fields if name in given and name not in taken}
        return command(**given, flags={name: value for name, value in flags.items() if value is not None})

    parameters = [one for one in own.parameters.values() if one.name != "flags"]
    for name, (kind, text, _, by) in sorted(fields.items()):
        if name in taken:
            continue
        wanted = bool | None if kind is bool else (int | None if kind is int else str | None)
        option = typer.Option(help=f"[{', '.join(by)}] {text}.", rich_help_panel="Payment method", show_default=False)
        annotation = Annotated[wanted, option]  # type: ignore[valid-type]  # built at run time, for typer to read
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    called.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {one.name: one.annotation for one in keyword}
    called.__doc__ = command.__doc__
    return called


def method_table(side: Side, name: str, flags: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings of one method from flags, else from COINSLOT_<FIELD>; secrets from there only.

    Raises ConfigError for a stray flag, and for one that is missing.
    """
    kind: type[msgspec.Struct] = getattr(methods.load(name), side)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    stray = sorted(set(flags) - set(fields))
    if stray:
        raise ConfigError(f"--{stray[0].replace('_', '-')} is no setting of the method {name!r}")
    table = dict(flags)
    for field, info in fields.items():
        types, text, secret = _described(info.type)
        if field in table or len(types) != 1 or types[0] not in _PLAIN:
            continue
        variable = f"COINSLOT_{field.upper()}"
        if environment.get(variable):
            table[field] = environment[variable]
        elif info.required and not secret:  # a secret may come from a wallet
            raise ConfigError(f"--{field.replace('_', '-')}: {text}; give it, or set {variable}")
    return table


def method_meant(named: str | None, flags: Mapping[str, Any]) -> str:
    """The method that was named, else the one that is meant. Raises ConfigError, MissingDependency, ChainError."""
    if named is not None:
        return named
    url = flags.get("rpc_url") or environment().get("COINSLOT_RPC_URL")
    with closing(RealWorld()) as world:
        return run(chosen_method(url, environment()), world)


def environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ
