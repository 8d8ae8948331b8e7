"""SQLite under an event loop: what is asked in a turn is written at its end, and no loop waits for the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from coinslot.drive import RealAsyncWorld, run_async, wait
from coinslot.errors import StoreBroken, StoreBusy
from coinslot.store.protocol import Lease, Query
from coinslot.store.sqlite import SqliteStore
from coinslot.store.sqlite_operation import Operation
from support.store_cases import claim


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store on a file of its own, its connection open."""
    with closing(SqliteStore(str(tmp_path / "turns.db"))) as made:
        made.ping().result()
        yield made


async def _claims(store: SqliteStore, number: int, name: str = "c") -> list[object]:
    world = RealAsyncWorld()
    asked = [run_async(wait(store.claim(claim(f"{name}{n}"))), world) for n in range(number)]
    return list(await asyncio.gather(*asked))


def test_a_loop_writes_what_its_turn_asked_for(store: SqliteStore) -> None:
    """Every task gets its own answer, and all of it is on the disk."""
    got = asyncio.run(_claims(store, 300))
    assert all(isinstance(one, Lease) for one in got)
    assert len(store.payments(Query(limit=1000)).result()) == 300


def test_one_commit_takes_a_whole_turn(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty tasks that ask at once wait for the disk together."""
    commits: list[int] = []
    committer = store._attached()
    commit = committer.commit

    def counted(batch: Sequence[Operation]) -> None:
        commits.append(len(batch))
        commit(batch)

    monkeypatch.setattr(committer, "commit", counted)
    rounds = 0
    while not commits and rounds < 20:  # a beat of the heart may be at it, and the thread then writes for us as well
        rounds += 1
        asyncio.run(_claims(store, 50, f"{rounds}-"))
    assert commits == [50]


def test_who_blocks_the_loop_is_served_by_a_thread(store: SqliteStore) -> None:
    """A synchronous caller inside a task waits for its own write, and gets it."""

    async def blocking() -> object:
        return store.claim(claim("sync")).result(10)

    assert isinstance(asyncio.run(blocking()), Lease)


def test_closing_in_a_loop_writes_what_nobody_waited_for(tmp_path: Path) -> None:
    """What was asked for and not awaited is on the disk when the store is closed by the same task."""
    path = str(tmp_path / "left.db")

    async def leave() -> None:
        left = SqliteStore(path)
        left.ping().result()
        left.claim(claim("left"))
        left.close()

    asyncio.run(leave())
    with closing(SqliteStore(path)) as again:
        assert len(again.payments(Query()).result()) == 1


def test_what_a_dead_loop_left_is_written_by_the_next_who_asks(store: SqliteStore) -> None:
    """A loop that ended with writes in its last turn takes none of them with it."""

    async def leave() -> None:
        store.claim(claim("orphan"))

    asyncio.run(leave())
    assert isinstance(store.claim(claim("next")).result(10), Lease)
    assert {one.challenge.id for one in store.payments(Query()).result()} == {"id-orphan", "id-next"}


def test_two_loops_at_once_are_both_served(store: SqliteStore) -> None:
    """Loops in two threads on one store: nobody waits for ever, nobody's write is lost."""
    got: list[object] = []

    def other() -> None:
        async def go() -> None:
            world = RealAsyncWorld()
            for n in range(50):
                lease = await run_async(wait(store.claim(claim(f"o{n}"))), world)
                got.extend([lease])

        asyncio.run(go())

    thread = threading.Thread(target=other)
    thread.start()
    mine = asyncio.run(_claims(store, 200))
    thread.join(30)
    assert not thread.is_alive()
    assert sum(isinstance(one, Lease) for one in [*mine, *got]) == 250


@pytest.mark.guard("F16")
def test_a_loop_never_waits_for_the_lock_of_another_process(store: SqliteStore, tmp_path: Path) -> None:
    """While somebody else writes the loop goes on, and the writer is told when its time is over."""
    store._wait_s = 0.3

    async def go() -> tuple[type[BaseException] | None, int]:
        turns = 0
        asked = asyncio.ensure_future(run_async(wait(store.claim(claim("late"))), RealAsyncWorld()))
        while not asked.done():
            turns += 1
            await asyncio.sleep(0.005)
        error = asked.exception()
        return type(error) if error else None, turns

    with closing(sqlite3.connect(tmp_path / "turns.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kind, turns = asyncio.run(go())
        other.execute("ROLLBACK")
    assert kind is StoreBusy
    assert turns > 20


@pytest.mark.guard("F17")
def test_a_commit_that_fails_is_nobodys_success(store: SqliteStore) -> None:
    """All who were in the turn are told that it broke; the next turn finds a store that works."""
    assert isinstance(store.claim(claim("first")).result(), Lease)  # and the heart beats for a while
    committer = store._attached()

    class Broken:
        def __init__(self, real: sqlite3.Connection) -> None:
            self.real = real

        def execute(self, text: str, *values: object) -> sqlite3.Cursor:
            if text == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return self.real.execute(text, *values)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

    real = committer._connection
    assert real is not None
    committer._connection = Broken(real)  # type: ignore[assignment]

    async def go() -> list[object]:
        world = RealAsyncWorld()
        asked = [run_async(wait(store.claim(claim(f"b{n}"))), world) for n in range(3)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert {type(one) for one in asyncio.run(go())} == {StoreBroken}
    assert all(isinstance(one, Lease) for one in asyncio.run(_claims(store, 3)))
    assert len(store.payments(Query()).result()) == 4


def test_a_cancelled_task_leaves_the_others_in_peace(store: SqliteStore) -> None:
    """Who stops waiting stops nobody else, and its own write happens or not as a whole."""

    async def go() -> list[object]:
        world = RealAsyncWorld()
        tasks = [asyncio.ensure_future(run_async(wait(store.claim(claim(f"t{n}"))), world)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    got = asyncio.run(go())
    assert all(isinstance(one, Lease) for one in got[1::2])
