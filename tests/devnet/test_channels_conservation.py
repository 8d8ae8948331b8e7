"""Whatever order the parties act in, no token of a channel is made or lost, in both session protocols."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinslot.devnet.tempo import DEVNET
from coinslot.methods.tempo.session.calls import (
    CloseCall,
    RequestCloseCall,
    SessionCall,
    SettleCall,
    TopUpCall,
    WithdrawCall,
)
from coinslot.methods.tempo.session.escrow import V1, V2, Version, pinned_escrow
from support.channelchain import Bench, Opened, Reverted
from support.devnet import Chain

pytestmark = pytest.mark.devnet

DEPOSIT = 1000
amounts = st.integers(0, 2500)
steps = st.lists(
    st.tuples(st.sampled_from(["settle", "top up", "close", "request", "withdraw", "wait"]), amounts, amounts),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """A chain of its own: these tests move its clock."""
    with DEVNET.start() as running:
        yield Chain(running)


@dataclass
class Model:
    """What the channel must hold, kept beside the chain by the few rules of the published interface."""

    version: Version
    deposit: int = DEPOSIT
    settled: int = 0
    asked: bool = False
    waited: bool = False
    open: bool = True

    def act(self, name: str, units: int, capture: int) -> bool:
        """Whether the step succeeds, and what it changes then."""
        if not self.open:
            return False
        if name == "settle":
            if fine := self.settled < units <= self.deposit:
                self.settled = units
            return fine
        if name == "top up":
            self.deposit, self.asked, self.waited = self.deposit + units, False, False
            return True
        if name == "request":
            self.asked = True
            return True
        if name == "withdraw":
            self.open = not (self.asked and self.waited)
            return not self.open
        return self._close(units, capture)

    def _close(self, units: int, capture: int) -> bool:
        final = capture if self.version == V2 else max(units, self.settled)
        fine = self.settled <= final <= self.deposit and (self.version == V1 or final <= units)
        if fine:
            self.settled, self.open = final, False
        return fine


def call_for(bench: Bench, channel: Opened, step: tuple[str, int, int]) -> SessionCall:
    """The step as a call, with a good voucher where one is due."""
    name, units, capture = step
    if name == "settle":
        return SettleCall(channel.ref, units, bench.voucher(channel, units))
    if name == "close":
        return CloseCall(channel.ref, units, capture, bench.voucher(channel, units))
    if name == "top up":
        return TopUpCall(channel.ref, units)
    return RequestCloseCall(channel.ref) if name == "request" else WithdrawCall(channel.ref)


@pytest.mark.parametrize("version", [V1, V2], ids=lambda version: version.name)
def test_tokens_are_neither_made_nor_lost(chain: Chain, version: Version) -> None:
    """After every step escrow, payer and payee hold together what they held, each as much as a small model says."""
    escrow = pinned_escrow(version, 42431)
    assert escrow is not None
    bench = Bench(chain, escrow)

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(steps)
    def check(todo: list[tuple[str, int, int]]) -> None:
        before = bench.holds(escrow.address)
        channel, model = bench.open(DEPOSIT), Model(version)
        chain.fund(channel.payer.address, 2500 * len(todo))
        total = DEPOSIT * 2 + 2500 * len(todo)
        for name, units, extra in todo:
            if name == "wait":
                bench.later(901)
                model.waited = model.asked
                continue
            # a v2 capture is at most the voucher: our own writer writes no other; a v1 close takes the whole voucher
            capture = min(units, extra) if version == V2 else units
            key = channel.payee if name in ("settle", "close") else channel.payer
            expected = model.act(name, units, capture)
            try:
                bench.do(key, call_for(bench, channel, (name, units, capture)))
                happened = True
            except Reverted:
                happened = False
            assert happened == expected, (name, units, capture)
            held = bench.holds(escrow.address) - before
            assert held == (model.deposit - model.settled if model.open else 0)
            assert bench.holds(channel.payee.address) == model.settled
            assert bench.holds(channel.payer.address) == total - held - model.settled

    check()
