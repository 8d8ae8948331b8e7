"""What every store promises about deliveries: streams that come before they are paid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coinslot.errors import UsageError
from coinslot.intents.owing import KEPT_PAID, LIFE_S, MAX_OPEN, Declined, Not, Owed, Paid, State, Wish
from coinslot.intents.session import Refused, Why
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.sql import SqlStore
from coinslot.store.sqlite import SqliteStore
from support.channel_cases import DEPOSIT, RULES, found, opened, order, raw, voucher
from support.lapse import owner_of

KEY = "net:1/c"
CREDIT = 300
THREADS = 16


def wish(most: int = 100, least: int = 1, name: str | None = None, *, begins: bool = False) -> Wish:
    """Room on the channel c, which has credit for 300."""
    return Wish(KEY, CREDIT, least, most, name, begins)


def owed(store: SessionStore, most: int = 100, *, begins: bool = True) -> Owed:
    """A delivery that there is room for."""
    made = store.set_aside(wish(most, begins=begins)).result()
    assert isinstance(made, Owed)
    return made


def due(store: SessionStore, cost: int, most: int = 100) -> Owed:
    """A delivery that came, and costs so much."""
    made = owed(store, most)
    store.owe(made, cost, cost // 10).result()
    return made


@pytest.mark.guard("T02")
def test_a_delivery_is_paid_in_one_step(store: SessionStore) -> None:
    """Its voucher is accepted, what is due is spent, its units are counted; asked again it is replayed."""
    opened(store)
    made = due(store, 70)
    assert (made.id, made.sequence, made.most_units) == ("c:1", 1, 100)
    paid = store.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result()
    assert isinstance(paid, Paid)
    assert (paid.replayed, paid.owed.cost_units, paid.owed.total_units) == (False, 70, 70)
    record = found(store)
    assert (record.accepted, record.spent, record.reserved, record.units) == (70, 70, 0, 7)
    assert (record.voucher, paid.channel.spent) == (raw(70), 70)
    again = store.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result()
    assert isinstance(again, Paid)
    assert (again.replayed, again.owed) == (True, paid.owed)
    assert found(store) == record


@pytest.mark.guard("T02")
def test_of_many_commits_one_pays(store: SessionStore) -> None:
    """Sixteen at once: one is new, the others are replayed, and it is spent once."""
    opened(store)
    made = due(store, 70)
    start = threading.Barrier(THREADS)

    def commit(_: int) -> object:
        start.wait()
        return store.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result()

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(commit, range(THREADS)))
    assert sum(isinstance(one, Paid) and not one.replayed for one in answers) == 1
    assert sum(isinstance(one, Paid) and one.replayed for one in answers) == THREADS - 1
    assert found(store).spent == 70


@pytest.mark.guard("T22")
def test_a_voucher_that_does_not_fit_changes_nothing(store: SessionStore) -> None:
    """Another one for what is paid, one that adds more than was reserved, less than is due, or nothing at all."""
    opened(store)
    made = due(store, 70)
    for amount, why in ((101, Not.OVER),):
        assert store.pay_delivery(KEY, made.id, voucher("c", amount), RULES).result() == Declined(why)
    short = store.pay_delivery(KEY, made.id, voucher("c", 69), RULES).result()
    assert isinstance(short, Refused)
    assert (short.why, short.missing_units) == (Why.BALANCE, 1)
    assert (found(store).accepted, found(store).spent) == (0, 0)
    assert isinstance(store.pay_delivery(KEY, made.id, voucher("c", 75), RULES).result(), Paid)
    assert (found(store).accepted, found(store).spent) == (75, 70)
    assert store.pay_delivery(KEY, made.id, voucher("c", 80), RULES).result() == Declined(Not.OTHERWISE)
    second = due(store, 5)
    low = store.pay_delivery(KEY, second.id, voucher("c", 75), RULES).result()
    assert isinstance(low, Refused)
    assert (low.why, found(store).spent) == (Why.EQUAL, 70)


def test_what_streams_is_not_paid_yet_and_what_is_unknown_never(store: SessionStore) -> None:
    """Its price is known at its end; another channel's delivery is none of this one."""
    opened(store)
    opened(store, "d")
    made = owed(store)
    assert store.pay_delivery(KEY, made.id, voucher("c", 50), RULES).result() == Declined(Not.RUNNING)
    assert store.pay_delivery("net:1/d", made.id, voucher("d", 50), RULES).result() == Declined(Not.UNKNOWN)
    assert isinstance(store.pay_delivery("net:1/e", made.id, voucher("e", 50), RULES).result(), Refused)


