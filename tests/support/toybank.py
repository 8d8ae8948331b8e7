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
    refuse        a simulation or a submission is refused, and nothing is taken in

Time is the wall clock plus `skew(seconds)`; `advance(seconds)` adds to that. A cheque moves money once, whoever submits
it and how often. The bank keeps payment channels too (toyescrow.py): their transactions are submitted, looked up and
struck by faults as cheques are.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from coinslot.errors import RpcRefused, RpcUnreachable
from support import toyescrow
from support.toyescrow import Escrowed, Moment, Payout

SCHEMA = """
create table account (name text primary key, secret text not null);
create table balance (
    account text, asset text, units integer not null check (units >= 0), primary key (account, asset)
);
create table cheque (hash text primary key, raw blob not null, state text not null, at real not null);
create table fault (name text primary key, times integer not null);
create table fact (name text primary key, value text not null);
"""
FUNDS = toyescrow.FUNDS
BAD_CHEQUE = -32002
# Long enough that no test comes upon it by chance; tests advance the bank's clock.
GRACE_S = 900.0


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

    def create(self, identity: str = "main", grace_s: float = GRACE_S) -> Bank:
        """Make the file. `grace_s`: how long a payer waits between asking to close a channel and withdrawing."""
        with self._open() as db:
            db.execute("pragma journal_mode=wal")
            for statement in (SCHEMA + toyescrow.SCHEMA).split(";"):
                db.execute(statement)
            facts = [("id", identity), ("skew", "0"), ("submissions", "0"), ("grace", str(grace_s))]
            db.executemany("insert into fact values (?, ?)", facts)
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

    def _at_s(self, db: sqlite3.Connection) -> float:
        return time.time() + float(self._fact(db, "skew"))

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
            rows = db.execute("select hash, raw from cheque where state = 'pending' order by rowid").fetchall()
            for found, raw in rows:
                self._settle(db, found, raw)

    def skew(self, seconds: float) -> None:
        """Shift the bank's clock."""
        with self._write() as db:
            db.execute("update fact set value = ? where name = 'skew'", (str(seconds),))

    def advance(self, seconds: float) -> None:
        """Let the bank's clock run ahead by that much more."""
        with self._write() as db:
            db.execute("update fact set value = value + ? where name = 'skew'", (seconds,))

    def set_grace(self, seconds: float) -> None:
        """Another wait before a withdrawal."""
        with self._write() as db:
            db.execute("update fact set value = ? where name = 'grace'", (str(seconds),))

    def channel(self, channel: str) -> Escrowed | None:
        """A payment channel, closed ones included."""
        with self._open() as db:
            return toyescrow.find(db, channel)

    def total(self, asset: str = "coin") -> int:
        """All base units there are, in accounts and in open channels: never changes."""
        with self._open() as db:
            held = db.execute("select total(units) from balance where asset = ?", (asset,)).fetchone()[0]
            locked = "select total(deposit - settled) from channel where asset = ? and not closed"
            return int(held + db.execute(locked, (asset,)).fetchone()[0])

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
            return self._at_s(db)

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
            down, refused = self._strikes(db, "down"), self._strikes(db, "refuse")
        if down:
            raise RpcUnreachable("bank_simulate: down")
        if refused:
            raise RpcRefused("refused, as ordered", code=BAD_CHEQUE)
        with self._write() as db:
            self._check(db, json.loads(raw))

    def submit(self, raw: bytes) -> str:
        """Take in a cheque; returns its hash. Raises RpcRefused, RpcUnreachable."""
        found = hash_of(raw)
        with self._write() as db:
            db.execute("update fact set value = value + 1 where name = 'submissions'")
            down = self._strikes(db, "down")
            refused = not down and self._strikes(db, "refuse")
            lost = not down and self._strikes(db, "lost-answer")
            known = db.execute("select 1 from cheque where hash = ?", (found,)).fetchone()
            if not down and not refused and not known and not self._strikes(db, "drop"):
                self._take_in(db, found, raw)
        if refused:
            raise RpcRefused("refused, as ordered", code=BAD_CHEQUE)
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
        at_s = self._at_s(db)
        db.execute("insert into cheque values (?, ?, ?, ?)", (found, raw, state, at_s))
        if state == "pending" and not self._strikes(db, "stuck"):
            self._settle(db, found, raw)

    def _check(self, db: sqlite3.Connection, cheque: dict[str, Any]) -> None:
        if cheque["dead_after"] < self._at_s(db):
            raise RpcRefused("the cheque is past its time", code=BAD_CHEQUE)
        if "escrow" in cheque:
            self._dry_run(db, cheque)
            return
        total = sum(int(units) for _, units in cheque["payees"])
        row = db.execute(
            "select units from balance where account = ? and asset = ?", (cheque["payer"], cheque["asset"])
        ).fetchone()
        if (row[0] if row else 0) < total:
            raise RpcRefused("insufficient funds", code=FUNDS)

    def _moment(self, db: sqlite3.Connection) -> Moment:
        return Moment(self._fact(db, "id"), self._at_s(db), float(self._fact(db, "grace")))

    def _dry_run(self, db: sqlite3.Connection, members: dict[str, Any], reference: str | None = None) -> None:
        """Do what a channel's transaction says, and take it back unless it has a reference. Raises RpcRefused."""
        db.execute("savepoint trial")
        try:
            toyescrow.apply(db, reference or "", members, self._moment(db))
        except RpcRefused:
            db.execute("rollback to trial")
            raise
        if reference is None:
            db.execute("rollback to trial")
        db.execute("release trial")

    def _settle(self, db: sqlite3.Connection, found: str, raw: bytes) -> None:
        cheque = json.loads(raw)
        if "escrow" in cheque:
            self._settle_escrow(db, found, cheque)
            return
        take = "update balance set units = units - ? where account = ? and asset = ?"
        give = "insert into balance values (?, ?, ?) on conflict do update set units = units + excluded.units"
        for who, units in cheque["payees"]:
            db.execute(take, (int(units), cheque["payer"], cheque["asset"]))
            db.execute(give, (who, cheque["asset"], int(units)))
        db.execute("update cheque set state = 'settled' where hash = ?", (found,))

    def _settle_escrow(self, db: sqlite3.Connection, found: str, members: dict[str, Any]) -> None:
        try:
            self._dry_run(db, members, found)
        except RpcRefused:  # it was good when it was taken in
            db.execute("update cheque set state = 'reverted' where hash = ?", (found,))
            return
        db.execute("update cheque set state = 'settled' where hash = ?", (found,))

    def look_up(self, found: str) -> Entry | None:
        """A cheque by its hash. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            row = db.execute("select raw, state, at from cheque where hash = ?", (found,)).fetchone()
        if down:
            raise RpcUnreachable("bank_lookUp: down")
        return Entry(bytes(row[0]), row[1], row[2]) if row else None

    # --- payment channels ----------------------------------------------------------------------

    def grace(self) -> float:
        """Seconds between a request to close a channel and a withdrawal."""
        with self._open() as db:
            return float(self._fact(db, "grace"))

    def look_at(self, channels: Sequence[str]) -> list[Escrowed | None]:
        """Channels, all at one moment; closed ones included. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            found = [toyescrow.find(db, one) for one in channels]
        if down:
            raise RpcUnreachable("bank_channels: down")
        return found

    def channels_of(self, payer: str, since_s: float) -> list[Escrowed]:
        """Open channels of a payer. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            found = toyescrow.of_payer(db, payer, since_s)
        if down:
            raise RpcUnreachable("bank_channelsOf: down")
        return found

    def payout(self, reference: str, channel: str) -> Payout | None:
        """What a transaction did to a channel. Raises RpcUnreachable."""
        with self._write() as db:
            down = self._strikes(db, "down")
            found = toyescrow.find_payout(db, reference, channel)
        if down:
            raise RpcUnreachable("bank_payout: down")
        return found
