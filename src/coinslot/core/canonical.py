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

import msgspec
import rfc8785

from coinslot.errors import MalformedHeader, UsageError

Json: TypeAlias = str | int | float | bool | Sequence["Json"] | Mapping[str, "Json"] | None
JsonObject: TypeAlias = Mapping[str, Json]

# Credentials of 4 KiB must pass (CORE-074); a signed transaction with ten splits is about 5 KiB of base64url.
# Beyond 16 KiB common servers cut header lines off anyway.
MAX_WIRE_BYTES = 16 * 1024
# Deeper JSON than any method document has; keeps the decoder's recursion shallow.
MAX_DEPTH = 16
# The last integer before doubles skip one; RFC 8785 holds no larger ones.
MAX_INTEGER = 2**53 - 1

# 4n+2 (4n+3) characters end in 4 (2) bits that belong to no byte: only these last characters leave them zero.
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")
_base64_string = msgspec.json.Decoder(bytes)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def base64url_encode(raw: bytes) -> str:
    """Text without padding."""
    text = binascii.b2a_base64(raw, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def unpadded(text: str) -> str:
    """The text without the padding that some write; whatever else stands at its end stays, and is refused later."""
    if text[-1:] != "=":
        return text
    bare = text.rstrip("=")
    return bare if len(text) % 4 == 0 and len(text) - len(bare) == -len(bare) % 4 <= 2 else text


def base64url_decode(text: str) -> bytes:
    """Bytes of unpadded base64url. Padding, other alphabets, line breaks and stray bits are refused. T40

    Raises MalformedHeader.
    """
    if len(text) > MAX_WIRE_BYTES:  # T41
        raise MalformedHeader(f"base64url longer than {MAX_WIRE_BYTES} characters")
    over = len(text) % 4
    # Looking for single characters, and msgspec's decoder of base64: a tenth of the time of a pattern and binascii.
    if "+" in text or "/" in text:
        raise MalformedHeader("base64 where base64url belongs")
    try:
        raw = _base64_string.decode(f'"{text.replace("-", "+").replace("_", "/")}{"=" * (-over % 4)}"')
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise MalformedHeader("not base64url without padding") from None
    if len(raw) != len(text) * 3 // 4:  # padding, or an escape of JSON, that the decoder took
        raise MalformedHeader("not base64url without padding")
    if over and text[-1] not in _LAST[over]:
        raise MalformedHeader("base64url with stray bits at the end")
    return raw


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond any double")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # T09
        raise ValueError("a member appears twice")
    return members


_strict = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
_quick, _compact = msgspec.json.Decoder(), msgspec.json.Encoder()


def nested_deeper(text: str, limit: int) -> bool:
    """Whether JSON text is nested more than `limit` deep, found without recursion.

    To be asked before any decoder: their own guard is Python's recursion limit, and a program that raised it would
    crash on a page of brackets. Bytes can be asked about as latin-1.
    """
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', text, re.DOTALL):
        first = mark.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > limit:
            return True
    return False


def _as_written(raw: bytes) -> object:
    """The value of JSON text that stands exactly as a compact writer writes it; None for all other text.

    Equal bytes prove that nothing was dropped or read in two ways: what appears twice, spaces, escapes and odd numbers
    are written otherwise. T09
    """
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:  # T41: perhaps deeper than that; the strict parser looks
        return None
    try:
        value = _quick.decode(raw)
        return value if _compact.encode(value) == raw else None
    except ValueError:
        return None


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object from untrusted bytes: UTF-8, no duplicate members, no NaN, no lone surrogates, bounded.

    Raises MalformedHeader. This is the JSON edge: what comes out is checked field by field by whoever asked.
    """
    if len(raw) > MAX_WIRE_BYTES:  # T41
        raise MalformedHeader(f"JSON longer than {MAX_WIRE_BYTES} bytes")
    known = _as_written(raw)  # a tenth of the strict parser's time
    if type(known) is dict:
        return known
    try:
        text = raw.decode("utf-8")
        if nested_deeper(text, MAX_DEPTH):  # T41
            raise MalformedHeader(f"JSON nested more than {MAX_DEPTH} deep")
        value = _strict.decode(text)
    except ValueError:  # its message and its `doc` would carry the text
        raise MalformedHeader("not strict JSON") from None
    if not isinstance(value, dict):
        raise MalformedHeader("JSON, but not an object")
    if "\\u" in text and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise MalformedHeader("JSON with a lone surrogate")
    return value


def decode_object(text: str) -> dict[str, Any]:
    """A JSON object from base64url text. Raises MalformedHeader."""
    return parse_object(base64url_decode(text))


_SCALARS, _NAMES = frozenset([str, bool, type(None)]), frozenset([str])
_sorting = msgspec.json.Encoder(order="deterministic")


def _plain(value: object) -> bool:
    """Whether a value holds nothing but strings, safe integers, booleans, null, and lists and objects of those."""
    if isinstance(value, dict):
        if not _NAMES.issuperset(map(type, value)):
            return False
        if _SCALARS.issuperset(map(type, value.values())):
            return True
        # Only what is not plain at first sight is looked at by itself: a call each would cost five times as much.
        return all(map(_plain, [item for item in value.values() if type(item) not in _SCALARS]))
    if type(value) in _SCALARS:
        return True
    if isinstance(value, int):
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return isinstance(value, list | tuple) and all(map(_plain, value))


def _concrete(value: object) -> Any:
    """The same with dicts and lists for mappings and sequences of other kinds."""
    if isinstance(value, Mapping):
        return {name: _concrete(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_concrete(item) for item in value]
    return value


def canonical(value: JsonObject) -> bytes:
    """JCS bytes (RFC 8785). Raises UsageError for what JSON can't hold: ints beyond 2^53, NaN, lone surrogates. T09

    Plain ASCII values take a short way, five times faster: for them msgspec sorts and writes as RFC 8785 does, since
    code points and UTF-16 units sort alike and nothing needs an escape. All others go through rfc8785.
    """
    if _plain(value):
        try:
            text = _sorting.encode(value)
        except UnicodeEncodeError:
            text = b"\\"
        if text.isascii() and b"\\" not in text:
            return text
    try:
        return rfc8785.dumps(_concrete(value))
    except (ValueError, RecursionError):  # the message would repeat the value
        raise UsageError("not expressible as canonical JSON (RFC 8785)") from None


def encode_object(value: JsonObject) -> str:
    """base64url of the canonical form."""
    return base64url_encode(canonical(value))


def encode_ordered(value: msgspec.Struct) -> str | None:
    """The same of a Struct whose fields stand in canonical order, strings and safe integers; None where a string holds
    more than plain ASCII. A fifth of the time: nothing is sorted, and no type is looked at.
    """
    try:
        text = _compact.encode(value)
    except UnicodeEncodeError:  # `canonical` says what is wrong
        return None
    return base64url_encode(text) if text.isascii() and b"\\" not in text else None
