"""The arithmetic of a channel, without a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinslot import errors
from coinslot.errors import LedgerError, UsageError
from coinslot.intents import session
from coinslot.intents.session import (
    TRANSITIONS,
    Capture,
    Channel,
    Close,
    Refused,
    Repeat,
    Rules,
    Spent,
    Stage,
    Stale,
    Why,
)  # fmt: skip
from coinslot.intents.session_problems import problem_of
from support.channel_cases import RULES, channel, raw, voucher
from support.store_cases import challenge


def at(
    *, deposit: int = 100, accepted: int = 0, spent: int = 0, settled: int = 0, reserved: int = 0,
    stage: Stage = Stage.OPEN,
) -> Channel:  # fmt: skip
    """A channel somewhere in its life."""
    return replace(
        channel("c", deposit), accepted=accepted, spent=spent, settled=settled, reserved=reserved, stage=stage,
        voucher=raw(accepted) if accepted else b"",
    )  # fmt: skip


# --- stages --------------------------------------------------------------------------------------

MOVES: dict[str, Callable[[Channel], Channel | Refused]] = {
    "opened": lambda old: session.opened(old, 100, 0, RULES),
    "top up": lambda old: session.top_up(old, 120, RULES),
    "request close": lambda old: session.request_close(old, 7.0),
    "closed": lambda old: session.closed(old, 0),
}
# Stage before and move: the stage after, or why not.
TABLE = {
    (Stage.OPENING, "opened"): Stage.OPEN,
    (Stage.OPENING, "top up"): Why.OPENING,
    (Stage.OPENING, "request close"): Why.OPENING,
    (Stage.OPENING, "closed"): Stage.CLOSED,
    (Stage.OPEN, "opened"): Stage.OPEN,
    (Stage.OPEN, "top up"): Stage.OPEN,
    (Stage.OPEN, "request close"): Stage.CLOSING,
    (Stage.OPEN, "closed"): Stage.CLOSED,
    (Stage.CLOSING, "opened"): Stage.CLOSING,
    (Stage.CLOSING, "top up"): Stage.OPEN,
    (Stage.CLOSING, "request close"): Stage.CLOSING,
    (Stage.CLOSING, "closed"): Stage.CLOSED,
    (Stage.CLOSED, "opened"): Why.CLOSED,
    (Stage.CLOSED, "top up"): Why.CLOSED,
    (Stage.CLOSED, "request close"): Why.CLOSED,
    (Stage.CLOSED, "closed"): Stage.CLOSED,
}


@pytest.mark.parametrize(("before", "move"), TABLE)
def test_each_move_from_each_stage(before: Stage, move: str) -> None:
    """Every pair is either a stage or a named refusal."""
    after = MOVES[move](at(stage=before))
    assert (after.why if isinstance(after, Refused) else after.stage) == TABLE[before, move]


@pytest.mark.parametrize(("before", "after"), list(product(Stage, Stage)))
def test_a_step_that_the_table_does_not_list_is_refused(before: Stage, after: Stage) -> None:
    """There is one place where stages change, and it asks the table."""
    if before == after or after in TRANSITIONS[before]:
        assert session._step(at(stage=before), stage=after).stage is after
        return
    with pytest.raises(LedgerError):
        session._step(at(stage=before), stage=after)


def test_a_top_up_does_not_reopen_where_the_method_says_so() -> None:
    """Closing stays closing, and the deposit what it was."""
    old = at(stage=Stage.CLOSING)
    assert session.top_up(old, 200, replace(RULES, top_up_reopens=False)) == Refused(Why.CLOSING, old)


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-122")
@pytest.mark.parametrize("stage", [Stage.OPENING, Stage.CLOSING, Stage.CLOSED])
@pytest.mark.parametrize("amount", [None, 50])
def test_only_an_open_channel_sells(stage: Stage, amount: int | None) -> None:
    """No voucher, no cost and no window is taken before it is open or once closing was asked for."""
    old = at(stage=stage, accepted=20)
    refused = session.purchase(old, voucher("c", amount) if amount else None, 5, RULES)
    assert isinstance(refused, Refused)
    assert refused.channel == old
    assert isinstance(session.reserve(old, 1, 5), Refused)


def test_the_first_request_to_close_counts() -> None:
    """A later look at the chain doesn't move the time on which everything depends."""
    first = session.request_close(at(), 7.0)
    assert isinstance(first, Channel)
    assert session.request_close(first, 9.0) == first
    assert first.closing_at_s == 7.0


# --- vouchers ------------------------------------------------------------------------------------


