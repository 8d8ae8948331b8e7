"""RFC 3339 times as they travel. No clock here: times are arguments, in seconds since 1970 UTC."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime
from functools import lru_cache

from coinslot.errors import MalformedHeader

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})\Z",
    re.ASCII | re.IGNORECASE,
)


def format_instant(at_s: float) -> str:
    """RFC 3339 text in UTC with whole seconds, rounded down, such as 2026-01-31T12:05:00Z."""
    return _format(math.floor(at_s))


@lru_cache(maxsize=64)  # a second's challenges share their text
def _format(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


@lru_cache(
    maxsize=1024
)  # all that is payable now was issued in the last minutes, many in each second; errors aren't kept
def parse_instant(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time. A time without a zone is refused, never guessed.

    Raises MalformedHeader.
    """
    match = _RFC3339.match(text)
    if match is None:  # T10
        raise MalformedHeader("not an RFC 3339 time with a zone")
    moment, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{moment}{zone}".upper()).timestamp()
    except (ValueError, OverflowError):
        raise MalformedHeader("no such date or time") from None
    return whole + (float(f"0.{fraction}") if fraction else 0.0)
