"""Several processes on one channel: they race, they are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coinslot.intents.session import Refused, Spent, Stage, Voucher
from coinslot.store import channels_sql
from coinslot.store.channels import JobStage, Order, Repeated, Reservation, Reserved, SessionStore
from support import channel_cases
from support.channel_cases import COST, DEPOSIT, RULES, channel, found, opened, raw, voucher
from support.lapse import LONG_LEASE_S, lapse
from support.store_cases import DELIVERY, until

Child = Callable[..., subprocess.Popen[str]]
KEY = "net:1/c"
PATH = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).resolve().parent.parent)]))


@pytest.fixture
def child(disk_url: str) -> Iterator[Child]:
    """Start `channel_cases` as another process; whatever still runs is killed in the end."""
    running: list[subprocess.Popen[str]] = []

    def start(job: str, *more: str, subject: str = "c", lease_s: float = LONG_LEASE_S) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, channel_cases.__file__, job, disk_url, subject, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATH, "LEASE_S": str(lease_s)},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def told(process: subprocess.Popen[str]) -> str:
    """The next line that a child says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(processes: list[subprocess.Popen[str]]) -> None:
    """As soon as all are ready, all go."""
    assert [told(each) for each in processes] == ["ready"] * len(processes)
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()


# --- races ---------------------------------------------------------------------------------------


@pytest.mark.guard("T22")
@pytest.mark.spec("TSES-142")
def test_forty_race_for_a_balance_for_ten(opened_store: SessionStore, child: Child) -> None:
    """Twenty requests in each of two processes: exactly ten are served, and what was spent is ten times the cost."""
    opened_store.accept_and_spend(Order(KEY, 0, RULES, voucher("c", 10 * COST))).result()
    racers = [child("race") for _ in range(2)]
    let_go(racers)
    assert sum(int(told(each)) for each in racers) == 10
    assert (found(opened_store).spent, found(opened_store).available) == (10 * COST, 0)


@pytest.mark.guard("T02")
def test_one_voucher_in_two_processes_buys_once(opened_store: SessionStore, child: Child) -> None:
    """Of a hundred presentations one is served."""
    racers = [child("same") for _ in range(2)]
    let_go(racers)
    assert sorted(int(told(each)) for each in racers) == [0, 1]
    assert found(opened_store).spent == COST


@pytest.mark.guard("F15")
@pytest.mark.spec("TSES-142")
def test_vouchers_that_overtake_each_other_lose_no_update(opened_store: SessionStore, child: Child) -> None:
    """Two processes climb the same 50 vouchers on 8 channels, with a top-up and a close in between: what was served
    is what was spent, and the highest voucher stays."""
    for n in range(8):
        opened(opened_store, f"c{n}")
    racers = [child("climb") for _ in range(2)]
    let_go(racers)
    opened_store.top_up("net:1/c0", 2 * DEPOSIT, RULES).result()
    opened_store.mark_closing("net:1/c1", 1.0).result()
    served = [list(map(int, told(each).split())) for each in racers]
    for n in range(8):
        record = found(opened_store, f"c{n}")
        assert record.spent == COST * sum(each[n] for each in served)
        assert record.voucher == (raw(record.accepted) if record.accepted else b"")
        if n != 1:
            assert (record.accepted, record.stage) == (50 * COST, Stage.OPEN)
    assert found(opened_store, "c0").deposit == 2 * DEPOSIT
    assert found(opened_store, "c1").stage is Stage.CLOSING


@pytest.fixture
def opened_store(opened: Callable[..., SessionStore]) -> SessionStore:
    """A store with an open channel `c`."""
    made = opened(lease_s=LONG_LEASE_S)
    channel_cases.opened(made)
    return made


# --- kills ---------------------------------------------------------------------------------------


