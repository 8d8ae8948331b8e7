"""Work on jobs of the outbox: money out of channels, by whoever holds the jobs' leases.

Several jobs of one seller go in one transaction. Its bytes and hash are recorded before it is sent (F09); what became
of it is asked until the chain tells or patience ends, and a job whose end is not known stays `prepared` for the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import ChainError, LedgerError, Problem, VerificationFailed
from coinslot.intents.acts import Done, JobOutcome, Sendable
from coinslot.intents.charge import Pending, Refused
from coinslot.intents.session import Channel, Stage
from coinslot.ledger import Entry, post_refund, post_settlement
from coinslot.method import SessionSeller
from coinslot.server.holding import insist
from coinslot.store.channels import Job, JobKind, JobLease, JobStage, SessionStore

# Between two questions to the chain about one transaction.
CONFIRM_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Task:
    """A job that we hold, and the channel it is about, as recorded."""

    channel: Channel
    job: Job
    lease: JobLease

    @property
    def closes(self) -> bool:
        """Whether it closes the channel."""
        return self.job.kind is JobKind.CLOSE


def work(
    store: SessionStore, seller: SessionSeller, tasks: Sequence[Task], patience_s: float
) -> Flow[list[JobOutcome]]:
    """Do these jobs, as far as can be learnt in that time; what became of each, in order. Leases are given back.

    Raises StoreError; ChainError or a Problem (nothing was prepared; VerificationFailed: the chain refuses the only
    job, which is `failed` now); LedgerError; UsageError for more jobs than the seller's batch.
    """
    sent: dict[int, Sendable] = {}
    try:
        for task in tasks:
            if task.job.stage is JobStage.PREPARED and task.job.reference is not None:
                raw, dead_after_s = task.job.raw or b"", task.job.dead_after_s or 0.0
                sent[task.job.id] = Sendable(task.job.reference, raw, dead_after_s)
        refused: dict[int, Refused] = {}
        yield from _prepare_all(store, seller, [task for task in tasks if task.job.id not in sent], sent, refused)
        for raw in {one.raw for one in sent.values()}:
            with suppress(ChainError, Problem):  # F11: only the chain knows now, whatever the node said
                yield from seller.send(raw)
        failpoint("settler.sent")
        left = [task for task in tasks if task.job.id in sent]
        learnt = yield from _learn(store, seller, left, sent, patience_s)
        return [refused.get(task.job.id) or learnt[task.job.id] for task in tasks]
    finally:
        for task in tasks:
            give_back(store, task.lease)


def give_back(store: SessionStore, lease: JobLease) -> None:
    """Let others work on a job; no error if its stage has ended the lease. Never waits, never fails. F16"""
    insist(lambda: store.release_job(lease))


def _prepare_all(
    store: SessionStore,
    seller: SessionSeller,
    planned: Sequence[Task],
    sent: dict[int, Sendable],
    refused: dict[int, Refused],
) -> Flow[None]:
    """Together; or, if the chain refuses that, one by one, so that one of them stops no others."""
    try:
        yield from _prepare(store, seller, planned, sent)
        return
    except VerificationFailed as problem:
        if len(planned) == 1:
            yield from wait(store.fail_job(planned[0].lease, problem.detail))
            raise
    for task in planned:
        try:
            yield from _prepare(store, seller, [task], sent)
        except VerificationFailed as problem:
            yield from wait(store.fail_job(task.lease, problem.detail))
            refused[task.job.id] = Refused(problem.detail)


def _prepare(
    store: SessionStore, seller: SessionSeller, planned: Sequence[Task], sent: dict[int, Sendable]
) -> Flow[None]:
    if not planned:
        return
    made = yield from seller.pay_out([(task.channel, task.job.close, task.closes) for task in planned])
    leases = [task.lease for task in planned]
    yield from wait(store.prepare_jobs(leases, made.reference, made.raw, made.dead_after_s))  # F09
    failpoint("settler.prepared")
    sent.update({task.job.id: made for task in planned})


def _learn(
    store: SessionStore, seller: SessionSeller, tasks: Sequence[Task], sent: dict[int, Sendable], patience_s: float
) -> Flow[dict[int, JobOutcome]]:
    known: dict[int, JobOutcome] = {}
    together = Counter(one.reference for one in sent.values())
    began = yield from now()
    while True:
        for task in tasks:
            if task.job.id not in known:
                outcome = yield from _ask(seller, task, sent[task.job.id])
                if not isinstance(outcome, Pending):
                    its = sent[task.job.id]
                    yield from _end(store, task, outcome, its, alone=together[its.reference] == 1)
                    known[task.job.id] = outcome
        if len(known) == len(tasks) or not began <= (yield from now()) < began + patience_s:  # F21
            return {task.job.id: known.get(task.job.id, Pending("the chain has not told yet")) for task in tasks}
        yield from sleep(CONFIRM_EVERY_S)


def _ask(seller: SessionSeller, task: Task, sent: Sendable) -> Flow[JobOutcome]:
    try:
        return (yield from seller.paid_out(task.channel, task.job.close, task.closes, sent))
    except (ChainError, Problem) as error:  # F11: no answer is not "not done"
        return Pending(type(error).__name__)


def _end(store: SessionStore, task: Task, outcome: Done | Refused, sent: Sendable, *, alone: bool) -> Flow[None]:
    """`alone`: nothing else was in the transaction, so nobody else is why it never appeared. Those that were in one
    together fail, and are planned anew, apart (outbox.py). T27
    """
    if isinstance(outcome, Refused):
        if alone and (yield from now()) > sent.dead_after_s:  # it can't appear any more: made anew, for the same job
            yield from wait(store.replan_job(task.lease))
            failpoint("settler.replanned")
        else:
            yield from wait(store.fail_job(task.lease, outcome.reason))
        return
    try:
        yield from _finish(store, task, outcome)
    except LedgerError:  # somebody put a part of it on record between our look and our entry: look again, once
        yield from _finish(store, task, outcome)
    failpoint("settler.finished")


def _finish(store: SessionStore, task: Task, done: Done) -> Flow[None]:
    channel = (yield from wait(store.find_channel(task.channel.key))) or task.channel
    yield from wait(store.finish_job(task.lease, done.settled_units, entry_of(channel, done)))  # F10


def entry_of(channel: Channel, done: Done) -> Entry | None:
    """The journal's entry, `channel` as recorded before; None where nothing new was moved. Raises LedgerError."""
    if channel.stage is Stage.CLOSED:
        return None
    if done.closed:
        return post_refund(channel, done.settled_units, done.refunded_units, done.settled_at_s, done.reference)
    if done.settled_units <= channel.settled:
        return None
    return post_settlement(channel, done.settled_units, done.settled_at_s, done.reference)
