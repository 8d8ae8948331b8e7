"""The meter of one answer: memory for units, one durable step for a window, and every unit spent once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinslot.drive import Cancelled, Flow, run, run_async
from coinslot.errors import ChannelFinalized, LeaseLost, StreamDry, UsageError
from coinslot.server.meter import Meter
from coinslot.server.price import Metering
from coinslot.store.sqlite import SqliteStore
from support.cancel import Counted, cancelled_at
from support.drained import drained
from support.sessiontill import COST, HEAD, Buyer, SessionTill
from support.till import SetAsyncWorld
from support.toybank import Bank

Wallet = dict[str, Any]
WINDOW = 4
DEPOSIT = 200 * COST


@pytest.fixture
def till(bank: Bank, alice: Wallet, tmp_path: Path) -> Iterator[SessionTill]:
    """A till on a file, with windows of four units."""
    store = SqliteStore(str(tmp_path / "payments.db"))
    made = SessionTill(bank, alice, store, metering=Metering("word", WINDOW, patience_s=5))
    yield made
    store.close()


def meter_of(till: SessionTill, buyer: Buyer, units: int) -> Meter:
    """The meter of a request whose voucher covers so many units more than what was spent."""
    admission = till.admitted(buyer.voucher(buyer.sums[1] + units * COST))
    assert admission.meter is not None
    return admission.meter


def charge(till: SessionTill, meter: Meter, units: int = 1) -> bool:
    """As handlers do."""
    return meter.take(units) or (run(meter.renew(units), till.world) and meter.take(units))


def drive(till: SessionTill, flow: Flow[Any]) -> None:
    """Run to the end, or to the cancellation; then wait for what the store was still asked."""

    async def driven() -> object:
        return await run_async(flow, SetAsyncWorld(till.world))

    try:
        asyncio.run(driven())
    except Cancelled:
        pass
    finally:
        for _ in range(3):
            drained(till.store)


@pytest.mark.guard("F08", "T25")
def test_units_are_counted_in_memory_and_recorded_by_windows(till: SessionTill) -> None:
    """What may be lost with this process is set aside at every moment: spent <= taken <= spent + window."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, 10)
    for n in range(1, 11):
        assert charge(till, meter)
        record = buyer.record
        assert record.spent <= n * COST <= record.spent + record.reserved
        assert record.reserved <= WINDOW * COST
        assert record.spent == (n - 1) // WINDOW * WINDOW * COST
    assert not charge(till, meter)
    receipt = run(meter.finish(), till.world)
    assert (receipt.extra["spent"], receipt.extra["units"]) == (str(10 * COST), 10)
    assert (buyer.record.spent, buyer.record.reserved) == (10 * COST, 0)


@pytest.mark.guard("T25")
def test_the_end_is_recorded_once_whatever_is_said_twice(till: SessionTill) -> None:
    """Finished, finished again, abandoned, forgotten: the first word counts; nothing is counted after it."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, 10)
    assert charge(till, meter, 3)
    first = run(meter.finish(), till.world)
    again = run(meter.finish(), till.world)
    meter.abandon()
    meter.forget()
    assert first.extra["spent"] == again.extra["spent"] == str(3 * COST)
    assert (buyer.record.spent, buyer.record.reserved) == (3 * COST, 0)
    with pytest.raises(UsageError):
        meter.take()
    with pytest.raises(UsageError):
        meter_of(till, buyer, 10).take(-1)


@pytest.mark.guard("T25")
@pytest.mark.parametrize(("how", "spent"), [("abandon", 2), ("forget", 0), ("finish", 2)])
def test_what_was_not_used_of_a_window_is_free_again(till: SessionTill, how: str, spent: int) -> None:
    """Abandoned after something was sent: what was taken; before: nothing."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, 10)
    assert meter.take(2)
    if how == "finish":
        run(meter.finish(), till.world)
    else:
        getattr(meter, how)()
    drained(till.store)
    assert (buyer.record.spent, buyer.record.reserved) == (spent * COST, 0)


@pytest.mark.guard("F29")
@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
@pytest.mark.parametrize("step", ["renew", "finish", "wait_for", "grow"])
def test_a_step_that_is_cancelled_spends_each_unit_once(till: SessionTill, step: str, late: bool) -> None:
    """Wherever it stands, what was taken is spent once when the stream is given up, and no window stays set aside."""
    for n in range(1, 10):
        buyer = till.buyer(DEPOSIT)
        meter = meter_of(till, buyer, WINDOW if step == "wait_for" else 10)
        taken = 0
        while meter.take():
            taken += 1
        if step == "wait_for":
            assert not charge(till, meter)
            till.answer(buyer.voucher(buyer.sums[1] + 10 * COST), HEAD)
        meter.begun = step != "grow"
        seen = Counted()
        flow = meter.renew() if step == "grow" else getattr(meter, step)()
        drive(till, cancelled_at(flow, n, late=late, seen=seen))
        if step == "grow" and seen.cancelled:
            meter.forget()
            taken = 0
        meter.abandon()
        drained(till.store)
        assert (buyer.record.spent, buyer.record.reserved) == (taken * COST, 0)
        if not seen.cancelled:
            break
    assert n > 1


