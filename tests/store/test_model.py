"""Random histories of payments: each store does what a model of a few lines does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coinslot.errors import LeaseLost, LedgerError, StoreError
from coinslot.intents.charge import Budget
from coinslot.store.open import open_store
from coinslot.store.protocol import Lease, OverBudget, Stage, Store, Taken
from support.store_cases import DELIVERY, claim, entry, prepared, receipt

NAMES = st.sampled_from("abc")
LIMIT = 10
# A history on a fsync per step; longer ones find no more in the three payments there are.
EXAMPLES = 25
STEPS = 30


@dataclass
class Modelled:
    """A payment in the model."""

    name: str
    proof: str
    key: str | None
    units: int
    holds: bool = True
    stage: Stage = Stage.CLAIMED
    number: int = 1
    leased: bool = True


class Model:
    """The promises in a few lines; each step answers as the store must, or names the error it must raise."""

    def __init__(self) -> None:
        self.all: dict[str, Modelled] = {}

    def claim(self, name: str, proof: str, key: str | None, units: int) -> object:
        """Who is first, or a lease."""
        ways: tuple[tuple[str, Callable[[Modelled], bool]], ...] = (
            ("challenge", lambda each: each.name == name),
            ("proof", lambda each: each.proof == proof),
            ("idempotency", lambda each: key is not None and each.key == key and each.holds),
        )
        for by, same in ways:
            for each in self.all.values():
                if same(each):
                    return by, each.name
        if sum(each.units for each in self.all.values()) + units > LIMIT:
            return "over"
        self.all[name] = Modelled(name, proof, key, units)
        return Lease(name, 1)

    def take(self, name: str) -> Lease | None:
        """The next number, if it is free."""
        found = self.all.get(name)
        if found is None or found.leased or found.stage == Stage.DELIVERED:
            return None
        found.leased, found.number = True, found.number + 1
        return Lease(name, found.number)

    def step(self, lease: Lease, target: Stage) -> type[Exception] | None:
        """The table of stages."""
        found = self.all.get(lease.challenge_id)
        if found is None or not found.leased or found.number != lease.number:
            return LeaseLost
        sources = {
            Stage.PREPARED: {Stage.CLAIMED},
            Stage.SETTLED: {Stage.PREPARED, Stage.FAILED, Stage.SETTLED},
            Stage.FAILED: {Stage.CLAIMED, Stage.PREPARED},
            Stage.DELIVERED: {Stage.SETTLED},
        }
        if found.stage not in sources[target]:
            return StoreError
        if target == Stage.FAILED:
            found.holds, found.units = False, 0
        elif found.stage == Stage.FAILED:  # paid after all: its key again, unless another has it by now
            found.holds = not any(each.holds and each.key == found.key for each in self.all.values())
        found.stage = target
        found.leased = target in {Stage.PREPARED, Stage.SETTLED}
        return None

    def release(self, lease: Lease) -> None:
        """Only the holder lets go."""
        found = self.all.get(lease.challenge_id)
        if found is not None and found.number == lease.number:
            found.leased = False


class Histories(RuleBasedStateMachine):
    """Any steps in any order, with leases that hold and leases that don't. A fresh prefix keeps histories apart."""

    store: Store
    numbers: Iterator[int] = count()

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"{next(self.numbers)}-"
        self.model = Model()

    def wish(self, name: str, proof: str = "", key: str | None = None, units: int = 0) -> object:
        """The claim as the store gets it."""
        proof = proof or (self.model.all[name].proof if name in self.model.all else name)
        draws = (Budget(f"{self.prefix}sponsor", units, LIMIT, 3600),) if units else ()
        made = claim(self.prefix + name, proof=self.prefix + proof, budgets=draws)
        return replace(made, idempotency_key=key and self.prefix + key)

    def real(self, lease: Lease) -> Lease:
        """A lease of the model as the store knows it."""
        return Lease(f"id-{self.prefix}{lease.challenge_id}", lease.number)

    @rule(name=NAMES, proof=NAMES, key=st.sampled_from([None, "k", "l"]), units=st.integers(0, 6))
    def claim(self, name: str, proof: str, key: str | None, units: int) -> None:
        """A wish for any challenge, proof and key."""
        wish = self.wish(name, proof, key, units)
        expected = self.model.claim(name, proof, key, units)
        answer = self.store.claim(wish).result()  # type: ignore[arg-type]
        if isinstance(answer, Taken):
            assert (answer.by, answer.payment.challenge.id) == (expected[0], f"id-{self.prefix}{expected[1]}")  # type: ignore[index]
        elif isinstance(answer, OverBudget):
            assert expected == "over"
        else:
            assert isinstance(expected, Lease)
            assert answer == self.real(expected)

    @rule(name=NAMES)
    def take(self, name: str) -> None:
        """Anybody may try."""
        expected = self.model.take(name)
        assert self.store.take(f"id-{self.prefix}{name}").result() == (expected and self.real(expected))

    @rule(name=NAMES, back=st.sampled_from([0, 0, 0, 1]), to=st.sampled_from(list(Stage)[1:]))
    def step(self, name: str, back: int, to: Stage) -> None:
        """One step with the newest number or an older one."""
        newest = self.model.all[name].number if name in self.model.all else 1
        lease = Lease(name, newest - back)
        expected = self.model.step(lease, to)
        wish, real = self.wish(name), self.real(lease)
        calls = {
            Stage.PREPARED: lambda: self.store.prepare(real, prepared(wish)),  # type: ignore[arg-type]
            Stage.SETTLED: lambda: self.store.settle(real, receipt(wish), entry(wish)),  # type: ignore[arg-type]
            Stage.FAILED: lambda: self.store.fail(real, "no"),
            Stage.DELIVERED: lambda: self.store.deliver(real, DELIVERY),
        }
        assert _error(calls[to]()) == expected

    @rule(name=NAMES, back=st.sampled_from([0, 1]))
    def release(self, name: str, back: int) -> None:
        """Let go with the newest number or an older one."""
        lease = Lease(name, (self.model.all[name].number if name in self.model.all else 1) - back)
        self.model.release(lease)
        self.store.release(self.real(lease)).result()

    @invariant()
    def every_payment_is_as_modelled(self) -> None:
        """Stage, lease and the key's holder."""
        for name in "abc":
            found = self.store.find(f"id-{self.prefix}{name}").result()
            modelled = self.model.all.get(name)
            assert (found and (found.stage, found.leased)) == (modelled and (modelled.stage, modelled.leased))

    def teardown(self) -> None:
        """In the end the journal sums to zero, and has an entry for each payment that was ever settled."""
        for accounts in self.store.balances().result().values():
            assert sum(accounts.values()) == 0


def _error(future: Future[None]) -> type[BaseException] | None:
    error = future.exception()
    assert not isinstance(error, LedgerError)
    return None if error is None else type(error)


def test_any_history_goes_as_the_model_says(url: str) -> None:
    """Claims, takes, steps and releases in any order: each answer and each stage is the model's."""

    class Here(Histories):
        store = open_store(url)

    try:
        run_state_machine_as_test(Here, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))
    finally:
        Here.store.close()


@pytest.mark.soak
def test_any_long_history_goes_as_the_model_says(url: str) -> None:
    """The same, many more times."""

    class Here(Histories):
        store = open_store(url)

    try:
        run_state_machine_as_test(Here, settings=settings(max_examples=2000, stateful_step_count=100))
    finally:
        Here.store.close()
