"""`coinslot`: the root of the command line. It maps every error to an exit code and one paragraph.

To add a command: write cli/<noun>.py with `app` (a typer.Typer) or `command` (a function), and add a line to COMMANDS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any

from coinslot.errors import CoinslotError
from coinslot.version import VERSION

try:
    import typer
    import typer.core
    from typer.main import get_command, get_group

    from coinslot.cli.output import ExitCode, advice, error_code, explain, report
except ModuleNotFoundError as missing:
    raise SystemExit(f"Error: {missing}. Install the programs with: pip install 'coinslot[cli]'") from missing

# The commands in the order of the help: module under coinslot.cli, loaded only when it is used.
COMMANDS = ("demo", "fetch", "channels", "sent", "gate", "wallet", "payments", "store", "settler", "doctor", "devnet")

DEBUG_VARIABLE = "COINSLOT_DEBUG"
# typer carries click inside itself in newer versions and beside itself in older ones: its public BadParameter leads
# to the base of all complaints about the command line in both.
_COMPLAINT: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class _Commands(typer.core.TyperGroup):
    """Commands by name from COMMANDS; a command that is not asked for costs no import."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"coinslot.cli.{cmd_name}")
        shell = typer.Typer(add_completion=False)  # completion belongs to the root
        if hasattr(module, "app"):
            shell.add_typer(module.app, name=cmd_name)
            return get_group(shell).get_command(ctx, cmd_name)
        shell.command(cmd_name)(module.command)
        return get_command(shell)


app = typer.Typer(
    name="coinslot",
    cls=_Commands,
    help="Machine payments: a coin slot for any API, a purse for any program.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"coinslot {VERSION}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Machine payments: a coin slot for any API, a purse for any program."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code. Never prints a traceback unless COINSLOT_DEBUG=1."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in given
    if os.environ.get(DEBUG_VARIABLE) != "1":
        sys.excepthook = _last_words
    try:
        ended = app(given, prog_name="coinslot", standalone_mode=False)
        sys.stdout.flush()
        return int(ended) if isinstance(ended, int) else ExitCode.OK
    except CoinslotError as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        report(error_code(error), explain(error), as_json)
        return advice(error).code
    except _COMPLAINT as complaint:
        return _complain(complaint, as_json)
    except (KeyboardInterrupt, typer.Abort) as abort:
        interrupted = isinstance(abort.__cause__ or abort, KeyboardInterrupt)
        report("interrupted", "Interrupted." if interrupted else "Aborted: no answer was given.", as_json)
        return ExitCode.INTERRUPTED if interrupted else ExitCode.FAILURE
    except BrokenPipeError:
        # the reader went away, as `| head` does; nothing more can be told to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE


def _complain(complaint: Any, as_json: bool) -> int:
    """A command line that can't be read, or help that was asked for by giving nothing."""
    message = str(complaint.format_message())
    if type(complaint).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n" if message else "")
        return ExitCode.USAGE
    context = getattr(complaint, "ctx", None)
    hint = f" Try '{context.command_path} --help'." if context else ""
    report("usage", message.rstrip(".") + "." + hint, as_json)
    return ExitCode.USAGE if complaint.exit_code == ExitCode.USAGE else ExitCode.FAILURE


def _last_words(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """What nobody foresaw: one line instead of a traceback. Python ends with exit code 1 after it."""
    message = f"{kind.__name__}: {error}. This is a bug in coinslot; {DEBUG_VARIABLE}=1 shows where it happened."
    report("internal", message, "--json" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
