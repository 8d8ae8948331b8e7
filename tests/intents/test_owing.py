"""Credit for deliveries: whatever is asked in whatever order, a channel owes no more than it is trusted with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.intents.owing import LIFE_S, MAX_OPEN, Declined, Owed, Paid, State, Wish, delivered, pay, set_aside
from coinslot.intents.session import Channel, Refused, Rules, Stage, Voucher

DEPOSIT, CREDIT = 1_000, 300
RULES = Rules(bits=64, ahead=False)
CHANNEL = Channel("net/c", "c", "net", "card", "payer", "payee", "signer", "net/coin", DEPOSIT, stage=Stage.OPEN)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), st.integers(1, 400), st.booleans()),
        st.tuples(st.just("come"), st.integers(0, 20), st.integers(0, 400)),
        st.tuples(st.just("pay"), st.integers(0, 20), st.integers(0, 400)),
        st.tuples(st.just("time"), st.integers(1, 700), st.none()),
    ),
    max_size=30,
)


@pytest.mark.guard("T22", "T26")
@given(STEPS)
def test_nothing_is_lent_beyond_credit_and_deposit(steps: list[tuple[str, int, int]]) -> None:
    """Wishes, streams that end, vouchers and time in any order: what is open, and what was spent, keep within both."""
    channel, known, at_s = CHANNEL, dict[str, Owed](), 0.0
    cost = {"spent": 0}
    for what, first, second in steps:
        known = {name: one for name, one in known.items() if not one.expired(at_s)}
        if what == "wish":
            made = set_aside(channel, list(known.values()), Wish("net/c", CREDIT, 1, first, begins=bool(second)), at_s)
            if isinstance(made, Owed):
                known[made.id] = made
        elif what == "time":
            at_s += first
        elif known:
            one = sorted(known.values(), key=lambda each: each.sequence)[first % len(known)]
            if what == "come" and one.state is State.BEGUN:
                known[one.id] = delivered(one, min(second, one.most_units), 1)
            if what == "pay":
                voucher = Voucher("c", min(channel.accepted + second, DEPOSIT), b"%d" % second)
                paid = pay(channel, one, voucher, RULES)
                if isinstance(paid, Paid) and not paid.replayed:
                    assert paid.owed.cost_units <= one.most_units
                    cost["spent"] += paid.owed.cost_units
                    channel, known[one.id] = paid.channel, paid.owed
        open_ones = [one for one in known.values() if one.state is not State.PAID and not one.expired(at_s)]
        held = sum(one.held_units for one in open_ones)
        assert held <= CREDIT
        assert held + channel.spent <= DEPOSIT
        assert len(open_ones) <= MAX_OPEN
        assert channel.spent == cost["spent"] <= channel.accepted


@pytest.mark.guard("T02")
def test_a_delivery_is_paid_by_one_voucher() -> None:
    """The same again is replayed, another one is not taken; neither spends anything."""
    made = set_aside(CHANNEL, [], Wish("net/c", CREDIT, 1, 100, begins=True), 0.0)
    assert isinstance(made, Owed)
    assert made.expires_at_s == LIFE_S
    voucher = Voucher("c", 70, b"signed")
    first = pay(CHANNEL, delivered(made, 70, 7), voucher, RULES)
    assert isinstance(first, Paid)
    again = pay(first.channel, first.owed, voucher, RULES)
    assert isinstance(again, Paid)
    assert (again.replayed, again.channel) == (True, first.channel)
    assert isinstance(pay(first.channel, first.owed, replace(voucher, raw=b"other"), RULES), Declined)
    assert isinstance(pay(first.channel, first.owed, Voucher("c", 80, b"signed"), RULES), Declined)


def test_a_voucher_that_does_not_cover_is_not_accepted_either() -> None:
    """Both happen, or nothing."""
    made = set_aside(CHANNEL, [], Wish("net/c", CREDIT, 1, 100, begins=True), 0.0)
    assert isinstance(made, Owed)
    short = pay(CHANNEL, delivered(made, 70, 7), Voucher("c", 60, b"signed"), RULES)
    assert isinstance(short, Refused)
    assert (short.channel, short.missing_units) == (CHANNEL, 10)