@pytest.mark.guard("T25")
def test_while_nothing_was_sent_nothing_is_spent(till: SessionTill) -> None:
    """The window grows with what was taken; a dry channel keeps it, so that it may be sent, or forgotten, after all."""
    for how, spent in (("finish", 9), ("forget", 0)):
        buyer = till.buyer(DEPOSIT)
        meter = meter_of(till, buyer, 10)
        meter.begun = False
        for units in (3, 3, 3):
            assert charge(till, meter, units)
        assert (buyer.record.spent, buyer.record.reserved) == (0, 10 * COST)
        assert not charge(till, meter, 2)
        assert (buyer.record.spent, buyer.record.reserved) == (0, 9 * COST)
        assert meter.dry(2).required_top_up == COST
        if how == "finish":
            assert run(meter.finish(), till.world).extra["units"] == 9
        else:
            meter.forget()
            drained(till.store)
        assert (buyer.record.spent, buyer.record.reserved) == (spent * COST, 0)


@pytest.mark.guard("T25")
@pytest.mark.spec("TSES-173", "TSES-176", "TSES-177", "TSES-178", "TSES-179")
def test_a_dry_channel_says_what_the_next_voucher_must_say(till: SessionTill) -> None:
    """A window more; where the deposit ends before that, the units that are missing. Once it came, it goes on."""
    buyer = till.buyer(12 * COST)
    meter = meter_of(till, buyer, 5)
    assert charge(till, meter, 4)
    assert charge(till, meter)
    assert not charge(till, meter)
    told = meter.need()
    assert told == {
        "channelId": buyer.held.channel_id, "acceptedCumulative": str(5 * COST), "deposit": str(12 * COST),
        "requiredCumulative": str((5 + WINDOW) * COST),
    }  # fmt: skip
    dry = meter.dry()
    assert isinstance(dry, StreamDry)
    assert (dry.channel_id, dry.required_top_up) == (buyer.held.channel_id, COST)
    assert till.answer(buyer.voucher((5 + WINDOW) * COST), HEAD).status == 204
    assert run(meter.wait_for(), till.world)
    assert charge(till, meter, WINDOW)
    assert not charge(till, meter, 4)
    assert meter.need(4)["requiredCumulative"] == str(13 * COST)  # more than the deposit: top up first
    assert not charge(till, meter)
    assert meter.need()["requiredCumulative"] == str(10 * COST)


@pytest.mark.parametrize("begun_while_it_waits", [True, False])
def test_what_was_taken_before_the_first_byte_is_spent_after_a_wait(
    till: SessionTill, *, begun_while_it_waits: bool
) -> None:
    """A stream may run dry with its first units still unsent, and then send them and ask for more."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, 1)
    meter.begun = False
    assert charge(till, meter)
    assert not charge(till, meter)
    meter.begun = begun_while_it_waits
    assert till.answer(buyer.voucher(2 * WINDOW * COST), HEAD).status == 204
    assert run(meter.wait_for(), till.world)
    assert charge(till, meter)
    receipt = run(meter.finish(), till.world)
    assert (receipt.extra["spent"], receipt.extra["units"]) == (str(2 * COST), 2)
    assert (buyer.record.spent, buyer.record.reserved) == (2 * COST, 0)


def test_waiting_ends_with_patience_or_with_the_channel(till: SessionTill) -> None:
    """No voucher: False after that time by the clock. A channel that closes ends it at once."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, WINDOW)
    assert charge(till, meter, WINDOW)
    assert not charge(till, meter)
    began = till.world.at_s
    assert not run(meter.wait_for(), till.world)
    assert till.world.at_s - began == pytest.approx(5, abs=0.1)
    assert not run(meter.wait_for(1, 1.0), till.world)
    assert till.world.at_s - began == pytest.approx(6, abs=0.2)
    till.store.mark_closing(buyer.held.key, till.world.at_s).result()
    with pytest.raises(ChannelFinalized):
        run(meter.wait_for(), till.world)


@pytest.mark.guard("F08")
def test_a_window_that_somebody_else_billed_is_not_spent_again(till: SessionTill) -> None:
    """Its owner was taken for dead, and its window billed whole: the stream stops with LeaseLost."""
    buyer = till.buyer(DEPOSIT)
    meter = meter_of(till, buyer, 10)
    window = meter._window
    assert window is not None
    assert meter.take(2)
    till.store.commit(window, window.window_units, WINDOW).result()
    with pytest.raises(LeaseLost):
        run(meter.renew(), till.world)
    meter.abandon()
    drained(till.store)
    assert (buyer.record.spent, buyer.record.reserved) == (WINDOW * COST, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(charges=st.lists(st.integers(0, 9), max_size=12))
def test_the_sum_of_all_charges_is_what_is_spent(ready: Buyer, charges: list[int]) -> None:
    """For any sequence of charges: what was granted, and at least the minimum, is spent."""
    before = ready.sums[1]
    meter = meter_of(ready.till, ready, 40)
    granted = sum(units for units in charges if charge(ready.till, meter, units))
    receipt = run(meter.finish(), ready.till.world)
    assert granted <= 40
    assert receipt.extra["units"] == max(granted, 1)
    assert ready.sums[1] - before == max(granted, 1) * COST
    assert ready.record.reserved == 0


@pytest.fixture
def ready(bank: Bank, alice: Wallet) -> Buyer:
    """A client with a rich channel, on a memory store."""
    return SessionTill(bank, alice, metering=Metering("word", WINDOW)).buyer(4_000 * COST)
