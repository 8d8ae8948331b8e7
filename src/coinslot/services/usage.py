"""What an upstream says that an answer used, by the path of a field in its JSON, such as "usage.total_tokens"."""

from __future__ import annotations

import math
import re

import msgspec

from coinslot.errors import UsageError

# Enough for "result.0.usage.total_tokens", little enough that no path is a program.
MAX_STEPS = 16
_STEP = re.compile(r"[A-Za-z0-9_$-]{1,64}\Z", re.ASCII)


def parse_path(text: str) -> tuple[str, ...]:
    """The steps of a path: member names, or places in a list counted from 0, between dots. Raises UsageError."""
    steps = tuple(text.split("."))
    if len(steps) > MAX_STEPS or not all(_STEP.match(step) for step in steps):
        raise UsageError(f"{text!r} is no path of a field, such as 'usage.total_tokens'")
    return steps


def read_usage(document: bytes, path: tuple[str, ...]) -> int | None:
    """How many units a JSON document says were used, parts of one counted whole; None if it doesn't say.

    Anything but a number of 0 or more is no word: neither true, nor "12", nor NaN.
    """
    if path[-1].encode("ascii") not in document and not path[-1].isdecimal():
        return None  # most chunks of a stream: no need to read them
    try:
        value: object = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the last: nested a thousand deep
        return None
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        return None
    return math.ceil(value)
