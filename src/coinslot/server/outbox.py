"""Working off the outbox of settlements and closes: who takes which job, and in what order.

Jobs that were sent are asked about by the transaction they were sent in; planned ones go together, as many as the
method can put in one, but for those that failed the last time: they go one by one, after the others, so that a channel
whose owner makes a payout fail holds up no other's. What is taken is looked at again: the process before us may have
died at any point. F09
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Future

from coinslot.drive import Flow, now, wait
from coinslot.errors import ChainError, LeaseLost, LedgerError, Problem
from coinslot.intents.acts import Done, JobOutcome
from coinslot.intents.charge import Pending
from coinslot.intents.session import Channel
from coinslot.method import SessionSeller
from coinslot.server.events import ChannelClosed, ChannelSettled, JobFailed
from coinslot.server.payout import Task, give_back, work
from coinslot.server.rounds import Round
from coinslot.store.channels import Job, JobLease, JobStage, SessionStore

# A look at what is open takes in this many jobs; one round works on the second number of them.
SEEN = 4096
ROUND = 512
# The next look at the channels must not wait for a long outbox: what is not begun by then waits for the next round.
ROUND_S = 60.0


def work_off(going: Round, batch: int, turn: int) -> Flow[None]:
    """Do what is in the outbox, as far as one round goes. Raises StoreError. F11

    `turn` counts the rounds: each begins where the one before ended, so that jobs that stay open keep no others from
    their turn. Nobody waits here: what was sent is asked about once, and again in the next round.
    """
    waiting = list((yield from wait(going.store.pending_jobs(SEEN))))
    start = turn * ROUND % len(waiting) if len(waiting) > ROUND else 0  # F11
    taken = (waiting[start:] + waiting[:start])[:ROUND]
    going.counts["pending"] += len(waiting) - len(taken)
    groups: dict[int, tuple[SessionSeller, list[tuple[Channel, Job]]]] = {}
    apart: set[int] = set()
    for job in taken:
        channel = yield from wait(going.store.find_channel(job.key))
        seller = None if channel is None else going.seller_of(channel)
        if channel is not None and channel.network not in going.networks:
            continue  # another settler's
        if channel is not None and seller is not None and seller.network not in going.trouble:
            groups.setdefault(id(seller), (seller, []))[1].append((channel, job))
            if (yield from _failed_before(going.store, job)):  # T27
                apart.add(job.id)
        else:
            going.counts["pending"] += 1
    for seller, jobs in groups.values():
        for some in batches(jobs, min(batch, seller.batch), apart):
            late = not going.at_s <= (yield from now()) < going.at_s + ROUND_S
            if late or seller.network in going.trouble:
                going.counts["pending"] += len(some)
            else:
                yield from _work(going, seller, some)


def _failed_before(store: SessionStore, job: Job) -> Flow[bool]:
    if job.stage is not JobStage.PLANNED:
        return False
    known = yield from wait(store.jobs_of(job.key, 2))
    return len(known) > 1 and known[1].stage is JobStage.FAILED


def batches(
    jobs: Sequence[tuple[Channel, Job]], size: int, apart: Container[int] = ()
) -> Iterator[list[tuple[Channel, Job]]]:
    """Jobs that were sent together, then planned ones, no more than `size` at a time; one channel once in each. Those
    whose ids are in `apart` come last, each by itself.
    """
    sent: dict[str, list[tuple[Channel, Job]]] = {}
    for each in jobs:
        if each[1].stage is JobStage.PREPARED:
            sent.setdefault(each[1].reference or "", []).append(each)
    for together in sent.values():
        yield from _cut(together, size)
    planned = [each for each in jobs if each[1].stage is JobStage.PLANNED]
    yield from _cut([each for each in planned if each[1].id not in apart], size)
    yield from _cut([each for each in planned if each[1].id in apart], 1)


def _cut(jobs: list[tuple[Channel, Job]], size: int) -> Iterator[list[tuple[Channel, Job]]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _work(going: Round, seller: SessionSeller, jobs: list[tuple[Channel, Job]]) -> Flow[None]:
    tasks: list[Task] = []
    try:
        for channel, job in jobs:
            task = yield from take(going.store, channel, job)
            if task is not None:
                tasks.append(task)
        if not tasks:
            return
        outcomes = yield from work(going.store, seller, tasks, 0.0)
    except ChainError as error:  # F11: nothing was sent, or only the chain knows; the rest of this network waits
        going.trouble[seller.network] = str(error)
        going.counts["pending"] += len(tasks)
    except (Problem, LeaseLost):
        going.counts["failed"] += len(tasks)
    except LedgerError:  # F27: seen again, and told, when the channel is looked at
        going.frozen += [task.channel.key for task in tasks]
    else:
        for task, outcome in zip(tasks, outcomes, strict=True):
            _count(going, task, outcome)
    finally:
        for task in tasks:
            give_back(going.store, task.lease)


def take(store: SessionStore, channel: Channel, job: Job) -> Flow[Task | None]:
    """The job as it stands, and its lease; None if somebody else works on it or it is over. Raises StoreError.

    Looked at again under the lease: whoever held it before may have sent it since, and what was sent can't fail. F09
    """
    future = store.take_job(job.id)
    task: Task | None = None
    try:
        lease: JobLease | None = yield from wait(future)
        newest = yield from wait(store.jobs_of(channel.key, 1))
        current = newest[0] if newest and newest[0].id == job.id else None
        if lease is None or current is None or current.stage not in {JobStage.PLANNED, JobStage.PREPARED}:
            return None
        task = Task((yield from wait(store.find_channel(channel.key))) or channel, current, lease)
        return task
    finally:
        if task is None:  # F29: also a lease that is granted after we stopped waiting
            future.add_done_callback(lambda late: _give_back(store, late))


def _give_back(store: SessionStore, late: Future[JobLease | None]) -> None:
    lease = None if late.cancelled() or late.exception() is not None else late.result()
    if lease is not None:
        give_back(store, lease)


def _count(going: Round, task: Task, outcome: JobOutcome) -> None:
    channel, method = task.channel, task.channel.method
    if isinstance(outcome, Pending):
        going.counts["pending"] += 1
    elif not isinstance(outcome, Done):
        going.counts["failed"] += 1
        going.tell(JobFailed(method, channel.id, str(task.job.kind), outcome.reason))
    elif outcome.closed:
        going.counts["closed"] += 1
        going.tell(
            ChannelClosed(
                method,
                channel.payer,
                channel.asset,
                outcome.settled_units,
                outcome.refunded_units,
                channel.id,
                outcome.reference,
            )
        )
    else:
        going.counts["settled"] += 1
        added = max(0, outcome.settled_units - channel.settled)
        going.tell(ChannelSettled(method, channel.payer, channel.asset, added, channel.id, outcome.reference))
