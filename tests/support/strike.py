"""Strike at failpoints: `with struck_at("gate.prepared"): ...` raises Struck there, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from coinslot import drive


class Struck(Exception):
    """A blow between two steps, as a bug or a lost machine would deal it."""


@contextmanager
def struck_at(name: str, *, at: int = 1) -> Iterator[None]:
    """Raise Struck at the first pass of a failpoint, or the one that is said, which must come; and swallow it."""
    passed: list[str] = []

    def strike(passing: str) -> None:
        if passing == name:
            passed.append(passing)
            if len(passed) == at:
                raise Struck(name)

    drive.arm_failpoints(strike)
    try:
        with suppress(Struck):
            yield
    finally:
        drive.arm_failpoints(None)
    assert len(passed) >= at, f"failpoint {name} was not passed so often"
