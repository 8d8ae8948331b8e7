"""Text in columns that is never cut off: a shortened address or id is of no use to anybody."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What could move a terminal's cursor, turn the text around or change its colours.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells as aligned lines, each with its line end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def safe(text: str | None) -> str:
    """Text of somebody else's choice, harmless for a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text or "")
