"""RFC 9110 authentication headers: split challenges and credentials, quote and unquote. Linear time, no guessing.

Several challenges may share a field, a field may repeat, other schemes may stand between ours, and the word Payment may
stand inside a quoted string. The reader walks once from left to right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from coinslot.core.canonical import MAX_WIRE_BYTES
from coinslot.errors import MalformedHeader

# One field line; servers and proxies cut at 8 to 16 KiB. Checked before anything is scanned. T41
MAX_FIELD_BYTES = MAX_WIRE_BYTES
# All WWW-Authenticate fields of one answer together: sixteen methods at 4 KiB each.
MAX_FIELDS_BYTES = 64 * 1024

SCHEME = "Payment"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_GAP = re.compile(r"[ \t,]*+")
_SCHEME = re.compile(rf"({_TOKEN})(?=[ ,]|\Z)")
_TOKEN68 = re.compile(r" ++([A-Za-z0-9._~+/-]++=*+)[ \t]*+(?=,|\Z)")
_PARAM = re.compile(
    rf'[ \t]*+({_TOKEN})[ \t]*+=[ \t]*+(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]++|\\[^\x00-\x08\x0a-\x1f\x7f])*+)"|({_TOKEN}))'
    r"[ \t]*+"
)
_ESCAPED = re.compile(r"\\(.)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_PAYMENT = re.compile(r"payment +([A-Za-z0-9_-]+)[ \t]*\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One challenge or credential of a field: its scheme and either a token or parameters in order, names lower-case."""

    scheme: str
    token: str | None
    parameters: tuple[tuple[str, str], ...]


def quote(text: str) -> str:
    """A quoted-string. Control characters and anything outside ASCII raise MalformedHeader. T40"""
    if _NOT_ASCII.search(text):
        raise MalformedHeader("a header value holds a control or non-ASCII character")
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _parameters(field: str, at: int) -> tuple[list[tuple[str, str]], int, bool]:
    """The parameters from `at`, where they end, and whether they ended cleanly: at the field's end or after a comma."""
    found: list[tuple[str, str]] = []
    while match := _PARAM.match(field, at):
        name, quoted, token = match.groups()
        value = token if quoted is None else quoted
        found.append((name.lower(), _ESCAPED.sub(r"\1", value) if "\\" in value else value))
        at = match.end()
        if at == len(field) or field[at] != ",":
            return found, at, at == len(field)
        at = _skip_gap(field, at)
    return found, at, bool(found) or at == len(field) or field[at] == ","


def _skip_gap(field: str, at: int) -> int:
    gap = _GAP.match(field, at)
    return gap.end() if gap else at


def split_field(field: str) -> list[Part]:
    """The challenges (or credentials) of one field value, of every scheme.

    What stands after something unreadable is dropped: the tail of a broken list never turns into parameters or schemes.
    Raises MalformedHeader for a field that is too long or holds control characters.
    """
    if len(field) > MAX_FIELD_BYTES:
        raise MalformedHeader(f"a field of more than {MAX_FIELD_BYTES} characters")
    if _CONTROL.search(field.replace("\t", " ")):
        raise MalformedHeader("a field with control characters")
    parts: list[Part] = []
    at = _skip_gap(field, 0)
    while scheme := _SCHEME.match(field, at):
        at = scheme.end()
        if token := _TOKEN68.match(field, at):
            parts.append(Part(scheme[1], token[1], ()))
            at = token.end()
        else:
            parameters, at, clean = _parameters(field, at)
            parts.append(Part(scheme[1], None, tuple(parameters)))
            if not clean:
                break
        at = _skip_gap(field, at)
    return parts


def payment_parts(fields: Iterable[str]) -> list[Part]:
    """The parts of our scheme in any number of fields. Raises MalformedHeader if together they are too long."""
    parts: list[Part] = []
    total = 0
    for field in fields:
        total += len(field)
        if total > MAX_FIELDS_BYTES:
            raise MalformedHeader(f"fields of more than {MAX_FIELDS_BYTES} characters together")
        parts.extend(part for part in split_field(field) if part.scheme.lower() == "payment")
    return parts


def payment_tokens(fields: Iterable[str]) -> list[str]:
    """Every Payment credential in any number of Authorization fields; other schemes are passed over.

    Raises MalformedHeader for a field that is too long, or a Payment part without a token.
    """
    tokens: list[str] = []
    for field in fields:
        if len(field) > MAX_FIELD_BYTES:
            raise MalformedHeader(f"a field of more than {MAX_FIELD_BYTES} characters")
        simple = _PAYMENT.match(field)
        if simple is not None:
            tokens.append(simple[1])
            continue
        if "payment" not in field.lower():
            continue
        for part in split_field(field):
            if part.scheme.lower() != "payment":
                continue
            if part.token is None:
                raise MalformedHeader("a Payment credential without its token")
            tokens.append(part.token)
    return tokens
