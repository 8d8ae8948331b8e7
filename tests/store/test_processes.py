"""Several processes on one store: they race, they are killed, they fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from coinslot.errors import LeaseLost
from coinslot.store.protocol import Lease, Query, Stage, Store, Taken
from support.lapse import LONG_LEASE_S, lapse
from support.store_cases import claim, delivered, entry, leased, prepared, receipt, settled, until

Opener: TypeAlias = Callable[..., Store]
Child: TypeAlias = Callable[..., subprocess.Popen[str]]

ORDER = ["claimed", "prepared", "settled", "delivered"]


def told(process: subprocess.Popen[str]) -> str:
    """The next line that a child says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(process: subprocess.Popen[str]) -> str:
    """All that a child says until it ends."""
    assert process.stdout is not None
    return process.stdout.read()


def go(process: subprocess.Popen[str]) -> None:
    """Let a child that waits at the start run."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.guard("T01")
def test_two_processes_claim_one_proof_fifty_times_each(disk_url: str, opened: Opener, child: Child) -> None:
    """Of a hundred claims in two processes one wins, and after a restart the proof stays used."""
    racers = [child("race", disk_url, "p") for _ in range(2)]
    for racer in racers:
        assert told(racer) == "ready"
    for racer in racers:
        go(racer)
    assert sorted(int(told(racer)) for racer in racers) == [0, 1]
    assert [racer.wait(20) for racer in racers] == [0, 0]
    assert isinstance(opened().claim(claim("later", proof="p")).result(), Taken)


def test_what_was_acknowledged_survives_a_kill(disk_url: str, opened: Opener, child: Child) -> None:
    """Killed in the middle of work, every step that was told is there afterwards, and the journal agrees."""
    worker = child("work", disk_url, "w")
    lines = [told(worker) for _ in range(101)]
    worker.kill()
    worker.wait()
    lines += rest(worker).splitlines()
    reached: dict[str, str] = {}
    for line in lines:
        if len(words := line.split()) == 2 and line:
            reached[words[1]] = words[0]
    store = opened()
    for n, stage in reached.items():
        payment = store.find(f"id-w-{n}").result()
        assert payment is not None
        assert ORDER.index(payment.stage) >= ORDER.index(stage)
    paid = store.payments(Query(stages=frozenset({Stage.SETTLED, Stage.DELIVERED}), limit=999)).result()
    assert sorted(each.id for each in store.entries(None, 999).result()) == sorted(
        f"charge/{each.proof}" for each in paid
    )


@pytest.mark.guard("F16")
def test_two_busy_writers_starve_nobody(disk_url: str, opened: Opener, child: Child) -> None:
    """While two processes write without a pause, a third gets its turn within the wait, every time."""
    workers = [child("work", disk_url, f"w{n}") for n in range(2)]
    assert all(told(worker) for worker in workers)
    drains = [threading.Thread(target=rest, args=(worker,)) for worker in workers]
    for drain in drains:
        drain.start()
    store = opened(wait_s=10.0)
    for n in range(50):
        leased(store, claim(f"third-{n}"))
    assert [worker.poll() for worker in workers] == [None, None]
    for worker, drain in zip(workers, drains, strict=True):
        worker.kill()
        drain.join()


@pytest.mark.parametrize(
    ("failpoint", "stage"),
    [
        ("store.claim", Stage.CLAIMED),
        ("store.prepare", Stage.PREPARED),
        ("store.settle", Stage.SETTLED),
        ("store.deliver", Stage.DELIVERED),
    ],
)
def test_killed_between_commit_and_answer(
    failpoint: str, stage: Stage, disk_url: str, opened: Opener, child: Child
) -> None:
    """What was committed but not told is there; the payment can be taken up where it stood, and ends once."""
    victim = child("die", disk_url, "a", failpoint, lease_s=LONG_LEASE_S)
    assert victim.wait(30) == -9
    store = opened(lease_s=LONG_LEASE_S)
    payment = store.find("id-a").result()
    assert payment is not None
    assert payment.stage == stage
    wish = claim("a")
    if stage == Stage.DELIVERED:
        assert store.take("id-a").result() is None
        return
    lease = taken_in_the_end(store, lapse)
    if stage == Stage.CLAIMED:
        store.prepare(lease, prepared(wish)).result()
    store.settle(lease, receipt(wish), entry(wish)).result()
    assert list(store.entries(None, 9).result()) == [entry(wish)]


def taken_in_the_end(store: Store, passes: Callable[[Store], bool] = lambda _: True) -> Lease:
    """The lease on `a`, as soon as its dead owner's has lapsed: by itself, or by `lapse`."""
    got: list[Lease] = []

    def try_again() -> bool:
        passes(store)
        lease = store.take("id-a").result()
        got.extend([lease] if lease else [])
        return bool(got)

    until(try_again)
    return got[0]