@pytest.mark.guard("T26")
def test_what_is_open_keeps_within_the_credit(store: SessionStore) -> None:
    """Three of a hundred fit into three hundred; what was delivered counts until it is paid, what was not is free."""
    opened(store)
    made = [owed(store) for _ in range(3)]
    assert store.set_aside(wish()).result() == Declined(Not.CREDIT)
    store.owe(made[0], 100, 10).result()
    store.owe(made[1], 40, 4).result()
    store.drop_delivery(made[2]).result()
    assert owed(store, 500).most_units == 160
    assert store.set_aside(wish()).result() == Declined(Not.CREDIT)
    assert isinstance(store.pay_delivery(KEY, made[0].id, voucher("c", 100), RULES).result(), Paid)
    assert owed(store, 500).most_units == 100


@pytest.mark.guard("T26")
def test_a_flood_of_reservations_ends_at_the_sixteenth(store: SessionStore) -> None:
    """However little each asks for, also where many ask at once."""
    opened(store)
    start = threading.Barrier(2 * MAX_OPEN)

    def reserve(_: int) -> object:
        start.wait()
        return store.set_aside(wish(1)).result()

    with ThreadPoolExecutor(2 * MAX_OPEN) as threads:
        answers = list(threads.map(reserve, range(2 * MAX_OPEN)))
    made = [one for one in answers if isinstance(one, Owed)]
    assert sorted(one.sequence for one in made) == list(range(1, MAX_OPEN + 1))
    assert [one for one in answers if not isinstance(one, Owed)] == [Declined(Not.CREDIT)] * MAX_OPEN


@pytest.mark.guard("T22")
def test_what_is_open_keeps_within_the_deposit(store: SessionStore) -> None:
    """What is spent and what is set aside for others is not there to be owed."""
    opened(store, deposit=150)
    store.accept_and_spend(order("c", 60, 60)).result()
    assert owed(store, 50).most_units == 50
    assert owed(store, 100).most_units == 40
    none = store.set_aside(wish(least=10)).result()
    assert isinstance(none, Refused)
    assert (none.why, none.missing_units) == (Why.BALANCE, 10)


def test_a_stream_takes_up_what_its_payer_reserved(store: SessionStore) -> None:
    """The oldest that is large enough; names are used once."""
    opened(store)
    small = store.set_aside(wish(5, name="small")).result()
    mine = store.set_aside(wish(50, name="mine")).result()
    assert isinstance(small, Owed)
    assert isinstance(mine, Owed)
    assert store.set_aside(wish(50, name="mine")).result() == Declined(Not.TAKEN)
    begun = store.set_aside(wish(100, 10, begins=True)).result()
    assert isinstance(begun, Owed)
    assert (begun.id, begun.most_units, begun.state) == ("mine", 50, State.BEGUN)
    assert isinstance(store.pay_delivery(KEY, "small", voucher("c", 5), RULES).result(), Paid)
    assert found(store).spent == 5


@pytest.mark.guard("T24")
def test_nothing_is_owed_twice_or_above_what_was_reserved(store: SessionStore) -> None:
    """A second word on what came changes nothing; a delivery that costs nothing is forgotten."""
    opened(store)
    made = due(store, 70)
    store.owe(made, 90, 9).result()
    assert isinstance(store.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result(), Paid)
    store.owe(made, 90, 9).result()
    store.drop_delivery(made).result()
    assert found(store).spent == 70
    with pytest.raises(UsageError):
        store.owe(made, 101, 1).result()
    free = owed(store)
    store.owe(free, 0, 0).result()
    assert store.pay_delivery(KEY, free.id, voucher("c", 80), RULES).result() == Declined(Not.UNKNOWN)


