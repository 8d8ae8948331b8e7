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

# One field line; servers and proxies cut at 8 to 16 KiB. Checked before anything is scanned.
MAX_FIELD_BYTES = MAX_WIRE_BYTES
# All WWW-Authenticate fields of one answer together: sixteen methods at 4 KiB each.
MAX_FIELDS_BYTES = 64 * 1024
# Challenges of one field, and parameters of one challenge: a field of junk such as "a=b,a=b," may not buy a long scan.
MAX_PARTS = 64
MAX_PARAMETERS = 32

SCHEME = "Payment"

# Every repetition is possessive: nothing is ever read twice, whatever is sent. T41
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_SPACE = re.compile(r"[ \t]*+")
_GAP = re.compile(r"[ \t,]*+")
_SCHEME = re.compile(rf"({_TOKEN})(?=[ ,]|\Z)")
_TOKEN68 = re.compile(r" ++([A-Za-z0-9._~+/-]++=*+)[ \t]*+(?=,|\Z)")
_QUOTED = r'"((?:[^"\\]++|\\.)*+)"'  # control characters are refused before anything is matched
_PARAM = re.compile(rf"[ \t]*+({_TOKEN})[ \t]*+=[ \t]*+(?:{_QUOTED}|({_TOKEN}))[ \t]*+")
_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_PRINTABLE = bytes(range(0x20, 0x7F))
_UNFIT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def printable_ascii(text: str) -> bool:
    """Whether all characters are ASCII from space to tilde. Deleting those is five times faster than a pattern."""
    return text.isascii() and not text.encode("ascii").translate(None, _PRINTABLE)


@dataclass(frozen=True, slots=True)
class Part:
    """One challenge or credential of a field: its scheme, and a token or parameters in order, names lower-case."""

    scheme: str
    token: str | None
    parameters: tuple[tuple[str, str], ...]


def quote(text: str) -> str:
    """A quoted-string in ASCII. Control characters (but tabs) and lone surrogates raise MalformedHeader.

    Other characters become `\\uXXXX` (UTF-16), as deployed SDKs write and read them: header bytes have no charset.
    """
    if _UNFIT.search(text):  # T40
        raise MalformedHeader("a header value holds a control character or a lone surrogate")
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text if text.isascii() else _BEYOND_ASCII.sub(_escape, text)}"'


def _escape(character: re.Match[str]) -> str:
    units = character[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _unquote(text: str) -> str:
    """The value of a quoted-string. `\\uXXXX` is never text: every writer doubles its own backslashes."""
    text = _ESCAPED.sub(lambda pair: chr(int(pair[1], 16)) if pair[1] else pair[2], text)
    try:
        text = text.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
    except UnicodeDecodeError:
        raise MalformedHeader("a quoted string with half of a character") from None
    if _UNFIT.search(text):  # T40
        raise MalformedHeader("a quoted string with an escaped control character")
    return text


def _skip(pattern: re.Pattern[str], field: str, at: int) -> int:
    match = pattern.match(field, at)
    return match.end() if match else at


def _parameters(field: str, at: int) -> tuple[list[tuple[str, str]], int, bool]:
    """The parameters from `at`, where they end, and whether they ended cleanly: at the field's end or after a comma."""
    found: list[tuple[str, str]] = []
    while match := _PARAM.match(field, at):
        if len(found) == MAX_PARAMETERS:  # T41
            raise MalformedHeader(f"a challenge with more than {MAX_PARAMETERS} parameters")
        name, quoted, token = match.groups()
        value = token if quoted is None else quoted
        found.append((name.lower(), _unquote(value) if "\\" in value else value))
        at = match.end()
        if at == len(field) or field[at] != ",":
            return found, at, at == len(field)
        at = _skip(_GAP, field, at)
    if not found:
        at = _skip(_SPACE, field, at)
    return found, at, bool(found) or at == len(field) or field[at] == ","


def split_field(field: str) -> list[Part]:
    """The challenges (or credentials) of one field value, of every scheme.

    What stands after something unreadable is dropped: the tail of a broken list never turns into parameters or schemes.
    Raises MalformedHeader for a field that is too long, has too many parts or holds control characters.
    """
    if len(field) > MAX_FIELD_BYTES:  # T41
        raise MalformedHeader(f"a field of more than {MAX_FIELD_BYTES} characters")
    if not printable_ascii(field) and _UNFIT.search(field):  # T40
        raise MalformedHeader("a field with control characters or lone surrogates")
    parts: list[Part] = []
    at = _skip(_GAP, field, 0)
    while scheme := _SCHEME.match(field, at):
        if len(parts) == MAX_PARTS:  # T41
            raise MalformedHeader(f"a field of more than {MAX_PARTS} challenges")
        at = scheme.end()
        if token := _TOKEN68.match(field, at):
            parts.append(Part(scheme[1], token[1], ()))
            at = token.end()
        else:
            parameters, at, clean = _parameters(field, at)
            parts.append(Part(scheme[1], None, tuple(parameters)))
            if not clean:
                break
        at = _skip(_GAP, field, at)
    return parts


def payment_parts(fields: Iterable[str]) -> list[Part]:
    """The parts of our scheme in any number of fields. Raises MalformedHeader if together they are too long."""
    parts: list[Part] = []
    total = 0
    for field in fields:
        total += len(field)
        if total > MAX_FIELDS_BYTES:  # T41
            raise MalformedHeader(f"fields of more than {MAX_FIELDS_BYTES} characters together")
        parts.extend(part for part in split_field(field) if part.scheme.lower() == "payment")
    return parts


def payment_tokens(fields: Iterable[str]) -> list[str]:
    """Every Payment credential in any number of Authorization fields; other schemes are passed over.

    Whether a token is base64url is for its decoder to say. Raises MalformedHeader for a field that is too long, or a
    Payment part without a token.
    """
    tokens: list[str] = []
    for field in fields:
        if len(field) > MAX_FIELD_BYTES:  # T41
            raise MalformedHeader(f"a field of more than {MAX_FIELD_BYTES} characters")
        if "," not in field and field[:8].lower() == "payment ":  # the usual request: one credential, nothing else
            tokens.append(field[8:].strip(" \t"))
        elif "payment" in field.lower():
            tokens += _tokens(field)
    return tokens


def _tokens(field: str) -> list[str]:
    tokens = []
    for part in split_field(field):
        if part.scheme.lower() == "payment":
            if part.token is None:
                raise MalformedHeader("a Payment credential without its token")
            tokens.append(part.token)
    return tokens
