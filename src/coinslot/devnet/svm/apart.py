"""Programs of the chain run in a thread of their own.

The virtual machine's compiled code leaves the processor's old floating-point stack in use, and whoever computes with it
next in the same thread gets no number. SQLite does, where it writes a fraction as text.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Apart:
    """One thread, which ends with this object."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "svm")

    def __call__(self, work: Callable[Given, Found], *args: Given.args, **named: Given.kwargs) -> Found:
        """What the work returns, or its exception."""
        return self._thread.submit(work, *args, **named).result()