@pytest.mark.spec("TSES-124", "TSES-127", "TSES-129")
def test_a_higher_voucher_is_accepted_and_spent_from() -> None:
    """Total, cost and the voucher itself, as it was signed."""
    bought = session.purchase(at(accepted=20, spent=15), voucher("c", 50), 10, RULES, 3)
    assert isinstance(bought, Spent)
    new = bought.channel
    assert (new.accepted, new.spent, new.units, new.voucher, new.available) == (50, 25, 3, raw(50), 25)


@pytest.mark.guard("T02")
@pytest.mark.spec("TSES-125", "TSES-134", "TSES-135")
@pytest.mark.parametrize("amount", [19, 20])
@pytest.mark.parametrize("repeat", list(Repeat))
def test_a_voucher_that_is_not_higher_buys_nothing(amount: int, repeat: Repeat) -> None:
    """Not even from what is available; whether that is an error is the method's rule."""
    old = at(accepted=20)
    rules = replace(RULES, equal=repeat, lower=repeat)
    answered = session.purchase(old, voucher("c", amount), 5, rules)
    if repeat is Repeat.IGNORE:
        assert answered == Stale(old, equal=amount == 20)
    else:
        assert answered == Refused(Why.EQUAL if amount == 20 else Why.LOWER, old)


@pytest.mark.spec("TSES-126")
def test_a_step_below_the_least_is_refused() -> None:
    """One unit less than the least step changes nothing; the least step does."""
    rules = replace(RULES, min_delta_units=10)
    old = at(accepted=20)
    assert session.purchase(old, voucher("c", 29), 1, rules) == Refused(Why.DELTA, old)
    assert isinstance(session.purchase(old, voucher("c", 30), 1, rules), Spent)


@pytest.mark.spec("TSES-127")
def test_a_voucher_above_the_deposit_is_refused() -> None:
    """The deposit itself may be signed away, and not a unit more."""
    assert session.purchase(at(), voucher("c", 101), 1, RULES) == Refused(Why.DEPOSIT, at())
    assert isinstance(session.purchase(at(), voucher("c", 100), 1, RULES), Spent)


@pytest.mark.guard("T22")
@pytest.mark.spec("TSES-149", "TSES-151")
def test_what_is_missing_is_told_and_a_good_voucher_kept() -> None:
    """A voucher that doesn't cover the cost is accepted; nothing is taken; windows that run now are not spent twice."""
    refused = session.purchase(at(accepted=20, spent=12, reserved=5), voucher("c", 30), 20, RULES)
    assert isinstance(refused, Refused)
    assert (refused.why, refused.missing_units) == (Why.BALANCE, 7)
    assert refused.channel == replace(at(accepted=30, spent=12, reserved=5))
    assert session.spend(at(accepted=20, spent=12, reserved=5), 4) == Refused(
        Why.BALANCE, at(accepted=20, spent=12, reserved=5), 1
    )


def test_a_voucher_of_another_channel_is_a_fault() -> None:
    """Whoever looked the channel up took the wrong one."""
    with pytest.raises(UsageError):
        session.purchase(at(), voucher("d", 30), 1, RULES)


@pytest.mark.guard("T20")
@pytest.mark.spec("TSES-018")
@pytest.mark.parametrize("units", [-1, 2**96, True, 1.0, "1", None])
def test_amounts_fit_the_chain_s_integer(units: object) -> None:
    """Nothing negative, wider than the chain's integer, or of another type."""
    with pytest.raises(UsageError):
        session.check_units(units, 96)
    with pytest.raises(UsageError):
        session.purchase(at(deposit=2**100), replace(voucher("c", 1), amount_units=units), 1, RULES)  # type: ignore[arg-type]
    assert session.check_units(2**96 - 1, 96) == 2**96 - 1


@given(
    accepted=st.integers(0, 20), spent=st.integers(0, 20), reserved=st.integers(0, 20), deposit=st.integers(0, 20),
    amount=st.integers(0, 25), cost=st.integers(0, 25), delta=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=200)
def test_a_purchase_is_accepting_and_then_spending(
    accepted: int, spent: int, reserved: int, deposit: int, amount: int, cost: int, delta: int
) -> None:
    """The one step gives what the two give, one after the other."""
    spent, reserved = min(spent, accepted), min(reserved, max(0, accepted - spent))
    old = at(deposit=max(deposit, accepted), accepted=accepted, spent=spent, reserved=reserved)
    rules = replace(RULES, min_delta_units=delta)
    at_once = session.purchase(old, voucher("c", amount), cost, rules)
    first = session.accept(old, voucher("c", amount), rules)
    assert at_once == (session.spend(first, cost) if isinstance(first, Channel) else first)


