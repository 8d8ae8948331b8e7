"""The outbox of settlements and closes inside one transaction; written once for every SQL database."""

# ruff: noqa: S608 - statements are put together from constants of this package, values are always bound
from __future__ import annotations

from coinslot.errors import LeaseLost, StoreError
from coinslot.intents import session
from coinslot.intents.session import Channel, Close, Refused, Stage, Why
from coinslot.ledger import Entry
from coinslot.store import channel_operations
from coinslot.store.channel_rows import JOB_COLUMNS, job
from coinslot.store.channels import Job, JobKind, JobLease, JobStage
from coinslot.store.operations import Db
from coinslot.store.rows import ACTIVE, Values

_SELECT = "SELECT " + JOB_COLUMNS + ", " + ACTIVE + " FROM coinslot_outbox p WHERE "
_LIVE = "p.stage IN ('planned', 'prepared')"
_HELD = " WHERE id = :id AND lease_owner = :owner AND lease_number = :number"


def plan(db: Db, key: str, kind: JobKind, close: Close) -> Job | Refused:
    """A unique index lets one live job be per channel. The channel's row is locked first: a top-up may come."""
    found = db.rows("SELECT stage, reserved FROM coinslot_channels WHERE key = :key FOR UPDATE", {"key": key})
    if not found:
        return Refused(Why.NOT_FOUND, None)
    known = channel_operations.find(db, key)
    stage, reserved = found[0]
    if stage in {Stage.OPENING, Stage.CLOSED}:
        return Refused(Why.OPENING if stage == Stage.OPENING else Why.CLOSED, known)
    if kind is JobKind.CLOSE and int(reserved):
        return Refused(Why.RESERVED, known)
    if kind is JobKind.CLOSE and stage != Stage.CLOSING:
        return Refused(Why.CLOSING, known)
    db.change(
        "INSERT INTO coinslot_outbox (channel, kind, voucher_units, voucher, capture_units, stage, lease_number,"
        " lease_token, made_at) VALUES (:key, :kind, :voucher_units, :voucher, :capture_units, 'planned', 0, '', :now)"
        " ON CONFLICT DO NOTHING",
        {
            "key": key,
            "kind": str(kind),
            "voucher_units": str(close.voucher_units),
            "voucher": close.raw,
            "capture_units": str(close.capture_units),
        },
    )
    return job(db.rows(_SELECT + _LIVE + " AND p.channel = :key", {"key": key})[0])


def pending(db: Db, limit: int) -> list[Job]:
    """Live jobs on which nobody works."""
    free = _LIVE + " AND NOT " + ACTIVE + " ORDER BY p.id LIMIT :limit"
    return [job(row) for row in db.rows(_SELECT + free, {"limit": limit})]


def jobs_of(db: Db, key: str, limit: int) -> list[Job]:
    """The jobs of a channel."""
    newest = "p.channel = :key ORDER BY p.id DESC LIMIT :limit"
    return [job(row) for row in db.rows(_SELECT + newest, {"key": key, "limit": limit})]


def take(db: Db, owner: str, token: str, job_id: int) -> JobLease | None:
    """Lock the row, then look at its owner's heart in a later statement: a beat committed meanwhile must be seen."""
    values: Values = {"id": job_id, "owner": owner, "token": token}
    found = db.rows("SELECT stage, lease_number, lease_token FROM coinslot_outbox WHERE id = :id FOR UPDATE", values)
    if not found or found[0][0] in {JobStage.DONE, JobStage.FAILED}:
        return None
    _, number, holder = found[0]
    if db.redo and holder == token:
        return JobLease(job_id, number)
    if db.rows("SELECT 1 FROM coinslot_outbox p WHERE p.id = :id AND " + ACTIVE, values):
        return None
    db.change(
        "UPDATE coinslot_outbox SET lease_owner = :owner, lease_number = lease_number + 1, lease_token = :token"
        " WHERE id = :id",
        values,
    )
    return JobLease(job_id, number + 1)


def _held(owner: str, lease: JobLease) -> Values:
    return {"id": lease.job_id, "owner": owner, "number": lease.number}


def _refuse(db: Db, owner: str, lease: JobLease, done: JobStage) -> None:
    """Say why a step changed nothing; return if a first run of it had (F19). Raises LeaseLost, StoreError."""
    found = db.rows("SELECT stage, lease_owner, lease_number FROM coinslot_outbox WHERE id = :id", _held(owner, lease))
    stage, holder, number = found[0] if found else (None, None, None)
    if db.redo and number == lease.number and stage == done:
        return
    if number != lease.number or holder != owner:
        raise LeaseLost(f"the lease on job {lease.job_id} is gone")
    raise StoreError(f"a job that is {stage} can't become {done}")


def prepare(db: Db, owner: str, lease: JobLease, reference: str, raw: bytes, dead_after_s: float | None) -> None:
    """Record what will be broadcast. F09"""
    set_prepared = (
        "UPDATE coinslot_outbox SET stage = 'prepared', reference = :reference, raw = :raw, dead_after = :dead_after"
    )
    values = _held(owner, lease) | {"reference": reference, "raw": raw, "dead_after": dead_after_s}
    if db.change(set_prepared + _HELD + " AND stage = 'planned'", values) == 0:
        _refuse(db, owner, lease, JobStage.PREPARED)


def replan(db: Db, owner: str, lease: JobLease) -> None:
    """What was prepared is dead: prepare anew."""
    set_planned = "UPDATE coinslot_outbox SET stage = 'planned', reference = NULL, raw = NULL, dead_after = NULL"
    if db.change(set_planned + _HELD + " AND stage = 'prepared'", _held(owner, lease)) == 0:
        _refuse(db, owner, lease, JobStage.PLANNED)


def fail(db: Db, owner: str, lease: JobLease, reason: str) -> None:
    """Close the job as not done."""
    set_failed = "UPDATE coinslot_outbox SET stage = 'failed', reason = :reason, lease_owner = NULL"
    values = _held(owner, lease) | {"reason": reason}
    if db.change(set_failed + _HELD + " AND stage IN ('planned', 'prepared')", values) == 0:
        _refuse(db, owner, lease, JobStage.FAILED)


def finish(db: Db, owner: str, token: str, lease: JobLease, settled_units: int, entry: Entry | None) -> Channel:
    """Job, channel and journal in one step. F10"""
    values = _held(owner, lease)
    found = db.rows("SELECT channel, kind FROM coinslot_outbox WHERE id = :id", values)
    if not found:
        raise LeaseLost(f"the lease on job {lease.job_id} is gone")
    key, kind = found[0]
    db.rows("SELECT 1 FROM coinslot_channels WHERE key = :key FOR UPDATE", {"key": key})
    set_done = "UPDATE coinslot_outbox SET stage = 'done', lease_owner = NULL"
    if db.change(set_done + _HELD + " AND stage = 'prepared'", values) == 0:
        _refuse(db, owner, lease, JobStage.DONE)

    def step(old: Channel) -> Channel:
        return session.closed(old, settled_units) if kind == JobKind.CLOSE else session.note_settled(old, settled_units)

    noted = channel_operations.note(db, key, token, step, entry)
    if not isinstance(noted, Channel):
        raise StoreError("the job's channel is not known")
    return noted


def release(db: Db, owner: str, lease: JobLease) -> None:
    """Let go; a lease that is gone is gone."""
    db.change("UPDATE coinslot_outbox SET lease_owner = NULL" + _HELD, _held(owner, lease))
