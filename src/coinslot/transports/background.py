"""Work that goes on beside the requests: one quiet thread per process, under ASGI and WSGI, after a fork too."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from itertools import count

from coinslot.drive import RealWorld
from coinslot.errors import StoreError


class Background:
    """A thread that repeats `step` every `every_s` seconds, from `ensure` to `stop`. It is a daemon."""

    def __init__(self, name: str, every_s: float) -> None:
        self._name = name
        self._every_s = every_s
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()
        self._thread = threading.Thread()
        self._running = False  # in this very process
        _all.add(self)

    def step(self, turn: int, world: RealWorld) -> float | None:
        """One round, the number `turn`; seconds until the next, or None for `every_s`. May raise StoreError."""
        raise NotImplementedError

    def ensure(self) -> None:
        """Start the thread unless it runs in this very process; costs one look when it does.

        A thread that died of a bug in a payment method is started again. After `stop`, none is.
        """
        if self._running:
            return
        if self._pid == os.getpid() and (self._thread.is_alive() or self._stop.is_set()):
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._stop = os.getpid(), threading.Event()
            elif self._thread.is_alive() or self._stop.is_set():
                return
            self._thread = threading.Thread(target=self._loop, args=(self._stop,), name=self._name, daemon=True)
            self._running = True
            self._thread.start()

    def after_fork(self) -> None:
        """In a child: no thread came along."""
        self._running = False
        self._lock = threading.Lock()

    def stop(self) -> None:
        """End the loop after the round it is in."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the loop; whether it has ended."""
        if self._pid == os.getpid():
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def _loop(self, stop: threading.Event) -> None:
        world = RealWorld()
        try:
            pause_s = self._every_s
            for turn in count():
                if stop.wait(pause_s):
                    return
                pause_s = self._every_s
                with suppress(StoreError):  # busy or broken now: the next round asks again
                    asked_s = self.step(turn, world)
                    pause_s = self._every_s if asked_s is None else asked_s
        finally:
            self._running = False
            world.close()


_all: weakref.WeakSet[Background] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for one in list(_all):
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
