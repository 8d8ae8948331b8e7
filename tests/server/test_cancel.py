"""A request that is cancelled, wherever it stands, leaves a payment that its credential can redeem."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinslot.drive import Cancelled, Flow, run_async
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.store.protocol import Stage
from coinslot.store.sqlite import SqliteStore
from support.cancel import Counted, cancelled_at
from support.drained import drained
from support.stepping import interleaved
from support.strike import struck_at
from support.till import GET, SetAsyncWorld, Till, asking
from support.toybank import Bank

# More effects than any way through the gate has; the loops end when one was not reached.
MANY = 60


@pytest.fixture
def disk(bank: Bank, alice: dict[str, object], tmp_path: Path) -> Iterator[Till]:
    """A till on a file: there, store operations take time, and can be waited for in vain."""
    made = Till(bank, alice, SqliteStore(str(tmp_path / "payments.db")))
    yield made
    made.store.close()


def drive(till: Till, flow: Flow[object]) -> object:
    """Run to the end, or to the cancellation."""
    try:
        return asyncio.run(_driven(flow, till))
    except Cancelled:
        return None
    finally:
        for _ in range(2):  # what is queued, and what its answers queue
            drained(till.store)


async def _driven(flow: Flow[object], till: Till) -> object:
    return await run_async(flow, SetAsyncWorld(till.world))


@pytest.mark.guard("F29")
@pytest.mark.spec("CORE-095")
@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
@pytest.mark.parametrize("before", ["", "gate.claimed", "gate.prepared", "gate.settled"])
def test_a_cancelled_request_can_be_repeated(disk: Till, before: str, late: bool) -> None:
    """Cancelled at every effect in turn, on a fresh payment and on one that stopped before: then it is redeemed."""
    for n in range(1, MANY):
        credential = disk.bought()
        if before:
            with struck_at(before):
                disk.present(credential)
            drained(disk.store)
        seen = Counted()
        sales = disk.bank.settled()
        got = drive(disk, cancelled_at(disk.gate.admit(asking(GET, credential), disk.price), n, late=late, seen=seen))
        if not seen.cancelled:
            assert isinstance(got, Admission)
            break
        assert disk.serve(credential).status == 200, f"effect {n}"
        assert disk.bank.settled() == sales + (before != "gate.settled")
        assert disk.payment(credential).stage is Stage.DELIVERED
    assert 1 < n < MANY - 1
    assert set(disk.sums().values()) == {0}


@pytest.mark.guard("F29")
@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_a_cancelled_wait_is_resolved(disk: Till, late: bool) -> None:
    """While the chain is silent: the resolver finds the end, and the credential its goods."""
    for n in range(1, MANY):
        credential = disk.bought()
        seen = Counted()
        disk.bank.order("stuck")
        drive(disk, cancelled_at(disk.gate.admit(asking(GET, credential), disk.price), n, late=late, seen=seen))
        disk.bank.heal("stuck")
        disk.bank.release()
        disk.resolve()
        assert disk.serve(credential).status == 200, f"effect {n}"
        if not seen.cancelled:
            break
    assert 3 < n < MANY - 1


@pytest.mark.guard("F29")
@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_a_cancelled_repeat_under_a_key_locks_nothing(disk: Till, late: bool) -> None:
    """The way through an Idempotency-Key takes leases too."""
    for n in range(1, MANY):
        one, two = disk.bought(), disk.bought()
        with struck_at("gate.claimed"):
            disk.present(one, idempotency_key=str(n))
        drained(disk.store)
        seen = Counted()
        request = asking(GET, two, idempotency_key=str(n))
        drive(disk, cancelled_at(disk.gate.admit(request, disk.price), n, late=late, seen=seen))
        if not seen.cancelled:
            break
        assert disk.serve(two, idempotency_key=str(n)).status == 200, f"effect {n}"
    assert 3 < n < MANY - 1


@pytest.mark.guard("F29")
@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_a_cancelled_record_of_a_delivery_is_no_second_bill(disk: Till, late: bool) -> None:
    """Whether it was written or not, the credential gets the goods."""
    credential = disk.bought()
    admission = disk.admitted(credential)
    watching = Delivering(admission.receipt)
    watching.begin(200, [])
    watching.add(b"goods")
    delivery = watching.finish()
    assert delivery is not None
    drive(disk, cancelled_at(disk.gate.delivered(admission, delivery), 1, late=late, seen=Counted()))
    disk.gate.abandoned(admission)
    drained(disk.store)
    assert disk.serve(credential).body == b"goods"
    assert disk.bank.settled() == 1


@pytest.mark.guard("F29")
def test_a_task_that_is_cancelled_at_any_turn_of_the_loop(disk: Till) -> None:
    """The real thing: asyncio cancels the task after n turns, whatever it waits for."""

    async def cancelled_after(turns: int, credential: str) -> bool:
        flow = disk.gate.admit(asking(GET, credential), disk.price)
        task = asyncio.create_task(run_async(flow, SetAsyncWorld(disk.world)))
        for _ in range(turns):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        try:
            got = await task
            if isinstance(got, Admission):
                disk.gate.abandoned(got)
        except asyncio.CancelledError:
            pass
        return over

    for turns in (0, 1, 2, 3, 5, 8, 20, 100):
        credential = disk.bought()
        asyncio.run(cancelled_after(turns, credential))
        for _ in range(2):
            drained(disk.store)
        assert disk.serve(credential).status == 200
    assert disk.bank.settled() == 8


@pytest.mark.guard("F29")
def test_a_store_error_under_a_fresh_lease_gives_it_back(disk: Till) -> None:
    """Between the lease and its first use nothing may forget it."""
    credential = disk.bought()
    with struck_at("gate.claimed"):
        disk.present(credential)

    got = interleaved(disk, credential, find_fails=True)
    assert isinstance(got, Answer)
    assert got.status == 503
    drained(disk.store)
    assert disk.serve(credential).status == 200
