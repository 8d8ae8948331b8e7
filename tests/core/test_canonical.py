"""JSON and base64url: canonical out, strict in."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_WIRE_BYTES,
    base64url_decode,
    base64url_encode,
    canonical,
    decode_object,
    encode_object,
    parse_object,
)
from coinslot.errors import MalformedHeader, UsageError

ASCII = st.text(st.characters(min_codepoint=0, max_codepoint=0x7F))
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | ASCII
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.sampled_from([MAX_INTEGER, -MAX_INTEGER, 0])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)


@pytest.mark.spec("CORE-025", "CORE-033", "CHG-002")
@pytest.mark.guard("T09")
@given(OBJECTS)
def test_every_object_is_written_as_rfc_8785_says(value: dict[str, Any]) -> None:
    """The short way for plain values gives the very bytes of the reference implementation."""
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(ASCII, ASCII | INTEGERS | st.booleans(), max_size=8))
def test_plain_objects_are_written_as_rfc_8785_says(value: dict[str, Any]) -> None:
    """Also where every value is eligible for the short way: control characters, quotes, DEL, any ASCII name."""
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.guard("T09")
@given(OBJECTS, st.booleans())
def test_what_is_read_the_short_way_is_what_the_strict_parser_reads(value: dict[str, Any], spaced: bool) -> None:
    """Compact text and any other: the same values of the same types."""
    text = json.dumps(value, ensure_ascii=False, separators=None if spaced else (",", ":"))
    assert json.dumps(parse_object(text.encode())) == json.dumps(value)


@pytest.mark.guard("T09")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3}, '{"\u20ac":3,"\U0001f600":2,"\ufb33":1}'),
        ({"b": 1, "a": 2, "B": 3, "": 4}, '{"":4,"B":3,"a":2,"b":1}'),
        ({"n": 1.0, "m": -0.0, "e": 1e21}, '{"e":1e+21,"m":0,"n":1}'),
        ({"t": "\x7f/<\u2028\x01\b"}, '{"t":"\x7f/<\u2028\\u0001\\b"}'),
        ({"t": (1, [2, {"x": True}])}, '{"t":[1,[2,{"x":true}]]}'),
        ({"n": MAX_INTEGER}, '{"n":9007199254740991}'),
    ],
)
def test_canonical_by_hand(value: dict[str, Any], text: str) -> None:
    """Names by UTF-16 units, shortest escapes, numbers as JavaScript prints them."""
    assert canonical(value).decode() == text


def test_read_only_mappings_are_objects_too() -> None:
    """A mapping that is no dict is written like one, at any depth."""
    assert canonical(MappingProxyType({"b": MappingProxyType({"d": 1}), "a": 2})) == b'{"a":2,"b":{"d":1}}'


@pytest.mark.guard("T09")
@pytest.mark.parametrize(
    "value",
    [
        {"n": MAX_INTEGER + 1},
        {"n": -MAX_INTEGER - 1},
        {"n": float("nan")},
        {"n": float("inf")},
        {"t": "\ud800"},
        {"\udfff": 1},
        {1: 2},
        {"b": b"bytes"},
        {"o": object()},
    ],
)
def test_what_json_can_t_hold_is_refused(value: Any) -> None:
    """Nothing is rounded, replaced or guessed on the way out."""
    with pytest.raises(UsageError):
        canonical(value)


@given(st.binary(max_size=200))
def test_base64url_round_trip(raw: bytes) -> None:
    """What is encoded has no padding and decodes to the same bytes, as the standard library's does."""
    text = base64url_encode(raw)
    assert text == base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert base64url_decode(text) == raw


@pytest.mark.guard("T40")
@given(st.text(st.sampled_from("AQgwaZ09-_+/=\n \x00é"), max_size=9) | st.text(max_size=9))
def test_base64url_has_one_spelling(text: str) -> None:
    """Whatever is accepted is exactly what would be written for those bytes; all else is refused."""
    try:
        raw = base64url_decode(text)
    except MalformedHeader:
        return
    assert base64url_encode(raw) == text


@pytest.mark.guard("T40")
@pytest.mark.spec("CORE-024")
@pytest.mark.parametrize(
    "text",
    [
        "YQ==",
        "YR",
        "YWK",
        "a+b_",
        "a/b_",
        "YWJj\n",
        " YWJj",
        "YWJ=",
        "A",
        "ÀBCD",
        "YQ=A",
        "\\u0041" * 4,
        'YWJj"',
        "\ud800",
    ],
)
def test_base64url_by_hand(text: str) -> None:
    """Padding, the other alphabet, line breaks, spaces and stray bits are refused."""
    with pytest.raises(MalformedHeader):
        base64url_decode(text)


