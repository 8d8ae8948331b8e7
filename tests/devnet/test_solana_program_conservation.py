"""Whatever order the parties act in, no token of a channel is made or lost, and the program does what a model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    CLOSING,
    DISTRIBUTED,
    FROZEN,
    GRACE_S,
    OPEN,
    SEALED,
    START_SLOT,
    TOKEN_PROGRAMS,
    TREASURY,
    WINDOW,
    Opening,
    Refused,
    State,
    Svm,
)

WHOLE = 10_000
GONE = -1
DEPOSIT = 1000
PURSE = 100_000
units = st.integers(0, 2500)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            "settle top_up pay seal_with seal request grace window wait distribute withdraw reclaim freeze".split()
        ),
        units,
    ),
    min_size=1,
    max_size=12,
)
shares = st.lists(st.integers(1, 4000), max_size=3).filter(lambda bps: sum(bps) <= WHOLE)


@dataclass
class Model:
    """A channel by the few rules of the published interface, kept beside the chain."""

    bps: list[int]
    status: int = OPEN
    deposit: int = DEPOSIT
    settled: int = 0
    paid_out: int = 0
    withdrawn: bool = False
    asked_at: int = 0
    slot: int = START_SLOT
    now_s: int = 0
    frozen: bool = False  # the first recipient's account, or the payee's where there is none
    escrow: int = DEPOSIT
    holds: dict[str, int] = field(default_factory=lambda: {"payer": PURSE - DEPOSIT, "treasury": 0})

    def give(self, who: str, units: int) -> None:
        """Out of the escrow."""
        self.escrow -= units
        self.holds[who] = self.holds.get(who, 0) + units

    def settle(self, units: int, *, statuses: tuple[int, ...] = (OPEN,)) -> bool:
        """Take a voucher."""
        if fine := self.status in statuses and self.settled < units <= self.deposit:
            self.settled = units
        return fine

    def top_up(self, units: int) -> bool:
        """More deposit."""
        if fine := self.status == OPEN and 0 < units <= self.holds["payer"]:
            self.deposit += units
            self.give("payer", -units)
        return fine

    def may_seal(self) -> bool:
        """Whether the payee may."""
        return self.status == OPEN or (self.status == CLOSING and self.now_s < self.asked_at + GRACE_S)

    def seal_with(self, units: int) -> bool:
        """By the payee, with a last voucher."""
        if fine := self.may_seal() and self.settle(units, statuses=(OPEN, CLOSING)):
            self.status = SEALED
        return fine

    def pay(self, _units: int) -> bool:
        """Sealed by the payee, without a voucher."""
        if fine := self.may_seal():
            self.status = SEALED
        return fine

    def request(self, _units: int) -> bool:
        """Asked for by the payer."""
        if fine := self.status == OPEN:
            self.status, self.asked_at = CLOSING, self.now_s
        return fine

    def seal(self, _units: int) -> bool:
        """By anybody, after the grace period."""
        if fine := self.status == CLOSING and self.now_s >= self.asked_at + GRACE_S:
            self.status = SEALED
        return fine

    def withdraw(self, _units: int) -> bool:
        """The payer's rest."""
        if fine := self.status == SEALED and not self.withdrawn:
            self.withdrawn = True
            self.give("payer", self.deposit - self.settled)
        return fine

    def distribute(self, _units: int) -> bool:
        """Shares of the running total; a frozen owner's go to the treasury."""
        if self.status not in (OPEN, SEALED) or (self.status == OPEN and self.paid_out == self.settled):
            return False
        names = [*(f"split {index}" for index in range(len(self.bps))), "payee"]
        for index, (name, bps) in enumerate(zip(names, [*self.bps, WHOLE - sum(self.bps)], strict=True)):
            share = self.settled * bps // WHOLE - self.paid_out * bps // WHOLE
            self.give("treasury" if index == 0 and self.frozen else name, share)
        if self.status == OPEN:
            self.paid_out = self.settled
            return True
        if not self.withdrawn:
            self.give("payer", self.deposit - self.settled)
        self.give("treasury", self.escrow)
        self.status = GONE if self.slot > START_SLOT + WINDOW else DISTRIBUTED
        return True

    def reclaim(self, _units: int) -> bool:
        """The account's rent."""
        if fine := self.status == DISTRIBUTED and self.slot > START_SLOT + WINDOW:
            self.status = GONE
        return fine


