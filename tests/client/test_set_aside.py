"""What a server wants authorized before it answers, and streams whose payer can't afford a whole window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coinslot.client.purse import Quote
from coinslot.errors import PaymentRefused, PolicyRefused
from coinslot.store.book_sqlite import SqliteBook
from support.gatemeter import MILLI, gated, paying
from support.toybank import Bank
from support.upstream import Reply

# Of these a model's answer may come to 400, each for a thousandth, and comes to 7: more than any window ahead.
USAGE = {"per": "unit", "unit": "token", "usage": "usage.total_tokens", "max_units": 400}
TOLD: Reply = (200, {"Content-Type": "application/json"}, json.dumps({"usage": {"total_tokens": 7}}).encode())
WORDS: Reply = (
    200,
    {"Content-Type": "text/event-stream"},
    b"".join(b"data: word %d\n\n" % number for number in range(40)),
)


def test_what_one_request_may_cost_is_set_aside_for_an_answer_that_tells_its_usage(
    bank: Bank, alice: dict[str, object], tmp_path: Path
) -> None:
    """Nobody has to know the server's `max_units`: 0.4 is within the dollar of a request, and 7 tokens are spent."""
    with gated(bank, USAGE, lambda _: TOLD) as (gate, _), paying(gate, alice, tmp_path) as paid:
        assert paid.post("/chat", content=b"?").status_code == 200
        assert (paid.spent_units, paid.authorized_units) == (7 * MILLI, 400 * MILLI)
        assert paid.post("/chat", content=b"?").status_code == 200  # what is left of the first is used up
        assert (paid.spent_units, paid.authorized_units) == (14 * MILLI, 407 * MILLI)


@pytest.mark.guard("T24")
@pytest.mark.parametrize("policy", [{"max_per_request": "0.399"}, {"max_window": 399}], ids=["request", "window"])
def test_no_more_is_set_aside_than_the_policy_says(
    bank: Bank, alice: dict[str, object], tmp_path: Path, policy: dict[str, Any]
) -> None:
    """A token's worth is signed, nothing is spent, and the error says what was wanted and what would allow it."""
    with (
        gated(bank, USAGE, lambda _: TOLD) as (gate, _),
        paying(gate, alice, tmp_path, **policy) as paid,
        pytest.raises(
            PaymentRefused, match=r"more authorized before it answers, and 0\.399 .*max_per_request or max_w"
        ),
    ):
        paid.post("/chat", content=b"?")
    book = SqliteBook(tmp_path / "book.sqlite")
    (held,) = book.all().result()
    book.close()
    assert (held.signed_units, held.spent_units) == (MILLI + 1, 0)  # the first voucher on a channel is one higher


@pytest.mark.guard("T24")
@pytest.mark.parametrize("allowed", [True, False])
def test_who_approves_is_asked_for_what_is_set_aside_too(
    bank: Bank, alice: dict[str, object], tmp_path: Path, allowed: bool
) -> None:
    """A token's price first, and then all that the answer may come to; a no leaves it at the token's worth."""
    asked: list[tuple[int, str | None]] = []

    def approve(quote: Quote) -> bool:
        asked.append((quote.terms.amount_units, quote.unit))
        return allowed or len(asked) == 1

    with gated(bank, USAGE, lambda _: TOLD) as (gate, _), paying(gate, alice, tmp_path, approve=approve) as paid:
        if allowed:
            assert paid.post("/chat", content=b"?").status_code == 200
        else:
            with pytest.raises(PolicyRefused, match="set aside was not approved"):
                paid.post("/chat", content=b"?")
        assert asked == [(MILLI, "token"), (400 * MILLI - MILLI - 1, None)]
        assert paid.authorized_units == (400 * MILLI if allowed else MILLI + 1)


@pytest.mark.parametrize("limit", ["budget", "max_per_day"])
def test_a_budget_is_used_to_its_end_by_a_stream_that_asks_for_more(
    bank: Bank, alice: dict[str, object], tmp_path: Path, limit: str
) -> None:
    """A window of 16 words does not fit into 5; five words come, and then the error that says why."""
    price = {"per": "event", "unit": "word", "window": 16}
    limits: dict[str, Any] = {limit: "0.005"}
    came: list[str] = []
    with (
        gated(bank, price, lambda _: WORDS) as (gate, _),
        paying(gate, alice, tmp_path, **limits) as paid,
        pytest.raises(PolicyRefused, match="budget"),
        paid.stream("POST", "/chat", content=b"?") as answer,
    ):
        came.extend(line for line in answer.iter_lines() if line)
    assert came == [f"data: word {number}" for number in range(5)]
    assert paid.authorized_units == 5 * MILLI


def test_a_budget_is_used_to_its_end_by_bytes_that_are_paid_ahead(
    bank: Bank, alice: dict[str, object], tmp_path: Path
) -> None:
    """To a window: a server that is out of whole ones waits for more than there is."""
    price = {"per": "byte", "block": 1_000, "window": 4}
    reply: Reply = (200, {"Content-Type": "application/octet-stream"}, b"x" * 100_000)
    came: list[int] = []
    with (
        gated(bank, price, lambda _: reply) as (gate, _),
        paying(gate, alice, tmp_path, budget="0.010") as paid,
        pytest.raises(PolicyRefused, match="budget"),
        paid.stream("POST", "/chat", content=b"?") as answer,
    ):
        came.extend(len(piece) for piece in answer.iter_raw())
    assert 6_000 <= sum(came) <= 10_000
    assert paid.authorized_units == 10 * MILLI
