"""One thing to be written, and the promise of its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from coinslot import drive
from coinslot.errors import CoinslotError, StoreError
from coinslot.store.operations import Db
from coinslot.store.promise import Promise


class Operation(msgspec.Struct, eq=False):
    """What to run, until when it may wait (monotonic seconds), its failpoint, and how it ended.

    `single`: it writes by one statement at most, so there is nothing to roll back if it fails.
    """

    run: Callable[[Db], Any]
    name: str
    deadline: float
    clock: Callable[[], float]
    single: bool
    future: Promise = msgspec.field(default_factory=Promise)
    result: object = None
    error: CoinslotError | None = None

    def resolve(self) -> None:
        """Tell the waiting side. A failpoint strikes between the commit and its acknowledgement."""
        if self.error is None and self.name:
            try:
                drive.failpoint(self.name)
            except StoreError as error:
                self.error = error
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
