"""On every priced route an upstream, and whoever gets text into its answers, is unable to speak of payments."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentError
from coinslot.services.eventstream import MAX_EVENT_BYTES, StreamUnreadable, event_headers, speaks_events
from coinslot.services.unforged import MAX_UNPACKED, _Gunzip, _takes_gzip, without_payments
from coinslot.transports.httpx import pay
from support.toybank import Bank
from support.upstream import Call, Gated, Upstream, gate_for

EVENTS = "text/event-stream"
FORGED = (
    b'event: mpp.metering\ndata: {"amount":"1"}\n\n'
    b"event:MPP.usage\r\ndata: {}\r\n\r\n"
    b"data: {}\nevent: payment-need-voucher\n\n"
    b"Event : Payment-Receipt\rdata: {}\r\r"
)
HONEST = b"event: word\nid: 1\ndata: one\n\n: a comment\n\ndata: about payment-events\n\ndata: [DONE]\n\n"
Wallet = dict[str, Any]
ROUTES = ["/charged", "/bought", "/metered", "/free"]


@contextmanager
def selling(bank: Bank, answer: Any = None, raw: Any = None) -> Iterator[tuple[Gated, Upstream]]:
    """One API on routes of every kind: charged, bought from a channel, paid by events, and free."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    prices: dict[str, Any] = {
        "GET /charged": {"amount": "0.01", "intents": ["charge"]},
        "GET /bought": {"amount": "0.01", "intents": ["session"]},
        "GET /metered": {"amount": "0.001", "per": "event"},
    }
    api = Upstream(raw=raw) if answer is None else Upstream(answer)
    with api, gate_for(api, prices, bank, accept=accept, free=["GET /free"]) as gate:
        yield gate, api


@contextmanager
def paying(alice: Wallet, tmp_path: Path) -> Iterator[httpx.Client]:
    """Alice's client, which shows what comes and reads no event of it as ours."""
    plain = httpx.Client(trust_env=False, timeout=20)
    with pay(plain, wallet(toy=alice), Policy(max_deposit="1"), book=tmp_path / "b") as client:
        yield client


@pytest.mark.guard("T44")
@pytest.mark.parametrize("route", ROUTES)
def test_no_event_of_ours_passes_where_anything_is_paid(bank: Bank, alice: Wallet, tmp_path: Path, route: str) -> None:
    """In whatever spelling; its own events pass, and free routes are passed on byte by byte."""
    body = FORGED + HONEST + FORGED
    answer = (200, {"Content-Type": EVENTS}, body)
    with selling(bank, lambda _: answer) as (gate, _), paying(alice, tmp_path) as client:
        got = client.get(gate.url + route)
    assert got.status_code == 200
    assert got.content == (body if route == "/free" else HONEST)
    assert ("content-length" in got.headers) == (route == "/free")


@pytest.mark.guard("T44")
@pytest.mark.parametrize("route", ROUTES[:3])
@pytest.mark.parametrize("status", [203, 402, 418, 500])
def test_no_event_of_ours_passes_whatever_the_status(
    bank: Bank, alice: Wallet, tmp_path: Path, route: str, status: int
) -> None:
    """Readers of events look at their type, not at the status before them."""
    answer = (status, {"Content-Type": EVENTS, "Payment-Receipt": "forged"}, FORGED + HONEST)
    with selling(bank, lambda _: answer) as (gate, _), paying(alice, tmp_path) as client:
        got = client.get(gate.url + route)
    assert (got.status_code, got.content) == (status, HONEST)
    assert ("payment-receipt" in got.headers) == (status == 203)


@pytest.mark.guard("T44")
@pytest.mark.parametrize("route", ROUTES[:3])
@pytest.mark.parametrize("status", [200, 404])
def test_no_header_of_ours_passes_where_anything_is_paid(
    bank: Bank, alice: Wallet, tmp_path: Path, route: str, status: int
) -> None:
    """Receipts, channels, challenges, and names that only sound like it."""
    told = {
        "Payment-Receipt": "forged",
        "PAYMENT-SESSION": "forged",
        "Payment-Session-Snapshot": "forged",
        "payment-required": "forged",
        "Payment-Response": "forged",
        "WWW-Authenticate": 'Payment id="forged", Basic realm="forged"',
        "X-Kept": "1",
    }
    answer = (status, {"Content-Type": "application/json", **told}, b"{}")
    with selling(bank, lambda _: answer) as (gate, _), paying(alice, tmp_path) as client:
        got = client.get(gate.url + route)
    assert (got.status_code, got.headers["x-kept"]) == (status, "1")
    assert "forged" not in str(got.headers)
    assert ("payment-receipt" in got.headers) == (status == 200)
    assert without_payments([(b"Payment-Anything", b"x"), (b"X-Payment", b"y")]) == [(b"X-Payment", b"y")]


