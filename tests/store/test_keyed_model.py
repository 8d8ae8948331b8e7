"""Random interleavings of keyed requests on one channel, their answers lost or not: each key is charged once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coinslot.intents.session import Refused, Spent, Why
from coinslot.store import keyed, keyed_memory
from coinslot.store.channels import Order, Repeated, SessionStore
from coinslot.store.open import open_store
from support.channel_cases import COST, RULES, found, opened, voucher
from support.store_cases import DELIVERY

KEPT, RUNNING = 6, 3
NAMES = st.integers(0, 15)


class Keyed(RuleBasedStateMachine):
    """A client asks for up to 16 things, each under its key, and repeats what was lost, in any order and number."""

    store: SessionStore
    numbers: Iterator[int] = count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"h{next(self.numbers)}"
        opened(self.store, self.name, 10**9)
        self.charged = 0  # by the model
        self.bought = 0  # numbers given
        self.known: dict[int, int] = {}  # key: its number
        self.state: dict[int, str] = {}  # key: running, lost, kept

    @rule(name=NAMES, renewed=st.booleans())
    def ask(self, name: int, renewed: bool) -> None:
        """With a voucher that could buy it, or with an old one: charged where the key is new, and never else."""
        record = found(self.store, self.name)
        signed = voucher(self.name, record.accepted + COST) if renewed or not record.accepted else None
        order = Order(record.key, COST, RULES, signed, 1, f"k{name}", "h")
        answered = self.store.accept_and_spend(order).result()
        if name in self.known:
            self._again(name, answered)
            return
        if signed is None and record.free < COST:
            assert isinstance(answered, Refused)
            return
        old = [each for each, number in self.known.items() if number <= self.bought + 1 - KEPT]
        if len(old) > RUNNING and all(self.state[each] == "running" for each in old):
            assert answered == Refused(Why.CROWDED, record)
            return
        assert isinstance(answered, Spent)
        for each in old:
            if self.state[each] != "running":
                del self.known[each]
        self.bought += 1
        self.charged += 1
        self.known[name], self.state[name] = self.bought, "running"

    def _again(self, name: int, answered: object) -> None:
        """Nothing is charged; it runs only where nobody answers it."""
        if self.state[name] == "lost":
            assert isinstance(answered, Spent)
            self.known[name], self.state[name] = self.bought, "running"
        else:
            assert isinstance(answered, Repeated)
            assert answered.answer == (DELIVERY if self.state[name] == "kept" else None)

    @rule(name=NAMES, delivered=st.booleans())
    def end(self, name: int, delivered: bool) -> None:
        """The handler is done, or was not able to: what its client hears of it is another matter."""
        self.store.keep_answer(f"net:1/{self.name}", f"k{name}", DELIVERY if delivered else None).result()
        if name in self.known:
            self.known[name], self.state[name] = self.bought, "kept" if delivered else "lost"

    @invariant()
    def each_key_was_charged_once(self) -> None:
        """What was spent is what the model says."""
        assert found(self.store, self.name).spent == self.charged * COST


def _run(url: str, monkeypatch: pytest.MonkeyPatch, examples: int, steps: int) -> None:
    class Here(Keyed):
        store = open_store(url)

    for module in (keyed, keyed_memory):
        monkeypatch.setattr(module, "KEPT_KEYS", KEPT)
        monkeypatch.setattr(module, "MAX_RUNNING_KEYS", RUNNING)
    try:
        run_state_machine_as_test(Here, settings=settings(max_examples=examples, stateful_step_count=steps))
    finally:
        Here.store.close()


def test_each_key_is_charged_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However requests, ends and repeats follow each other, while its key is known."""
    _run(url, monkeypatch, 25, 50)


@pytest.mark.soak
def test_each_key_is_charged_once_in_long_histories(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, many more times."""
    _run(url, monkeypatch, 1000, 120)
