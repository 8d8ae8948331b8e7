"""What a store promises about payment channels. As in protocol.py every operation is one atomic, durable step.

The arithmetic is intents/session.py's, run on the one current record of a channel while nobody else can change it;
whatever the number of threads and processes, steps on a channel happen one after the other and none is lost. F15

A channel costs one row for its whole life: the highest voucher (whole, as signed), and what was bought. Requests that
carried an Idempotency-Key add a row each, with their answer, of which the last KEPT_KEYS stay (store/keyed.py); those
of a closed channel go when they are old (`old_answers`). Voucher 100,000 costs what voucher 1 did. F28

Streams set a window of money aside before they run (`reserve`), count in memory what they deliver, and `commit`. A
window belongs to its store handle and holds while that one's heart beats (protocol.py); if it dies, anybody may `bill`
the window whole: what was delivered is in it, so the payer pays one window more at most, and never twice. F08

Settling and closing go through an outbox, at most one live job per channel:

    planned ──► prepared ──► done
      ▲ │           │
      │ └► failed ◄─┤
      └─────────────┘   (only when what was prepared can never appear on the chain)

`prepared`: bytes and hash are recorded and may have been broadcast. Who works on a job holds its lease, numbered as
those of payments are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from coinslot.core.record import quick
from coinslot.intents.session import Channel, Close, Refused, Rules, Spent, Stage, Stale, Voucher
from coinslot.ledger import Entry
from coinslot.store.deliveries import Deliveries
from coinslot.store.protocol import Claim, Delivery, Lease, OverBudget, Store, Taken

# A key is known while its request is answered, and then until so many others were bought under keys on its channel:
# more than a client has under way at a time, and a few hundred bytes each.
KEPT_KEYS = 64
# Requests under keys that run longer than that, on one channel; with more, nothing is sold under a new key.
MAX_RUNNING_KEYS = 256
# Bodies up to here are kept for each of these keys, 1 MiB in all; of larger ones the newest, MAX_KEPT_BODY together.
SMALL_KEPT_BODY = 16 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """Recorded in stage `opening`, its proof used up. The lease is that of the claim."""

    lease: Lease
    channel: Channel


@dataclass(frozen=True, slots=True)
class Known:
    """This channel is on record; nothing was claimed."""

    channel: Channel


OpenResult: TypeAlias = Opened | Known | Taken | OverBudget


@quick
@dataclass(frozen=True, slots=True)
class Order:
    """A wish to buy on the channel `key` for `cost_units`, under a voucher that came with it (or none).

    `units` is how many units of the service that is, for the count. With an `idempotency_key` the answer can be kept
    (`keep_answer`); `request_hash` is what the request was, as the gate computed it.
    """

    key: str
    cost_units: int
    rules: Rules
    voucher: Voucher | None = None
    units: int = 0
    idempotency_key: str | None = None
    request_hash: str = ""


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key that is known, and the channel on which its request was bought, or run last."""

    channel: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """This request was paid before, under the same Idempotency-Key: run nothing.

    `answer` is what it was answered, its body None where that was not kept; None while it is being answered now.
    """

    channel: Channel
    answer: Delivery | None


OrderResult: TypeAlias = Spent | Stale | Refused | Repeated


@dataclass(frozen=True, slots=True)
class Reservation:
    """A window of `window_units` set aside on the channel `key`."""

    id: str
    key: str
    window_units: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """The record, and the window to deliver from; None if none was asked for, or if `missing_units` are missing."""

    channel: Channel
    reservation: Reservation | None
    missing_units: int = 0


ReserveResult: TypeAlias = Reserved | Stale | Refused | Repeated


class JobKind(StrEnum):
    """What a job does on the chain."""

    SETTLE = "settle"
    CLOSE = "close"


