"""`coinslot settler`: the settler as a process of its own, for gates that leave it to one.

Its rounds are its heartbeat: a gate on the same store serves sessions while the last round is young enough. On SIGTERM
the rounds that are under way are finished; what is in the outbox then is found there by the next settler.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import msgspec

from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError, StoreError
from coinslot.method import Seller, SessionSeller, sells_sessions
from coinslot.server.resolver import resolve_round
from coinslot.server.settler import Policy, Report, settle_round
from coinslot.store.channels import SessionStore
from coinslot.transports.resolving import Resolving
from coinslot.transports.settling import EVERY_S, Reporter, Settling

# A round that waits for a node that hangs ends within its calls' time limits; then it is left behind.
DRAIN_S = 60.0
# `--once` waits so long for what it has sent: many blocks of the networks we know.
ONCE_PATIENCE_S = 60.0
ONCE_EVERY_S = 0.5


class SettlerService:
    """Settles for these sellers on this store. Raises ConfigError where no sessions are sold, or if the interval is too
    long for a network.
    """

    def __init__(
        self,
        store: SessionStore,
        sellers: Sequence[Seller],
        policy: Policy,
        every_s: float = EVERY_S,
        report: Reporter | None = None,
    ) -> None:
        self._store = store
        self._sellers: list[SessionSeller] = [one for one in sellers if sells_sessions(one)]
        self._policy = policy
        if not self._sellers:
            raise ConfigError("no sessions are sold with these settings, so there is nothing to settle")
        self._settling = Settling(store, self._sellers, policy, None, every_s, report)
        self._resolving = Resolving(store, self._sellers, settling=self._settling)
        self._stop = threading.Event()

    @property
    def networks(self) -> list[str]:
        """The networks that are watched."""
        return sorted(self._settling.networks)

    def serve(self) -> bool:
        """Until `stop`; whether everything that was under way then was finished."""
        self._settling.settle()
        self._resolving.ensure()
        while not self._stop.wait(self._settling.every_s):
            self._resolving.ensure()  # a thread that died of a bug in a payment method is started again
        self._resolving.stop()
        until = time.monotonic() + DRAIN_S
        ended = self._settling.join(DRAIN_S)
        return self._resolving.join(max(0.0, until - time.monotonic())) and ended

    def stop(self) -> None:
        """End `serve` soon; may be called by a signal handler."""
        self._stop.set()

    def once(self) -> dict[str, Report]:
        """Rounds until nothing is left to be done, or patience ends: the last report of each network, with the sums of
        all. Raises StoreError.
        """
        until = time.monotonic() + ONCE_PATIENCE_S
        found: dict[str, Report] = {}
        with closing(RealWorld()) as world:
            run(resolve_round(self._store, self._sellers), world)
            for name in self.networks:
                mine = [one for one in self._sellers if one.network == name]
                while True:
                    turn = run(settle_round(self._store, mine, self._policy), world)
                    found[name] = turn if name not in found else added(found[name], turn)
                    if turn.trouble or not turn.pending + turn.planned or time.monotonic() > until:
                        break
                    world.sleep(ONCE_EVERY_S)
        return found


_SUMS = ("stopped", "billed", "planned", "settled", "closed", "failed", "forgotten")


def added(earlier: Report, later: Report) -> Report:
    """The later report with what both did."""
    members = {name: getattr(later, name) for name in Report.__dataclass_fields__}
    return Report(**members | {name: getattr(earlier, name) + getattr(later, name) for name in _SUMS})


def members(network: str, report: Report | StoreError) -> Mapping[str, object]:
    """A round as one JSON object; base units are text."""
    if isinstance(report, StoreError):
        return {"network": network, "error": type(report).__name__, "message": str(report)}
    told = msgspec.to_builtins(report)
    del told["watched"], told["silent"]
    told["trouble"] = report.trouble.get(network)
    told["unsettled"] = {asset: str(units) for asset, units in report.unsettled.items()}
    return {"network": network, "answered": not report.silent, **told}
