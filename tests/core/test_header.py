"""RFC 9110 authentication fields, read once from left to right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]  # the only way to see a pattern's repetitions
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core import header
from coinslot.core.header import (
    MAX_FIELD_BYTES,
    MAX_FIELDS_BYTES,
    MAX_PARAMETERS,
    MAX_PARTS,
    Part,
    payment_parts,
    payment_tokens,
    quote,
    split_field,
)
from coinslot.errors import MalformedHeader

TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\t"), max_size=20)
TOKEN68 = st.from_regex(r"[A-Za-z0-9._~+/-]{1,12}={0,2}", fullmatch=True)
SPACES = st.sampled_from(["", " ", "\t", "  "])
COMMAS = st.sampled_from([",", ", ", " ,", " , ,\t, "])
# What reads as the start of anything that matters
JUNK = st.text(st.sampled_from('Payment ="\\,;\t\x00é\ud800ab1'), max_size=40) | st.text(max_size=40)


@st.composite
def written_parts(draw: st.DrawFn) -> tuple[str, Part]:
    """One challenge in any legal spelling, and what it means."""
    scheme = draw(TOKENS)
    kind = draw(st.sampled_from(["bare", "token", "parameters"]))
    if kind == "bare":
        return scheme, Part(scheme, None, ())
    if kind == "token":
        token = draw(TOKEN68)
        return f"{scheme} {draw(st.sampled_from(['', ' ']))}{token}", Part(scheme, token, ())
    named = draw(st.lists(st.tuples(TOKENS, TEXTS | TOKENS), min_size=1, max_size=4))
    texts = []
    for name, value in named:
        bare = re.fullmatch(r"[0-9A-Za-z-]+", value) is not None and draw(st.booleans())
        around = draw(SPACES)
        texts.append(f"{name}{around}={around}{value if bare else quote(value)}")
    comma = draw(COMMAS)
    return f"{scheme} {comma.join(texts)}", Part(scheme, None, tuple((name.lower(), value) for name, value in named))


@pytest.mark.guard("T40")
@given(st.lists(written_parts(), max_size=5), COMMAS)
def test_whatever_is_written_is_read(parts: list[tuple[str, Part]], comma: str) -> None:
    """Challenges of any scheme, folded into one field in any legal spelling, come out whole and in order."""
    assert split_field(comma.join(text for text, _ in parts)) == [part for _, part in parts]


@given(TEXTS)
def test_quoting_is_undone_by_reading(text: str) -> None:
    """Any text without control characters survives quoting, and travels as ASCII."""
    quoted = quote(text)
    assert quoted.isascii()
    assert split_field(f"X a={quoted}") == [Part("X", None, (("a", text),))]


@pytest.mark.guard("T40")
@pytest.mark.parametrize("bad", ["\r", "\n", "\x00", "\x7f", "\x1b", "\ud800"])
def test_what_can_t_stand_in_a_header_is_not_quoted(bad: str) -> None:
    """A value can't end its header line and begin another."""
    with pytest.raises(MalformedHeader):
        quote(f"a{bad}b")


@pytest.mark.guard("T40")
@given(JUNK)
def test_arbitrary_text_is_read_or_malformed(text: str) -> None:
    """Nothing but MalformedHeader comes out of any reader of fields."""
    for reader in (split_field, lambda field: payment_parts([field]), lambda field: payment_tokens([field])):
        try:
            reader(text)
        except MalformedHeader:
            continue


@pytest.mark.guard("T40")
@given(JUNK)
def test_nothing_after_a_broken_part_is_read(text: str) -> None:
    """A quote that never ends hides all that follows: no parameter or scheme is found inside it."""
    inside = text.replace('"', "").replace("\\", "")
    try:
        parts = split_field(f'Basic realm="{inside}, Payment id=')
    except MalformedHeader:
        return
    assert parts == [Part("Basic", None, ())]


@pytest.mark.guard("T40")
@pytest.mark.parametrize(
    "field",
    ['Basic realm="a" Payment id="x"', "Basic realm=a Payment abc", "Bearer abc Payment def", 'A b="c"d Payment e'],
)
def test_a_scheme_begins_after_a_comma_only(field: str) -> None:
    """Ours too: what follows a broken part without a comma belongs to nobody."""
    assert [part.scheme for part in split_field(field)] == [field.partition(" ")[0]]


