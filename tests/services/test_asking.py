"""Asking an upstream to tell what a stream used: which requests are changed, how, and what a stream costs then."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.services.asking import MAX_ASKED_BODY, UsageAsked, asking_for_usage
from support.gatemeter import MILLI, gated, paying
from support.toybank import Bank
from support.upstream import Call, Reply

JSON = [(b"content-type", b"application/json; charset=utf-8")]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (
            b'{"n": 1.0, "stream" : true, "x":[ 1 ]}',
            b'{"n":1.0,"stream":true,"x":[ 1 ],"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"stream":true,"stream_options":{"include_usage":false,"o":1}}',
            b'{"stream":true,"stream_options":{"include_usage":true,"o":1}}',
        ),
        (b'{"stream":true,"stream_options":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream":false}', None),
        (b'{"stream":"true"}', None),
        (b'{"stream":true,"stream_options":[]}', None),
        (b"{}", None),
        (b"[true]", None),
        (b"stream=true", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_stream_is_asked_for_its_usage_and_nothing_else_is_changed(given: bytes, asked: bytes | None) -> None:
    """Values keep their bytes; what is no stream, or can't be read, stays as it is."""
    assert asking_for_usage(given) == asked


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,streamoptionul \\0', max_size=60).map(str.encode))
def test_no_body_breaks_it(body: bytes) -> None:
    """Changed to JSON that asks, or left alone."""
    asked = asking_for_usage(body)
    assert asked is None or json.loads(asked)["stream_options"]["include_usage"] is True


def passed_on(headers: list[tuple[bytes, bytes]], pieces: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """The header fields and messages that an upstream gets of a request."""
    seen: list[dict[str, Any]] = []
    fields: list[Any] = []

    async def upstream(scope: Any, receive: Any, _: Any) -> None:
        fields.append(scope["headers"])
        while not seen or seen[-1].get("more_body"):
            seen.append(await receive())

    async def receive() -> dict[str, Any]:
        return pieces.pop(0)

    async def nobody(_: Any) -> None:
        raise AssertionError("nothing answers")

    asyncio.run(UsageAsked(upstream)({"type": "http", "headers": headers}, receive, nobody))
    return fields[0], seen


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    """A part of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_changed_request_is_one_message_with_its_own_length() -> None:
    """However it came."""
    given = [*JSON, (b"Content-Length", b"15"), (b"transfer-encoding", b"chunked")]
    headers, seen = passed_on(given, [piece(b'{"stream"', more=True), piece(b":true}")])
    assert seen == [piece(b'{"stream":true,"stream_options":{"include_usage":true}}')]
    assert headers == [*JSON, (b"content-length", str(len(seen[0]["body"])).encode())]


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([(b"content-type", b"text/plain")], [piece(b'{"stream":true}')]),
        ([*JSON, *JSON], [piece(b'{"stream":true}')]),
        ([], [piece(b'{"stream":true}')]),
        (JSON, [piece(b'{"stream":true', more=True), {"type": "http.disconnect"}]),
        (JSON, [piece(b'{"stream":true,"x":"' + b"x" * MAX_ASKED_BODY, more=True), piece(b'"}')]),
    ],
    ids=["text", "two types", "no type", "gone", "too long"],
)
def test_other_requests_pass_as_they_came(headers: list[tuple[bytes, bytes]], pieces: list[dict[str, Any]]) -> None:
    """Message by message."""
    assert passed_on(headers, list(pieces)) == (headers, pieces)


@pytest.mark.parametrize(("include", "tokens"), [(True, 7), (None, 400)])
def test_who_forgot_to_ask_for_the_usage_pays_for_what_was_used(
    bank: Bank, alice: dict[str, object], tmp_path: Path, include: bool | None, tokens: int
) -> None:
    """Where the gate asks for it; else for all that was set aside, since a client could have asked."""

    def model(call: Call) -> Reply:
        told = json.loads(call.body).get("stream_options", {}).get("include_usage", False)
        usage = b'data: {"usage":{"total_tokens":7}}\n\n' if told else b""
        return 200, {"Content-Type": "text/event-stream"}, b'data: {"word":"hi"}\n\n' + usage + b"data: [DONE]\n\n"

    price = {
        "per": "unit", "unit": "token", "usage": "usage.total_tokens", "max_units": 400, "include_usage": include
    }  # fmt: skip
    with gated(bank, price, model) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", json={"stream": True}).status_code == 200
        assert paid.spent_units == tokens * MILLI
