"""Event loops come and go in a process; none of them may take the store's wake-ups with it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinslot.drive import RealAsyncWorld, run_async, wait
from coinslot.store.sqlite import SqliteStore
from support.patience import within

SOON_S = within(30.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store in a file, its first connection open."""
    made = SqliteStore(str(tmp_path / "store.sqlite"))
    made.note_watched("toy:main").result()
    yield made
    made.close()


async def ask(store: SqliteStore) -> None:
    """One write, awaited."""
    await asyncio.wait_for(run_async(wait(store.note_watched("toy:main")), RealAsyncWorld()), SOON_S)


@pytest.mark.guard("F16")
def test_a_loop_that_ended_with_a_write_asked_for_holds_up_no_other(store: SqliteStore) -> None:
    """What was asked for in a loop's very last turn is written by whoever comes next, and so is what comes next."""
    first = asyncio.new_event_loop()

    async def leave() -> None:
        first.call_soon(store.note_watched, "toy:other")  # runs in the turn in which the loop stops

    first.run_until_complete(leave())
    first.close()
    asyncio.run(ask(store))
    store.note_watched("toy:main").result(SOON_S)  # behind it in the thread's queue
    assert store.watched_ago_s("toy:other").result() is not None
    asyncio.run(ask(store))


@pytest.mark.guard("F28")
def test_loops_that_ended_are_forgotten(store: SqliteStore) -> None:
    """A program that runs a loop for each request does not grow by each."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def note() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await ask(store)

    for _ in range(5):
        asyncio.run(note())
    gc.collect()
    alive = sum(one() is not None for one in loops)
    assert alive <= 1, f"{alive} of {len(loops)} loops are still held"


@pytest.mark.guard("F16")
def test_a_thread_that_waits_on_one_loop_leaves_another_its_turn(store: SqliteStore) -> None:
    """Two running loops: the one that gave its writes to the thread must not swallow the other's wake-up."""
    ready, go = threading.Event(), threading.Event()

    async def blocking() -> None:
        future = store.note_watched("toy:main")
        future.result(SOON_S)  # it blocks its own loop: the thread writes, and the turn that was asked for is left over
        ready.set()
        go.wait(SOON_S)

    thread = threading.Thread(target=lambda: asyncio.run(blocking()))
    thread.start()

    async def other() -> None:
        await asyncio.to_thread(ready.wait, SOON_S)
        task = asyncio.create_task(ask(store))
        await asyncio.sleep(0)
        go.set()
        await task

    try:
        asyncio.run(other())
    finally:
        go.set()
        thread.join()
