"""A bank in a file: the toy method's chain. Many processes may use one file, and faults can be ordered.

    bank = Bank("/tmp/x/bank.db").create()
    secret = bank.open("alice", coin=5_000_000)      # base units; coin has 6 decimals and a dollar peg, shell no peg
    bank.open("shop")
    bank.order("lost-answer")                        # the next submission counts, and its answer is lost

Faults (each `times` times, 1 unless told; `heal` ends one):
    down          every call fails before it acts (RpcUnreachable)
    lost-answer   a submission acts, then fails (RpcUnreachable)
    stuck         a submission is taken in, and stays pending until `release()`
    revert        a submission is taken in, and fails on the bank: nothing moves, for good
    drop          a submission is answered as if taken in, and forgotten

Time is the wall clock plus `skew(seconds)`. A cheque moves money once, whoever submits it and how often.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from coinslot.errors import RpcRefused, RpcUnreachable

SCHEMA = """
create table account (name text primary key, secret text not null);
create table balance (
    account text, asset text, units integer not null check (units >= 0), primary key (account, asset)
);
create table cheque (hash text primary key, raw blob not null, state text not null, at real not null);
create table fault (name text primary key, times integer not null);
create table fact (name text primary key, value text not null);
"""
FUNDS = -32001
BAD_CHEQUE = -32002


@dataclass(frozen=True)
class Entry:
    """A cheque as the bank has it: `state` is pending, settled or reverted."""

    raw: bytes
    state: str
    at_s: float


def hash_of(raw: bytes) -> str:
    """The reference of a cheque: known before it is submitted."""
    return "0x" + hashlib.sha256(raw).hexdigest()


def sign(secret: str, body: bytes) -> str:
    """A cheque's signature."""
    return hmac.new(bytes.fromhex(secret), body, "sha256").hexdigest()


