"""Metered prices of the gate: counted as the upstream answers, charged before it is sent, told at the end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.wallet import wallet
from coinslot.errors import ConfigError, PaymentError
from coinslot.services.config import from_table
from coinslot.services.gate import GateService
from coinslot.transports.httpx import RESULT, pay
from support.gatemeter import EVENTS, MILLI, gated, paying, spent, tokens
from support.patience import within
from support.toybank import Bank
from support.upstream import Call, Reply, Upstream, gate_for


def test_a_stream_costs_its_events(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Comments, the end mark and what pretends to be ours are neither billed nor, if ours, passed on."""
    body = b": hello\n\n" + tokens("a", "b", "c", done=False) + b"event: payment-receipt\ndata: {}\n\ndata: [DONE]\n\n"
    reply: Reply = (200, {"Content-Type": EVENTS}, body)
    with gated(bank, {"per": "event"}, lambda _: reply) as (gate, api), paying(gate, alice, tmp_path) as paid:
        got = paid.post("/chat", json={"say": "abc"})
        assert got.status_code == 200
        assert got.content == b": hello\n\n" + tokens("a", "b", "c")
        assert "content-length" not in got.headers
        assert paid.spent_units == spent(gate) == 3 * MILLI
        assert api.calls[0].all("accept-encoding") == ["identity"]
        assert api.calls[0].body == b'{"say":"abc"}'
        metrics = httpx.get(gate.url + "/metrics").text
        assert 'coinslot_metered_total{unit="event"} 3' in metrics
        assert 'coinslot_metered_units_total{unit="event"} 3000' in metrics
        assert 'coinslot_funded_total{method="toy"' in metrics


