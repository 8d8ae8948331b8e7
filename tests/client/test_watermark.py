"""The arithmetic of signed totals: never more than the price of what was asked for, however the server talks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.client.watermark import Agreed, Purchase, Streams
from coinslot.errors import PolicyRefused
from coinslot.intents.acts import Held, Standing
from coinslot.store.book import Draw, Word
from coinslot.store.book_memory import MemoryBook

UNITS = st.integers(0, 2**96)
PRICE = st.integers(1, 10**9)


def held(signed: int, acknowledged: int, spent: int) -> Held:
    """A channel with room for anything."""
    return Held("k", "k", "n", "toy", "a", "b", "n/c", "s", 2**128, signed, acknowledged, spent, standing=Standing.OPEN)


@st.composite
def channels(draw: st.DrawFn) -> Held:
    """Any channel as a book may have it."""
    signed = draw(UNITS)
    return held(signed, draw(st.integers(0, signed)), draw(st.integers(0, signed)))


@pytest.mark.guard("T24")
@given(channels(), PRICE)
def test_a_request_never_signs_more_than_its_price(channel: Held, price: int) -> None:
    """Whatever was acknowledged or spent: the first total rises, and the last is what was signed and the price."""
    purchase = Purchase.on(channel, price)
    assert channel.signed_units < purchase.first_units <= purchase.most_units <= channel.signed_units + price
    if purchase.opened:
        assert purchase.most_units == max(price, channel.signed_units + 1)
    assert purchase.next_units(purchase.most_units) is None
    assert purchase.next_units(purchase.first_units) in (None, purchase.most_units)


@pytest.mark.guard("T24")
@given(
    st.integers(1, 10**6),
    UNITS,
    UNITS,
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["begin", "end", "receive", "ask"]), UNITS), max_size=30),
)
def test_streams_never_sign_more_than_what_came_and_a_window_each(
    ahead: int, basis: int, deposit: int, steps: list[tuple[int, str, int]]
) -> None:
    """Whatever they ask for and whenever: each answer is within what all received and a window for each."""
    streams = Streams(basis, basis)
    running: set[int] = set()
    received = 0
    for stream, step, units in steps:
        if step == "begin" and stream not in running:
            streams.begin(stream, ahead)
            running.add(stream)
        elif step == "end":
            streams.end(stream)
            running.discard(stream)
        elif step == "receive" and stream in running:
            streams.receive(stream, units)
            received += units
        most = basis + received + ahead * len(running)
        assert streams.flowing().most_units == most
        try:
            total = streams.flowing().answer(units, deposit)
        except PolicyRefused:
            assert units > most
        else:
            assert units <= total <= most


@pytest.mark.guard("T24")
@given(st.lists(st.tuples(st.booleans(), UNITS, UNITS, UNITS), max_size=15))
def test_nothing_a_server_says_raises_what_we_signed(words: list[tuple[bool, int, int, int]]) -> None:
    """Receipts and snapshots move the server's columns only, and those up to what was signed; totals never go down."""
    book = MemoryBook()
    book.begin(replace(held(0, 0, 0), deposit_units=2**96)).result()
    made = 0
    for buys, accepted, spent, settled in words:
        before = book.get("k").result()
        assert before is not None
        if buys:
            total = Purchase.on(before, 7).first_units
            after = book.sign("k", total, b"v", Draw("o", "n/c", total - before.signed_units, 0.0)).result()
            made += 1
        else:
            after = book.note("k", Word(accepted, spent, settled)).result()
            assert after.signed_units == before.signed_units
        assert 0 <= max(after.spent_units, after.acknowledged_units, after.settled_units) <= after.signed_units
        assert after.signed_units <= 7 * made
        assert after.spent_units >= before.spent_units


def test_what_a_lost_request_left_unused_is_used_up_first() -> None:
    """Signed 20, of which the server has seen 10 and taken 10: the next total is one more than 20, and at most 30."""
    purchase = Purchase.on(held(20, 10, 10), 10)
    assert (purchase.first_units, purchase.next_units(21), purchase.most_units) == (21, 30, 30)


@pytest.mark.guard("T24")
@given(channels(), PRICE, st.integers(1, 500), UNITS)
def test_a_metered_request_signs_what_is_missing_up_to_what_may_be_set_aside(
    channel: Held, price: int, units: int, missing: int
) -> None:
    """Where the server says that more must be covered first; beyond that it counts for nothing."""
    purchase = Purchase.on(channel, price, price * units)
    first = purchase.first_units
    total = purchase.next_units(first, missing)
    above = purchase.basis_units if purchase.opened else channel.signed_units
    if purchase.most_units < first + missing <= above + price * units:
        assert total == first + missing
    else:
        assert total == purchase.next_units(first)


def test_a_server_that_never_tells_gets_the_price_each_time() -> None:
    """Without a word there is nothing to use up."""
    assert Purchase.on(held(20, 0, 0), 10).first_units == 30


@pytest.mark.guard("T24")
@given(st.tuples(*[st.integers(0, 10**9)] * 6), st.booleans())
def test_a_stream_that_comes_again_may_ask_for_what_it_could_before(
    sums: tuple[int, int, int, int, int, int], beside: bool
) -> None:
    """Whatever it had asked for, received and committed: of the total only what others signed for is added."""
    before, bought, asked, received, committed, others = sums
    agreed = Agreed(before, bought, asked, received, committed)
    signed = before + bought + asked + committed + others
    assert before <= agreed.start_units(signed) <= before + others
    if beside:
        streams = Streams(signed, signed)
        streams.again(agreed)
        assert streams.basis_units <= before + others
        assert streams.asked_units == asked