@pytest.mark.guard("F06")
@pytest.mark.spec("SSES-194", "TSES-132", "TSES-153", "TSES-159", "TSES-160")
def test_what_was_acknowledged_survives_a_kill(opened: Callable[..., SessionStore], child: Child) -> None:
    """Killed between vouchers: the highest acknowledged one, its signature and its cost are on record."""
    store = opened()
    channel_cases.opened(store, deposit=10**9)
    payer = child("pay")
    told_amounts = [int(told(payer)) for _ in range(100)]
    payer.kill()
    payer.wait()
    assert payer.stdout is not None
    told_amounts += [int(line) for line in payer.stdout.read().split("\n")[:-1]]
    record = found(store)
    assert told_amounts[-1] <= record.accepted <= told_amounts[-1] + COST
    assert record.spent == record.accepted
    assert record.voucher == raw(record.accepted)
    again = store.accept_and_spend(Order(KEY, COST, RULES, voucher("c", record.accepted + COST))).result()
    assert isinstance(again, Spent)


@pytest.mark.guard("F08")
def test_a_dead_process_s_window_is_billed_once(opened_store: SessionStore, child: Child) -> None:
    """While it lives nobody may; once its lease lapsed it is spent whole, by the first who comes, and never again."""
    holder = child("hold")
    assert told(holder) == "reserved"
    assert list(opened_store.abandoned(9).result()) == []
    holder.kill()
    holder.wait()
    until(lambda: lapse(opened_store) and opened_store.abandoned(9).result())
    (dead,) = opened_store.abandoned(9).result()
    billed = opened_store.bill(dead).result()
    assert billed is not None
    assert (billed.spent, billed.reserved) == (30, 0)
    assert opened_store.bill(dead).result() is None
    assert found(opened_store).spent == 30


@pytest.mark.guard("F08")
def test_a_living_process_s_window_is_not_billed(opened_store: SessionStore, child: Child) -> None:
    """Not even by who knows its name."""
    holder = child("hold")
    assert told(holder) == "reserved"
    name = reservation_of(opened_store)
    assert opened_store.bill(name).result() is None
    assert (found(opened_store).spent, found(opened_store).reserved) == (0, 30)


def reservation_of(store: SessionStore) -> Reservation:
    """The one window there is, whoever holds it."""
    rows = store._list(lambda db: db.rows("SELECT id, channel FROM coinslot_reservations", {})).result()  # type: ignore[attr-defined]
    return Reservation(rows[0][0], rows[0][1], 30)


@pytest.mark.guard("F07")
def test_a_keyed_request_whose_process_died_is_run_again(opened_store: SessionStore, child: Child) -> None:
    """While it lives the answer is: being answered. After its death one who comes back runs it, without a charge."""
    victim = child("keyed")
    assert told(victim) == "spent"
    keyed = Order(KEY, COST, RULES, voucher("c", COST), 1, "k", "h")
    assert isinstance(opened_store.accept_and_spend(keyed).result(), Repeated)
    victim.kill()
    victim.wait()
    until(lambda: lapse(opened_store) and isinstance(opened_store.accept_and_spend(keyed).result(), Spent))
    assert isinstance(opened_store.accept_and_spend(keyed).result(), Repeated)
    assert found(opened_store).spent == COST


# What must be on record after a kill between the commit of a step and its answer:
# stage, deposit, accepted, spent, reserved, settled.
ON_RECORD = {
    "open": (Stage.OPENING, 1000, 0, 0, 0, 0),
    "confirm": (Stage.OPEN, 1000, 0, 0, 0, 0),
    "top_up": (Stage.OPEN, 2000, 0, 0, 0, 0),
    "spend": (Stage.OPEN, 2000, 200, 10, 0, 0),
    "answer": (Stage.OPEN, 2000, 200, 10, 0, 0),
    "reserve": (Stage.OPEN, 2000, 200, 10, 30, 0),
    "commit": (Stage.OPEN, 2000, 200, 30, 0, 0),
    "bill": (Stage.OPEN, 2000, 200, 30, 0, 0),
    "settled": (Stage.OPEN, 2000, 200, 30, 0, 5),
    "closing": (Stage.CLOSING, 2000, 200, 30, 0, 5),
    "plan": (Stage.CLOSING, 2000, 200, 30, 0, 5),
    "prepare": (Stage.CLOSING, 2000, 200, 30, 0, 5),
    "finish": (Stage.CLOSED, 2000, 200, 30, 0, 30),
    "closed": (Stage.CLOSED, 2000, 200, 30, 0, 30),
    "forget": (Stage.CLOSED, 2000, 200, 30, 0, 30),
}
NAMED = set(re.findall(r'"store\.channel\.([a-z_]+)"', Path(channels_sql.__file__).read_text(encoding="utf-8")))