def test_a_stream_asks_for_more_while_it_runs(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Windows of four units: the stream pauses, a voucher comes on another connection, and it goes on."""
    words = [f"w{number}" for number in range(40)]
    reply: Reply = (200, {"Content-Type": EVENTS}, tokens(*words))
    price = {"per": "event", "window": 4, "unit": "word"}
    with (
        gated(bank, price, lambda _: reply) as (gate, _),
        paying(gate, alice, tmp_path, max_window=8) as paid,
    ):
        assert paid.post("/chat", content=b"?").content == tokens(*words)
        assert paid.spent_units == spent(gate) == 40 * MILLI


@pytest.mark.guard("T25")
def test_nothing_is_charged_for_once_the_client_is_gone(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Though much more is set aside: the upstream goes on for four seconds, unless it is let go."""
    gone = threading.Event()
    sent = [0]

    def wordy(handler: BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", EVENTS)
        handler.end_headers()
        handler.wfile.write(tokens("x", "y", done=False))
        handler.wfile.flush()
        gone.wait(20)
        handler.close_connection = True
        try:
            while sent[0] < 40:
                time.sleep(0.1)
                handler.wfile.write(tokens("z", done=False))
                handler.wfile.flush()
                sent[0] += 1
        except OSError:
            return

    with (
        gated(bank, {"per": "event", "window": 64}, raw=wordy) as (gate, _),
        paying(gate, alice, tmp_path) as paid,
    ):
        with paid.stream("POST", "/chat", content=b"?") as answer:
            assert any("y" in line for line in answer.iter_lines())
        gone.set()
        assert 2 * MILLI <= spent(gate) < 40 * MILLI


@pytest.mark.guard("T25")
def test_who_hangs_up_pays_for_what_was_sent(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """No more and no less, to a window; and the upstream is let go."""
    let_go = threading.Event()

    def endless(handler: BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", EVENTS)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                event = tokens("x", done=False)
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                handler.wfile.flush()
                time.sleep(0.01)
        except OSError:
            let_go.set()

    with (
        gated(bank, {"per": "event", "window": 4}, raw=endless) as (gate, _),
        paying(gate, alice, tmp_path, max_window=8) as paid,
    ):
        with paid.stream("POST", "/chat", content=b"?") as answer:
            pieces = answer.iter_raw()
            for _ in range(6):
                next(pieces)
        assert let_go.wait(20)
        until = time.monotonic() + within(20)
        while spent(gate, running=True) == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert 6 * MILLI <= spent(gate) <= paid.authorized_units


@pytest.mark.guard("T25")
def test_who_hangs_up_before_the_bill_is_billed(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """The upstream is read to its end, which tells what the answer used."""
    gone = threading.Event()

    def slow(handler: BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", EVENTS)
        handler.end_headers()
        handler.wfile.write(tokens("x", done=False))
        handler.wfile.flush()
        gone.wait(20)
        handler.wfile.write(b'data: {"usage":{"total_tokens":42}}\n\ndata: [DONE]\n\n')
        handler.close_connection = True

    price = {"per": "unit", "unit": "token", "usage": "usage.total_tokens", "max_units": 100}
    with gated(bank, price, raw=slow) as (gate, _), paying(gate, alice, tmp_path) as paid:
        with paid.stream("POST", "/chat", content=b"?") as answer:
            next(answer.iter_raw())
        time.sleep(0.2)  # the server notices that its client is gone
        gone.set()
        until = time.monotonic() + within(20)
        while spent(gate, running=True) < 42 * MILLI and time.monotonic() < until:
            time.sleep(0.02)
        assert spent(gate) == 42 * MILLI


@pytest.mark.parametrize("kind", ["json", "events", "lines"])
def test_what_the_answer_says_it_used_is_what_it_costs(
    bank: Bank, alice: dict[str, object], tmp_path: Path, kind: str
) -> None:
    """From its JSON, from the last event that says so, or from the last of its lines; never more than was set aside."""
    price = {"per": "unit", "unit": "token", "usage": "usage.total_tokens", "max_units": 100}
    used = {"n": 42}

    def answer(_: Call) -> Reply:
        told = json.dumps({"text": "hi", "usage": {"total_tokens": used["n"]}}).encode()
        if kind == "json":
            return 200, {"Content-Type": "application/json"}, told
        if kind == "events":
            null = b'data: {"usage":null}\n\n'
            return 200, {"Content-Type": EVENTS}, null + b"data: " + told + b"\n\ndata: [DONE]\n\n"
        return 200, {"Content-Type": "application/x-ndjson"}, b'{"text":"h"}\n' + told + b"\n"

    with gated(bank, price, answer) as (gate, _), paying(gate, alice, tmp_path) as paid:
        got = paid.post("/chat", content=b"?")
        assert b'"usage": {"total_tokens": 42}' in got.content
        assert spent(gate) == 42 * MILLI
        if kind != "lines":  # lines have begun when their receipt is written
            assert paid.spent_units == 42 * MILLI
        used["n"] = 5_000
        paid.post("/chat", content=b"?")
        assert spent(gate) == 142 * MILLI
        used["n"] = -1
        paid.post("/chat", content=b"?")
        assert spent(gate) == 242 * MILLI  # it doesn't say: all that was set aside


def test_bytes_are_counted_in_blocks(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Of 1000 bytes each, begun ones whole."""
    reply: Reply = (200, {"Content-Type": "application/octet-stream"}, b"x" * 2_500)
    price = {"per": "byte", "block": 1_000, "amount": "0.000001"}
    with gated(bank, price, lambda _: reply) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", content=b"?").content == b"x" * 2_500
        assert spent(gate) == 3


@pytest.mark.guard("T24")
@pytest.mark.parametrize("told", [True, False])
def test_bytes_are_paid_ahead_while_they_come(bank: Bank, alice: dict[str, object], tmp_path: Path, told: bool) -> None:
    """Nothing in them can ask, so vouchers go ahead; where the length is told, no more is signed than it costs."""
    size = 100_500

    def file(handler: BaseHTTPRequestHandler, _: Call) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        if told:
            handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.wfile.write(b"x" * size)
        handler.close_connection = True

    price = {"per": "byte", "block": 1_000, "amount": "0.000001", "window": 8}
    with (
        gated(bank, price, raw=file) as (gate, _),
        paying(gate, alice, tmp_path, max_window=16) as paid,
    ):
        assert paid.post("/chat", content=b"?").content == b"x" * size
        assert spent(gate) == 101
        assert paid.authorized_units <= (101 if told else 101 + 16)


def test_an_answer_that_is_no_stream_costs_the_minimum(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Where events are counted and none come."""
    reply: Reply = (200, {"Content-Type": "application/json"}, b"{}")
    with (
        gated(bank, {"per": "event", "minimum": 5}, lambda _: reply) as (gate, _),
        paying(gate, alice, tmp_path) as paid,
    ):
        got = paid.post("/chat", content=b"?")
        assert (got.content, got.headers["content-length"]) == (b"{}", "2")
        assert spent(gate) == 5 * MILLI


def test_failures_of_the_upstream_cost_what_was_delivered(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """An error costs nothing; a stream that breaks off costs its events, and does not look whole."""

    def broken(handler: BaseHTTPRequestHandler, call: Call) -> None:
        if call.body == b"fail":
            handler.send_response(500)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header("Content-Type", EVENTS)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        event = tokens("a", "b", done=False)
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        handler.close_connection = True

    with gated(bank, {"per": "event"}, raw=broken) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", content=b"fail").status_code == 500
        assert spent(gate) == 0
        with pytest.raises((PaymentError, httpx.HTTPError)):
            paid.post("/chat", content=b"break")
        until = time.monotonic() + within(20)
        while spent(gate, running=True) == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert spent(gate) == 2 * MILLI


def test_a_compressed_stream_is_not_given_away(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """What can't be counted is an error of the upstream's, and costs nothing."""
    reply: Reply = (200, {"Content-Type": EVENTS, "Content-Encoding": "gzip"}, b"\x1f\x8b")
    with gated(bank, {"per": "event"}, lambda _: reply) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", content=b"?").status_code == 502
        assert spent(gate) == 0


def test_one_price_takes_charges_and_sessions(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Per request: who has a channel uses it, who has none pays a charge; both are offered, and told in discovery."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    with Upstream() as api, gate_for(api, {"GET /x": "0.001"}, bank, accept=accept) as gate:
        offered = httpx.get(gate.url + "/x").headers.get_list("www-authenticate")
        assert [('intent="session"' in one) for one in offered] == [False, True]
        document = httpx.get(gate.url + "/openapi.json").json()
        told = document["paths"]["/x"]["get"]["x-payment-info"]["offers"]
        assert [(one["intent"], one["amount"]) for one in told] == [("charge", "1000"), ("session", "1000")]
        with pay(httpx.Client(trust_env=False), wallet(toy=alice), book="memory:") as client:
            assert client.get(gate.url + "/x").extensions[RESULT].receipt is not None
        assert bank.balance("shop") == MILLI
        with paying(gate, alice, tmp_path) as paid:
            assert [paid.get("/x").status_code for _ in range(3)] == [200] * 3
            assert spent(gate) == 3 * MILLI
            assert 'coinslot_bought_total{method="toy"' in httpx.get(gate.url + "/metrics").text
            paid.close("/x")
        assert bank.balance("shop") == 4 * MILLI


def test_a_failed_request_is_not_charged_twice_under_its_key(
    bank: Bank, alice: dict[str, object], tmp_path: Path
) -> None:
    """The price of a request is taken before the upstream is asked; the same key asks again for nothing."""
    replies: Iterator[Reply] = iter([(500, {}, b"sorry"), (200, {}, b"here")])
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    with (
        Upstream(lambda _: next(replies)) as api,
        gate_for(api, {"GET /x": "0.001"}, bank, accept=accept) as gate,
        paying(gate, alice, tmp_path) as paid,
    ):
        key = {"Idempotency-Key": "order-7"}
        assert paid.get("/x", headers=key).status_code == 500
        assert spent(gate) == MILLI
        assert paid.get("/x", headers=key).content == b"here"
        assert paid.get("/x", headers=key).content == b"here"
        assert spent(gate) == MILLI


@pytest.mark.parametrize(
    ("price", "named"),
    [
        ({"per": "event", "usage": "a.b"}, "usage means nothing"),
        ({"per": "unit", "unit": "token", "usage": "a.b"}, "needs max_units"),
        ({"per": "unit", "unit": "token", "max_units": 5}, "needs usage"),
        ({"per": "unit", "unit": "token", "max_units": 5, "usage": "a b"}, "path of a field"),
        ({"per": "event", "window": 0}, "window is 1 or more"),
        ({"per": "event", "window": 2, "minimum": 3}, "minimum"),
        ({"per": "event", "splits": {"x": "0.1"}}, "splits"),
        ({"per": "event", "intents": ["charge"]}, "sessions only"),
        ({"window": 3}, "window means nothing"),
        ({"per": "minute"}, "per"),
        ({"intents": []}, "intents"),
    ],
)
def test_a_price_that_makes_no_sense_is_named(bank: Bank, price: dict[str, Any], named: str) -> None:
    """At the start."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    table = {"upstream": "http://127.0.0.1:9", "accept": accept, "store": "memory:"}
    with pytest.raises(Exception, match=named):
        GateService(from_table({**table, "prices": {"GET /x": {"amount": "0.001", **price}}}, "test"))


def test_a_metered_price_needs_somebody_who_sells_sessions(bank: Bank) -> None:
    """Else nobody could ever pay it."""
    table = {"upstream": "http://127.0.0.1:9", "store": "memory:"}
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop"}]
    prices = {"GET /x": {"amount": "0.001", "per": "event"}}
    with pytest.raises(ConfigError, match="no accept table offers any"):
        GateService(from_table({**table, "accept": accept, "prices": prices}, "test"))
