"""The toy bank in memory, on the simulation's clock: its answers may be old, what it takes in may stay pending."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from support import toyescrow
from support.sim.engine import Sim
from support.toybank import GRACE_S, SCHEMA, Bank, Entry, hash_of

# How long a replica may lag behind, and a transaction stay pending.
LAG_S = 3.0
PENDING_S = 4.0


@cache
def _empty() -> bytes:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (SCHEMA + toyescrow.SCHEMA).split(";"):
        made.execute(statement)
    facts = [("id", "main"), ("skew", "0"), ("submissions", "0"), ("grace", str(GRACE_S))]
    made.executemany("insert into fact values (?, ?)", facts)
    return made.serialize()


class SimBank(Bank):
    """A bank of one simulation. Every one of its methods may be called from afar (Sim.remote)."""

    def __init__(self, sim: Sim) -> None:
        super().__init__("simulated")
        self._sim = sim
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.db.deserialize(_empty())
        sim.remote = lambda function: getattr(function, "__self__", None) is self

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        yield self.db

    def _at_s(self, db: sqlite3.Connection) -> float:
        return self._sim.time

    def submit(self, raw: bytes) -> str:
        """Take it in; now and then it settles later, or never."""
        sim = self._sim
        if sim.happens(sim.chances.late):
            self.order("stuck")
            sim.after(PENDING_S * sim.rng.random(), self._release)
        if sim.happens(sim.chances.forget):
            sim.tell("FORGETS", hash_of(raw)[:12])
            self.order("drop")
        try:
            return super().submit(raw)
        finally:
            self.heal("stuck")
            self.heal("drop")

    def _release(self) -> None:
        self.release()

    def look_up(self, found: str) -> Entry | None:
        """What became of it; a replica that lags does not know yet."""
        sim, entry = self._sim, super().look_up(found)
        if entry is not None and sim.happens(sim.chances.stale) and sim.time - entry.at_s < LAG_S:
            return None
        return entry
