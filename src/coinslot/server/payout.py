"""Work on jobs of the outbox: money out of channels, by whoever holds the jobs' leases.

Several jobs of one seller go in one transaction. Its bytes and hash are recorded before it is sent (F09); what became
of it is asked until the chain tells or patience ends, and a job whose end is not known stays `prepared` for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import ChainError, Problem
from coinslot.intents.acts import Done, JobOutcome, Sendable
from coinslot.intents.charge import Pending, Refused
from coinslot.intents.session import Channel
from coinslot.ledger import Entry, post_refund, post_settlement
from coinslot.method import SessionSeller
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

    Raises StoreError; UsageError for more jobs than the seller's batch. A job that the chain refuses is `failed`.
    """
    sent: dict[int, Sendable] = {}
    try:
        for task in tasks:
            if task.job.stage is JobStage.PREPARED and task.job.reference is not None:
                raw, dead_after_s = task.job.raw or b"", task.job.dead_after_s or 0.0
                sent[task.job.id] = Sendable(task.job.reference, raw, dead_after_s)
        yield from _prepare(store, seller, [task for task in tasks if task.job.id not in sent], sent)
        for raw in {one.raw for one in sent.values()}:
            with suppress(ChainError, Problem):  # F11: only the chain knows now, whatever the node said
                yield from seller.send(raw)
        failpoint("settler.sent")
        return (yield from _learn(store, seller, tasks, sent, patience_s))
    finally:
        for task in tasks:
            store.release_job(task.lease)  # no error if its stage has ended it


def _prepare(
    store: SessionStore, seller: SessionSeller, planned: Sequence[Task], sent: dict[int, Sendable]
) -> Flow[None]:
    if not planned:
        return
    try:
        made = yield from seller.pay_out([(task.channel, task.job.close, task.closes) for task in planned])
    except Problem as problem:
        for task in planned:
            yield from wait(store.fail_job(task.lease, problem.detail))
        raise
    for task in planned:
        yield from wait(store.prepare_job(task.lease, made.reference, made.raw, made.dead_after_s))  # F09
        sent[task.job.id] = made
    failpoint("settler.prepared")


def _learn(
    store: SessionStore, seller: SessionSeller, tasks: Sequence[Task], sent: dict[int, Sendable], patience_s: float
) -> Flow[list[JobOutcome]]:
    known: dict[int, JobOutcome] = {}
    began = yield from now()
    while True:
        for task in tasks:
            if task.job.id not in known:
                outcome = yield from _ask(seller, task, sent[task.job.id])
                if not isinstance(outcome, Pending):
                    yield from _end(store, task, outcome)
                    known[task.job.id] = outcome
        if len(known) == len(tasks) or not began <= (yield from now()) < began + patience_s:  # F21
            return [known.get(task.job.id, Pending("the chain has not told yet")) for task in tasks]
        yield from sleep(CONFIRM_EVERY_S)


def _ask(seller: SessionSeller, task: Task, sent: Sendable) -> Flow[JobOutcome]:
    try:
        return (yield from seller.paid_out(task.channel, task.job.close, task.closes, sent))
    except (ChainError, Problem) as error:  # F11: no answer is not "not done"
        return Pending(type(error).__name__)


def _end(store: SessionStore, task: Task, outcome: Done | Refused) -> Flow[None]:
    if isinstance(outcome, Refused):
        yield from wait(store.fail_job(task.lease, outcome.reason))
        return
    channel = (yield from wait(store.find_channel(task.channel.key))) or task.channel
    yield from wait(store.finish_job(task.lease, outcome.settled_units, entry_of(channel, outcome)))  # F10
    failpoint("settler.finished")


def entry_of(channel: Channel, done: Done) -> Entry | None:
    """The journal's entry, `channel` as recorded before; None where nothing new was moved. Raises LedgerError."""
    if done.closed:
        return post_refund(channel, done.settled_units, done.refunded_units, done.settled_at_s, done.reference)
    if done.settled_units <= channel.settled:
        return None
    return post_settlement(channel, done.settled_units, done.settled_at_s, done.reference)
