"""An owner's heart: while it beats, the leases of a store handle hold.

It starts with the first lease, beats in a thread of its own, and is reborn with a new owner id after a fork.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from coinslot.errors import StoreError

# Three beats may fail before a lease lapses.
BEATS_PER_LEASE = 4

_log = logging.getLogger(__name__)


class Heart:
    """`beat` writes one beat; `lease_s` is how long one lasts, in seconds. Threads may share a heart."""

    def __init__(self, beat: Callable[[str], Future[None]], lease_s: float) -> None:
        self.owner = secrets.token_hex(16)
        self._beat = beat
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_at = float("-inf")

    def start(self) -> None:
        """Begin to beat, once."""
        if self._thread is not None:
            return
        with self._lock:
            if not self._stop.is_set():
                self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="coinslot-heart", daemon=True)
            self._thread.start()

    def due(self) -> bool:
        """Whether a step that gives a lease must bring its own beat: none is on record, or the last is old."""
        return time.monotonic() - self._beat_at > 2 * self._lease_s / BEATS_PER_LEASE

    def stop(self) -> None:
        """Beat no more; returns when no beat is under way."""
        with self._lock:
            self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                self._beat(self.owner).result(self._lease_s)
                self._beat_at = asked_at
            except (StoreError, FutureTimeout) as error:
                _log.warning("a heartbeat could not be written: %s", type(error).__name__)
            self._stop.wait(self._lease_s / BEATS_PER_LEASE)
