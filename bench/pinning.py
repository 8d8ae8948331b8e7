"""One core each: what runs beside a measurement must not run on its core."""

from __future__ import annotations

import os


def available() -> set[int]:
    """The cores of this process; {0} where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def pin(*cores: int) -> None:
    """Stay on these cores, where the system lets us."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def pin_as_told() -> None:
    """Stay on the cores that BENCH_CORE names, if it names any."""
    if os.environ.get("BENCH_CORE"):
        pin(*map(int, os.environ["BENCH_CORE"].split(",")))
