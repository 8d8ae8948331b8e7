"""Random lives of a channel at a gate, with bank and settler: each answer and each sum is that of a small model.

Open, vouchers, top-ups, streams that end well or are given up, settlements, closes by either side, and the refund.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from coinslot.core.challenge import Challenge, KeyRing, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.intents.acts import Act, Held
from coinslot.intents.session import Stage
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.meter import Meter
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.server.settler import Policy, settle_round
from coinslot.store.memory import MemoryStore
from coinslot.store.sqlite import SqliteStore
from support.sim.bank import SimBank
from support.sim.engine import Sim
from support.till import REALM, SECRET
from support.toysessionpayer import ToySessionPayer
from support.toysessionseller import ToySessionSeller

COST = 10
WINDOW = 3
COINS = 1_000
# A life on a memory store takes milliseconds a step, with an fsync a step some more.
EXAMPLES, STEPS = 60, 40
# Nothing much happens on a channel that is closed.
RARELY = st.integers(0, 5)
SETTLING = Policy(settle_units=1, settle_after_s=None, close_idle_after_s=None)


@dataclass
class Model:
    """A channel in a few sums. Each step answers with the status that the gate must give."""

    deposit: int = 0
    accepted: int = 0
    spent: int = 0
    settled: int = 0
    stage: Stage = Stage.OPENING
    window: int = 0
    taken: int = 0
    asked: bool = False  # the payer asked the bank to close it
    gone: bool = False  # ... and took the rest back
    unwatched: bool = False

    def buy(self, total: int, cost: int, window: int = 0) -> int:
        """A voucher for content; `window` is set aside at most."""
        if self.unwatched:
            return 503
        if self.stage is not Stage.OPEN:
            return 410
        if total <= self.accepted:
            return 200 if total == self.accepted else 402
        if total > self.deposit:
            return 402
        free = total - self.spent - self.window
        self.accepted = total
        if free < (cost or COST):
            return 402
        self.spent += cost
        self.window += min(window, free)
        return 201  # the handler runs

    def end(self) -> None:
        """A stream ends, well or not: what was taken is spent."""
        self.spent, self.window, self.taken = self.spent + self.taken, 0, 0

    def top_up(self, units: int) -> int:
        """More, and a request to close is taken back."""
        if self.unwatched:
            return 503
        if self.gone or self.stage is Stage.CLOSED:
            return 410 if self.stage is Stage.CLOSED else 402
        self.deposit, self.asked, self.stage = self.deposit + units, False, Stage.OPEN
        return 204

    def close(self, total: int) -> int:
        """The payer asks the gate."""
        if self.stage is Stage.CLOSED:
            return 204 if not self.gone else 410
        if self.window:
            return 409
        if not max(self.spent, self.settled) <= total <= self.deposit:
            return 402
        self.stage = Stage.CLOSED
        self.settled = max(self.spent, self.settled)
        return 204

    def watch(self) -> None:
        """A round of the settler."""
        self.unwatched = False
        if self.stage is Stage.CLOSED or self.gone:
            return
        if self.asked:
            self.stage = Stage.CLOSING
        caught_up = self.accepted - self.spent <= 1  # sums here are far below a thousand
        if self.stage is Stage.OPEN and self.spent > self.settled and caught_up:
            self.settled = self.accepted
        if self.stage is Stage.CLOSING and not self.window:
            self.stage, self.settled = Stage.CLOSED, max(self.spent, self.settled)


class Lives(RuleBasedStateMachine):
    """One channel from its opening to its end."""

    store: Any

    def __init__(self) -> None:
        super().__init__()
        self.sim = Sim(0)
        self.bank = SimBank(self.sim)
        self.world = _World(self.sim)
        secret = hashlib.sha256(b"payer").hexdigest()
        self.bank.open("shop")
        self.bank.db.execute("insert into account values ('alice', ?)", (secret,))
        self.bank.db.execute("insert into balance values ('alice', 'coin', ?)", (COINS,))
        self.payer = ToySessionPayer(self.bank, "main", self.bank.grace(), "alice", secret, secret)
        self.seller = ToySessionSeller(self.bank, "main", self.bank.grace(), "shop", "coin")
        self.store = self.opened()
        self.gate = Gate(Issuer(REALM, KeyRing((SECRET,)), expires_in_s=10**6), self.store, 1.0)
        amount = Decimal(COST) / 10**6
        self.item = Price(amount, [self.seller])
        self.stream = Price(amount, [self.seller], metering=Metering(window=WINDOW))
        self.model = Model()
        self.meter: Meter | None = None
        self.admission: SessionAdmission | None = None

    def opened(self) -> Any:
        """A store of the kind at hand, on the simulation's clock."""
        return MemoryStore(clock=self.sim.wall)

    # --- talking

    def ask(self, method: str, credential: str | None, price: Price) -> Answer | SessionAdmission:
        """What the gate says."""
        headers = {} if credential is None else {"authorization": (credential,)}
        request = Incoming(method, "/a", "", headers, manages=method == "HEAD")
        got = run(self.gate.admit(request, price), self.world)
        assert isinstance(got, Answer | SessionAdmission)
        return got

    def challenge(self, price: Price) -> Challenge:
        """A fresh one."""
        answer = self.ask("GET", None, price)
        assert isinstance(answer, Answer)
        return parse_challenges([value for name, value in answer.headers if name == "www-authenticate"])[0][0]

    def signed(self, total: int, act: Act = Act.VOUCHER, price: Price | None = None) -> str:
        """A credential with a total, also one above the deposit."""
        held = replace(self.held, deposit_units=max(total, self.held.deposit_units))
        payload = self.payer.payload(held, act, total, self.payer.sign(held, total))
        return self.credential(payload, price or self.item)

    def credential(self, payload: Mapping[str, Any], price: Price) -> str:
        """The header value."""
        return encode_credential(self.challenge(price), payload, self.payer.source())

    # --- steps

    @initialize(deposit=st.integers(2 * COST, 12 * COST), first=st.integers(0, 2 * COST))
    def opens(self, deposit: int, first: int) -> None:
        """The deposit goes into escrow."""
        run(settle_round(self.store, [self.seller], SETTLING), self.world)
        challenge = self.challenge(self.item)
        move = run(self.payer.open(challenge, self.payer.terms(challenge), deposit, first), self.world)
        self.held: Held = move.held
        answer = self.ask("HEAD", encode_credential(challenge, move.payload, move.source), self.item)
        assert isinstance(answer, Answer)
        assert answer.status == 204
        self.model = Model(deposit, first, stage=Stage.OPEN)

    @rule(ahead=st.integers(-2 * COST, 8 * COST))
    def buy(self, ahead: int) -> None:
        """A voucher for some total, and a handler that delivers."""
        total = max(0, self.model.accepted + ahead)
        got = self.ask("GET", self.signed(total), self.item)
        expected = self.model.buy(total, COST)
        if isinstance(got, Answer):
            assert got.status == expected
            return
        assert expected == 201
        watching = Delivering(got.receipt, got.headers)
        watching.begin(200, [])
        watching.add(b"goods")
        delivery = watching.finish()
        assert delivery is not None
        run(self.gate.delivered(got, delivery), self.world)

    @precondition(lambda self: self.meter is None)
    @rule(ahead=st.integers(1, 8 * COST))
    def begin_stream(self, ahead: int) -> None:
        """A window is set aside."""
        total = self.model.accepted + ahead
        got = self.ask("GET", self.signed(total, price=self.stream), self.stream)
        expected = self.model.buy(total, 0, WINDOW * COST)
        if isinstance(got, Answer):
            assert got.status == expected
            return
        assert expected == 201
        self.admission, self.meter = got, got.meter

    @precondition(lambda self: self.meter is not None)
    @rule(units=st.integers(1, 4))
    def take(self, units: int) -> None:
        """Units are charged before they are sent, as far as the window reaches."""
        assert self.meter is not None
        fits = self.model.taken + units * COST <= self.model.window
        assert self.meter.take(units) == fits
        if fits:
            self.model.taken += units * COST

    @precondition(lambda self: self.meter is not None)
    @rule(well=st.booleans())
    def end_stream(self, well: bool) -> None:
        """To its end, or given up."""
        assert self.meter is not None
        assert self.admission is not None
        if well:
            if not self.model.taken:  # an answer costs its minimum
                self.model.taken = COST
            run(self.meter.finish(), self.world)
        else:
            self.gate.abandoned(self.admission)
            self.store.ping().result()
        self.model.end()
        self.meter = self.admission = None

    @rule(units=st.integers(1, 6 * COST))
    def top_up(self, units: int) -> None:
        """More goes into escrow."""
        if self.bank.balance("alice") < units:
            return
        challenge = self.challenge(self.item)
        move = run(self.payer.top_up(challenge, self.held, units), self.world)
        answer = self.ask("HEAD", encode_credential(challenge, move.payload, move.source), self.item)
        assert isinstance(answer, Answer)
        assert answer.status == self.model.top_up(units)
        if answer.status == 204:
            self.held = replace(self.held, deposit_units=self.held.deposit_units + units)

    @rule(ahead=st.integers(-COST, 3 * COST), rarely=RARELY)
    def close(self, ahead: int, rarely: int) -> None:
        """The payer asks the gate to close for what was bought."""
        total = max(0, max(self.model.spent, self.model.settled) + ahead)
        if self.model.gone or rarely:
            return
        answer = self.ask("HEAD", self.signed(total, Act.CLOSE), self.item)
        assert isinstance(answer, Answer)
        assert answer.status == self.model.close(total)

    @precondition(lambda self: not self.model.gone and self.model.stage is not Stage.CLOSED)
    @rule(rarely=RARELY)
    def ask_the_bank_to_close(self, rarely: int) -> None:
        """Without the server."""
        if rarely:
            return
        sent = run(self.payer.request_close(self.held), self.world)
        run(self.payer.send(sent.raw), self.world)
        self.model.asked = True

    @rule()
    def watch(self) -> None:
        """The settler looks, settles and closes. A channel that is gone is closed on record in a second look."""
        run(settle_round(self.store, [self.seller], SETTLING), self.world)
        self.model.watch()
        if self.model.gone and self.model.stage is not Stage.CLOSED:
            self.sim.time += self.bank.grace() + 1
            run(settle_round(self.store, [self.seller], SETTLING), self.world)
            self.model.stage = Stage.CLOSED

    @precondition(lambda self: self.model.asked and self.model.stage is not Stage.CLOSED and not self.model.window)
    @rule()
    def withdraw(self) -> None:
        """Nobody watched for the whole grace time: the payer takes the rest back, and nothing is sold. F26"""
        if self.model.gone:
            return
        self.sim.time += self.bank.grace() + 1
        sent = run(self.payer.withdraw(self.held), self.world)
        run(self.payer.send(sent.raw), self.world)
        self.model.gone = self.model.unwatched = True

    # --- what must hold

    @invariant()
    def sums_are_as_modelled(self) -> None:
        """I3, I6: the record is the model's, the bank has what it had, and the journal sums to zero."""
        if self.model.stage is Stage.OPENING:
            return
        found = self.store.find_channel(self.held.key).result()
        model = self.model
        assert (found.deposit, found.accepted, found.spent, found.settled, found.reserved) == (
            model.deposit, model.accepted, model.spent, model.settled, model.window,
        )  # fmt: skip
        assert found.stage is model.stage
        assert self.bank.total() == COINS
        assert self.bank.balance("shop") == model.settled
        for accounts in self.store.balances().result().values():
            assert sum(accounts.values()) == 0

    def teardown(self) -> None:
        """In the end the payer has back what was not taken."""
        if self.model.stage is Stage.CLOSED:
            assert self.bank.balance("alice") == COINS - self.model.settled
            escrow = {
                units
                for accounts in self.store.balances().result().values()
                for name, units in accounts.items()
                if name.startswith("channel:")
            }
            assert escrow <= {0}
        self.store.close()