@pytest.mark.guard("T40")
@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n ", "\x00", "\x7f", "\ud800"])
def test_control_characters_make_a_field_unreadable(bad: str) -> None:
    """Wherever they stand: in a token, between parts or inside quotes."""
    for field in (f"Payment{bad} id=a", f'Payment id="a{bad}"', f"Payment id=a{bad}, Basic", f"Payment id=a,{bad}b=c"):
        with pytest.raises(MalformedHeader):
            split_field(field)


@pytest.mark.guard("T40")
@pytest.mark.parametrize("text", [r'"\u000a"', r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', r'"a\u007f"'])
def test_escapes_smuggle_nothing(text: str) -> None:
    """What may not stand in a value may not be written with an escape either."""
    with pytest.raises(MalformedHeader):
        split_field(f"X a={text}")


@pytest.mark.guard("T41")
def test_long_fields_are_refused_unread() -> None:
    """A length is enough to refuse: the content is never looked at."""

    class Unread(str):
        __slots__ = ()

        def isascii(self) -> bool:
            raise AssertionError("read")

        def lower(self) -> str:
            raise AssertionError("read")

        def __contains__(self, _: object) -> bool:
            raise AssertionError("read")

    field = Unread("Payment " + "a" * (MAX_FIELD_BYTES - 7))
    for reader in (split_field, lambda field: payment_parts([field]), lambda field: payment_tokens([field])):
        with pytest.raises(MalformedHeader, match="more than"):
            reader(field)


@pytest.mark.guard("T41")
def test_many_small_fields_are_bounded_together() -> None:
    """A hundred fields are no way around the limit of one."""
    fields = ["Basic " + "a" * 4000] * (MAX_FIELDS_BYTES // 4006)
    assert payment_parts(fields) == []
    with pytest.raises(MalformedHeader, match="together"):
        payment_parts([*fields, *fields])


@pytest.mark.guard("T41")
def test_parts_and_parameters_are_counted() -> None:
    """As many as the limit are read; one more ends the reading."""
    assert len(split_field(",".join(["X"] * MAX_PARTS))) == MAX_PARTS
    assert len(split_field("X " + ",".join(["a=b"] * MAX_PARAMETERS))[0].parameters) == MAX_PARAMETERS
    with pytest.raises(MalformedHeader, match="more than"):
        split_field(",".join(["X"] * (MAX_PARTS + 1)))
    with pytest.raises(MalformedHeader, match="more than"):
        split_field("X " + ",".join(["a=b"] * (MAX_PARAMETERS + 1)))


def repeats(tree: Any) -> Iterator[str]:
    """The names of the unbounded repetitions of a parsed pattern."""
    for name, value in tree:
        if str(name).endswith("REPEAT") and value[1] == _parser.MAXREPEAT:
            yield str(name)
        for inner in value if isinstance(value, tuple | list) else ():
            for branch in inner if isinstance(inner, list) else [inner]:
                if isinstance(branch, _parser.SubPattern):
                    yield from repeats(branch)


@pytest.mark.guard("T41")
def test_no_pattern_can_backtrack() -> None:
    """All unbounded repetitions are possessive, so that no text is read twice: the time is linear whatever is sent."""
    patterns = [each for each in vars(header).values() if isinstance(each, re.Pattern)]
    found = [name for each in patterns for name in repeats(_parser.parse(each.pattern))]
    assert set(found) == {"POSSESSIVE_REPEAT"}
    assert len(found) >= 15, "the walk finds what there is"


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ([], []),
        (["Payment abc"], ["abc"]),
        (["payment abc"], ["abc"]),
        (["PAYMENT   abc "], ["abc"]),
        (["Bearer payment", "Basic cGF5bWVudA==", "Negotiate payment="], []),
        (["Basic cGF5bWVudA==, Payment abc, Bearer x"], ["abc"]),
        (["Negotiate YII=, Payment abc"], ["abc"]),
        (['Digest username="Payment x", realm="r", Payment abc'], ["abc"]),
        (["Payment a, Payment b"], ["a", "b"]),
        (["Payment a", "Basic x", "Payment b"], ["a", "b"]),
        (["Payment2 abc"], []),
    ],
)
@pytest.mark.guard("T40")
def test_our_credentials_are_found_among_others(fields: list[str], tokens: list[str]) -> None:
    """Before, between and after other schemes, whatever the case, and never inside their quotes."""
    assert payment_tokens(fields) == tokens


@pytest.mark.guard("T40")
@pytest.mark.parametrize("field", ["Payment", "Payment, Basic x", 'Payment id="a", realm="b"', "Basic x, Payment"])
def test_a_credential_without_its_token_is_malformed(field: str) -> None:
    """Someone meant to pay: not a request without a credential."""
    with pytest.raises(MalformedHeader):
        payment_tokens([field])
