"""A folder in which a local chain keeps its state from one start to the next, used by one process at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coinslot.errors import DevnetError, UsageError


class StateDir:
    """The folder, locked until `close` or the end of the process."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make and lock it; `name` tells the chains apart that it may hold.

        Raises UsageError if it can't be used, DevnetError if another chain uses it.
        """
        self.file = folder / f"chain-{name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"the state folder {folder} can't be used: {error.strerror}") from error
        try:
            _lock(self._lock)
        except OSError as error:
            os.close(self._lock)
            raise DevnetError(f"another local chain is using the state folder {folder}; nothing was changed") from error

    def close(self) -> None:
        """Let others have it. Harmless when called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock(descriptor: int) -> None:
    """Lock or raise OSError. Where the system has no such lock, nothing is locked."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
