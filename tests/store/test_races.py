"""Many at once: threads, processes, and the same proof."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from coinslot.intents.charge import Budget
from coinslot.store.protocol import Lease, OverBudget, Query, Store, Taken
from support.store_cases import claim, entry, leased, prepared, receipt, settled

THREADS = 40


def at_once(work: Callable[[int], object]) -> list[object]:
    """Run in 40 threads that start together."""
    start = threading.Barrier(THREADS)

    def run(n: int) -> object:
        start.wait()
        return work(n)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


@pytest.mark.spec("CORE-096")
@pytest.mark.guard("T01")
@pytest.mark.parametrize("by", ["challenge", "proof", "idempotency"])
def test_of_forty_claims_one_wins(store: Store, by: str) -> None:
    """Forty threads claim one challenge, proof or key: one lease, thirty-nine are told who has it."""

    def wish(n: int) -> object:
        if by == "idempotency":
            return store.claim(claim(f"{n}", key="k")).result()
        return store.claim(claim("a" if by == "challenge" else f"{n}", proof="p" if by == "proof" else f"{n}")).result()

    answers = at_once(wish)
    (won,) = [each for each in answers if isinstance(each, Lease)]
    lost = [each for each in answers if isinstance(each, Taken)]
    assert len(lost) == THREADS - 1
    assert {(each.by, each.payment.challenge.id) for each in lost} == {(by, won.challenge_id)}
    assert len(store.payments(Query(limit=99)).result()) == 1


def test_of_forty_takes_one_wins(store: Store) -> None:
    """Forty threads take over one payment: one gets the lease."""
    store.release(leased(store, claim("a"))).result()
    answers = at_once(lambda _: store.take("id-a").result())
    assert [each for each in answers if each is not None] == [Lease("id-a", 2)]


@pytest.mark.guard("T22")
def test_forty_draw_on_a_budget_for_ten(store: Store) -> None:
    """Exactly ten claims fit; the others claimed nothing."""
    share = (Budget("sponsor", 5, 50, 3600), Budget("day", 1, 1000, 86400))
    answers = at_once(lambda n: store.claim(claim(f"{n}", budgets=share if n % 2 else share[::-1])).result())
    assert sum(isinstance(each, Lease) for each in answers) == 10
    assert sum(isinstance(each, OverBudget) for each in answers) == THREADS - 10
    assert len(store.payments(Query(limit=99)).result()) == 10


def test_forty_settle_at_once(store: Store) -> None:
    """Every payment settles, every entry is posted once, and pages of the journal miss none."""
    at_once(lambda n: settled(store, claim(f"{n}")))
    seen: list[str] = []
    while page := store.entries(seen[-1] if seen else None, 7).result():
        seen += [each.id for each in page]
    assert sorted(seen) == sorted(entry(claim(f"{n}")).id for n in range(THREADS))
    assert sum(store.balances().result()[entry(claim("0")).postings[0].asset].values()) == 0


def test_a_late_settlement_and_a_new_claim_race_for_the_key(store: Store) -> None:
    """A failed payment that was paid after all and a new one under the same key: at most one holds the key."""
    late = claim("late", key="k")
    lease = leased(store, late)
    store.prepare(lease, prepared(late)).result()
    store.fail(lease, "not seen").result()
    again = store.take("id-late").result()
    assert again is not None

    def race(n: int) -> object:
        if n == 0:
            return store.settle(again, receipt(late), entry(late)).result()
        return store.claim(replace(claim(f"{n}", key="k"), request_hash="h")).result()

    answers = at_once(race)
    holder = store.find_keyed(late.payer, "k").result()
    assert holder is not None
    won = [each.challenge_id for each in answers if isinstance(each, Lease)]
    assert won == ([] if holder.challenge.id == "id-late" else [holder.challenge.id])