# --- what always holds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"spent": 21}, {"spent": 10, "reserved": 11}, {"reserved": -1}, {"accepted": 101}, {"settled": 21},
        {"spent": 4}, {"settled": 2}, {"accepted": 19}, {"deposit": 99}, {"units": -1},
    ],
)  # fmt: skip
def test_amounts_that_contradict_each_other_are_not_recorded(broken: dict[str, int]) -> None:
    """One place holds the inequalities and lets nothing shrink."""
    with pytest.raises(LedgerError):
        session._step(at(accepted=20, spent=5, settled=3), **broken)


def test_a_settlement_beyond_every_voucher_known_here_is_not_recorded() -> None:
    """Then this record is older than the chain: a restored backup, to be looked at by a person."""
    with pytest.raises(LedgerError):
        session.note_settled(at(accepted=20), 21)
    assert session.note_settled(at(accepted=20, settled=15), 12).settled == 15


@pytest.mark.parametrize(
    "odd",
    [{"spent": 1}, {"stage": Stage.CLOSING}, {"key": "net:1/C"}, {"deposit": -1}, {"deposit": 2**96}, {"units": 1}],
)
def test_a_channel_begins_at_its_beginning(odd: dict[str, object]) -> None:
    """Unspent, under a lower-case key, within the chain's integer."""
    with pytest.raises((UsageError, LedgerError)):
        session.begin(replace(channel("c"), **odd), RULES)  # type: ignore[arg-type]
    assert session.begin(channel("c"), RULES) == channel("c")


# --- windows -------------------------------------------------------------------------------------


def test_a_window_is_what_is_free_up_to_what_is_asked() -> None:
    """Less than the least is refused and says what is missing."""
    old = at(accepted=20, spent=5)
    assert session.reserve(old, 1, 10) == replace(old, reserved=10)
    assert session.reserve(old, 1, 99) == replace(old, reserved=15)
    assert session.reserve(old, 16, 99) == Refused(Why.BALANCE, old, 1)
    with pytest.raises(UsageError):
        session.reserve(old, 0, 5)
    with pytest.raises(UsageError):
        session.reserve(old, 6, 5)


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.CLOSING, Stage.CLOSED])
def test_what_was_delivered_counts_in_every_stage(stage: Stage) -> None:
    """A window that began before closing was asked for is billed for what was used, and no more."""
    old = at(accepted=20, spent=5, reserved=10, stage=stage)
    new = session.commit(old, 10, 7, 3)
    assert (new.spent, new.reserved, new.units) == (12, 0, 3)
    with pytest.raises(UsageError):
        session.commit(old, 10, 11)


# --- closing -------------------------------------------------------------------------------------

V2 = RULES
V1 = replace(RULES, capture=Capture.VOUCHER)


@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-186", "TSES-187", "TSES-188")
@pytest.mark.parametrize(
    ("spent", "settled", "capture"), [(0, 0, 0), (0, 30, 30), (29, 30, 30), (30, 30, 30), (31, 30, 31), (60, 0, 60)]
)
def test_closing_takes_what_was_spent_or_settled(spent: int, settled: int, capture: int) -> None:
    """Under the highest voucher, at the boundaries, and also where nothing was spent."""
    old = at(accepted=60, spent=spent, settled=settled)
    assert session.close(old, None, V2) == Close(60, raw(60), capture)


@pytest.mark.guard("T23")
@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        (39, Why.BALANCE),
        (40, Close(60, raw(60), 40)),
        (60, Close(60, raw(60), 40)),
        (61, Close(61, raw(61), 40)),
        (100, Close(100, raw(100), 40)),
        (101, Why.DEPOSIT),
    ],
)
def test_the_voucher_to_close_with_covers_what_is_owed(offered: int, answered: Close | Why) -> None:
    """Between what is owed and the deposit; what is taken stays what was spent."""
    closing = session.close(at(accepted=60, spent=40, settled=10), voucher("c", offered), V2)
    assert (closing.why if isinstance(closing, Refused) else closing) == answered


@pytest.mark.guard("T23")
@pytest.mark.parametrize(("offered", "units"), [(None, 60), (40, 40), (41, 41), (60, 60), (90, 60)])
def test_where_closing_takes_all_that_a_voucher_says_the_lowest_is_shown(offered: int | None, units: int) -> None:
    """A voucher of exactly what is owed takes just that; without one the accepted one takes more."""
    how = session.close(at(accepted=60, spent=40), voucher("c", offered) if offered else None, V1)
    assert how == Close(units, raw(units), units)


def test_a_channel_with_a_running_stream_is_not_closed() -> None:
    """What it delivers isn't known yet."""
    old = at(accepted=60, reserved=1)
    assert session.close(old, None, V2) == Refused(Why.RESERVED, old)


def test_a_settlement_takes_the_highest_voucher() -> None:
    """Unless there is none, or the chain paid it out already."""
    assert session.settlement(at(accepted=60, settled=59), V2) == Close(60, raw(60), 60)
    assert session.settlement(at(accepted=60, settled=60), V2) is None
    assert session.settlement(at(), V2) is None


