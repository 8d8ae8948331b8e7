"""Random histories of channels: each store does what a model of a few lines does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coinslot.intents.session import Channel, Refused, Repeat, Spent, Stale, Why
from coinslot.store.channels import Order, Repeated, Reservation, Reserved, SessionStore
from coinslot.store.open import open_store
from support.channel_cases import RULES, opened, raw, voucher
from support.store_cases import DELIVERY

NAMES = st.sampled_from("ab")
UNITS = st.integers(0, 40)
KEYS = st.sampled_from([None, None, "k", "l"])
# A history on a fsync per step.
EXAMPLES = 25
STEPS = 40


@dataclass
class Model:
    """The promises, with nothing but numbers."""

    deposit: int = 60
    accepted: int = 0
    spent: int = 0
    settled: int = 0
    stage: str = "open"
    kept: dict[str, bool] = field(default_factory=dict)  # keys (few), and whether their answers are kept
    windows: tuple[int, ...] = ()

    def buy(self, amount: int | None, cost: int, key: str | None, least: int = 0, most: int = 0) -> str:
        """What is answered, in one word."""
        if key is not None and key in self.kept:
            return "kept" if self.kept[key] else "running"
        if self.stage != "open":
            return self.stage
        if amount is not None:
            if amount <= self.accepted:
                return "stale"
            if amount > self.deposit:
                return "exceeds-deposit"
            self.accepted = amount
        free = self.accepted - self.spent - sum(self.windows)
        if cost + least > free:
            return f"missing {cost + least - free}"
        self.spent += cost
        if least:
            self.windows = (*self.windows, min(most, free - cost))
        if key is not None:
            self.kept[key] = False
        return "bought"

    def commit(self, at: int, used: int) -> None:
        """Spend a part of a window."""
        self.windows = self.windows[:at] + self.windows[at + 1 :]
        self.spent += used

    def top_up(self, deposit: int) -> None:
        """More, and open again."""
        if self.stage != "closed":
            self.deposit, self.stage = max(self.deposit, deposit), "open"

    def settle(self, units: int) -> None:
        """As far as it was signed."""
        self.settled = max(self.settled, min(units, self.accepted))


def word(answered: object) -> str:
    """An answer of the store in the model's words."""
    if isinstance(answered, Refused):
        return f"missing {answered.missing_units}" if answered.why is Why.BALANCE else str(answered.why)
    if isinstance(answered, Repeated):
        return "running" if answered.answer is None else "kept"
    return "stale" if isinstance(answered, Stale) else "bought"


class Histories(RuleBasedStateMachine):
    """Two channels, any steps in any order. Fresh names keep histories apart."""

    store: SessionStore
    numbers: Iterator[int] = count()

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"h{next(self.numbers)}-"
        self.models = {name: Model() for name in "ab"}
        self.windows: dict[str, list[Reservation]] = {"a": [], "b": []}
        for name in "ab":
            opened(self.store, self.prefix + name, 60, payer=self.prefix + name)  # keys of one payer: test_keyed_model

    def key(self, name: str) -> str:
        """The key of a channel of this history."""
        return f"net:1/{self.prefix}{name}"

    def order(self, name: str, amount: int | None, cost: int, key: str | None) -> Order:
        """An order as the store gets it; vouchers that say nothing new are ignored."""
        signed = None if amount is None else voucher(self.prefix + name, amount)
        rules = replace(RULES, lower=Repeat.IGNORE)
        return Order(self.key(name), cost, rules, signed, 1, key, "h" if key else "")

    @rule(name=NAMES, amount=st.one_of(st.none(), st.integers(0, 90)), cost=UNITS, key=KEYS)
    def buy(self, name: str, amount: int | None, cost: int, key: str | None) -> None:
        """Any voucher or none, any cost, any key or none."""
        answered = self.store.accept_and_spend(self.order(name, amount, cost, key)).result()
        assert isinstance(answered, Spent | Stale | Refused | Repeated)
        assert word(answered) == self.models[name].buy(amount, cost, key)

    @rule(name=NAMES, amount=st.one_of(st.none(), UNITS), cost=st.integers(0, 5), key=KEYS, least=st.integers(1, 9))
    def reserve(self, name: str, amount: int | None, cost: int, key: str | None, least: int) -> None:
        """A window of up to ten."""
        answered = self.store.reserve(self.order(name, amount, cost, key), least, 10).result()
        assert word(answered) == self.models[name].buy(amount, cost, key, least, 10)
        if isinstance(answered, Reserved):
            assert answered.reservation is not None
            assert answered.reservation.window_units == self.models[name].windows[-1]
            self.windows[name].append(answered.reservation)

    @rule(name=NAMES, at=st.integers(0, 5), used=st.integers(0, 10))
    def commit(self, name: str, at: int, used: int) -> None:
        """One of the windows that run."""
        if at < len(self.windows[name]):
            held = self.windows[name].pop(at)
            self.store.commit(held, min(used, held.window_units)).result()
            self.models[name].commit(at, min(used, held.window_units))

    @rule(name=NAMES, key=st.sampled_from("kl"))
    def answer(self, name: str, key: str) -> None:
        """Keep the answer to a keyed request."""
        self.store.keep_answer(self.key(name), key, DELIVERY).result()
        if key in self.models[name].kept:
            self.models[name].kept[key] = True

    @rule(name=NAMES, deposit=st.integers(0, 120))
    def top_up(self, name: str, deposit: int) -> None:
        """A look at the chain, maybe an old one."""
        self.store.top_up(self.key(name), deposit, RULES).result()
        self.models[name].top_up(deposit)

    @rule(name=NAMES, units=UNITS)
    def settle(self, name: str, units: int) -> None:
        """A look at the chain, maybe an old one."""
        self.store.note_settled(self.key(name), min(units, self.models[name].accepted)).result()
        self.models[name].settle(units)

    @rule(name=NAMES, ends=st.sampled_from(["closing", "closing", "closed"]))
    def close(self, name: str, ends: str) -> None:
        """Its payer asks, or the chain shows it done."""
        if ends == "closed":
            self.store.mark_closed(self.key(name), 0).result()
        else:
            self.store.mark_closing(self.key(name), 1.0).result()
        if self.models[name].stage != "closed":
            self.models[name].stage = ends

    @invariant()
    def every_channel_is_as_modelled(self) -> None:
        """Amounts, stage and the highest voucher; and I3: nothing contradicts itself."""
        for name, model in self.models.items():
            found = self.store.find_channel(self.key(name)).result()
            assert isinstance(found, Channel)
            assert (found.deposit, found.accepted, found.spent, found.settled, found.reserved, found.stage) == (
                model.deposit, model.accepted, model.spent, model.settled, sum(model.windows), model.stage,
            )  # fmt: skip
            assert found.voucher == (raw(model.accepted) if model.accepted else b"")
            assert max(found.settled, found.spent + found.reserved) <= found.accepted <= found.deposit


def test_any_history_goes_as_the_model_says(url: str) -> None:
    """Vouchers, costs, windows, keys, top-ups and closes in any order: each answer and each record is the model's."""

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
