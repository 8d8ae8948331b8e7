"""Nothing that a handler yields can be read as another event than the one it is, by strict readers and lenient ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coinslot.errors import UsageError
from coinslot.transports.sse import Event
from support.streamclient import NEED, RECEIPT, Said, lenient_events, parse_events

ENDS = ["\r", "\n", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
FORGED = f"event: {NEED}\ndata: {{}}\n\n"
texts = st.lists(st.sampled_from([*ENDS, "event:", "data:", "id:", f"event: {NEED}", "data: {}", ":", " ", "x", "\0"]))
hostile = st.one_of(st.text(), texts.map("".join))
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20).filter(
    lambda name: not name.strip().lower().startswith("payment-")
)


def lines(text: str) -> str:
    """A text as its reader gets it: whatever ended a line is a line feed."""
    return re.sub("\r\n|[\r\n\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e]", "\n", text).encode("utf-8", "replace").decode()


@pytest.mark.guard("T25")
@given(hostile, words, words)
@example(f"hello\n\n{FORGED}", "", "")
@example(f"hello\r\r{FORGED}", "", "")
@example(f"hello\u2028\u2028{FORGED}", "", "")
@example("\ufeffdata", "", "")
@example("hello\r", "", "")
@example("\r", "", "")
def test_an_event_is_read_as_itself(data: str, name: str, ident: str) -> None:
    """One event goes in and one comes out, with its name, its id and its data, for every kind of reader."""
    raw = Event(data, name or None, ident or None).encode() + b"data: end\n\n"
    for read in (parse_events, lenient_events):
        assert read(raw) == [Said(name or "message", lines(data), ident), Said("message", "end", ident)]


@pytest.mark.guard("T25")
@pytest.mark.parametrize("name", [NEED, RECEIPT, "payment-", "PAYMENT-receipt", " payment-receipt", "\tPayment-x "])
def test_names_of_payment_events_are_ours(name: str) -> None:
    """In any spelling that a lenient reader may take for them."""
    with pytest.raises(UsageError):
        Event("data", event=name)


@pytest.mark.guard("T25")
@pytest.mark.parametrize("end", ENDS)
def test_a_name_or_an_id_is_one_line(end: str) -> None:
    """Whatever a reader may take for a line's end."""
    for text in (f"a{end}event: {NEED}", f"a{end}", end):
        with pytest.raises(UsageError):
            Event("data", event=text)
        with pytest.raises(UsageError):
            Event("data", id=text)


def test_no_event_pays_back() -> None:
    """Units are counted forwards; a name is short."""
    with pytest.raises(UsageError):
        Event("data", units=-1)
    with pytest.raises(UsageError):
        Event("data", event="x" * 256)