@pytest.mark.guard("T44")
@pytest.mark.parametrize("route", ["/charged", "/metered"])
@pytest.mark.parametrize(
    "kind", ["text/event-stream; charset=utf-16", "TEXT/Event-Stream", "text/plain; x=text/event-stream"]
)
def test_events_have_one_type_and_one_encoding(
    bank: Bank, alice: Wallet, tmp_path: Path, route: str, kind: str
) -> None:
    """A reader that believes the charset, or looks for the word only, sees the lines that we saw."""
    hidden = "data: 1\n\nevent: payment-receipt\ndata: {}\n\n".encode("utf-16-le")
    with (
        selling(bank, lambda _: (200, {"Content-Type": kind}, FORGED + HONEST + hidden)) as (gate, _),
        paying(alice, tmp_path) as client,
    ):
        got = client.get(gate.url + route)
    assert got.content.startswith(HONEST)
    assert got.headers["content-type"].lower() == EVENTS
    assert "payment-receipt" not in got.text


@pytest.mark.guard("T44")
@pytest.mark.parametrize(
    ("kinds", "one"),
    [
        ([b"text/event-stream"], b"text/event-stream"),
        ([b"text/event-stream; charset=utf-8"], b"text/event-stream; charset=utf-8"),
        ([b'text/event-stream;charset="UTF-8"'], b'text/event-stream;charset="UTF-8"'),
        ([b"text/event-stream; charset=utf-7"], b"text/event-stream"),
        ([b"text/html", b"text/event-stream"], b"text/event-stream"),
        ([b"text/html, text/event-stream"], b"text/event-stream"),
        ([b"text/html"], None),
        ([], None),
    ],
)
def test_what_any_reader_may_take_for_events_is_told_to_be_events(kinds: list[bytes], one: bytes | None) -> None:
    """Of several types, and of several in one; nothing else is."""
    headers = [(b"content-length", b"7"), *((b"Content-Type", kind) for kind in kinds)]
    assert speaks_events(headers) == (one is not None)
    if one is not None:
        assert event_headers(headers) == [(b"content-type", one)]


@pytest.mark.parametrize("packed", [False, True])
def test_events_pass_one_by_one(bank: Bank, alice: Wallet, tmp_path: Path, packed: bool) -> None:
    """The first is read before the API has made the second, compressed or not."""
    made_second, read_first = threading.Event(), threading.Event()

    def stream(handler: http.server.BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", EVENTS)
        handler.send_header("Transfer-Encoding", "chunked")
        if packed:
            handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            chunk = gzip.compress(event) if packed else event
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if not made_second.is_set():
                assert read_first.wait(60)
                made_second.set()
        handler.wfile.write(b"0\r\n\r\n")

    with (
        selling(bank, raw=stream) as (gate, _),
        paying(alice, tmp_path) as client,
        client.stream("GET", gate.url + "/charged") as answer,
    ):
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: 1\n\n"
        assert not made_second.is_set()
        read_first.set()
        assert b"".join(pieces) == b"data: 2\n\n"


@pytest.mark.parametrize("route", ["/charged", "/metered"])
def test_a_picture_in_an_event_passes(bank: Bank, alice: Wallet, tmp_path: Path, route: str) -> None:
    """A few megabytes in one line."""
    body = b"event: picture\ndata: " + b"QUJD" * 1_000_000 + b"\n\n"
    with selling(bank, lambda _: (200, {"Content-Type": EVENTS}, body)) as (gate, _), paying(alice, tmp_path) as client:
        assert client.get(gate.url + route).content == body


@pytest.mark.guard("T44")
def test_compressed_events_are_unpacked_and_read(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """What is compressed hides nothing; only what can be unpacked is asked for."""
    body = gzip.compress(FORGED + HONEST)
    answer = (200, {"Content-Type": EVENTS, "Content-Encoding": "gzip"}, body)
    with selling(bank, lambda _: answer) as (gate, api), paying(alice, tmp_path) as client:
        got = client.get(gate.url + "/charged", headers={"Accept-Encoding": "br, gzip;q=0.5, zstd"})
        assert [call.all("accept-encoding") for call in api.calls] == [["gzip"]]
    assert (got.content, "content-encoding" in got.headers) == (HONEST, False)


@pytest.mark.guard("T44")
@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "unheard-of"])
def test_events_that_can_not_be_unpacked_are_refused(bank: Bank, alice: Wallet, tmp_path: Path, coding: str) -> None:
    """502: none of it passes, and the payment stays good."""
    answer = (200, {"Content-Type": EVENTS, "Content-Encoding": coding}, FORGED + HONEST)
    with selling(bank, lambda _: answer) as (gate, _), paying(alice, tmp_path) as client:
        got = client.get(gate.url + "/charged", headers={"Accept-Encoding": "br"})
    assert got.status_code == 502
    assert "payment-receipt" not in got.headers


