"""The root of the command line: help, exit codes, and errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coinslot import errors
from coinslot.cli import main as root
from coinslot.cli.main import COMMANDS, main
from coinslot.cli.output import ADVICE, ExitCode, advice, error_code, explain
from coinslot.errors import CoinslotError
from coinslot.version import VERSION


def every_error() -> list[type[CoinslotError]]:
    """The whole tree."""
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CoinslotError)]


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    """No arguments show the help; every command stands in it."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"coinslot {VERSION}\n"
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_file_and_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One file per noun."""
    assert Path(str(root.__file__)).with_name(f"{name}.py").is_file()
    assert main([name, "--help"]) == 0
    assert name in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """In words, or in JSON for scripts; standard output stays empty."""
    assert main(["nope"]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Error: No such command 'nope'. Try 'coinslot --help'.\n")
    assert main(["nope", "--json"]) == ExitCode.USAGE
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2),
        ("ConfigError", 2),
        ("RpcUnreachable", 3),
        ("NodeUnavailable", 3),
        ("PolicyRefused", 4),
        ("NoPayableOffer", 4),
        ("BodyNotRepeatable", 4),
        ("PaymentRefused", 4),
        ("PaymentOutcomeUnknown", 5),
        ("OutcomePending", 5),
        ("PortTaken", 1),
        ("StoreBusy", 1),
    ],
)
def test_exit_codes_follow_the_error_tree(name: str, code: int) -> None:
    """Scripts can rely on them."""
    kind = getattr(errors, name)
    assert advice(kind.__new__(kind)).code == code


def test_no_error_is_without_a_code_and_none_is_shadowed() -> None:
    """Every error of the tree has advice, and no line of the table is hidden by an earlier one."""
    assert all(advice(kind.__new__(kind)) for kind in every_error())
    kinds = [kind for kind, _ in ADVICE]
    assert not [later for n, later in enumerate(kinds) for earlier in kinds[:n] if issubclass(later, earlier)]


def test_errors_are_explained_in_one_paragraph() -> None:
    """What was wrong, what was kept safe, what to do next."""
    error = errors.BodyNotRepeatable("the body is a pipe")
    assert explain(error) == "the body is a pipe. Nothing was signed or sent."
    assert error_code(error) == "body-not-repeatable"
    assert error_code(errors.OutcomePending()) == "payment-outcome-unknown"


SURPRISE = """
import sys
from coinslot.cli import main as root
def boom(*_, **__): raise {error}
root.app = boom
sys.exit(root.main(["devnet", "--json"]))
"""


@pytest.mark.parametrize(
    ("error", "debug", "code", "traceback"),
    [
        ("ZeroDivisionError('x')", "", 1, False),
        ("ZeroDivisionError('x')", "1", 1, True),
        ("KeyboardInterrupt", "", 130, False),
        ("root.CoinslotError('x')", "", 1, False),
        ("root.CoinslotError('x')", "1", 1, True),
        ("BrokenPipeError", "", 1, False),
    ],
)
def test_tracebacks_are_for_those_who_ask(error: str, debug: str, code: int, traceback: bool) -> None:
    """A bug is one line on standard error, unless COINSLOT_DEBUG=1."""
    done = subprocess.run(
        [sys.executable, "-c", SURPRISE.format(error=error)],
        env={**os.environ, root.DEBUG_VARIABLE: debug},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert ("Traceback" in done.stderr) == traceback
    assert done.stdout == ""
