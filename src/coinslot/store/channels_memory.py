"""Channels in this process only: the same promises as on disk, except durability. Leases hold until dropped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from typing import TypeVar, cast

from coinslot.errors import LeaseLost, StoreError, UsageError
from coinslot.intents import session
from coinslot.intents.session import Channel, Close, Refused, Rules, Spent, Stage, Why
from coinslot.ledger import Entry
from coinslot.store.channel_operations import decide, topped_up
from coinslot.store.channels import (
    ChannelQuery,
    Job,
    JobKind,
    JobLease,
    JobStage,
    KeptKey,
    Known,
    Opened,
    OpenResult,
    Order,
    OrderResult,
    Reservation,
    Reserved,
    ReserveResult,
)
from coinslot.store.keyed_memory import Requests
from coinslot.store.protocol import Claim, ClaimResult, Delivery, Lease, Taken

T = TypeVar("T")

_LIVE = {JobStage.PLANNED, JobStage.PREPARED}


class MemoryChannels(ABC):
    """channels.Channels for memory.MemoryStore."""

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[str, Channel] = {}
        self._requests = Requests()
        self._reservations: dict[str, Reservation] = {}
        self._jobs: dict[int, Job] = {}
        self._job_numbers: dict[int, int] = {}
        self._watched: dict[str, float] = {}
        self._names = count(1)

    @abstractmethod
    def _do(self, step: Callable[[], T], failpoint: str = "") -> Future[T]: ...

    @abstractmethod
    def _claim(self, claim: Claim) -> ClaimResult: ...

    @abstractmethod
    def _post(self, entry: Entry) -> None: ...

    @abstractmethod
    def _is_posted(self, entry_id: str) -> bool: ...

    @abstractmethod
    def _now(self) -> float: ...

    # --- the record

    def open_channel(self, claim: Claim, channel: Channel, rules: Rules) -> Future[OpenResult]:
        """Use the opening's proof up and record the channel. Raises UsageError. T06 T08"""
        new = session.begin(channel, rules)

        def step() -> OpenResult:
            taken = self._taken(claim)
            if taken is not None:
                return taken
            if new.key in self._channels:  # T08
                return Known(self._channels[new.key])
            claimed = self._claim(claim)
            if not isinstance(claimed, Lease):
                return claimed
            now = self._now()
            self._channels[new.key] = replace(new, opened_at_s=now, used_at_s=now)
            return Opened(claimed, self._channels[new.key])

        return self._do(step, "store.channel.open")

    @abstractmethod
    def _taken(self, claim: Claim) -> Taken | None: ...

    def find_channel(self, key: str) -> Future[Channel | None]:
        """The record, as of now."""
        return self._do(lambda: self._channels.get(key))

    def list_channels(self, query: ChannelQuery) -> Future[Sequence[Channel]]:
        """Channels in the order of recording."""

        def step() -> Sequence[Channel]:
            keys = list(self._channels)
            if query.after is not None:
                if query.after not in self._channels:
                    raise UsageError("no channel has the key to continue after")
                keys = keys[keys.index(query.after) + 1 :]
            found = [
                each
                for each in (self._channels[key] for key in keys)
                if (not query.stages or each.stage in query.stages)
                and each.unsettled >= query.min_unsettled_units
                and query.payer in (None, each.payer)
                and (query.idle_since_s is None or each.used_at_s <= query.idle_since_s)
            ]
            return found[: query.limit]

        return self._do(step)

    def _change(
        self, key: str, step: Callable[[Channel], Channel | Refused], name: str, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        return self._do(lambda: self._changed(key, step, entry), name)

    def _changed(
        self, key: str, step: Callable[[Channel], Channel | Refused], entry: Entry | None
    ) -> Channel | Refused:
        old = self._channels.get(key)
        if old is None:
            return Refused(Why.NOT_FOUND, None)
        new = step(old)
        if isinstance(new, Channel):
            if entry is not None:
                self._post(entry)
            self._channels[key] = new
        return new

    def confirm_open(
        self, key: str, deposit_units: int, settled_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """opening -> open."""
        return self._change(
            key, lambda old: session.opened(old, deposit_units, settled_units, rules), "store.channel.confirm", entry
        )

    def top_up(
        self, key: str, deposit_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """A larger deposit."""

        def step(old: Channel) -> Channel | Refused:
            live = self._live_job(key)
            if old.stage is Stage.CLOSING and live is not None and live.kind is JobKind.CLOSE:
                return Refused(Why.CLOSING, old)
            again = entry is not None and self._is_posted(entry.id)
            new, brought = topped_up(old, deposit_units, rules, entry, again=again)
            if brought is not None:
                self._post(brought)
            return session.used(new, self._now()) if isinstance(new, Channel) and new != old else new

        return self._change(key, step, "store.channel.top_up")

    def note_settled(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """A settlement that the chain shows. Raises LedgerError."""
        return self._change(key, lambda old: session.note_settled(old, settled_units), "store.channel.settled", entry)

    def mark_closing(self, key: str, at_s: float) -> Future[Channel | Refused]:
        """open -> closing. T27"""
        return self._change(key, lambda old: session.request_close(old, at_s), "store.channel.closing")

    def mark_closed(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """-> closed. Raises LedgerError."""
        return self._change(key, lambda old: session.closed(old, settled_units), "store.channel.closed", entry)

    # --- buying

    def accept_and_spend(self, order: Order) -> Future[OrderResult]:
        """Accept and spend, in one step. T02 T22"""
        bought = self._do(lambda: self._buy(order, None), "store.channel.spend")
        return cast("Future[OrderResult]", bought)

    def _buy(self, order: Order, window: tuple[int, int] | None) -> OrderResult | ReserveResult:
        old = self._channels.get(order.key)
        if old is None:
            return Refused(Why.NOT_FOUND, None)
        keyed = order.idempotency_key is not None
        repeated = self._requests.repeated(order, old) if keyed else None
        if repeated is not None and not isinstance(repeated, Spent):
            return repeated
        answered, new = decide(old, order, window, paid=repeated is not None)
        bought = keyed and isinstance(answered, Spent | Reserved)
        if bought and not self._requests.remember(order, old, self._now()):
            return Refused(Why.CROWDED, old)
        if new is not old:
            self._channels[order.key] = session.used(new, self._now())
        if isinstance(answered, Reserved):
            answered = self._set_aside(old, new)
        return answered

    def keep_answer(self, key: str, idempotency_key: str, answer: Delivery | None) -> Future[None]:
        """Keep the answer to a keyed request."""
        return self._do(lambda: self._requests.keep(key, idempotency_key, answer, self._now()), "store.channel.answer")

    def old_answers(self, kept_s: float, limit: int) -> Future[Sequence[KeptKey]]:
        """Keys on closed channels that may be forgotten."""

        def step() -> Sequence[KeptKey]:
            closed = [each.key for each in self._channels.values() if each.stage is Stage.CLOSED]
            return self._requests.old(closed, self._now() - kept_s, limit)

        return self._do(step)

    def forget_answers(self, keys: Sequence[KeptKey], kept_s: float) -> Future[int]:
        """Forget those that are still old. F28"""
        return self._do(lambda: self._requests.forget(keys, self._now() - kept_s), "store.channel.forget")

    # --- metered use

    def _set_aside(self, old: Channel, new: Channel) -> Reserved:
        made = Reservation(str(next(self._names)), new.key, new.reserved - old.reserved)
        self._reservations[made.id] = made
        return Reserved(new, made)

    def reserve(self, order: Order, least_units: int, most_units: int) -> Future[ReserveResult]:
        """Accept, spend, and set a window aside. T22"""
        reserved = self._do(lambda: self._buy(order, (least_units, most_units)), "store.channel.reserve")
        return cast("Future[ReserveResult]", reserved)

    def commit(
        self,
        reservation: Reservation,
        used_units: int,
        units: int = 0,
        more: tuple[int, int] | None = None,
        rules: Rules | None = None,
    ) -> Future[Reserved]:
        """Spend what was used, free the rest, set the next window aside. Raises LeaseLost, UsageError."""

        def step() -> Reserved:
            if self._reservations.get(reservation.id) != reservation:
                raise LeaseLost("somebody else billed this window")
            old = self._channels[reservation.key]
            new = session.commit(old, reservation.window_units, used_units, units, rules)
            kept = session.reserve(new, *more) if more is not None else new
            del self._reservations[reservation.id]
            last = new if isinstance(kept, Refused) else kept
            self._channels[reservation.key] = session.used(last, self._now())
            if isinstance(kept, Refused):
                return Reserved(new, None, kept.missing_units)
            return Reserved(new, None) if last is new else self._set_aside(new, last)

        return self._do(step, "store.channel.commit")

    def abandoned(self, limit: int) -> Future[Sequence[Reservation]]:
        """None: whoever owns a window here lives as long as its record."""
        return self._do(lambda: ())

    def bill(self, reservation: Reservation) -> Future[Channel | None]:
        """None: no owner here is dead."""
        return self._do(lambda: None, "store.channel.bill")

    # --- the outbox

    def _live_job(self, key: str) -> Job | None:
        return next((each for each in self._jobs.values() if each.key == key and each.stage in _LIVE), None)

    def plan(self, key: str, kind: JobKind, close: Close) -> Future[Job | Refused]:
        """Put a job in the outbox, or get the live one."""

        def step() -> Job | Refused:
            known = self._channels.get(key)
            if known is None:
                return Refused(Why.NOT_FOUND, None)
            if known.stage in {Stage.OPENING, Stage.CLOSED}:
                return Refused(Why.OPENING if known.stage is Stage.OPENING else Why.CLOSED, known)
            if kind is JobKind.CLOSE and known.reserved:
                return Refused(Why.RESERVED, known)
            if kind is JobKind.CLOSE and known.stage is not Stage.CLOSING:
                return Refused(Why.CLOSING, known)
            live = self._live_job(key)
            if live is None:
                live = Job(next(self._names), key, kind, close, JobStage.PLANNED, leased=False, made_at_s=self._now())
                self._jobs[live.id] = live
                self._job_numbers[live.id] = 0
            return live

        return self._do(step, "store.channel.plan")

    def pending_jobs(self, limit: int) -> Future[Sequence[Job]]:
        """Live jobs on which nobody works."""
        return self._do(
            lambda: [each for each in self._jobs.values() if each.stage in _LIVE and not each.leased][:limit]
        )

    def jobs_of(self, key: str, limit: int) -> Future[Sequence[Job]]:
        """The jobs of a channel, newest first."""
        return self._do(lambda: [each for each in reversed(self._jobs.values()) if each.key == key][:limit])

    def take_job(self, job_id: int) -> Future[JobLease | None]:
        """Take a job that nobody works on."""

        def step() -> JobLease | None:
            job = self._jobs.get(job_id)
            if job is None or job.leased or job.stage not in _LIVE:
                return None
            self._job_numbers[job_id] += 1
            self._jobs[job_id] = replace(job, leased=True)
            return JobLease(job_id, self._job_numbers[job_id])

        return self._do(step)

    def _held_job(self, lease: JobLease, wanted: JobStage, *stages: JobStage) -> Job:
        job = self._jobs.get(lease.job_id)
        if job is None or not job.leased or self._job_numbers[lease.job_id] != lease.number:
            raise LeaseLost(f"the lease on job {lease.job_id} is gone")
        if job.stage not in stages:
            raise StoreError(f"a job that is {job.stage} can't become {wanted}")
        return job

    def prepare_job(
        self, lease: JobLease, reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """planned -> prepared. Raises LeaseLost, StoreError. F09"""
        return self.prepare_jobs([lease], reference, raw, dead_after_s)

    def prepare_jobs(
        self, leases: Sequence[JobLease], reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """The same for all jobs of one transaction. F09"""

        def step() -> None:
            jobs = [self._held_job(lease, JobStage.PREPARED, JobStage.PLANNED) for lease in leases]
            for job in jobs:
                self._jobs[job.id] = replace(
                    job, stage=JobStage.PREPARED, reference=reference, raw=raw, dead_after_s=dead_after_s
                )

        return self._do(step, "store.channel.prepare")

    def replan_job(self, lease: JobLease) -> Future[None]:
        """prepared -> planned. Raises LeaseLost, StoreError."""

        def step() -> None:
            job = self._held_job(lease, JobStage.PLANNED, JobStage.PREPARED)
            self._jobs[job.id] = replace(job, stage=JobStage.PLANNED, reference=None, raw=None, dead_after_s=None)

        return self._do(step)

    def finish_job(self, lease: JobLease, settled_units: int, entry: Entry | None = None) -> Future[Channel]:
        """prepared -> done, with channel and entry. Raises LeaseLost, LedgerError. F10"""

        def step() -> Channel:
            job = self._held_job(lease, JobStage.DONE, JobStage.PREPARED)
            note = session.closed if job.kind is JobKind.CLOSE else session.note_settled
            noted = self._changed(job.key, lambda old: note(old, settled_units), entry)
            if not isinstance(noted, Channel):
                raise StoreError("the job's channel is not known")
            self._jobs[job.id] = replace(job, stage=JobStage.DONE, leased=False)
            return noted

        return self._do(step, "store.channel.finish")

    def fail_job(self, lease: JobLease, reason: str) -> Future[None]:
        """planned or prepared -> failed. Raises LeaseLost, StoreError."""

        def step() -> None:
            job = self._held_job(lease, JobStage.FAILED, *_LIVE)
            self._jobs[job.id] = replace(job, stage=JobStage.FAILED, leased=False, reason=reason)

        return self._do(step)

    def release_job(self, lease: JobLease) -> Future[None]:
        """Drop the lease; no error if it was lost."""

        def step() -> None:
            job = self._jobs.get(lease.job_id)
            if job is not None and self._job_numbers[lease.job_id] == lease.number:
                self._jobs[lease.job_id] = replace(job, leased=False)

        return self._do(step)

    # --- the watcher

    def note_watched(self, network: str) -> Future[None]:
        """A round is done."""
        return self._do(lambda: self._watched.update({network: self._now()}))

    def watched_ago_s(self, network: str) -> Future[float | None]:
        """Seconds since the last round; None for never."""
        return self._do(lambda: abs(self._now() - self._watched[network]) if network in self._watched else None)
