"""Strike at failpoints: `with struck_at("gate.prepared"): ...` raises Struck there, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from coinslot import drive


class Struck(Exception):
    """A blow between two steps, as a bug or a lost machine would deal it."""


@contextmanager
def struck_at(name: str) -> Iterator[None]:
    """Raise Struck at the first pass of a failpoint, which must be passed, and swallow it."""
    passed: list[str] = []

    def strike(at: str) -> None:
        if at == name and not passed:
            passed.append(at)
            raise Struck(name)

    drive.arm_failpoints(strike)
    try:
        with suppress(Struck):
            yield
    finally:
        drive.arm_failpoints(None)
    assert passed, f"failpoint {name} was not passed"
