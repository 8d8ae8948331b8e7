"""The settler's loops: one thread per network, so that one that is down holds up no other.

Several processes may run them on one store: whoever finds that another has just looked at a network's channels leaves
that round to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from coinslot.drive import Flow, RealWorld, run, wait
from coinslot.errors import ConfigError, StoreError
from coinslot.method import SessionSeller
from coinslot.server.events import Observer
from coinslot.server.sessions import LOOKS_PER_GRACE
from coinslot.server.settler import Policy, Report, settle_round, watch_round
from coinslot.store.channels import SessionStore
from coinslot.transports.background import Background

# Payers wait fifteen minutes where we know the rule; a look costs a few calls for a hundred channels.
EVERY_S = 10.0
# A look that is younger than this part of the interval was somebody else's round.
FRESH_PART = 0.8
# After failures the pause doubles, up to so many intervals, and never beyond the time in which somebody must look.
MOST_PAUSES = 8

Reporter = Callable[[str, Report | StoreError], None]


class Settling:
    """Settles and watches what these sellers sell, every `every_s` seconds, from `ensure` to `stop`.

    `report` hears of each round: the network, and its report or what kept it from one. Raises ConfigError if a payer
    could take its money back before the third look. T27
    """

    def __init__(
        self,
        store: SessionStore,
        sellers: Sequence[SessionSeller],
        policy: Policy | None = None,
        observe: Observer | None = None,
        every_s: float = EVERY_S,
        report: Reporter | None = None,
    ) -> None:
        self.every_s = every_s
        self.networks: dict[str, _Network] = {}
        for name in sorted({one.network for one in sellers}):
            mine = [one for one in sellers if one.network == name]
            grace_s = min(one.grace_s for one in mine)
            if not 0 < every_s * LOOKS_PER_GRACE < grace_s:  # T27
                raise ConfigError(
                    f"{name}: payers wait {grace_s:.0f} s before they withdraw, so look at least every"
                    f" {grace_s / LOOKS_PER_GRACE:.0f} s, and not every {every_s:g} s"
                )
            self.networks[name] = _Network(name, store, mine, policy or Policy(), observe, every_s, report)

    def ensure(self) -> None:
        """Start what does not run in this very process."""
        for one in self.networks.values():
            one.ensure()

    def stop(self) -> None:
        """End after the rounds that are under way."""
        for one in self.networks.values():
            one.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait until all have ended; whether they have."""
        until = time.monotonic() + timeout_s
        return all(one.join(max(0.0, until - time.monotonic())) for one in self.networks.values())

    def look(self) -> None:
        """Look now, in this thread, at networks that nobody has looked at: then nothing is refused at start. F26

        Nothing is settled by that. A network or a store that does not answer is left to the loops.
        """
        with closing(RealWorld()) as world:
            for one in self.networks.values():
                one.look(world)

    def settle(self) -> None:
        """One round now, in this thread."""
        with closing(RealWorld()) as world:
            for one in self.networks.values():
                one.step(0, world)


class _Network(Background):
    """One network's loop."""

    def __init__(
        self,
        name: str,
        store: SessionStore,
        sellers: Sequence[SessionSeller],
        policy: Policy,
        observe: Observer | None,
        every_s: float,
        report: Reporter | None,
    ) -> None:
        super().__init__(f"coinslot-settler-{name}", every_s)
        self.name = name
        self.store = store
        self.sellers = tuple(sellers)
        self._policy = policy
        self._observe = observe
        self._report = report or (lambda _name, _report: None)
        self._failures = 0

    def step(self, turn: int, world: RealWorld) -> float | None:
        """A round, unless somebody has just had one."""
        return self._round(lambda: settle_round(self.store, self.sellers, self._policy, self._observe, turn), world)

    def look(self, world: RealWorld) -> None:
        """Only look, unless somebody has just done so."""
        self._round(lambda: watch_round(self.store, self.sellers, self._observe), world)

    def _round(self, flow: Callable[[], Flow[Report]], world: RealWorld) -> float | None:
        try:
            ago_s = run(wait(self.store.watched_ago_s(self.name)), world)
            if ago_s is not None and ago_s < FRESH_PART * self._every_s:
                return None
            found = run(flow(), world)
        except StoreError as error:
            self._report(self.name, error)
            return self._later()
        self._report(self.name, found)
        if found.silent or found.trouble:
            return self._later()
        self._failures = 0
        return None

    def _later(self) -> float:
        self._failures += 1
        most_s = min(one.grace_s for one in self.sellers) / (2 * LOOKS_PER_GRACE)
        longer = min(2.0**self._failures, MOST_PAUSES)
        return max(self._every_s, min(self._every_s * longer, most_s))
