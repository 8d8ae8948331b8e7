"""Words and places of the other side, made safe to show: no control characters, bounded, origins in one spelling."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from coinslot.errors import UsageError

# Long enough for any honest explanation, too short to flood a terminal or a log line.
MAX_TEXT_CHARS = 500

_PORTS = {"http": 80, "https": 443}


def plain(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Printable characters only, at most `limit`: escape sequences and bidirectional tricks don't reach a terminal."""
    return "".join(character for character in text[: 4 * limit] if character.isprintable())[:limit]


def origin_of(url: str) -> str:
    """Scheme, host and port (unless it is the scheme's own) in one spelling. Raises UsageError."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise UsageError("a URL whose host or port can't be read") from error
    if parts.scheme not in _PORTS or not host:
        raise UsageError("a URL without http, https or host")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, _PORTS[parts.scheme]) else "")


def is_private(origin: str) -> bool:
    """Whether nobody between can read what is sent there: https, or this very machine (T37)."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
