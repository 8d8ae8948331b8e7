"""What a store promises. Every operation is one atomic, durable step and returns a Future.

"Durable" means: when the future has a result, the step survives the loss of this process and, on disk stores, of power.
"Atomic" means: it happened wholly or not at all, and no other process on the same store sees a half. An operation that
can't be written within `wait_s` raises StoreBusy and has changed nothing; a commit that failed raises StoreBroken and
whatever it carried must be looked up again.

A payment goes through stages, never backwards:

    claimed ──► prepared ──► settled ──► delivered
       │            │  ▲
       └──► failed ◄┘  └─ failed ──► settled   (only if the chain shows it after all)

`claimed`: nothing was broadcast. `prepared`: bytes and hash are recorded and may have been broadcast; the outcome is
unknown until the chain tells. `settled`: paid, entry posted, receipt kept, delivery owed. `delivered`: one 2xx answer
was handed out whole. `failed`: the chain shows that nothing was paid.

Whoever works on a payment holds its lease. A lease belongs to a store handle ("owner") and lasts while that owner's
heart beats; when its process dies the lease lapses after `lease_s` and another may take it. Each lease has a larger
number than the one before (fencing): a step with an old number raises LeaseLost and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from coinslot.core.challenge import Challenge
from coinslot.core.receipt import Receipt
from coinslot.core.record import quick
from coinslot.intents.charge import Budget, Prepared
from coinslot.ledger import Entry

# Bodies up to here are kept for replays and idempotent repeats; larger answers are replayed as receipt and 409.
MAX_KEPT_BODY = 1024 * 1024
# How long an operation may queue before StoreBusy: longer than any healthy fsync, shorter than a client's patience.
WAIT_S = 5.0
# How long a dead process keeps its deliveries: long enough for a stalled disk or a stopped virtual machine.
LEASE_S = 15.0


class Stage(StrEnum):
    """Where a payment stands; see the table above."""

    CLAIMED = "claimed"
    PREPARED = "prepared"
    SETTLED = "settled"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to use a proof, once and for ever, for one challenge.

    `request_hash` is what the payment is for (method, path, query, body) and `credential_hash` what was presented, as
    the gate computed them: only the same credential may come back. `idempotency_key` is the client's or None; `payer`
    scopes it.
    """

    challenge: Challenge
    proof: str
    payer: str
    request_hash: str
    credential_hash: str
    idempotency_key: str | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a payment. `number` fences off earlier holders."""

    challenge_id: str
    number: int


@quick
@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivered answer: status, headers in order, and its body, or None where it was too large or not whole."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as recorded. Times are seconds since 1970 by the store's clock; `leased`: someone works on it now."""

    challenge: Challenge
    proof: str
    payer: str
    request_hash: str
    credential_hash: str
    idempotency_key: str | None
    stage: Stage
    leased: bool
    claimed_at_s: float
    prepared: Prepared | None = None
    receipt: Receipt | None = None
    settled_at_s: float | None = None
    delivery: Delivery | None = None
    delivered_at_s: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody was first: by `challenge`, by `proof`, or (same payer and key) by `idempotency`."""

    by: str
    payment: Payment


@dataclass(frozen=True, slots=True)
class OverBudget:
    """A budget would be exceeded; nothing was claimed."""

    budget: Budget


ClaimResult: TypeAlias = Lease | Taken | OverBudget


@dataclass(frozen=True, slots=True)
class Query:
    """Which payments to list, newest first. `before` is the challenge id where the page before ended."""

    stages: frozenset[Stage] = frozenset()
    payer: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    before: str | None = None
    limit: int = 100


class Store(Protocol):
    """Where payments are recorded. Safe for threads, and for several processes on the same database."""

    @property
    def lease_s(self) -> float:
        """How long a silent owner keeps its leases, in seconds."""

    def find(self, challenge_id: str) -> Future[Payment | None]:
        """The payment that used a challenge, as of now."""

    def find_keyed(self, payer: str, idempotency_key: str) -> Future[Payment | None]:
        """The payment that a payer made under an Idempotency-Key."""

    def claim(self, claim: Claim) -> Future[ClaimResult]:
        """Use a challenge id and a proof, once, for ever, and draw on the budgets; in one step, all or nothing.

        Of any number of claims that share a challenge id, a proof, or a payer and key, exactly one gets a Lease;
        the others get Taken with the winner's payment. A `failed` payment under the same key gives the key up. T01 T06
        """

    def take(self, challenge_id: str) -> Future[Lease | None]:
        """Take over the lease of a payment nobody works on; None if someone does or if it is delivered."""

    def prepare(self, lease: Lease, prepared: Prepared) -> Future[None]:
        """claimed -> prepared, before anything is broadcast. Raises LeaseLost. F09"""

    def settle(self, lease: Lease, receipt: Receipt, entry: Entry | None) -> Future[None]:
        """prepared or failed -> settled, receipt kept and entry posted in the same step; posting twice is no error if
        it is the same entry, LedgerError if not. Keeps the lease. Raises LeaseLost. F10

        `entry` None: what was paid was entered into the journal with the channel that it went to.
        """

    def fail(self, lease: Lease, reason: str) -> Future[None]:
        """claimed or prepared -> failed, lease dropped. Budgets are given back where nothing was prepared: what was
        sent may have cost its fee. Raises LeaseLost. T30
        """

    def deliver(self, lease: Lease, delivery: Delivery) -> Future[None]:
        """settled -> delivered, lease dropped. A body over MAX_KEPT_BODY is not kept. Raises LeaseLost."""

    def release(self, lease: Lease) -> Future[None]:
        """Drop the lease; the stage stays, and the same credential may try again. No error if it was lost."""

    def unresolved(self, limit: int) -> Future[Sequence[Payment]]:
        """Payments in stage `prepared` on which nobody works, oldest first: what a resolver asks the chain about."""

    def payments(self, query: Query) -> Future[Sequence[Payment]]:
        """Payments, newest first, without bodies of deliveries."""

    def entries(self, after: str | None, limit: int) -> Future[Sequence[Entry]]:
        """The journal in the order of posting, from after the entry with that id."""

    def balances(self) -> Future[dict[str, dict[str, int]]]:
        """Base units per asset key per account; per asset they sum to zero."""

    def ping(self) -> Future[None]:
        """A durable write of nothing: proves that the store works. Raises StoreError."""

    def backup(self, target: str) -> Future[None]:
        """A consistent copy at `target` while in use. Raises StoreError where the database has a tool of its own."""

    def close(self) -> None:
        """Finish what is queued, drop this owner's leases, close. Later calls raise StoreError."""