def test_a_lease_lasts_while_its_owner_lives_and_lapses_when_it_dies(
    disk_url: str, opened: Opener, child: Child
) -> None:
    """A silent but living process keeps its lease beyond the lease time; a killed one loses it."""
    lease_s = 4.0  # a beat each second; a busy machine may hold one up for three
    holder = child("hold", disk_url, "a", lease_s=lease_s)
    assert told(holder) == "1"
    store = opened(lease_s=lease_s)
    end = time.monotonic() + 1.25 * lease_s
    while time.monotonic() < end:
        assert store.take("id-a").result() is None
        time.sleep(0.1)
    assert list(store.unresolved(9).result()) == []
    holder.kill()
    holder.wait()
    assert taken_in_the_end(store) == Lease("id-a", 2)


def test_a_closed_owner_gives_its_leases_up_at_once(disk_url: str, opened: Opener) -> None:
    """Nobody waits for the leases of a program that ended in order."""
    first, second = opened(lease_s=60), opened(lease_s=60)
    lease = leased(first, claim("a"))
    assert second.take("id-a").result() is None
    first.close()
    payment = second.find("id-a").result()
    assert payment is not None
    assert not payment.leased
    assert second.take("id-a").result() == Lease("id-a", lease.number + 1)


def test_another_owner_can_not_use_a_lease(disk_url: str, opened: Opener) -> None:
    """A lease is its owner's: the same number in another handle's hands changes nothing."""
    first, second = opened(), opened()
    lease = leased(first, claim("a"))
    with pytest.raises(LeaseLost):
        second.prepare(lease, prepared(claim("a"))).result()
    second.release(lease).result()
    assert second.take("id-a").result() is None


def test_every_handle_sees_what_another_acknowledged(disk_url: str, opened: Opener) -> None:
    """There is one truth, in the database."""
    first, second = opened(), opened()
    for n in range(20):
        delivered(first, claim(f"{n}"))
        payment = second.find(f"id-{n}").result()
        assert payment is not None
        assert payment.stage == Stage.DELIVERED


def test_opened_by_many_at_once(disk_url: str, child: Child) -> None:
    """Processes that start together on an empty place all find it ready."""
    racers = [child("race", disk_url, f"p{n}") for n in range(5)]
    assert [told(racer) for racer in racers] == ["ready"] * 5
    for racer in racers:
        go(racer)
    assert [told(racer) for racer in racers] == ["1"] * 5


FORK = """
import os, sys
from coinslot.store.open import open_store
from coinslot.errors import LeaseLost
from support.lapse import LONG_LEASE_S, lapse
from support.store_cases import claim, leased, settled, prepared
store = open_store(sys.argv[1])
mine = leased(store, claim("parent"))
child = os.fork()
if child == 0:
    code = 1
    try:
        assert store.find("id-parent").result().leased
        assert store.take("id-parent").result() is None
        try:
            store.prepare(mine, prepared(claim("parent"))).result()
        except LeaseLost:
            for n in range(20):
                settled(store, claim(f"child-{n}"))
            assert len(store.entries(None, 99).result()) >= 20
            store.close()
            code = 0
    finally:
        os._exit(code)
for n in range(20):
    settled(store, claim(f"parent-{n}"))
assert os.waitpid(child, 0)[1] == 0
assert len(store.entries(None, 99).result()) == 40
store.prepare(mine, prepared(claim("parent"))).result()
store.close()
"""


def test_a_fork_makes_a_new_owner(disk_url: str, opened: Opener) -> None:
    """Parent and child go on with one handle, both at once, and neither has the other's leases."""
    tests = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, disk_url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    store = opened()
    assert len(store.payments(Query(limit=99)).result()) == 41
    assert settled(store, claim("after")).number == 1