def test_other_answers_pass_as_they_were_compressed(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """Byte by byte, with their length."""
    body = gzip.compress(b'{"a": 1}')
    answer = (200, {"Content-Type": "application/json", "Content-Encoding": "gzip", "ETag": '"x"'}, body)
    with (
        selling(bank, lambda _: answer) as (gate, _),
        paying(alice, tmp_path) as client,
        client.stream("GET", gate.url + "/charged") as got,
    ):
        assert b"".join(got.iter_raw()) == body
        assert (got.headers["content-encoding"], got.headers["content-length"]) == ("gzip", str(len(body)))
        assert got.headers["etag"] == '"x"'


@pytest.mark.guard("F28")
def test_an_event_without_an_end_breaks_off(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """It fills nobody's memory, and what came of the stream does not look whole."""
    answer = (200, {"Content-Type": EVENTS}, b"data: 1\n\n" + b"data: x" * (MAX_EVENT_BYTES // 6))
    with (
        selling(bank, lambda _: answer) as (gate, _),
        paying(alice, tmp_path) as client,
        pytest.raises((PaymentError, httpx.HTTPError)),
    ):
        client.get(gate.url + "/charged").raise_for_status()


@pytest.mark.parametrize(
    ("wished", "takes"),
    [
        ([], False),
        ([b"gzip"], True),
        ([b"br, GZIP ; q=0.1"], True),
        ([b"br", b"x-gzip"], True),
        ([b"*"], True),
        ([b"gzip;q=0, *"], False),
        ([b"gzip;q=0.000"], False),
        ([b"identity, br"], False),
    ],
)
def test_gzip_is_asked_for_where_the_client_takes_it(wished: list[bytes], takes: bool) -> None:
    """RFC 9110 section 12.5.3, as far as gzip goes."""
    assert _takes_gzip(wished) == takes


@given(st.lists(st.binary(max_size=300), max_size=4), st.lists(st.integers(0, 400), max_size=12))
def test_gzip_is_unpacked_wherever_it_is_cut(members: list[bytes], cuts: list[int]) -> None:
    """Members in a row are one text."""
    packed, unpacked, reader = b"".join(gzip.compress(one) for one in members), b"", _Gunzip()
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    for begin, end in pairwise(edges):
        unpacked += b"".join(reader.feed(packed[begin:end]))
    reader.end()
    assert unpacked == b"".join(members)


@pytest.mark.guard("F28")
def test_gzip_is_unpacked_a_piece_at_a_time() -> None:
    """Ten megabytes in ten kilobytes never stand in memory at once; nothing of it is lost at the edges."""
    for size in (10_000_000, MAX_UNPACKED, MAX_UNPACKED + 1):
        reader = _Gunzip()
        pieces = list(reader.feed(gzip.compress(b"\0" * size)))
        reader.end()
        assert max(map(len, pieces)) <= MAX_UNPACKED
        assert sum(map(len, pieces)) == size


@pytest.mark.parametrize("junk", [b"not gzip", gzip.compress(b"data: 1\n\n")[:-9]], ids=["another", "cut off"])
def test_gzip_that_is_none_or_ends_early_is_an_error(junk: bytes) -> None:
    """It must not look whole."""
    reader = _Gunzip()
    with pytest.raises(StreamUnreadable):
        _whole(reader, junk)


def _whole(reader: _Gunzip, packed: bytes) -> bytes:
    """What it holds."""
    unpacked = b"".join(reader.feed(packed))
    reader.end()
    return unpacked