class JobStage(StrEnum):
    """Where a job stands; see the table above."""

    PLANNED = "planned"
    PREPARED = "prepared"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A settlement or a close in the outbox. `raw` and `reference` are the transaction and its hash, once prepared."""

    id: int
    key: str
    kind: JobKind
    close: Close
    stage: JobStage
    leased: bool
    made_at_s: float
    reference: str | None = None
    raw: bytes | None = field(default=None, repr=False)
    dead_after_s: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class JobLease:
    """The right to work on a job. `number` fences off earlier holders."""

    job_id: int
    number: int


@dataclass(frozen=True, slots=True)
class ChannelQuery:
    """Which channels to list, oldest first. `after` is the key where the page before ended.

    `min_unsettled_units`: at least that much bought and not paid out; `idle_since_s`: not used after that time.
    """

    stages: frozenset[Stage] = frozenset()
    payer: str | None = None
    min_unsettled_units: int = 0
    idle_since_s: float | None = None
    after: str | None = None
    limit: int = 100


class Channels(Protocol):
    """Where payment channels are recorded. Safe for threads, and for several processes on the same database."""

    # --- the record

    def open_channel(self, claim: Claim, channel: Channel, rules: Rules) -> Future[OpenResult]:
        """Use the opening's proof up and record the channel, in one step, both or neither.

        A proof is used once for ever, be it for a charge or a channel (T06); a key is recorded once for ever, closed
        channels included (T08). The claim goes on as any payment: prepare, settle or fail, deliver.
        """

    def find_channel(self, key: str) -> Future[Channel | None]:
        """The record, as of now."""

    def list_channels(self, query: ChannelQuery) -> Future[Sequence[Channel]]:
        """Channels in the order in which they were recorded. Raises UsageError if `after` is unknown."""

    def confirm_open(
        self, key: str, deposit_units: int, settled_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """opening -> open: the chain shows it; the entry is posted in the same step, unless it is Refused. A second
        time changes nothing. F10"""

    def top_up(
        self, key: str, deposit_units: int, rules: Rules, entry: Entry | None = None
    ) -> Future[Channel | Refused]:
        """The chain shows a deposit of that much in all, which is use of the channel; the entry is posted in the same
        step, unless it is Refused.

        The record grows by what the entry brings at most, and by nothing if its id was posted before; the entry is
        posted for as much as the record grows. So what two of us learn of in two ways is entered once. Without an entry
        the record grows to all of it.

        Ends `closing` where the rules say so, but refuses with CLOSING while a close is in the outbox. F10
        """

    def note_settled(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """The chain shows that much paid out; the entry is posted in the same step. Raises LedgerError."""

    def mark_closing(self, key: str, at_s: float) -> Future[Channel | Refused]:
        """open -> closing: from now on nothing is sold. T27"""

    def mark_closed(self, key: str, settled_units: int, entry: Entry | None = None) -> Future[Channel | Refused]:
        """-> closed, for ever: the chain shows it. Raises LedgerError."""

    # --- buying

    def accept_and_spend(self, order: Order) -> Future[OrderResult]:
        """Accept the voucher and take the cost, in one step. T02 T22

        Only Spent may run anything, and of any number of equal orders one gets it. If a voucher is good but doesn't
        cover the cost it is accepted all the same, and Refused tells what is missing. A keyed request that was paid and
        whose process died before it kept an answer gets Spent again, without a second charge. F07

        A key is paid once for as long as it is known: while its request is answered, and then until KEPT_KEYS others
        were bought on the same channel. It is known on all channels of the same payer, signer and payee; on another
        than its own to an order only that could buy something: with a higher voucher, or none, while the channel is
        open (T05). Refused with CROWDED, and nothing changed, where more than MAX_RUNNING_KEYS older ones still run.
        """

    def keep_answer(self, key: str, idempotency_key: str, answer: Delivery | None) -> Future[None]:
        """Keep the answer to a keyed request whose key is known; None: it was not delivered, and may be run again.

        A body over MAX_KEPT_BODY is kept as None, and so becomes the oldest one over SMALL_KEPT_BODY where those of a
        channel come to more than that together. F28
        """

    def old_answers(self, kept_s: float, limit: int) -> Future[Sequence[KeptKey]]:
        """Keys on closed channels that were bought, run or answered at least `kept_s` seconds ago, by the store's own
        clock, and that nobody answers now, oldest first."""

    def forget_answers(self, keys: Sequence[KeptKey], kept_s: float) -> Future[int]:
        """Forget those of the keys that are still so old, with their answers; how many there were. The records of the
        channels stay. F28"""

    # --- metered use

    def reserve(self, order: Order, least_units: int, most_units: int) -> Future[ReserveResult]:
        """As accept_and_spend, and set a window aside in the same step: all that is free up to `most_units`, and
        Refused with BALANCE (the cost not taken either) if that is less than `least_units`. T22"""

    def commit(
        self,
        reservation: Reservation,
        used_units: int,
        units: int = 0,
        more: tuple[int, int] | None = None,
        rules: Rules | None = None,
    ) -> Future[Reserved]:
        """Spend of the window what was used, free the rest, and set the next one aside (`more`: least, most), in one
        step; `rules` with a pen sign what is spent then. Raises LeaseLost if the window was billed by somebody else;
        UsageError if more was used than it held."""

    def abandoned(self, limit: int) -> Future[Sequence[Reservation]]:
        """Windows whose owner is dead."""

    def bill(self, reservation: Reservation) -> Future[Channel | None]:
        """Spend a dead owner's window whole, once; None if its owner lives or somebody was first. F08"""

    # --- settling and closing

    def plan(self, key: str, kind: JobKind, close: Close) -> Future[Job | Refused]:
        """Put a job in the outbox, or get the live one that is there. A close needs a channel that is `closing` and
        has no window set aside."""

    def pending_jobs(self, limit: int) -> Future[Sequence[Job]]:
        """Live jobs on which nobody works, oldest first."""

    def jobs_of(self, key: str, limit: int) -> Future[Sequence[Job]]:
        """The jobs of a channel, newest first."""

    def take_job(self, job_id: int) -> Future[JobLease | None]:
        """Take a live job that nobody works on; None if somebody does."""

    def prepare_job(
        self, lease: JobLease, reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """planned -> prepared, before anything is broadcast. Raises LeaseLost, StoreError. F09"""

    def prepare_jobs(
        self, leases: Sequence[JobLease], reference: str, raw: bytes, dead_after_s: float | None = None
    ) -> Future[None]:
        """The same for all jobs of one transaction, in one step: a part of them would be sent twice. F09"""

    def replan_job(self, lease: JobLease) -> Future[None]:
        """prepared -> planned: what was prepared can never appear on the chain. Raises LeaseLost, StoreError."""

    def finish_job(self, lease: JobLease, settled_units: int, entry: Entry | None = None) -> Future[Channel]:
        """prepared -> done; the channel settled or closed and the entry posted in the same step. Raises LeaseLost,
        LedgerError. F10"""

    def fail_job(self, lease: JobLease, reason: str) -> Future[None]:
        """planned or prepared -> failed: the chain shows that it was not done, or it is given up unsent."""

    def release_job(self, lease: JobLease) -> Future[None]:
        """Drop the lease; no error if it was lost."""

    # --- the watcher

    def note_watched(self, network: str) -> Future[None]:
        """Whoever watches this network's channels has just seen all of them."""

    def watched_ago_s(self, network: str) -> Future[float | None]:
        """How long ago that was, by the store's own clock; None for never."""


class SessionStore(Store, Channels, Deliveries, Protocol):
    """A store for charges, channels and deliveries: what every store here is."""
