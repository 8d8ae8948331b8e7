"""Stores in simulated time: the real operations of a SQL store on a database in memory, in a queue that can be lost.

`Disk` outlives every process. A process has a `SqlHere` on it (an owner with a heart, as any store handle) behind a
`Queued`, which carries operations out one after the other, later, as a committer thread would: a process that dies
leaves some of what it had asked for undone, some done and not acknowledged.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

from coinslot import drive
from coinslot.errors import CoinslotError, StoreBroken, StoreBusy, StoreError
from coinslot.store import operations
from coinslot.store.futures import done, failed
from coinslot.store.heart import Heart
from coinslot.store.operations import Db, Undo
from coinslot.store.schema.steps import VERSION, Words, statements, version_table
from coinslot.store.sql import SqlStore
from coinslot.store.sqlite_file import SqliteDb, _SumUnits
from support.sim.engine import Process, Sim

T = TypeVar("T")

LEASE_S = 15.0
# A heart that beats twice in a lease keeps it as well as the real one's four times.
BEAT_S = 7.0
# A group commit on a good disk.
COMMIT_S = 0.002
_WORDS = Words(serial="INTEGER PRIMARY KEY", blob="BLOB", real="REAL", units="TEXT")
# Looked up at once, in the calling thread, as the SQLite store does.
_AT_ONCE = {"find", "find_keyed", "find_channel", "watched_ago_s", "try_lock"}


@cache
def _empty() -> bytes:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute(version_table(_WORDS))
    made.execute("INSERT INTO coinslot_schema (version, pinged_at) VALUES (?, 0)", (VERSION,))
    for step in range(VERSION):
        for statement in statements(step, _WORDS):
            made.execute(statement)
    return made.serialize()


class Disk:
    """A database in memory. `commits` counts what was written, so that nobody looks twice."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.restore(_empty())
        self.commits = 0

    def backup(self) -> bytes:
        """All of it."""
        return self.connection.serialize()

    def restore(self, copy: bytes) -> None:
        """As it was."""
        self.connection.deserialize(copy)
        self.connection.create_aggregate("SUM_UNITS", 1, _SumUnits)  # type: ignore[arg-type]


class _Pulse(Heart):
    """A heart without a thread: its beats are events."""

    def __init__(self, owner: str, beat: Callable[[str], Future[None]], lease_s: float) -> None:
        super().__init__(beat, lease_s)
        self.owner = owner

    def start(self) -> None:
        """It beats by itself."""

    def due(self) -> bool:
        """A step that gives a lease always brings its own beat."""
        return True


class SqlHere(SqlStore):
    """The operations of every SQL store, carried out at once."""

    def __init__(self, disk: Disk, owner: str, clock: Callable[[], float]) -> None:
        super().__init__(LEASE_S, 5.0)
        self._disk, self._clock = disk, clock
        self.lies = False  # about the next commit: it is done, and told to have failed
        self._heart = _Pulse(owner, self._write_beat, LEASE_S)

    def beat(self) -> Future[None]:
        """What the heart's thread does; nobody needs to look at the channels after it."""
        commits = self._disk.commits
        beaten = self._write_beat(self._heart.owner)
        self._disk.commits = commits
        return beaten

    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]:
        connection = self._disk.connection
        connection.execute("BEGIN")
        try:
            result = run(SqliteDb(connection, self._clock))
        except Undo as undo:
            connection.execute("ROLLBACK")
            return done(undo.result)  # type: ignore[arg-type]
        except CoinslotError as error:
            connection.execute("ROLLBACK")
            return failed(error)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        self._disk.commits += 1
        lies, self.lies = self.lies, False
        if lies:
            return failed(StoreBroken("the commit failed"))
        if name:
            drive.failpoint(name)
        return done(result)

    def _read(self, run: Callable[[Db], T]) -> Future[T]:
        try:
            return done(run(SqliteDb(self._disk.connection, self._clock)))
        except CoinslotError as error:
            return failed(error)

    def _list(self, run: Callable[[Db], T]) -> Future[T]:
        return self._read(run)

    def _close(self) -> None:
        """Nothing is held."""

    def _forked(self) -> None:
        """Nobody forks here."""

    def backup(self, target: str) -> Future[None]:
        """Nobody asks."""
        return failed(StoreError("no backup here"))

    def resign(self) -> None:
        """As `close` does: leases end with an orderly end."""
        owner = self._heart.owner
        self._write(lambda db: operations.resign(db, owner))


class Queued:
    """Any store behind the queue of one life of a process."""

    def __init__(self, sim: Sim, process: Process, store: Any) -> None:
        self._sim, self._process, self._store = sim, process, store
        self._life = process.generation
        self._queue: deque[tuple[Callable[[], Future[Any]], Future[Any], str]] = deque()
        self._busy = False
        self.lease_s: float = LEASE_S
        process.on_crash.append(self._crashed)
        if isinstance(store, SqlHere):
            self._pulse()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name in _AT_ONCE:
            return method
        return lambda *arguments, **named: self._ask(name, lambda: method(*arguments, **named))

    @property
    def dead(self) -> bool:
        """Whether its process died."""
        process = self._process
        return not process.alive or process.dying or process.generation != self._life

    def close(self) -> None:
        """Orderly."""
        if not self.dead and isinstance(self._store, SqlHere):
            self._store.resign()

    def _pulse(self) -> None:
        def beat() -> None:
            self._ask("beat", self._store.beat)
            self._sim.after(BEAT_S, beat, self._process)

        self._sim.after(0.0, beat, self._process)

    def _ask(self, name: str, run: Callable[[], Future[Any]]) -> Future[Any]:
        future: Future[Any] = Future()
        if self.dead:  # what a dead process still says reaches nobody
            return future
        self._queue.append((run, future, name))
        self._wake()
        return future

    def _wake(self) -> None:
        if self._queue and not self._busy:
            self._busy = True
            self._sim.after(self._sim.latency(COMMIT_S), self._serve, self._process)

    def _serve(self) -> None:
        self._busy = False
        sim = self._sim
        if not self._queue:
            return
        run, future, name = self._queue.popleft()
        broken = sim.happens(sim.chances.store) and name != "beat"
        kind = sim.rng.randrange(3) if broken else -1
        if kind == 0:
            sim.tell("store busy for", name)
            self._wake()
            future.set_exception(StoreBusy("busy"))
            return
        if kind == 1:
            sim.tell("commit failed of", name)
            self._wake()
            future.set_exception(StoreBroken("the commit failed"))
            return
        if kind == 2 and isinstance(self._store, SqlHere):
            sim.tell("commit of", name, "done and not known")
            self._store.lies = True
        ended = run()
        if isinstance(self._store, SqlHere):
            self._store.lies = False
        if sim.happens(sim.chances.crash / 4):
            sim.die("after", name, "before it was acknowledged")
        self._wake()
        error = ended.exception()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(ended.result())

    def _crashed(self) -> None:
        """Some of what was asked for happens all the same; who asked does not learn of it."""
        for run, _, _ in list(self._queue)[: self._sim.rng.randrange(len(self._queue) + 1)]:
            strike = drive._strike
            drive.arm_failpoints(None)
            try:
                run()
            finally:
                drive.arm_failpoints(strike)
        self._queue.clear()
