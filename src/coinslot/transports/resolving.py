"""The resolver's loop, and with it the settler's where no other process settles."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.drive import RealWorld, run
from coinslot.method import Seller
from coinslot.server.events import Observer
from coinslot.server.resolver import resolve_round
from coinslot.store.channels import SessionStore
from coinslot.transports.background import Background
from coinslot.transports.settling import Settling

# Two blocks of a fast chain: soon enough for a client that was told to come back in five seconds.
EVERY_S = 2.0


class Resolving(Background):
    """Started by the first request of each process; stops with `stop` or the process. `settling` goes with it."""

    def __init__(
        self,
        store: SessionStore,
        sellers: Sequence[Seller],
        observe: Observer | None = None,
        every_s: float = EVERY_S,
        settling: Settling | None = None,
    ) -> None:
        super().__init__("coinslot-resolver", every_s)
        self._store = store
        self._sellers = tuple(sellers)
        self._observe = observe
        self._settling = settling

    def step(self, turn: int, world: RealWorld) -> None:
        """One round of the resolver."""
        run(resolve_round(self._store, self._sellers, self._observe, turn), world)

    def ensure(self) -> None:
        """Start what does not run in this very process."""
        super().ensure()
        if self._settling is not None:
            self._settling.ensure()

    def stop(self) -> None:
        """End the loops after the rounds they are in."""
        super().stop()
        if self._settling is not None:
            self._settling.stop()