class Bank:
    """A handle on the file. Holds no connection, so it may be copied between threads and processes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self, identity: str = "main") -> Bank:
        """Make the file."""
        with self._open() as db:
            db.execute("pragma journal_mode=wal")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute("insert into fact values ('id', ?), ('skew', '0'), ('submissions', '0')", (identity,))
        return self

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")

    @staticmethod
    def _fact(db: sqlite3.Connection, name: str) -> str:
        return str(db.execute("select value from fact where name = ?", (name,)).fetchone()[0])

    @staticmethod
    def _strikes(db: sqlite3.Connection, name: str) -> bool:
        return db.execute("update fault set times = times - 1 where name = ? and times > 0", (name,)).rowcount == 1

    # --- for tests -----------------------------------------------------------------------------

    def open(self, name: str, **units: int) -> str:
        """A new account with these base units per asset; returns its secret (hex)."""
        secret = secrets.token_hex(32)
        with self._write() as db:
            db.execute("insert into account values (?, ?)", (name, secret))
            db.executemany("insert into balance values (?, ?, ?)", [(name, asset, n) for asset, n in units.items()])
        return secret

    def order(self, fault: str, times: int = 1) -> None:
        """Let a fault strike the next `times` times."""
        with self._write() as db:
            db.execute("insert or replace into fault values (?, ?)", (fault, times))

    def heal(self, fault: str) -> None:
        """No more of this fault."""
        with self._write() as db:
            db.execute("delete from fault where name = ?", (fault,))

    def release(self) -> None:
        """Settle what is stuck."""
        with self._write() as db:
            rows = db.execute("select hash, raw from cheque where state = 'pending'").fetchall()
            for found, raw in rows:
                self._settle(db, found, raw)

    def skew(self, seconds: float) -> None:
        """Shift the bank's clock."""
        with self._write() as db:
            db.execute("update fact set value = ? where name = 'skew'", (str(seconds),))

    def balance(self, name: str, asset: str = "coin") -> int:
        """Base units of an account."""
        with self._open() as db:
            row = db.execute("select units from balance where account = ? and asset = ?", (name, asset)).fetchone()
        return int(row[0]) if row else 0

    def settled(self) -> int:
        """How many cheques moved money."""
        with self._open() as db:
            return int(db.execute("select count(*) from cheque where state = 'settled'").fetchone()[0])

    def submissions(self) -> int:
        """How often a cheque was submitted, repeats included."""
        with self._open() as db:
            return int(self._fact(db, "submissions"))

    # --- what the method calls -----------------------------------------------------------------

    def identity(self) -> str:
        """Which bank this is. Raises RpcUnreachable."""
        with self._write() as db:
            down, name = self._strikes(db, "down"), self._fact(db, "id")
        if down:
            raise RpcUnreachable("bank_identity: down")
        return name

    def now(self) -> float:
        """The bank's time."""
        with self._open() as db:
            return time.time() + float(self._fact(db, "skew"))

    def verify(self, payer: str, body: bytes, signature: str) -> bool:
        """Whether this account signed these bytes. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            row = db.execute("select secret from account where name = ?", (payer,)).fetchone()
        if down:
            raise RpcUnreachable("bank_verify: down")
        return row is not None and hmac.compare_digest(sign(row[0], body), signature)

    def simulate(self, raw: bytes) -> None:
        """Whether a cheque would move money now. Raises RpcRefused, RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            if not down:
                self._check(db, json.loads(raw))
        if down:
            raise RpcUnreachable("bank_simulate: down")

    def submit(self, raw: bytes) -> str:
        """Take in a cheque; returns its hash. Raises RpcRefused, RpcUnreachable."""
        found = hash_of(raw)
        with self._write() as db:
            db.execute("update fact set value = value + 1 where name = 'submissions'")
            down = self._strikes(db, "down")
            lost = not down and self._strikes(db, "lost-answer")
            known = db.execute("select 1 from cheque where hash = ?", (found,)).fetchone()
            if not down and not known and not self._strikes(db, "drop"):
                self._take_in(db, found, raw)
        if down or lost:
            raise RpcUnreachable("bank_submit: no answer")
        return found

    def _take_in(self, db: sqlite3.Connection, found: str, raw: bytes) -> None:
        cheque = json.loads(raw)
        if self._strikes(db, "revert"):
            state = "reverted"
        else:
            self._check(db, cheque)
            state = "pending"
        at_s = time.time() + float(self._fact(db, "skew"))
        db.execute("insert into cheque values (?, ?, ?, ?)", (found, raw, state, at_s))
        if state == "pending" and not self._strikes(db, "stuck"):
            self._settle(db, found, raw)

    def _check(self, db: sqlite3.Connection, cheque: dict[str, Any]) -> None:
        total = sum(int(units) for _, units in cheque["payees"])
        row = db.execute(
            "select units from balance where account = ? and asset = ?", (cheque["payer"], cheque["asset"])
        ).fetchone()
        if cheque["dead_after"] < time.time() + float(self._fact(db, "skew")):
            raise RpcRefused("the cheque is past its time", code=BAD_CHEQUE)
        if (row[0] if row else 0) < total:
            raise RpcRefused("insufficient funds", code=FUNDS)

    @staticmethod
    def _settle(db: sqlite3.Connection, found: str, raw: bytes) -> None:
        cheque = json.loads(raw)
        take = "update balance set units = units - ? where account = ? and asset = ?"
        give = "insert into balance values (?, ?, ?) on conflict do update set units = units + excluded.units"
        for who, units in cheque["payees"]:
            db.execute(take, (int(units), cheque["payer"], cheque["asset"]))
            db.execute(give, (who, cheque["asset"], int(units)))
        db.execute("update cheque set state = 'settled' where hash = ?", (found,))

    def look_up(self, found: str) -> Entry | None:
        """A cheque by its hash. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            row = db.execute("select raw, state, at from cheque where hash = ?", (found,)).fetchone()
        if down:
            raise RpcUnreachable("bank_lookUp: down")
        return Entry(bytes(row[0]), row[1], row[2]) if row else None