@dataclass
class Bench:
    """One channel on the chain beside its model."""

    svm: Svm
    channel: Opening
    model: Model

    @classmethod
    def opened(cls, program: Pubkey, bps: list[int]) -> Bench:
        """A new chain with an open channel."""
        svm = Svm()
        splits = tuple((Keypair().pubkey(), share) for share in bps)
        channel = svm.channel(program, deposit=DEPOSIT, splits=splits)
        svm.hold(channel, channel.payer.pubkey(), PURSE)
        svm.send(channel.open(), channel.payer, channel.rent_payer)
        return cls(svm, channel, Model(bps, now_s=svm.now_s))

    def move(self, name: str, units: int) -> bool:
        """A step of time or of an issuer, which no instruction of the program takes part in."""
        match name:
            case "grace":
                self.svm.later(seconds=GRACE_S)
            case "window":
                self.svm.later(slots=WINDOW + 1)
            case "wait":
                self.svm.later(slots=units, seconds=units)
            case "freeze" if not self.model.frozen:
                first = self.channel.splits[0][0] if self.channel.splits else self.channel.payee.pubkey()
                self.svm.hold(self.channel, first, self.svm.units(self.channel, first), FROZEN)
                self.model.frozen = True
            case "freeze":
                pass
            case _:
                return False
        self.model.slot, self.model.now_s = self.svm.slot, self.svm.now_s
        return True

    def act(self, name: str, units: int) -> bool:
        """Send the step's transaction; whether it succeeded."""
        c = self.channel
        sent: dict[str, Callable[[], object]] = {
            "settle": lambda: self.svm.settle(c, units),
            "top_up": lambda: self.svm.send(c.top_up(units), c.payer),
            "seal_with": lambda: self.svm.send(c.check(units), c.settle_and_seal(1), c.payee),
            "pay": lambda: self.svm.send(c.settle_and_seal(), c.payee),
            "request": lambda: self.svm.send(c.request_close(), c.payer),
            "seal": lambda: self.svm.send(c.seal()),
            "distribute": lambda: self.svm.send(c.distribute()),
            "withdraw": lambda: self.svm.send(c.withdraw(), c.payer),
            "reclaim": lambda: self.svm.send(c.reclaim()),
        }
        try:
            sent[name]()
        except Refused:
            return False
        return True

    def held(self) -> dict[str, int]:
        """What everybody but the escrow holds."""
        c, model = self.channel, self.model
        owners = {"payer": c.payer.pubkey(), "treasury": TREASURY, "payee": c.payee.pubkey()}
        owners |= {f"split {index}": to for index, (to, _) in enumerate(c.splits)}
        return {name: self.svm.units(c, owner) for name, owner in owners.items() if name in model.holds}

    def compare(self) -> None:
        """The chain is where the model is, and nothing was made or lost."""
        model, state = self.model, self.svm.state(self.channel)
        assert self.held() == model.holds
        assert self.svm.units(self.channel, self.channel.address) == model.escrow
        assert model.escrow + sum(model.holds.values()) == PURSE
        if model.status == GONE:
            assert state is None
            return
        assert isinstance(state, State)
        seen = (state.status, state.deposit, state.settled, state.paid_out, state.withdrawn_at != 0)
        assert seen == (model.status, model.deposit, model.settled, model.paid_out, model.withdrawn)


@pytest.mark.parametrize("program", TOKEN_PROGRAMS.values(), ids=TOKEN_PROGRAMS.keys())
def test_tokens_are_neither_made_nor_lost(program: Pubkey) -> None:
    """After every step all hold together what the payer had, each as much as the model says; marks only rise."""

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(shares, steps)
    def check(bps: list[int], todo: list[tuple[str, int]]) -> None:
        bench = Bench.opened(program, bps)
        before = (DEPOSIT, 0, 0)
        for name, units in todo:
            ended = bench.model.status
            if not bench.move(name, units):
                expected = getattr(bench.model, name)(units)
                assert bench.act(name, units) == expected, (name, units)
                assert not (expected and ended in (DISTRIBUTED, GONE) and name != "reclaim")
            bench.compare()
            marks = (bench.model.deposit, bench.model.settled, bench.model.paid_out)
            assert all(now >= then for now, then in zip(marks, before, strict=True))
            before = marks

    check()


@pytest.mark.parametrize("program", TOKEN_PROGRAMS.values(), ids=TOKEN_PROGRAMS.keys())
@pytest.mark.parametrize("bps", [[], [3333, 3333]], ids=["no splits", "two splits"])
def test_the_parties_ways_to_the_end_are_all_walked(program: Pubkey, bps: list[int]) -> None:
    """The long ways, which a search finds late: each ends with an empty escrow and no account."""
    for way in (
        "settle:7 distribute settle:11 distribute seal_with:500 distribute window reclaim",
        "settle:1 request settle:9 grace seal withdraw distribute window reclaim",
        "settle:999 freeze distribute top_up:50 settle:1050 window pay distribute",
        "request seal_with:3 withdraw freeze distribute reclaim window reclaim",
    ):
        bench = Bench.opened(program, bps)
        for step in way.split():
            name, _, number = step.partition(":")
            if not bench.move(name, 0):
                assert bench.act(name, int(number or 0)) == getattr(bench.model, name)(int(number or 0)), (way, step)
            bench.compare()
        assert (bench.model.escrow, bench.model.status) == (0, GONE), way
