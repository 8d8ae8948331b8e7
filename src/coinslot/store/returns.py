"""What is given back although nobody waits for it: a lease, a window, a running answer.

A disk that is full for a minute refuses such a step within microseconds, however often it is asked at once. What could
not be written then is asked for again with every heartbeat that is, so that nothing stays taken until the process ends.
Every step here may be done twice: it gives back what its own holder holds, and nothing else. F16 F17
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias

from coinslot.errors import StoreBroken, StoreBusy, StoreError

Ask: TypeAlias = Callable[[], Future[Any]]

# A few hundred bytes each. What is more than that waits for the end of the process, as all of it would elsewhere.
MAX_LEFT = 10_000


class Returns:
    """The steps of one store handle that are not written yet. Threads may share it."""

    def __init__(self) -> None:
        self._left: dict[tuple[object, ...], Ask] = {}
        self._lock = threading.Lock()

    def give(self, name: tuple[object, ...], future: Future[Any], again: Ask) -> None:
        """Watch a step; if it was not written, `again` is asked for later. `name` is what it gives back."""
        future.add_done_callback(lambda ended: self._ended(name, again, ended))

    def _ended(self, name: tuple[object, ...], again: Ask, ended: Future[Any]) -> None:
        failed = not ended.cancelled() and isinstance(ended.exception(), StoreBroken | StoreBusy)
        with self._lock:
            if not failed:
                self._left.pop(name, None)
            elif len(self._left) < MAX_LEFT:  # F28
                self._left[name] = again

    def remind(self) -> None:
        """The store can be written: ask for all that is left. Never waits, never fails."""
        with self._lock:
            left = list(self._left.items())
        for name, again in left:
            with suppress(StoreError):  # closed: what its owner held ended with it
                self.give(name, again(), again)
