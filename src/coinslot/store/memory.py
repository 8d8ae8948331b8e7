"""A store without a disk, for tests and for trying things out: nothing in it outlives the process.

The same promises as on disk, except durability. Every operation is done when it returns; leases hold until dropped.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

from coinslot import drive
from coinslot.core.receipt import Receipt
from coinslot.errors import CoinslotError, LeaseLost, LedgerError, StoreError, UsageError
from coinslot.intents.charge import Budget, Prepared
from coinslot.ledger import Entry
from coinslot.store.channels_memory import MemoryChannels
from coinslot.store.deliveries_memory import MemoryDeliveries
from coinslot.store.futures import done, failed
from coinslot.store.protocol import (
    LEASE_S,
    MAX_KEPT_BODY,
    Claim,
    ClaimResult,
    Delivery,
    Lease,
    OverBudget,
    Payment,
    Query,
    Stage,
    Taken,
)

T = TypeVar("T")


@dataclass(slots=True)
class _Draw:
    units: int
    at_s: float
    name: tuple[str, int]


class MemoryStore(MemoryChannels, MemoryDeliveries):
    """A Store in this process only. `clock` tells seconds since 1970."""

    def __init__(self, *, lease_s: float = LEASE_S, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._lease_s = lease_s
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._payments: dict[str, Payment] = {}  # in the order of claims
        self._numbers: dict[str, int] = {}
        self._proofs: dict[str, str] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._entries: dict[str, Entry] = {}
        self._spent: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._draws: defaultdict[tuple[str, int], deque[_Draw]] = defaultdict(deque)
        self._drawn: dict[str, list[_Draw]] = {}

    @property
    def lease_s(self) -> float:
        """How long a silent owner would keep its leases; this one is never silent."""
        return self._lease_s

    def _do(self, step: Callable[[], T], failpoint: str = "") -> Future[T]:
        try:
            with self._lock:
                if self._closed:
                    raise StoreError("the store is closed")
                result = step()
            if failpoint:
                drive.failpoint(failpoint)
        except CoinslotError as error:
            return failed(error)
        return done(result)

    # --- claims and leases

    def find(self, challenge_id: str) -> Future[Payment | None]:
        """The payment that used a challenge, as of now."""
        return self._do(lambda: self._payments.get(challenge_id))

    def find_keyed(self, payer: str, idempotency_key: str) -> Future[Payment | None]:
        """The payment that holds a payer's Idempotency-Key; a failed one holds none."""
        return self._do(lambda: self._keyed(payer, idempotency_key))

    def _keyed(self, payer: str, key: str | None) -> Payment | None:
        holder = None if key is None else self._keys.get((payer, key))
        return None if holder is None else self._payments[holder]

    def claim(self, claim: Claim) -> Future[ClaimResult]:
        """Use a challenge id and a proof, once, for ever, and draw on the budgets. T01 T06"""
        return self._do(lambda: self._claim(claim), "store.claim")

    def _taken(self, claim: Claim) -> Taken | None:
        challenge_id = claim.challenge.id
        if challenge_id in self._payments:
            return Taken("challenge", self._payments[challenge_id])
        if claim.proof in self._proofs:
            return Taken("proof", self._payments[self._proofs[claim.proof]])
        keyed = self._keyed(claim.payer, claim.idempotency_key)
        return None if keyed is None else Taken("idempotency", keyed)

    def _now(self) -> float:
        return self._clock()

    def _claim(self, claim: Claim) -> ClaimResult:
        taken = self._taken(claim)
        if taken is not None:
            return taken
        challenge_id, key = claim.challenge.id, claim.idempotency_key
        now = self._clock()
        over = self._draw(claim, now)
        if over is not None:
            return over
        self._payments[challenge_id] = Payment(
            challenge=claim.challenge,
            proof=claim.proof,
            payer=claim.payer,
            request_hash=claim.request_hash,
            credential_hash=claim.credential_hash,
            idempotency_key=key,
            stage=Stage.CLAIMED,
            leased=True,
            claimed_at_s=now,
        )
        self._numbers[challenge_id] = 1
        self._proofs[claim.proof] = challenge_id
        if key is not None:
            self._keys[claim.payer, key] = challenge_id
        return Lease(challenge_id, 1)

    def take(self, challenge_id: str) -> Future[Lease | None]:
        """Take over the lease of a payment nobody works on."""
        return self._do(lambda: self._take(challenge_id))

    def _take(self, challenge_id: str) -> Lease | None:
        found = self._payments.get(challenge_id)
        if found is None or found.leased or found.stage == Stage.DELIVERED:
            return None
        self._numbers[challenge_id] += 1
        self._payments[challenge_id] = replace(found, leased=True)
        return Lease(challenge_id, self._numbers[challenge_id])

    def _held(self, lease: Lease, wanted: Stage, *stages: Stage) -> Payment:
        """The payment, if the lease is the one that holds and the stage lets it go on. Raises LeaseLost, StoreError."""
        found = self._payments.get(lease.challenge_id)
        if found is None or not found.leased or self._numbers[lease.challenge_id] != lease.number:
            raise LeaseLost(f"the lease on payment {lease.challenge_id} is gone")
        if found.stage not in stages:
            raise StoreError(f"a payment that is {found.stage} can't become {wanted}")
        return found

    def release(self, lease: Lease) -> Future[None]:
        """Drop the lease; no error if it was lost."""
        return self._do(lambda: self._release(lease))

    def _release(self, lease: Lease) -> None:
        found = self._payments.get(lease.challenge_id)
        if found is not None and self._numbers[lease.challenge_id] == lease.number:
            self._payments[lease.challenge_id] = replace(found, leased=False)

    # --- stages

    def prepare(self, lease: Lease, prepared: Prepared) -> Future[None]:
        """claimed -> prepared. Raises LeaseLost; UsageError if it is for another payment. F09"""
        return self._do(lambda: self._prepare(lease, prepared), "store.prepare")

    def _prepare(self, lease: Lease, prepared: Prepared) -> None:
        found = self._held(lease, Stage.PREPARED, Stage.CLAIMED)
        told = (prepared.challenge.id, prepared.proof, prepared.payer)
        if told != (lease.challenge_id, found.proof, found.payer):
            raise UsageError("prepared for another payment than was claimed")
        self._payments[lease.challenge_id] = replace(found, stage=Stage.PREPARED, prepared=prepared)

    def settle(self, lease: Lease, receipt: Receipt, entry: Entry | None) -> Future[None]:
        """prepared or failed -> settled, with receipt and entry. Raises LeaseLost, LedgerError. F10"""
        return self._do(lambda: self._settle(lease, receipt, entry), "store.settle")

    def _settle(self, lease: Lease, receipt: Receipt, entry: Entry | None) -> None:
        found = self._held(lease, Stage.SETTLED, Stage.PREPARED, Stage.FAILED, Stage.SETTLED)
        again = found.stage == Stage.SETTLED
        if again and entry is not None and entry.id not in self._entries:
            raise LedgerError(f"the payment was settled with another entry than {entry.id}")
        if entry is not None:
            self._post(entry)
        if again:
            return
        if found.stage == Stage.FAILED and found.idempotency_key is not None:
            self._keys.setdefault((found.payer, found.idempotency_key), lease.challenge_id)
        self._payments[lease.challenge_id] = replace(
            found, stage=Stage.SETTLED, receipt=receipt, settled_at_s=self._clock(), reason=None
        )

    def _post(self, entry: Entry) -> None:
        if self._entries.setdefault(entry.id, entry) != entry:
            raise LedgerError(f"entry {entry.id} was posted with other content")

    def _is_posted(self, entry_id: str) -> bool:
        return entry_id in self._entries

    def fail(self, lease: Lease, reason: str) -> Future[None]:
        """claimed or prepared -> failed, budgets given back if nothing was prepared. Raises LeaseLost."""
        return self._do(lambda: self._fail(lease, reason))

    def _fail(self, lease: Lease, reason: str) -> None:
        found = self._held(lease, Stage.FAILED, Stage.CLAIMED, Stage.PREPARED)
        self._payments[lease.challenge_id] = replace(found, stage=Stage.FAILED, leased=False, reason=reason)
        if found.idempotency_key is not None:
            self._keys.pop((found.payer, found.idempotency_key))
        for draw in self._drawn.pop(lease.challenge_id, ()):
            if found.stage is Stage.CLAIMED:  # T30: what was sent and failed has cost its fee
                self._spent[draw.name] -= draw.units
                draw.units = 0

    def deliver(self, lease: Lease, delivery: Delivery) -> Future[None]:
        """settled -> delivered. Raises LeaseLost."""
        return self._do(lambda: self._deliver(lease, delivery), "store.deliver")

    def _deliver(self, lease: Lease, delivery: Delivery) -> None:
        found = self._held(lease, Stage.DELIVERED, Stage.SETTLED)
        if delivery.body is not None and len(delivery.body) > MAX_KEPT_BODY:
            delivery = replace(delivery, body=None)
        self._payments[lease.challenge_id] = replace(
            found, stage=Stage.DELIVERED, leased=False, delivery=delivery, delivered_at_s=self._clock()
        )

    # --- budgets

    def _draw(self, claim: Claim, now: float) -> OverBudget | None:
        """Draw on every budget or on none."""
        for budget in claim.budgets:
            if budget.units < 0:
                raise UsageError("a budget can't be drawn on by a negative amount")
            if self._in_window(budget, now) + budget.units > budget.limit_units:
                return OverBudget(budget)
        draws = [_Draw(budget.units, now, (budget.key, budget.window_s)) for budget in claim.budgets]
        for draw in draws:
            self._spent[draw.name] += draw.units
            self._draws[draw.name].append(draw)
        if draws:
            self._drawn[claim.challenge.id] = draws
        return None

    def _in_window(self, budget: Budget, now: float) -> int:
        name = (budget.key, budget.window_s)
        draws = self._draws[name]
        while draws and draws[0].at_s <= now - budget.window_s:
            old = draws.popleft()
            self._spent[name] -= old.units
            old.units = 0
        return self._spent[name]

    # --- lists

    def unresolved(self, limit: int) -> Future[Sequence[Payment]]:
        """Payments in stage `prepared` on which nobody works, oldest first."""

        def step() -> Sequence[Payment]:
            waiting = [each for each in self._payments.values() if each.stage == Stage.PREPARED and not each.leased]
            return waiting[:limit]

        return self._do(step)

    def payments(self, query: Query) -> Future[Sequence[Payment]]:
        """Payments, newest first, without bodies. Raises UsageError if `before` is unknown."""
        return self._do(lambda: self._list(query))

    def _list(self, query: Query) -> Sequence[Payment]:
        newest = list(reversed(self._payments.values()))
        if query.before is not None:
            ids = [each.challenge.id for each in newest]
            if query.before not in ids:
                raise UsageError("no payment has the challenge id to continue before")
            newest = newest[ids.index(query.before) + 1 :]
        found = [
            each
            for each in newest
            if (not query.stages or each.stage in query.stages)
            and (query.payer is None or each.payer == query.payer)
            and (query.since_s is None or each.claimed_at_s >= query.since_s)
            and (query.until_s is None or each.claimed_at_s < query.until_s)
        ]
        return [
            replace(each, delivery=each.delivery and replace(each.delivery, body=None)) for each in found[: query.limit]
        ]

    def entries(self, after: str | None, limit: int) -> Future[Sequence[Entry]]:
        """The journal in the order of posting. Raises UsageError if `after` is unknown."""

        def step() -> Sequence[Entry]:
            if after is not None and after not in self._entries:
                raise UsageError("no entry has the id to continue after")
            start = 0 if after is None else list(self._entries).index(after) + 1
            return list(self._entries.values())[start : start + limit]

        return self._do(step)

    def balances(self) -> Future[dict[str, dict[str, int]]]:
        """Base units per asset key per account."""

        def step() -> dict[str, dict[str, int]]:
            sums: dict[str, dict[str, int]] = {}
            for entry in self._entries.values():
                for posting in entry.postings:
                    accounts = sums.setdefault(posting.asset, {})
                    accounts[posting.account] = accounts.get(posting.account, 0) + posting.units
            return sums

        return self._do(step)

    def ping(self) -> Future[None]:
        """Memory works."""
        return self._do(lambda: None)

    def backup(self, target: str) -> Future[None]:
        """Always StoreError: there is nothing that could be restored."""
        return failed(StoreError("a memory store has no backup"))

    def close(self) -> None:
        """Later calls raise StoreError."""
        with self._lock:
            self._closed = True
