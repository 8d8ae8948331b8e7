"""A request about a channel that is cancelled, wherever it stands, leaves nothing locked, lost or charged twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coinslot.drive import Cancelled, Flow, run_async
from coinslot.intents.session import Stage
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.price import Metering
from coinslot.server.request import Incoming
from coinslot.store.sqlite import SqliteStore
from support.cancel import Counted, cancelled_at
from support.drained import drained
from support.sessiontill import COST, DEPOSIT, HEAD, WORDS, Buyer, SessionTill
from support.till import SetAsyncWorld, asking
from support.toybank import Bank

# More effects than any way through the gate has; the loops end when one was not reached.
MANY = 80
BOTH = pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
FUNDS = 5_000_000


@pytest.fixture
def disk(bank: Bank, alice: dict[str, Any], tmp_path: Path) -> Iterator[SessionTill]:
    """A till on a file: there, store operations take time, and can be waited for in vain."""
    made = SessionTill(bank, alice, SqliteStore(str(tmp_path / "payments.db")))
    yield made
    made.store.close()


def drive(till: SessionTill, flow: Flow[Any]) -> object:
    """Run to the end, or to the cancellation; then wait for what the store was still asked."""

    async def driven() -> object:
        return await run_async(flow, SetAsyncWorld(till.world))

    try:
        return asyncio.run(driven())
    except Cancelled:
        return None
    finally:
        for _ in range(3):  # what is queued, and what its answers queue
            drained(till.store)


def cancelled(
    till: SessionTill, credential: str, n: int, late: bool, request: Incoming = WORDS, **headers: str
) -> tuple[object, bool]:
    """What became of a request that is cancelled at its n-th effect, and whether it was."""
    seen = Counted()
    flow = till.gate.admit(asking(request, credential, **headers), till.price)
    return drive(till, cancelled_at(flow, n, late=late, seen=seen)), seen.cancelled


def each_effect(once: Callable[[int], bool]) -> None:
    """Cancel at every effect in turn, until one is not reached."""
    n = next(n for n in range(1, MANY) if not once(n))
    assert 2 < n < MANY - 1


@pytest.mark.guard("F29")
@BOTH
def test_a_cancelled_voucher_is_spent_once_or_not_at_all(disk: SessionTill, late: bool) -> None:
    """Without a key its answer may be lost with its price; the channel goes on, and nothing is set aside for ever."""
    buyer = disk.buyer(deposit=MANY * 4 * COST)

    def once(n: int) -> bool:
        accepted, before, _ = buyer.sums
        got, was = cancelled(disk, buyer.voucher(accepted + COST), n, late)
        if isinstance(got, Admission):
            disk.deliver(got)
        record = buyer.record
        assert record.spent - before in (0, COST)
        assert (record.reserved, record.spent <= record.accepted) == (0, True)
        assert disk.serve(buyer.voucher(record.accepted + COST)).status == 200
        return was

    each_effect(once)


@pytest.mark.guard("F29", "F07")
@BOTH
def test_a_cancelled_keyed_voucher_gets_its_goods_for_one_price(disk: SessionTill, late: bool) -> None:
    """The same request again: served, whatever was lost."""
    buyer = disk.buyer(deposit=MANY * 4 * COST)

    def once(n: int) -> bool:
        accepted, before, _ = buyer.sums
        credential = buyer.voucher(accepted + COST)
        got, was = cancelled(disk, credential, n, late, idempotency_key=str(n))
        if isinstance(got, Admission):
            disk.deliver(got)
        answer = disk.serve(credential, idempotency_key=str(n))
        assert (answer.status, answer.body) == (200, b"words"), f"effect {n}"
        assert buyer.record.spent == before + COST
        return was

    each_effect(once)


@pytest.mark.guard("F29", "F08")
@BOTH
def test_a_cancelled_stream_leaves_no_window(bank: Bank, alice: dict[str, Any], tmp_path: Path, late: bool) -> None:
    """What was set aside for a client that hung up is free again."""
    store = SqliteStore(str(tmp_path / "metered.db"))
    till = SessionTill(bank, alice, store, metering=Metering("word", window=4))
    buyer = till.buyer(deposit=MANY * 8 * COST)

    def once(n: int) -> bool:
        accepted = buyer.record.accepted
        got, was = cancelled(till, buyer.voucher(accepted + 4 * COST), n, late)
        if isinstance(got, Admission):
            till.gate.abandoned(got)
        drained(till.store)
        assert (buyer.record.reserved, buyer.record.spent) == (0, 0), f"effect {n}"
        return was

    each_effect(once)
    store.close()


@pytest.mark.guard("F29")
@BOTH
@pytest.mark.parametrize("request_", [WORDS, HEAD], ids=["content", "head"])
def test_a_cancelled_open_goes_on_with_the_same_credential(disk: SessionTill, late: bool, request_: Incoming) -> None:
    """One deposit, one channel, one price at most."""

    def once(n: int) -> bool:
        held = disk.bank.balance("alice")
        buyer, credential = disk.open(first_units=COST)
        got, was = cancelled(disk, credential, n, late, request_)
        if isinstance(got, Admission):
            disk.deliver(got)
        answer = disk.serve(credential, request_)
        assert answer.status == (204 if request_ is HEAD else 200), f"effect {n}"
        assert buyer.record.stage is Stage.OPEN
        assert held - disk.bank.balance("alice") == DEPOSIT == buyer.record.deposit
        assert buyer.record.spent in ((0,) if request_ is HEAD else (0, COST))
        if request_ is WORDS and buyer.record.spent == 0:
            assert disk.serve(buyer.voucher(COST + 1)).body == b"words"
        return was

    each_effect(once)
    for accounts in disk.store.balances().result().values():
        assert sum(accounts.values()) == 0


@pytest.mark.guard("F29")
@BOTH
def test_a_cancelled_top_up_goes_on_with_the_same_credential(disk: SessionTill, late: bool) -> None:
    """The deposit grows once."""
    buyer = disk.buyer()

    def once(n: int) -> bool:
        before = buyer.record.deposit
        credential = buyer.top_up(COST)
        _, was = cancelled(disk, credential, n, late)
        assert disk.answer(credential).status == 204, f"effect {n}"
        assert buyer.record.deposit == before + COST
        return was

    each_effect(once)
    assert disk.bank.balance("alice") == FUNDS - buyer.record.deposit


@pytest.mark.guard("F29")
@BOTH
def test_a_cancelled_close_goes_on_with_the_same_credential(disk: SessionTill, late: bool) -> None:
    """No job stays locked; what was bought is paid out once."""

    def once(n: int) -> bool:
        before = disk.bank.balance("shop")
        buyer = disk.buyer()
        disk.serve(buyer.voucher(COST))
        credential = buyer.close(COST)
        _, was = cancelled(disk, credential, n, late)
        assert disk.answer(credential).status == 204, f"effect {n}"
        assert (disk.bank.balance("shop") - before, buyer.record.stage) == (COST, Stage.CLOSED)
        assert len(disk.store.jobs_of(buyer.held.key, 5).result()) == 1
        return was

    each_effect(once)
    assert disk.bank.total() == FUNDS


@pytest.mark.guard("F29")
def test_a_task_that_is_cancelled_at_any_turn_of_the_loop(disk: SessionTill) -> None:
    """The real thing: asyncio cancels the task after n turns, whatever it waits for."""

    async def after(turns: int, credential: str, key: str) -> None:
        flow = disk.gate.admit(asking(WORDS, credential, idempotency_key=key), disk.price)
        task = asyncio.create_task(run_async(flow, SetAsyncWorld(disk.world)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            got = await task
            if isinstance(got, Admission):
                disk.gate.abandoned(got)
        except asyncio.CancelledError:
            pass

    buyer: Buyer = disk.buyer(deposit=100 * COST)
    for n, turns in enumerate((0, 1, 2, 3, 5, 8, 20, 100), 1):
        credential, key = buyer.voucher(n * COST), f"turn {turns}"
        asyncio.run(after(turns, credential, key))
        for _ in range(3):
            drained(disk.store)
        answer = disk.serve(credential, idempotency_key=key)
        assert isinstance(answer, Answer)
        assert answer.body == b"words"
        assert buyer.sums == (n * COST, n * COST, 0)