# --- the payee's pen -----------------------------------------------------------------------------


def written(record: Channel, units: int) -> bytes:
    """What a payee signs for its own channels."""
    return b"%s says %d" % (record.id.encode(), units)


PEN = replace(RULES, capture=Capture.VOUCHER, pen=written)
NOT_MINE = replace(PEN, pen=lambda record, units: None)


def test_where_the_payee_signs_the_whole_deposit_may_be_spent() -> None:
    """From the moment the chain shows it, and after each top-up."""
    old = session.opened(at(stage=Stage.OPENING), 100, 0, PEN)
    assert isinstance(old, Channel)
    assert (old.accepted, old.free) == (100, 100)
    more = session.top_up(old, 150, PEN)
    assert isinstance(more, Channel)
    assert more.accepted == 150
    theirs = session.opened(at(stage=Stage.OPENING), 100, 0, NOT_MINE)
    assert isinstance(theirs, Channel)
    assert theirs.accepted == 0
    kept = session.top_up(theirs, 150, NOT_MINE)
    assert isinstance(kept, Channel)
    assert kept.accepted == 0


@pytest.mark.spec("SSES-187")
@given(costs=st.lists(st.integers(0, 40), max_size=6), window=st.integers(1, 30), used=st.integers(0, 30))
def test_the_payee_signs_exactly_what_is_spent(costs: list[int], window: int, used: int) -> None:
    """In the step that spends it, windows included; what is set aside and not used is never signed for."""
    now = at(accepted=100)
    for cost in costs:
        bought = session.purchase(now, None, cost, PEN, 1)
        if isinstance(bought, Spent):
            assert bought.channel.voucher == written(now, now.spent + cost)
            now = bought.channel
        else:
            assert isinstance(bought, Refused)
            assert bought.why is Why.BALANCE
    held = session.reserve(now, 1, window)
    if isinstance(held, Channel):
        assert held.voucher == now.voucher
        took = min(used, held.reserved)
        after = session.commit(held, held.reserved, took, 1, PEN)
        assert after.voucher == written(now, now.spent + took)


def test_what_the_payee_closes_or_settles_with_says_what_was_spent() -> None:
    """Never the deposit; nothing where the chain has paid it out; at least what it has paid out."""
    old = at(accepted=100, spent=40, settled=10)
    assert session.close(old, None, PEN) == Close(40, written(old, 40), 40)
    assert session.settlement(old, PEN) == Close(40, written(old, 40), 40)
    paid = at(accepted=100, spent=40, settled=40)
    assert session.settlement(paid, PEN) is None
    assert session.close(paid, None, PEN) == Close(40, written(paid, 40), 40)
    assert session.close(at(accepted=100), None, PEN) == Close(0, written(old, 0), 0)
    assert session.close(old, None, NOT_MINE) == Close(100, raw(100), 100)


@pytest.mark.parametrize(("price", "most"), [(1, 65), (10, 74), (64, 128), (1_000, 2_000)])
def test_a_voucher_may_not_run_ahead_where_closing_takes_it(price: int, most: int) -> None:
    """More than one more price (or 64 base units, of small ones) above this one is refused, and nothing changes."""
    strict, old = replace(RULES, ahead=False), at(deposit=10_000)
    assert isinstance(session.purchase(old, voucher("c", most), price, strict), Spent)
    assert session.purchase(old, voucher("c", most + 1), price, strict) == Refused(Why.AHEAD, old)
    assert isinstance(session.purchase(old, voucher("c", most + 1), price, RULES), Spent)


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", list(Why))
def test_every_refusal_has_a_problem(why: Why) -> None:
    """The channel is named where there is one, and what is missing where that is why."""
    problem = problem_of(Refused(why, at(), 7))
    assert problem.status in {402, 409, 410, 422}
    if isinstance(problem, errors.SessionProblem):
        assert problem.members()["channelId"] == "c"
    assert (problem.members().get("requiredTopUp") == "7") == (why is Why.BALANCE)
    assert problem_of(Refused(Why.NOT_FOUND, None)).status == 410


@pytest.mark.guard("T06")
def test_acts_under_one_challenge_are_claimed_apart() -> None:
    """Two acts may echo one challenge; the same act twice has one name."""
    assert session.under(challenge("a"), "p").id == session.under(challenge("a"), "p").id
    assert len({session.under(challenge("a"), proof).id for proof in "pq"} | {challenge("a").id}) == 3


def test_nothing_of_a_voucher_is_in_a_repr() -> None:
    """A signature in a log could be presented."""
    assert "signature" not in repr((voucher("c", 5), at(accepted=5), Close(5, raw(5), 5)))
    assert Rules().bits == 128