def test_every_failpoint_of_channels_is_struck_here() -> None:
    """A new one needs its line."""
    assert set(ON_RECORD) == NAMED


@pytest.mark.guard("F06", "F08", "F09", "F10")
@pytest.mark.parametrize("step", ON_RECORD)
def test_killed_between_commit_and_answer(step: str, opened: Callable[..., SessionStore], child: Child) -> None:
    """What was committed but not told is there whole, and others can go on from it."""
    victim = child("die", f"store.channel.{step}")
    assert victim.wait(30) == -signal.SIGKILL
    store = opened(lease_s=LONG_LEASE_S)
    record = found(store)
    assert (
        record.stage, record.deposit, record.accepted, record.spent, record.reserved, record.settled
    ) == ON_RECORD[step]  # fmt: skip
    if step == "answer":
        keyed = Order(KEY, COST, RULES, Voucher("c", 200, raw(200)), 1, "k", "h")
        assert store.accept_and_spend(keyed).result() == Repeated(record, DELIVERY)
    if step in {"plan", "prepare"}:
        until(lambda: lapse(store) and store.pending_jobs(9).result())
        (job,) = store.pending_jobs(9).result()
        assert (job.stage, job.raw) == ((JobStage.PLANNED, None) if step == "plan" else (JobStage.PREPARED, b"raw\xff"))
        lease = store.take_job(job.id).result()
        assert lease is not None
        if step == "plan":
            store.prepare_job(lease, "0xtx", b"raw", None).result()
        store.finish_job(lease, 30, channel_cases.entry("c", 25)).result()
        assert found(store).stage is Stage.CLOSED
    if step == "reserve":
        until(lambda: lapse(store) and store.abandoned(9).result())
        assert store.bill(store.abandoned(9).result()[0]).result() is not None
        assert (found(store).spent, found(store).reserved) == (40, 0)
    posted = [each.id for each in store.entries(None, 9).result()]
    assert posted == ["settle/c/5", "settle/c/25"][: {5: 1, 30: 2}.get(found(store).settled, 0)]


# --- what a voucher costs ------------------------------------------------------------------------


@pytest.mark.guard("F28")
def test_a_channel_stays_as_small_as_it_began(opened_store: SessionStore) -> None:
    """After hundreds of vouchers and windows there are the same rows, of the same size but for digits."""
    tables = ("channels", "answers", "reservations", "outbox", "payments", "entries")

    def counted() -> list[int]:
        asked = "SELECT " + ", ".join(f"(SELECT count(*) FROM coinslot_{each})" for each in tables)
        return list(opened_store._list(lambda db: db.rows(asked, {})).result()[0])  # type: ignore[attr-defined]

    opened_store.accept_and_spend(Order(KEY, 1, RULES, voucher("c", 1), 1, "k0", "h")).result()
    opened_store.keep_answer(KEY, "k0", DELIVERY).result()
    before = counted()
    for n in range(200):
        assert isinstance(opened_store.accept_and_spend(Order(KEY, 1, RULES, voucher("c", n + 2))).result(), Spent)
    opened_store.accept_and_spend(Order(KEY, 0, RULES, voucher("c", 900))).result()
    held = opened_store.reserve(Order(KEY, 0, RULES), 1, 1).result()
    assert isinstance(held, Reserved)
    for _ in range(50):
        assert held.reservation is not None
        held = opened_store.commit(held.reservation, 1, 1, (1, 1)).result()
    assert held.reservation is not None
    opened_store.commit(held.reservation, 0).result()
    opened_store.accept_and_spend(Order(KEY, 1, RULES, voucher("c", 999), 1, "k1", "h")).result()
    opened_store.keep_answer(KEY, "k1", DELIVERY).result()
    assert counted() == before
    assert len(found(opened_store).voucher) <= len(raw(999))


def test_a_refusal_names_the_channel_for_another_network(opened_store: SessionStore) -> None:
    """The same id on another network is another channel."""
    refused = opened_store.accept_and_spend(Order("net:2/c", COST, RULES)).result()
    assert isinstance(refused, Refused)
    assert refused.channel is None
    assert channel("c").key == KEY