class _World(RealWorld):
    """The simulation's clock; sleeping moves it."""

    def __init__(self, sim: Sim) -> None:
        super().__init__()
        self._sim = sim

    def now(self) -> float:
        return self._sim.wall()

    def sleep(self, seconds: float) -> None:
        self._sim.time += seconds


class OnDisk(Lives):
    """The same on SQLite: a file for each life."""

    folder: Path
    made = 0

    def opened(self) -> Any:
        """A new file."""
        OnDisk.made += 1
        return SqliteStore(str(self.folder / f"{OnDisk.made}.db"), clock=self.sim.wall)


@pytest.mark.guard("T02", "T22", "T23", "T27", "F26")
def test_any_life_goes_as_the_model_says() -> None:
    """On a memory store."""
    run_machine(Lives, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))


def test_any_life_on_a_disk_goes_as_the_model_says(tmp_path: Path) -> None:
    """On SQLite."""
    OnDisk.folder = tmp_path
    run_machine(OnDisk, settings=settings(max_examples=EXAMPLES // 4, stateful_step_count=STEPS))


@pytest.mark.soak
def test_any_long_life_goes_as_the_model_says(tmp_path: Path) -> None:
    """The same, many more times."""
    OnDisk.folder = tmp_path
    run_machine(Lives, settings=settings(max_examples=5_000, stateful_step_count=100))
    run_machine(OnDisk, settings=settings(max_examples=500, stateful_step_count=100))
