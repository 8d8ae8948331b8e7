"""The resolver's loop: one quiet thread per process and store, the same under ASGI and WSGI, also after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from coinslot.drive import RealWorld, run
from coinslot.errors import StoreError
from coinslot.method import ChargeSeller
from coinslot.server.events import Observer
from coinslot.server.resolver import resolve_round
from coinslot.store.protocol import Store

# Two blocks of a fast chain: soon enough for a client that was told to come back in five seconds.
EVERY_S = 2.0


class Resolving:
    """Started by the first request of each process; stops with `stop` or the process (it is a daemon)."""

    def __init__(
        self, store: Store, sellers: Sequence[ChargeSeller], observe: Observer | None = None, every_s: float = EVERY_S
    ) -> None:
        self._store = store
        self._sellers = tuple(sellers)
        self._observe = observe
        self._every_s = every_s
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()
        self._thread = threading.Thread()

    def ensure(self) -> None:
        """Start the thread unless it runs in this very process; costs two comparisons when it does.

        A thread that died of a bug in a payment method is started again. After `stop`, none is.
        """
        if self._pid == os.getpid() and (self._thread.is_alive() or self._stop.is_set()):
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._stop = os.getpid(), threading.Event()
            elif self._thread.is_alive() or self._stop.is_set():
                return
            self._thread = threading.Thread(
                target=self._loop, args=(self._stop,), name="coinslot-resolver", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()

    def _loop(self, stop: threading.Event) -> None:
        world = RealWorld()
        try:
            for turn in count():
                if stop.wait(self._every_s):
                    return
                with suppress(StoreError):  # busy or broken now: the next round asks again
                    run(resolve_round(self._store, self._sellers, self._observe, turn), world)
        finally:
            world.close()
