"""The gate's CONFIG.toml on a command line: as an argument or by --config, whichever comes to mind first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coinslot.errors import UsageError

METAVAR = "CONFIG.toml"

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar=METAVAR, help="The same file, named by an option.", show_default=False),
]


def named_config(argument: Path | None, option: Path | None) -> Path | None:
    """The file that is meant; None where none is named. Raises UsageError for two that differ."""
    if argument is not None and option is not None and argument.resolve() != option.resolve():
        raise UsageError(f"two configurations: {argument} and --config {option}; name one")
    return argument if argument is not None else option
