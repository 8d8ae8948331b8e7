"""What every command shares: exit codes, JSON or human output, and how an error is told.

Standard output carries results only; everything else goes to standard error.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from rich.console import Console

from coinslot import errors
from coinslot.errors import CoinslotError, Problem


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NETWORK = 3
    REFUSED = 4
    UNKNOWN = 5
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Advice:
    """What an error means for a script and for a person: the exit code, what was kept safe, what to do next."""

    code: ExitCode
    safe: str = ""
    next: str = ""


# The first line that fits an error counts, so the narrower come first.
ADVICE: tuple[tuple[type[CoinslotError], Advice], ...] = (
    (
        errors.PaymentOutcomeUnknown,
        Advice(ExitCode.UNKNOWN, "", "Look the transaction up before you pay again: it may have been paid."),
    ),
    (errors.OutcomePending, Advice(ExitCode.UNKNOWN, "", "Ask again with the same payment; don't pay anew.")),
    (errors.PolicyRefused, Advice(ExitCode.REFUSED)),  # both say themselves that nothing was signed
    (errors.NoPayableOffer, Advice(ExitCode.REFUSED)),
    (errors.BodyNotRepeatable, Advice(ExitCode.REFUSED, "Nothing was signed or sent.")),
    (errors.ServerUnreachable, Advice(ExitCode.NETWORK, "Nothing was paid.", "Check the URL and your connection.")),
    (errors.PaymentRefused, Advice(ExitCode.REFUSED)),
    (errors.RpcUnreachable, Advice(ExitCode.NETWORK, "", "Check the RPC URL, and that the chain is running.")),
    (errors.NodeUnavailable, Advice(ExitCode.NETWORK, "Nothing was started.")),
    (errors.UsageError, Advice(ExitCode.USAGE)),
    (CoinslotError, Advice(ExitCode.FAILURE)),
)


def advice(error: CoinslotError) -> Advice:
    """What an error means."""
    return next(told for kind, told in ADVICE if isinstance(error, kind))


def error_code(error: CoinslotError) -> str:
    """The name of an error for scripts, e.g. "port-taken"."""
    if isinstance(error, Problem):
        return error.slug
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def explain(error: CoinslotError) -> str:
    """One paragraph: what was wrong, what was kept safe, what to do next."""
    told = advice(error)
    return " ".join(_sentence(part) for part in (str(error), told.safe, told.next) if part)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def print_json(value: object) -> None:
    """One line of JSON on standard output, flushed, so that a program that reads it can go on."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def console() -> Console:
    """Where results for people go. It follows NO_COLOR and prints plain text into pipes."""
    return Console(highlight=False, soft_wrap=True)


def report(code: str, message: str, as_json: bool) -> None:
    """An error on standard error: a paragraph, or one line of JSON."""
    if as_json:
        sys.stderr.write(msgspec.json.encode({"error": {"code": code, "message": message}}).decode() + "\n")
    else:
        sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()
