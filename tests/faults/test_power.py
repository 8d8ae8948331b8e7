"""The power fails: what was acknowledged is on the disk, whatever of the rest is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from coinslot.intents.session import Spent
from coinslot.store.open import open_store
from support.channel_cases import COST, found, order, raw
from support.powercut import ACKS, Cut, cuts, trace

TESTS = Path(__file__).resolve().parent.parent
FILES = ("p.db", "p.db-wal")
# More than SQLite's thousand pages of log, after which it writes the log out into the file.
VOUCHERS = 400
PAYING = f"""
import os, sys
from coinslot.store.open import open_store
from support.channel_cases import COST, opened, order
store = open_store("sqlite:///" + sys.argv[1])
acks = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
opened(store, deposit=10**9)
os.write(acks, b"0 ")
for amount in range(COST, {VOUCHERS} * COST, COST):
    store.accept_and_spend(order("c", amount)).result()
    os.write(acks, b"%d " % amount)
os.close(acks)
"""
# The same on an event loop, four channels at a time.
TASKS = 4
LOOPING = f"""
import asyncio, os, sys
from coinslot.store.open import open_store
from support.channel_cases import COST, opened, order
store = open_store("sqlite:///" + sys.argv[1])
acks = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for name in range({TASKS}):
    opened(store, f"c{{name}}", deposit=10**9)
os.write(acks, b"c0:0 ")
async def pay(name):
    for amount in range(COST, {VOUCHERS // TASKS} * COST, COST):
        await asyncio.wrap_future(store.accept_and_spend(order(name, amount)))
        os.write(acks, b"%s:%d " % (name.encode(), amount))
async def main():
    await asyncio.gather(*[pay(f"c{{n}}") for n in range({TASKS})])
asyncio.run(main())
os.close(acks)
"""


# Around thirty cuts of some six calls for each voucher.
EACH = 30 / (6 * VOUCHERS)


def _written(folder: Path, program: str) -> Path:
    """The trace of a program that wrote to the folder."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder.mkdir()
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program, str(folder / FILES[0]), str(folder / ACKS)]
    return trace(folder, FILES, command, environment)


@pytest.mark.guard("F18")
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    """I4: whenever it fails, and whatever sectors of unsynced writes reached the disk, the store opens by itself and
    has every voucher that it told of, whole, with its cost; the next one is served."""
    log = _written(tmp_path / "written", PAYING)
    happened = 0
    for n, cut in enumerate(cuts(log, Random(18), EACH)):
        _check(cut, tmp_path / f"cut{n}")
        happened += 1
    assert happened > 10


def _check(cut: Cut, folder: Path) -> None:
    cut.restore(folder)
    store = open_store(f"sqlite:///{folder / FILES[0]}")
    record = found(store)
    last = int(cut.acked[-1])
    assert last <= record.accepted <= last + COST
    assert record.spent == record.accepted
    assert record.voucher == (raw(record.accepted) if record.accepted else b"")
    assert isinstance(store.accept_and_spend(order("c", record.accepted + COST)).result(), Spent)
    store.close()
    with closing(sqlite3.connect(folder / FILES[0])) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.guard("F18")
def test_what_an_event_loop_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    """The same where the writes of many tasks share a commit."""
    log = _written(tmp_path / "written", LOOPING)
    happened = 0
    for n, cut in enumerate(cuts(log, Random(18), 4 * EACH)):
        told = dict(ack.split(":") for ack in cut.acked)
        cut.restore(tmp_path / f"cut{n}")
        store = open_store(f"sqlite:///{tmp_path / f'cut{n}' / FILES[0]}")
        for name, last in told.items():
            record = found(store, name)
            assert int(last) <= record.accepted <= int(last) + COST
            assert (record.spent, record.voucher) == (record.accepted, raw(record.accepted) if record.accepted else b"")
        store.close()
        happened += 1
    assert happened > 10


def test_a_store_that_syncs_less_loses_what_it_told(tmp_path: Path) -> None:
    """The tool itself sees a loss: with synchronous = NORMAL acknowledged vouchers are gone after some cuts."""
    careless = "from coinslot.store import sqlite_file\nsqlite_file._PRAGMAS = ('synchronous = NORMAL',)\n"
    log = _written(tmp_path / "written", careless + PAYING)
    lost = 0
    for n, cut in enumerate(cuts(log, Random(18), EACH)):
        cut.restore(tmp_path / f"cut{n}")
        store = open_store(f"sqlite:///{tmp_path / f'cut{n}' / FILES[0]}")
        record = store.find_channel("net:1/c").result()
        lost += record is None or record.accepted < int(cut.acked[-1])
        store.close()
    assert lost > 3
