"""Random interleavings of keyed requests on two channels of a payer, answers lost or not: each key is charged once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coinslot.intents.session import Channel, Refused, Spent, Stale, Why
from coinslot.store import keyed, keyed_memory
from coinslot.store.channels import Order, Repeated, SessionStore
from coinslot.store.open import open_store
from support.channel_cases import COST, RULES, found, opened, voucher
from support.store_cases import DELIVERY

KEPT, RUNNING = 6, 3
NAMES = st.integers(0, 15)
CHANNELS = st.integers(0, 1)


class Keyed(RuleBasedStateMachine):
    """A client asks for up to 16 things on two channels, each thing under its key, and repeats what was lost, in any
    order and number, on either of them.
    """

    store: SessionStore
    numbers: Iterator[int] = count()

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.names = (f"h{number}a", f"h{number}b")
        for name in self.names:
            opened(self.store, name, 10**9, payer=f"payer {number}")
        self.charged = [0, 0]  # by the model
        self.bought = [0, 0]  # numbers given
        self.known: dict[int, tuple[int, int]] = {}  # key: its channel, and its number there
        self.state: dict[int, str] = {}  # key: running, lost, kept

    @rule(key=NAMES, on=CHANNELS, signing=st.sampled_from(["higher", "equal", "nothing"]))
    def ask(self, key: int, on: int, signing: str) -> None:
        """With a voucher that could buy it, with an old one, or with none: charged where the key is new, never else."""
        record = found(self.store, self.names[on])
        units = {"higher": record.accepted + COST, "equal": record.accepted, "nothing": None}[signing]
        signed = None if units is None else voucher(self.names[on], units)
        order = Order(record.key, COST, RULES, signed, 1, f"k{key}", "h")
        answered = self.store.accept_and_spend(order).result()
        if key in self.known and (signing != "equal" or self.known[key][0] == on):
            self._again(key, on, answered)
        elif signing == "equal":
            assert answered == Stale(record, equal=True)
        elif signing == "nothing" and record.free < COST:
            assert isinstance(answered, Refused)
        else:
            self._new(key, on, record, answered)

    def _new(self, key: int, on: int, record: Channel, answered: object) -> None:
        old = [each for each, (at, number) in self.known.items() if at == on and number <= self.bought[on] + 1 - KEPT]
        if len(old) > RUNNING and all(self.state[each] == "running" for each in old):
            assert answered == Refused(Why.CROWDED, record)
            return
        assert isinstance(answered, Spent)
        for each in old:
            if self.state[each] != "running":
                del self.known[each]
        self.bought[on] += 1
        self.charged[on] += 1
        self.known[key], self.state[key] = (on, self.bought[on]), "running"

    def _again(self, key: int, on: int, answered: object) -> None:
        """Nothing is charged; it runs only where nobody answers it, and belongs to where it runs."""
        if self.state[key] == "lost":
            assert isinstance(answered, Spent)
            self.bought[on] = max(1, self.bought[on])
            self.known[key], self.state[key] = (on, self.bought[on]), "running"
        else:
            assert isinstance(answered, Repeated)
            assert answered.answer == (DELIVERY if self.state[key] == "kept" else None)

    @rule(key=NAMES, on=CHANNELS, delivered=st.booleans())
    def end(self, key: int, on: int, delivered: bool) -> None:
        """The handler is done, or was not able to: what its client hears of it is another matter."""
        self.store.keep_answer(f"net:1/{self.names[on]}", f"k{key}", DELIVERY if delivered else None).result()
        if key in self.known and self.known[key][0] == on:
            self.known[key], self.state[key] = (on, self.bought[on]), "kept" if delivered else "lost"

    @invariant()
    def each_key_was_charged_once(self) -> None:
        """What was spent is what the model says."""
        assert [found(self.store, name).spent for name in self.names] == [times * COST for times in self.charged]


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