@pytest.mark.guard("T27")
def test_a_closing_channel_is_given_nothing(store: SessionStore) -> None:
    """Neither room, nor does a voucher pay any more."""
    opened(store)
    made = due(store, 70)
    store.mark_closing(KEY, 5.0).result()
    for answer in (store.set_aside(wish()), store.pay_delivery(KEY, made.id, voucher("c", 70), RULES)):
        refused = answer.result()
        assert isinstance(refused, Refused)
        assert refused.why is Why.CLOSING
    assert found(store).spent == 0


def test_the_last_paid_ones_are_remembered(store: SessionStore) -> None:
    """So many that a client may ask again, and no more. F28"""
    opened(store)
    made = []
    for total in range(1, KEPT_PAID + 4):
        made.append(due(store, 1))
        assert isinstance(store.pay_delivery(KEY, made[-1].id, voucher("c", total), RULES).result(), Paid)
    owed(store)
    assert store.pay_delivery(KEY, made[0].id, voucher("c", 1), RULES).result() == Declined(Not.UNKNOWN)
    again = store.pay_delivery(KEY, made[-1].id, voucher("c", KEPT_PAID + 3), RULES).result()
    assert isinstance(again, Paid)
    assert (again.replayed, found(store).spent) == (True, KEPT_PAID + 3)


# --- time ----------------------------------------------------------------------------------------


class Clock:
    """Seconds since 1970, moved by hand."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture(params=["memory", "sqlite"])
def timed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SessionStore, Clock]]:
    """A store, and its clock."""
    clock = Clock()
    made: dict[str, Callable[[], SessionStore]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SqliteStore(str(tmp_path / "x.db"), clock=clock),
    }
    store = made[request.param]()
    yield store, clock
    store.close()


def beat(store: SessionStore) -> None:
    """Whoever lives beats on, by the clock of now."""
    if isinstance(store, SqlStore):
        store._write_beat(owner_of(store)).result()


@pytest.mark.guard("T26")
@pytest.mark.parametrize("swept", [False, True])
def test_what_nothing_became_of_comes_back(timed: tuple[SessionStore, Clock], swept: bool) -> None:
    """After ten minutes: when the channel asks again, or when the settler sweeps. What came is owed for ever."""
    store, clock = timed
    opened(store)
    streamed = owed(store, 50)
    came, reserved = due(store, 70), owed(store, begins=False)
    assert store.expire_deliveries(10).result() == 0
    clock.ahead_s = LIFE_S + 1
    beat(store)
    if swept:
        assert store.expire_deliveries(10).result() == 1
    assert store.pay_delivery(KEY, reserved.id, voucher("c", 10), RULES).result() == Declined(Not.UNKNOWN)
    assert owed(store, 500).most_units == CREDIT - 70 - 50
    assert isinstance(store.pay_delivery(KEY, came.id, voucher("c", 70), RULES).result(), Paid)
    store.owe(streamed, 30, 3).result()  # a long stream is owed all the same
    late = store.pay_delivery(KEY, streamed.id, voucher("c", 100), RULES).result()
    assert isinstance(late, Paid)
    assert found(store).spent == 100


def test_a_second_handle_sees_what_is_owed(tmp_path: Path) -> None:
    """Deliveries are on disk: another process takes the commit, and sells no more than the credit."""
    first, second = SqliteStore(str(tmp_path / "x.db")), SqliteStore(str(tmp_path / "x.db"))
    try:
        opened(first, deposit=DEPOSIT)
        made = due(first, 70)
        assert owed(second, 500).most_units == CREDIT - 70
        paid = second.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result()
        assert isinstance(paid, Paid)
        again = first.pay_delivery(KEY, made.id, voucher("c", 70), RULES).result()
        assert isinstance(again, Paid)
        assert (again.replayed, again.owed) == (True, paid.owed)
    finally:
        second.close()
        first.close()
