"""Events of an upstream: cut apart however they come, written anew, and never one of ours."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.services.eventstream import MAX_EVENT_BYTES, EventReader, StreamUnreadable, UpstreamEvent, encode_event


def read(*chunks: bytes) -> list[UpstreamEvent]:
    """All events of a stream that comes in these pieces."""
    reader = EventReader()
    found = [event for chunk in chunks for event in reader.feed(chunk)]
    return [*found, *reader.end()]


STREAM = (
    b"\xef\xbb\xbf: hello\n\nevent: tick\ndata: one\ndata: more\n\nid: 7\r\ndata:two\r\n\r\ndata: [DONE]\r\rdata: last"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_cut_of_the_chunks_changes_nothing(cuts: list[int]) -> None:
    """CR, LF and both end a line, also where one chunk ends between them; the last event needs no empty line."""
    places = [0, *sorted(cuts), len(STREAM)]
    found = read(*(STREAM[start:end] for start, end in pairwise(places)))
    assert [event.data for event in found] == [b"", b"one\nmore", b"two", b"[DONE]", b"last"]
    assert [event.counts for event in found] == [False, True, True, False, True]
    written = b"".join(event.encode() for event in found)
    assert b"\r" not in written
    assert [event.data for event in read(written)] == [event.data for event in found]


@pytest.mark.guard("T44")
@pytest.mark.parametrize(
    "line",
    [
        b"event: payment-receipt",
        b"event:payment-need-voucher",
        b"EVENT: Payment-Receipt",
        b"event :  payment-anything",
        b"\xef\xbb\xbfevent: payment-receipt",
    ],
)
def test_an_upstream_can_not_speak_in_our_name(line: bytes) -> None:
    """An event that says, or seems to say, that it is about payment is dropped, and those around it are not."""
    found = read(line + b"\rdata: {}\r\rdata: content\n\n")
    assert [event.data for event in found] == [b"content"]
    again = read(b"data: a\nevent: tick\n" + line.removeprefix(b"\xef\xbb\xbf") + b"\nevent: tock\n\n")
    assert again == []


@pytest.mark.guard("F28")
def test_an_event_without_an_end_is_given_up() -> None:
    """Whether it has one long line or many short ones."""
    for chunk in (b"x" * 4096, b"data: x\n" * 512):
        with pytest.raises(StreamUnreadable):
            read(*[chunk] * (MAX_EVENT_BYTES // len(chunk) * 2))


@given(st.binary(max_size=200))
def test_whatever_comes_is_cut_without_an_error(junk: bytes) -> None:
    """And what is written again reads the same."""
    found = read(junk)
    assert read(b"".join(event.encode() for event in found)) == found


def test_our_own_events_read_back() -> None:
    """Name and data."""
    (event,) = read(encode_event("tick", b'{"a":1}'))
    assert (event.lines, event.data) == ((b"event: tick", b'data: {"a":1}'), b'{"a":1}')


def test_a_sign_of_life_waits_for_nothing() -> None:
    """A comment on a line of its own passes when it comes; inside an event it is part of that, and hides nothing."""
    reader = EventReader()
    assert [event.encode() for event in reader.feed(b": still here\n")] == [b": still here\n\n"]
    assert list(reader.feed(b"data: a\n: inside\n")) == []
    assert [event.encode() for event in reader.feed(b"\n")] == [b"data: a\n: inside\n\n"]
    assert list(reader.feed(": x\u2028event: payment-receipt\n".encode())) == []
    assert list(reader.end()) == []


def test_a_long_line_in_small_pieces_is_put_together_once() -> None:
    """Eight megabytes in pieces of a hundred bytes take no minutes."""
    reader, piece = EventReader(), b"x" * 100
    began = time.process_time()
    for _ in range(MAX_EVENT_BYTES // len(piece) - 1):
        assert list(reader.feed(piece)) == []
    assert time.process_time() - began < 20
    assert len(list(reader.feed(b"\n\n"))) == 1
