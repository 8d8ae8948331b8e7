"""Flags that local chains publish: one for each chain and each of its options; a new chain needs no change here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from coinslot.devnet.protocol import Devnet, Option, devnet_names, find_devnet
from coinslot.errors import ConfigError, MissingDependency

# The chain that is meant where none is named.
DEFAULT = "tempo"
PANEL = "Kinds of chain"


def _installed() -> dict[str, Devnet]:
    """Every kind of chain whose libraries are there, the default first."""
    found: dict[str, Devnet] = {}
    for name in sorted(devnet_names(), key=lambda name: (name != DEFAULT, name)):
        try:
            found[name] = find_devnet(name)
        except MissingDependency:
            continue  # its extra is not installed: using it says so, a help page need not
    return found


def _parameters() -> list[inspect.Parameter]:
    chains = _installed()
    ports = ", ".join(f"{name}: {chain.default_port}" for name, chain in chains.items())
    named = typer.Option(help=f"Which kind of local chain. Ports: {ports}.", rich_help_panel=PANEL)
    parameters = [_flag("chain", Annotated[str, named], DEFAULT)]
    for name in chains:
        short = typer.Option(f"--{name}", help=f"Short for --chain {name}.", rich_help_panel=PANEL, show_default=False)
        parameters.append(_flag(name, Annotated[bool, short], False))
    return parameters


def _options() -> dict[str, tuple[Option, list[str]]]:
    """Every option by name, with the chains that have it."""
    found: dict[str, tuple[Option, list[str]]] = {}
    for name, chain in _installed().items():
        for option, what in chain.options.items():
            found.setdefault(option, (what, []))[1].append(name)
    return found


def _flag(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_chain_flags(command: Callable[..., Any], *, starts: bool) -> Callable[..., Any]:
    """The command with flags that name a chain, and those of its options if it starts one.

    It receives the chain as `chain`, and as `options` the options that were given. Raises ConfigError for two chains.
    """
    names = list(_installed())
    options = _options() if starts else {}
    own = inspect.signature(command, eval_str=True)

    def called(**given: Any) -> Any:
        wanted = [name for name in names if given.pop(name, False)]
        chain = given.pop("chain")
        if len(wanted) > 1 or (wanted and chain not in {DEFAULT, *wanted}):
            raise ConfigError("choose one kind of local chain")
        chosen = {name: given.pop(name, None) for name in options}
        if starts:
            given["options"] = {name: value for name, value in chosen.items() if value is not None}
        return command(**given, chain=wanted[0] if wanted else chain)

    parameters = [each for each in own.parameters.values() if each.name not in {"chain", "options"}]
    for name, (option, by) in options.items():
        text = f"{', '.join(by)}: {option.help} (default {option.default})."
        wanted = typer.Option(help=text, rich_help_panel="Options of a chain", show_default=False)
        parameters.append(_flag(name, Annotated[int | None, wanted], None))
    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters + _parameters()]
    called.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {each.name: each.annotation for each in keyword}
    called.__doc__ = command.__doc__
    return called


def checked_options(devnet: Devnet, options: Mapping[str, int]) -> dict[str, int]:
    """The options that were given, all of this chain. Raises ConfigError for a stray one."""
    stray = sorted(set(options) - set(devnet.options))
    if stray:
        raise ConfigError(f"--{stray[0].replace('_', '-')} is no option of the local chain {devnet.name!r}")
    return dict(options)
