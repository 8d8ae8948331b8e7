"""JSON and base64url as they travel: strict in, canonical out (RFC 8785, RFC 4648 section 5 without padding).

A wire string is decoded to be understood and never re-encoded to be verified: whoever checks a MAC or a signature uses
the text that arrived.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import rfc8785

from coinslot.errors import MalformedHeader, UsageError

Json: TypeAlias = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
JsonObject: TypeAlias = Mapping[str, Json]

# Credentials of 4 KiB must pass (CORE-074); a signed transaction with ten splits is about 5 KiB of base64url.
# Beyond 16 KiB common servers cut header lines off anyway.
MAX_WIRE_BYTES = 16 * 1024
# Deeper JSON than any method document has; keeps the decoder's recursion shallow.
MAX_DEPTH = 16

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z", re.ASCII)
_TO_STANDARD = str.maketrans("-_", "+/")
_PLAIN_TEXT = re.compile(r"[ !#-\[\]-~]*\Z", re.ASCII)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def base64url_encode(raw: bytes) -> str:
    """Text without padding."""
    return binascii.b2a_base64(raw, newline=False).translate(_ENCODE, b"=").decode("ascii")


_ENCODE = bytes.maketrans(b"+/", b"-_")


def base64url_decode(text: str) -> bytes:
    """Bytes of unpadded base64url. Padding, other alphabets, line breaks and stray bits are refused. T40

    Raises MalformedHeader.
    """
    if len(text) > MAX_WIRE_BYTES:
        raise MalformedHeader(f"base64url longer than {MAX_WIRE_BYTES} characters")
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise MalformedHeader("not base64url without padding")
    raw = binascii.a2b_base64(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4))
    if len(text) % 4 and base64url_encode(raw[-(len(raw) % 3) :]) != text[-(len(text) % 4) :]:
        raise MalformedHeader("base64url with stray bits at the end")
    return raw


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


_strict = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _depth_exceeds(text: str, limit: int) -> bool:
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', text, re.DOTALL):
        first = mark.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > limit:
            return True
    return False


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object from untrusted bytes: UTF-8, no duplicate members, no NaN, no lone surrogates, bounded. T09 T41

    Raises MalformedHeader. This is the JSON edge: what comes out is checked field by field by whoever asked.
    """
    if len(raw) > MAX_WIRE_BYTES:
        raise MalformedHeader(f"JSON longer than {MAX_WIRE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
        if _depth_exceeds(text, MAX_DEPTH):
            raise MalformedHeader(f"JSON nested more than {MAX_DEPTH} deep")
        value = _strict.decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedHeader("not strict JSON") from error
    if not isinstance(value, dict):
        raise MalformedHeader("JSON, but not an object")
    if "\\u" in text and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise MalformedHeader("JSON with a lone surrogate")
    return value


def decode_object(text: str) -> dict[str, Any]:
    """A JSON object from base64url text. Raises MalformedHeader."""
    return parse_object(base64url_decode(text))


def _fast(value: object) -> str | None:
    """Canonical text for printable ASCII strings, small ints, bools, None and objects of those; None if unsure."""
    if isinstance(value, str):
        return f'"{value}"' if _PLAIN_TEXT.match(value) else None
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if type(value) is int:
        return str(value) if -(2**53) < value < 2**53 else None
    if isinstance(value, dict):
        return _fast_object(value)
    if isinstance(value, (list, tuple)):
        items = [_fast(item) for item in value]
        return None if None in items else f"[{','.join(filter(None, items))}]"
    return None


def _fast_object(members: Mapping[str, object]) -> str | None:
    parts = []
    for name in sorted(members):  # ASCII names only: code points and UTF-16 units sort alike there
        text = _fast(members[name])
        if text is None or not _PLAIN_TEXT.match(name):
            return None
        parts.append(f'"{name}":{text}')
    return f"{{{','.join(parts)}}}"


def canonical(value: JsonObject) -> bytes:
    """JCS bytes (RFC 8785). Plain values take a short way; all others go through rfc8785.

    Raises UsageError for what JSON can't hold: ints beyond 2^53, NaN, lone surrogates.
    """
    text = _fast(value)
    if text is not None:
        return text.encode("ascii")
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise UsageError(f"not expressible as canonical JSON: {error}") from error


def encode_object(value: JsonObject) -> str:
    """base64url of the canonical form."""
    return base64url_encode(canonical(value))
