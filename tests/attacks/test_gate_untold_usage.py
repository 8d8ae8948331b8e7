"""A client that chooses a form of answer which doesn't say, or not where it is looked for, what it used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.gatemeter import EVENTS, MILLI, gated, paying, spent, tokens
from support.toybank import Bank
from support.upstream import Call, Reply

PRICE = {"per": "unit", "unit": "token", "usage": "usage.total_tokens", "max_units": 100}
TOLD = {"usage": {"total_tokens": 42}}


def model(call: Call) -> Reply:
    """As language models answer: in one piece, or as a stream, which tells its usage if it is asked to."""
    asked = json.loads(call.body)
    if asked.get("large"):
        return 200, {"Content-Type": "application/json"}, json.dumps({"v": "x" * 9_000_000, **TOLD}).encode()
    if asked.get("lines"):
        last = {"done": True, "context": list(range(60_000)), **TOLD}
        return 200, {"Content-Type": "application/x-ndjson"}, b'{"word":"h"}\n' + json.dumps(last).encode() + b"\n"
    if not asked.get("stream"):
        return 200, {"Content-Type": "application/json"}, json.dumps({"word": "hello", **TOLD}).encode()
    said = tokens("hel", "lo", done=False)
    usage = b"data: " + json.dumps(TOLD).encode() + b"\n\n" if "stream_options" in asked else b""
    return 200, {"Content-Type": EVENTS}, said + usage + b"data: [DONE]\n\n"


@pytest.mark.guard("T25")
@pytest.mark.parametrize(
    ("asked", "units"),
    [
        ({}, 42),
        ({"stream": True, "stream_options": {"include_usage": True}}, 42),
        ({"stream": True}, 100),
        ({"large": True}, 100),
        ({"lines": True}, 42),
    ],
)
def test_an_answer_that_does_not_say_what_it_used_is_no_cheaper(
    bank: Bank, alice: dict[str, object], tmp_path: Path, asked: dict[str, object], units: int
) -> None:
    """It costs what was set aside for it, and a client that wants to pay less asks for its usage."""
    with gated(bank, PRICE, model) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", json=asked).status_code == 200
        assert spent(gate) == units * MILLI


@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_without_content_costs_the_minimum(
    bank: Bank, alice: dict[str, object], tmp_path: Path, status: int
) -> None:
    """Nothing was used that it could tell of."""
    with gated(bank, PRICE, lambda _: (status, {}, b"")) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", json={}).status_code == status
        assert spent(gate) == MILLI