@pytest.mark.guard("T41")
def test_long_base64url_is_refused_by_its_length() -> None:
    """The limit itself passes; a character more, though valid, does not."""
    assert base64url_decode("A" * MAX_WIRE_BYTES) == bytes(MAX_WIRE_BYTES * 3 // 4)
    with pytest.raises(MalformedHeader, match="longer than"):
        base64url_decode("A" * (MAX_WIRE_BYTES + 4))


@given(OBJECTS)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    """Encode and decode are each other's inverse, up to numbers being the same double."""
    assert json.loads(json.dumps(decode_object(encode_object(value))), parse_int=float) == json.loads(
        json.dumps(value), parse_int=float
    )


@given(st.binary(max_size=64) | st.text(max_size=64).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_an_object_or_malformed(raw: bytes) -> None:
    """Nothing but MalformedHeader comes out of the JSON edge."""
    try:
        value = parse_object(raw)
    except MalformedHeader:
        return
    assert type(value) is dict


@given(OBJECTS)
def test_any_json_text_is_read(value: dict[str, Any]) -> None:
    """Order, spaces and escapes of the other side don't matter."""
    assert parse_object(json.dumps(value, indent=1).encode()) == json.loads(json.dumps(value))


@pytest.mark.guard("T09")
@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"x":{"y":[{"a":1,"b":2,"a":3}]}}',
        '{"n":NaN}',
        '{"n":Infinity}',
        '{"n":-Infinity}',
        '{"n":1e999}',
        '{"n":-1e999}',
        '{"t":"\\ud800"}',
        '{"\\udc00":1}',
        '{"n":01}',
        "{'a':1}",
        '{"a":1,}',
        '{"a":1}{}',
        "[]",
        '"a"',
        "1",
        "null",
        "",
        "\ufeff{}",
    ],
)
def test_lenient_json_is_refused(text: str) -> None:
    """Two parsers that read the same bytes differently are how payments are forged."""
    with pytest.raises(MalformedHeader):
        parse_object(text.encode())


@pytest.mark.guard("T09")
def test_bytes_that_are_not_utf_8_are_refused() -> None:
    """No other charset is guessed."""
    for raw in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', '{"a":1}'.encode("utf-16")):
        with pytest.raises(MalformedHeader):
            parse_object(raw)


@pytest.mark.guard("T41")
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(opening: str, closing: str) -> None:
    """As deep as the limit passes, one more doesn't, and brackets inside strings are no depth."""
    inside = MAX_DEPTH - 1
    assert parse_object(f'{{"v":{opening * inside}1{closing * inside}}}'.encode())
    assert parse_object(f'{{"v":"{"[" * 99}\\"{"{" * 99}"}}'.encode()) == {"v": "[" * 99 + '"' + "{" * 99}
    with pytest.raises(MalformedHeader, match="deep"):
        parse_object(f'{{"v":{opening * (inside + 1)}1{closing * (inside + 1)}}}'.encode())


@pytest.mark.guard("T41")
def test_long_json_is_refused_by_its_length() -> None:
    """The limit itself passes."""
    assert parse_object(b'{"a":"' + b"x" * (MAX_WIRE_BYTES - 8) + b'"}')
    with pytest.raises(MalformedHeader, match="longer than"):
        parse_object(b'{"a":"' + b"x" * (MAX_WIRE_BYTES - 7) + b'"}')


@pytest.mark.guard("T41")
def test_nothing_is_read_of_ten_mebibytes() -> None:
    """A length is enough to refuse: the content is never looked at."""

    class Unread(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            raise AssertionError("read")

    class UnreadBytes(bytes):
        __slots__ = ()

        def decode(self, *_: object) -> str:
            raise AssertionError("read")

    with pytest.raises(MalformedHeader, match="longer than"):
        base64url_decode(Unread("A" * 10 * 1024 * 1024))
    with pytest.raises(MalformedHeader, match="longer than"):
        parse_object(UnreadBytes(10 * 1024 * 1024))


def test_four_kibibytes_pass() -> None:
    """The document asks for 4 KiB of challenge and of credential; both are inside the limit."""
    value = {"a": "x" * 8192}
    assert decode_object(encode_object(value)) == value
