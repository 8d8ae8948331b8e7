"""The settler: one round over all channels, without clock or loop; services/settler.py repeats it.

    1 bill     windows that dead processes had set aside are spent whole: what was delivered is in them. F08
    2 watch    every channel that is not closed, as the chain has it; the record follows (reconcile.py). T27
    3 decide   what is to be settled, and what closed, goes into the outbox
    4 work     jobs of the outbox, in batches: bytes and hash on record before anything is sent (payout.py). F09 F11
    5 tidy     now and then: what closed channels left on the chain (rent) is collected, and old answers to requests
               that they paid are forgotten

A channel is settled when what was bought and not paid out reaches a threshold, or an age if it is no dust. It is closed
when its payer asked the chain to close it, when somebody asked us to, or when nobody used it for long; also where
nothing is owed, so that the deposit becomes free. What closing takes is the method's rule: what was spent, or what was
settled already if that is more; or, where a chain knows only vouchers, all that the highest one says.

Any number of settlers may share a store: each job has one live row per channel and a lease. A network that does not
answer is left alone for the rest of the round, and is not noted as watched.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from coinslot.drive import Flow, failpoint, now, wait
from coinslot.errors import ChainError, Problem, UsageError
from coinslot.intents import acts, session
from coinslot.intents.session import Capture, Channel, Close, Refused, Rules, Stage
from coinslot.method import Extras, SessionSeller
from coinslot.server.events import ChannelStopped, Event, Observer
from coinslot.server.outbox import work_off
from coinslot.server.reconcile import reconcile
from coinslot.server.rounds import Round
from coinslot.store.channels import ChannelQuery, Job, JobKind, JobStage, SessionStore

# Settling costs a fee: an hour's worth of what was bought is at stake between two of them.
SETTLE_AFTER_S = 3600.0
# A payer who was silent for a day gets the rest of the deposit back.
CLOSE_IDLE_AFTER_S = 86_400.0
# Channels that one transaction settles: some networks take more, and one that fails is tried again one by one.
BATCH = 32

# Channels read, and asked about, at a time: a few kilobytes each.
PAGE = 100
# Windows billed in one round; more wait for the next.
WINDOWS = 1000
# Who asks us to close may bring a voucher of exactly what was bought; where closing takes all that a voucher says, the
# settler leaves the closing to that request for so long; also where the chain's clock, by which a payer asked, is as
# much ahead of ours.
CLOSE_PATIENCE_S = 10.0
# A payer can take the rest back after the grace time. If a stream still holds a window after this part of it, what is
# signed is settled without waiting for the stream.
URGENT_PART = 3
# A voucher that expires is settled when no more of its time is left, also a young one or one that says more than was
# bought: several tries fit into it, and methods take no vouchers that live much shorter.
EXPIRY_MARGIN_S = 1800.0
# After a job failed: the wait before the next one, doubled each time, up to an hour.
RETRY_S = 30.0
RETRY_AT_MOST_S = 3600.0
# While a payer waits for its time to withdraw there are at least so many tries, or those that it made fail would win.
RETRIES_PER_GRACE = 12
# What closed channels left on the chain can wait: it is looked for in every so many rounds.
TIDY_EVERY = 20
# Who lost an answer asks again within minutes, or when its machine is up again. A closed channel has up to KEPT_KEYS
# answers, two MiB in all.
KEEP_ANSWERS_S = 7 * 86_400.0
# Answers forgotten in one step of the store, a few milliseconds, between which others write; and steps in one round.
FORGOTTEN_AT_ONCE = 100
FORGETTING_STEPS = 100
# So many failures in a row make the longest wait.
REMEMBERED_JOBS = 8


# How far a voucher may be above what was bought for it to be settled: the least step, by which clients tell one voucher
# from the next, or a thousandth of what is paid out.
STEP_UNITS = 1
AHEAD_PART = 1000


@dataclass(frozen=True, slots=True)
class Policy:
    """When to settle and close. Units are base units of a channel's asset; None: never for that reason.

    `min_settle_units`: age alone settles no less than that, since each settlement costs a fee. A voucher that expires
    is settled whatever it says, and a close needs no minimum. `keep_answers_s`: how long the answers to keyed requests
    are kept that a closed channel paid, from when they were given. Raises UsageError.
    """

    settle_units: int | None = None
    settle_after_s: float | None = SETTLE_AFTER_S
    close_idle_after_s: float | None = CLOSE_IDLE_AFTER_S
    batch: int = BATCH
    min_settle_units: int = 0
    keep_answers_s: float | None = KEEP_ANSWERS_S

    def __post_init__(self) -> None:
        if self.settle_units is not None and self.settle_units < 1:
            raise UsageError("a threshold for settling is 1 base unit or more")
        if any(each is not None and each <= 0 for each in (self.settle_after_s, self.close_idle_after_s)):
            raise UsageError("ages for settling and closing are more than 0 seconds")
        if self.keep_answers_s is not None and self.keep_answers_s <= 0:
            raise UsageError("answers are kept for more than 0 seconds")
        if self.min_settle_units < 0:
            raise UsageError("the least that age alone settles is 0 base units or more")
        if self.batch < 1:
            raise UsageError("a batch is 1 channel or more")


@dataclass(frozen=True, slots=True)
class Report:
    """What a round saw and did. `watched` and `silent` are networks, `trouble` what one of them said; elsewhere keys of
    channels.

    `frozen`: the chain paid out more than any voucher on record, as after a restored backup. `unserved`: no seller here
    can settle them. `unsettled` is base units bought and not paid out, per asset key, as seen before this round's work.
    """

    channels: int = 0
    watched: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    trouble: dict[str, str] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()
    stopped: int = 0
    billed: int = 0
    planned: int = 0
    settled: int = 0
    closed: int = 0
    failed: int = 0
    pending: int = 0
    tidied: int = 0
    forgotten: int = 0
    unsettled: dict[str, int] = field(default_factory=dict)


def settle_round(
    store: SessionStore,
    sellers: Sequence[SessionSeller],
    policy: Policy,
    observe: Observer | None = None,
    turn: int = 0,
) -> Flow[Report]:
    """One round. `turn` counts them, so that jobs that stay open keep no others from their turn. Raises StoreError."""
    going = Round(store, tuple(sellers), (yield from now()), observe or _nobody)
    yield from _bill(going)
    yield from _channels(going, policy)
    yield from work_off(going, policy.batch, turn)
    if turn % TIDY_EVERY == 0:
        yield from _tidy(going)
        yield from _forget(going, policy)
    return _report(going)


def watch_round(store: SessionStore, sellers: Sequence[SessionSeller], observe: Observer | None = None) -> Flow[Report]:
    """Only look, and let the records follow: nothing is planned and nothing is sent. Raises StoreError. T27"""
    going = Round(store, tuple(sellers), (yield from now()), observe or _nobody)
    yield from _channels(going, None)
    return _report(going)


def _nobody(event: Event) -> None:
    """Hears events that nobody observes."""


def _report(going: Round) -> Report:
    counts = going.counts
    return Report(
        channels=counts["channels"],
        watched=tuple(sorted(going.networks - going.silent)),
        silent=tuple(sorted(going.silent)),
        trouble=dict(going.trouble),
        frozen=tuple(going.frozen),
        unserved=tuple(going.unserved),
        stopped=counts["stopped"],
        billed=counts["billed"],
        planned=counts["planned"],
        settled=counts["settled"],
        closed=counts["closed"],
        failed=counts["failed"],
        pending=counts["pending"],
        tidied=counts["tidied"],
        forgotten=counts["forgotten"],
        unsettled=dict(going.unsettled),
    )


# --- 5 tidy -------------------------------------------------------------------------------------


def _tidy(going: Round) -> Flow[None]:
    """Nothing of it is urgent, and what fails is tried again."""
    for seller in going.sellers:
        with suppress(ChainError, Problem):
            going.counts["tidied"] += yield from seller.tidy()


def _forget(going: Round, policy: Policy) -> Flow[None]:
    """Of keyed requests that closed channels paid. Looked for beside the writers, and dropped a few at a time. F28"""
    kept_s = policy.keep_answers_s
    if kept_s is None:
        return
    for _ in range(FORGETTING_STEPS):
        old = yield from wait(going.store.old_answers(kept_s, FORGOTTEN_AT_ONCE))
        if old:
            going.counts["forgotten"] += yield from wait(going.store.forget_answers(old, kept_s))
        if len(old) < FORGOTTEN_AT_ONCE:
            return


# --- 1 bill --------------------------------------------------------------------------------------


def _bill(going: Round) -> Flow[None]:
    for window in (yield from wait(going.store.abandoned(WINDOWS))):
        going.counts["billed"] += (yield from wait(going.store.bill(window))) is not None  # F08
    yield from wait(going.store.expire_deliveries(WINDOWS))  # T26: room that was promised, and nothing came of it


# --- 2 watch, 3 decide ---------------------------------------------------------------------------

_ALIVE = frozenset({Stage.OPENING, Stage.OPEN, Stage.CLOSING})


def _channels(going: Round, policy: Policy | None) -> Flow[None]:
    """All of them, page by page; then those networks are noted of which every channel was seen. T27 F26"""
    after: str | None = None
    while True:
        page = yield from wait(going.store.list_channels(ChannelQuery(_ALIVE, after=after, limit=PAGE)))
        for seller, channels in _by_seller(going, page):
            yield from _look(going, policy, seller, channels)
        if len(page) < PAGE:
            break
        after = page[-1].key
    for network in sorted(going.networks - going.silent):  # T27
        yield from wait(going.store.note_watched(network))


def _by_seller(going: Round, page: Sequence[Channel]) -> list[tuple[SessionSeller, list[Channel]]]:
    """Who looks at which. A channel that no seller serves is looked at by one of its network, for whoever sells it."""
    grouped: dict[int, tuple[SessionSeller, list[Channel]]] = {}
    for channel in page:
        if channel.network not in going.networks:
            continue
        going.counts["channels"] += 1
        if channel.stage is Stage.OPENING:  # buys nothing, and is asked about as a payment
            continue
        seller = going.seller_of(channel)
        if seller is None:
            going.unserved.append(channel.key)
            seller = next(one for one in going.sellers if one.network == channel.network)
        grouped.setdefault(id(seller), (seller, []))[1].append(channel)
    return list(grouped.values())


def _look(going: Round, policy: Policy | None, seller: SessionSeller, channels: list[Channel]) -> Flow[None]:
    if seller.network in going.silent:
        return
    try:
        states = yield from seller.look(channels)
    except (ChainError, Problem, UsageError) as error:  # F11: another network's channels are looked at all the same
        going.silent.add(seller.network)
        going.trouble[seller.network] = str(error)
        return
    rules = rules_of(seller)
    for old, state in zip(channels, states, strict=True):
        channel = yield from reconcile(going, seller, old, state, rules)
        if channel is not None and seller.serves(channel):
            going.unsettled[channel.asset] += channel.unsettled
            if policy is not None:
                yield from _decide(going, policy, seller, channel, rules)


def rules_of(seller: SessionSeller) -> Rules:
    """The engine's rules for a seller's channels: whatever the price, they are the same."""
    return seller.rules(seller.terms(seller.offer(Decimal(1), Extras(), acts.Tariff())))


def _decide(going: Round, policy: Policy, seller: SessionSeller, channel: Channel, rules: Rules) -> Flow[None]:
    if _idle(channel, policy, seller.idle_s(channel), going.at_s):
        stopped = yield from wait(going.store.mark_closing(channel.key, going.at_s))
        if isinstance(stopped, Refused):
            return
        going.stopped(ChannelStopped(channel.method, channel.id, "idle"))
        channel = stopped
    wanted = wish(channel, policy, rules, going.at_s, seller.grace_s)
    expiring = _expiring(seller, channel, going.at_s)
    if wanted is None and expiring and (close := session.settlement(channel, rules)) is not None:
        wanted = JobKind.SETTLE, close
    if wanted is None:
        return
    kind, close = wanted
    jobs = yield from wait(going.store.jobs_of(channel.key, REMEMBERED_JOBS))
    if not _time_for(kind, channel, jobs, policy, going.at_s, expiring=expiring, grace_s=seller.grace_s):
        return
    planned = yield from wait(going.store.plan(channel.key, kind, close))
    failpoint("settler.planned")
    going.counts["planned"] += isinstance(planned, Job)


def _idle(channel: Channel, policy: Policy, agreed_s: float | None, at_s: float) -> bool:
    """`agreed_s` is what was agreed with its payer; then it is closed neither earlier nor never."""
    limit_s = policy.close_idle_after_s if agreed_s is None else agreed_s
    if limit_s is None or channel.stage is not Stage.OPEN or channel.reserved:
        return False
    return at_s - max(channel.used_at_s, channel.opened_at_s) >= limit_s


def _expiring(seller: SessionSeller, channel: Channel, at_s: float) -> bool:
    """Whether what was bought could soon not be collected any more: of a closing channel, too, which a stream may hold
    up. T27
    """
    until_s = seller.collectable_until_s(channel) if channel.unsettled else None
    return until_s is not None and until_s - EXPIRY_MARGIN_S <= at_s < until_s


def wish(channel: Channel, policy: Policy, rules: Rules, at_s: float, grace_s: float) -> tuple[JobKind, Close] | None:
    """What should be done with a channel now, before we look at what was tried already. T23

    `grace_s` is how long its payer must wait between asking to close and taking the rest back.
    """
    if channel.stage is Stage.OPEN:
        reached = policy.settle_units is not None and channel.unsettled >= policy.settle_units
        old = policy.settle_after_s is not None and at_s - channel.opened_at_s >= policy.settle_after_s
        aged = old and channel.unsettled >= policy.min_settle_units
        wanted = session.settlement(channel, rules) if channel.unsettled and (reached or aged) else None
        return None if wanted is None or _ahead(channel, wanted) else (JobKind.SETTLE, wanted)
    if channel.stage is not Stage.CLOSING:
        return None
    asked_ago_s = at_s - (channel.closing_at_s or at_s)
    if rules.capture is Capture.VOUCHER and abs(asked_ago_s) < CLOSE_PATIENCE_S:
        return None
    closing = session.close(channel, None, rules)
    if isinstance(closing, Close):
        return JobKind.CLOSE, closing
    urgent = session.settlement(channel, rules) if asked_ago_s >= grace_s / URGENT_PART else None
    return None if urgent is None else (JobKind.SETTLE, urgent)


def _ahead(channel: Channel, wanted: Close) -> bool:
    """Whether the voucher says noticeably more than was bought: settling takes all of it, closing gives the rest back.

    A client that signs ahead (streams do) may not lose by that what it never bought. Its channel is settled when it has
    caught up, and else closed, for what was bought, when it idles or its payer leaves (TSES "Cooperative Close").
    """
    over = wanted.capture_units - channel.spent
    return over > max(STEP_UNITS, (wanted.capture_units - channel.settled) // AHEAD_PART)  # T23


def _time_for(
    kind: JobKind, channel: Channel, jobs: Sequence[Job], policy: Policy, at_s: float, *, expiring: bool, grace_s: float
) -> bool:
    """Whether a new job may be planned: none is live, none failed just now, and what was settled by age has aged."""
    if not jobs:
        return True
    last = jobs[0]
    if last.stage in {JobStage.PLANNED, JobStage.PREPARED}:
        return False
    failures = next((n for n, job in enumerate(jobs) if job.stage is not JobStage.FAILED), len(jobs))
    if failures:
        return at_s - last.made_at_s >= _pause_s(failures, channel, at_s, grace_s)
    if expiring or kind is JobKind.CLOSE or channel.stage is Stage.CLOSING:
        return True
    if policy.settle_units is not None and channel.unsettled >= policy.settle_units:
        return True
    return policy.settle_after_s is not None and at_s - last.made_at_s >= policy.settle_after_s


def _pause_s(failures: int, channel: Channel, at_s: float, grace_s: float) -> float:
    """How long to leave alone what failed so often in a row. T27"""
    longest_s = RETRY_AT_MOST_S
    if channel.closing_at_s is not None and channel.closing_at_s <= at_s < channel.closing_at_s + grace_s:
        longest_s = grace_s / RETRIES_PER_GRACE
    return min(RETRY_S * 2.0 ** (failures - 1), longest_s)
