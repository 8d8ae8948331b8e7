"""Random lives of a town, with a crash at a random await as one of the things that happen: nothing is lost or made.

A payer buys items and streams, tops up, closes through the shop and without it, loses its book, or says nothing for
long; a settler settles, closes and tidies; and now and then one of them, or the server, is told to die at its n-th
await from now, before or after it. After every step the chain and the records are looked at, and in the end everybody
recovers and the money is counted.

What it wished for and did not get it asks for again, under the same Idempotency-Key, on whatever channel it has then:
also where the one that paid was closed meanwhile. It is paid once.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from coinslot.services import leaving
from coinslot.store.book import ENDED
from support.awaits.acts import closes, each, loses_book, nothing, rounds, tidies
from support.awaits.life import Clock, Died, Life, Side
from support.awaits.solana import Node, SolanaRail
from support.awaits.town import COST, WINDOW, Rail, Town, Wish
from support.awaits.toy import ToyRail
from support.awaits.trial import Plan, grown, quick_folder, recover

# A life takes some tenths of a second.
EXAMPLES, STEPS = 20, 12
SOAKED = 3_000
# Few awaits further than that belong to one act.
FAR = 60
VICTIMS = ("server", "client", "settler")


class Lives(RuleBasedStateMachine):
    """One town from its first day to its last."""

    made: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.stack = ExitStack()
        self.town: Town | None = None
        self.crashes = self.streams = 0

    def rail(self, **given: Any) -> Rail:
        """Of the kind at hand."""
        Lives.made += 1
        splits = 2 if given.pop("splits") else 0
        return SolanaRail(Node(self.clock), f"life {Lives.made}", splits=splits, **given)

    @initialize(operator=st.booleans(), sponsored=st.booleans(), splits=st.booleans())
    def begins(self, **given: Any) -> None:
        """A shop opens."""
        folder = self.stack.enter_context(quick_folder())
        self.town = Town(self.rail(**given), self.clock, folder)
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.stack.callback(self.town.close)
        self._all_live()

    def _all_live(self) -> Town:
        """Who is dead starts again, after its leases have lapsed."""
        town = self.town
        assert town is not None
        if any(one is not None and one.life.dead for one in (town.server, town.client, town.settler)):
            self.crashes += 1
            town.bury()
        town.serving()
        town.buying()
        self._does(lambda town: town.settling().round(), town)
        return town

    def _does(self, act: Any, town: Town | None = None) -> None:
        """An act, in which somebody may die."""
        with suppress(Died):
            act(town or self._all_live())

    # --- what happens

    @rule(victim=st.sampled_from(VICTIMS), at=st.integers(1, FAR), side=st.sampled_from(Side))
    def shall_die(self, victim: str, at: int, side: Side) -> None:
        """At its n-th await from now; a life that has not come so far goes on."""
        town = self._all_live()
        process = {"server": town.server, "client": town.client, "settler": town.settler}[victim]
        assert process is not None
        life: Life = process.life
        life.at, life.side = len(life.passed) + at, side

    @rule()
    def buys(self) -> None:
        """An item."""
        self._does(lambda town: town.buying().get(town.wish()))

    @rule(units=st.integers(1, 4))
    def streams_some(self, units: int) -> None:
        """A stream."""
        self.streams += 1
        self._does(lambda town: town.buying().get(town.wish(f"/stream?n={units}")))

    @rule()
    def asks_again(self) -> None:
        """For what it wished for and did not get."""
        for wish in self.town.wishes if self.town else ():
            if wish.body is None:
                self._does(partial(_gets, wish))

    @rule()
    def closes(self) -> None:
        """Through the shop."""
        self._does(closes)

    @rule()
    def leaves(self) -> None:
        """Without the shop, which sees it in time."""
        self._does(each(leaving.ask_to_close))

    @rule()
    def withdraws(self) -> None:
        """Where it can."""
        self._does(each(leaving.withdraw))

    @rule()
    def loses_its_book(self) -> None:
        """Where nothing is in it that isn't over: what it signed on a channel is all that proves the rest its own."""
        town = self._all_live()
        client = town.client
        if client is not None and not client.life.dead and all(one.standing in ENDED for one in client.held()):
            loses_book(town)

    @rule()
    def settles(self) -> None:
        """Whatever was bought."""
        self._does(rounds)

    @rule()
    def tidies(self) -> None:
        """Collects rent."""
        self._does(tidies)

    @rule(seconds=st.sampled_from([1, 30, 200, 250]))
    def waits(self, seconds: int) -> None:
        """Time passes, and the settler looks at once after it."""
        self.clock.passes(seconds)
        self._all_live()

    @rule()
    def says_nothing(self) -> None:
        """For longer than channels are kept open, under the eyes of the settler."""
        town = self._all_live()
        for _ in range(int(town.rail.idle_s) // 250 + 1 if town.rail.idle_s < 10_000 else 0):
            self.clock.passes(250)
            self._all_live()

    # --- what must be true

    @invariant()
    def fits_together(self) -> None:
        """I3, and nothing lost or made."""
        if self.town is not None:
            self.town.rail.conserved()
            grown(self.town)

    def teardown(self) -> None:
        """Everybody recovers; everything is closed; the money is counted."""
        try:
            if self.town is not None:
                for one in (self.town.server, self.town.client, self.town.settler):
                    if one is not None and not one.life.dead:
                        one.life.at = 0
                more = WINDOW * COST * (self.crashes + 2 * self.streams + 1) if self.streams else 0
                try:
                    recover(Plan("life", "", nothing, more_units=more), self.town)
                except AssertionError as error:
                    raise AssertionError("\n".join([str(error), *self.town.told])) from error
        finally:
            self.stack.close()


def _gets(wish: Wish, town: Town) -> None:
    town.buying().get(wish)


class AtABank(Lives):
    """The same by the rules of Tempo's escrow."""

    def rail(self, **given: Any) -> Rail:
        """Flavours by chance."""
        return ToyRail(self.clock, flavour="v1" if given["operator"] else "v2")


@pytest.mark.guard("F01", "F02", "F03", "F07", "F08", "F09", "F10", "T02", "T22", "T27")
def test_no_life_on_a_chain_makes_or_loses_money() -> None:
    """On Solana."""
    run_machine(Lives, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))


def test_no_life_at_a_bank_makes_or_loses_money() -> None:
    """At the toy bank."""
    run_machine(AtABank, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("machine", [Lives, AtABank])
def test_no_longer_life_makes_or_loses_money(machine: type[Lives]) -> None:
    """Longer lives, that nobody has seen."""
    examples = int(os.environ.get("COINSLOT_LIVES", SOAKED))
    run_machine(machine, settings=settings(max_examples=examples, stateful_step_count=40, derandomize=False))
