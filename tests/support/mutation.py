"""Take one guard out of a copy of the code, and see that a test notices.

A file named `mutations.py` anywhere under tests/ holds `MUTATIONS`, a list of `Mutation`s. The texts are exact, so a
list that no longer fits the code fails instead of growing stale.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = ROOT / "tests"
SRC = ROOT / "src" / "coinslot"
# A mutated test has a few seconds' work; one that hangs without its guard counts as not noticed.
RUN_S = 60


@dataclass(frozen=True)
class Mutation:
    """One guard of `src/coinslot/{file}` taken out: `old` occurs there exactly once and becomes `new`.

    `test` is the pytest node, from the root of the project, that must then fail: "tests/core/test_digest.py::test_it".
    """

    id: str
    file: str
    old: str
    new: str
    test: str

    def __str__(self) -> str:
        return f"{self.id}-{self.file}-{self.test.rpartition('::')[2]}"


def listed() -> list[Mutation]:
    """All mutations of all lists, in a fixed order."""
    files = sorted(path for path in TESTS.rglob("mutations.py") if "node_modules" not in path.parts)
    return [each for path in files for each in runpy.run_path(str(path))["MUTATIONS"]]


def guard_ids(texts: Iterable[str]) -> set[str]:
    """The threat and fault ids that are named in these texts."""
    # T00 is midnight
    return {each for text in texts for each in re.findall(r"\b[TF](?!00)\d\d\b", text)}


def marked_in(path: Path) -> set[str]:
    """The ids that tests of a file are marked with."""
    marks = re.findall(r"\bmark\.guard\(([^)]*)\)", path.read_text(encoding="utf-8"))
    return guard_ids(marks)


def copy_source(folder: Path) -> Path:
    """A copy of the package in `folder`; returns what to put on PYTHONPATH."""
    shutil.copytree(SRC, folder / "coinslot", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def environment(source: Path) -> dict[str, str]:
    """Variables under which Python imports coinslot from `source`. CI is unset: there a skip would look like a red."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    kept = {name: value for name, value in kept.items() if not name.startswith(("PYTEST_XDIST", "COV_"))}
    return kept | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}


def apply(mutation: Mutation, source: Path) -> None:
    """Take the guard out of the copy."""
    path = source / "coinslot" / mutation.file
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.old)
    assert found == 1, f"{mutation}: the old text occurs {found} times in {mutation.file}, not once"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def run_test(node: str, source: Path) -> subprocess.CompletedProcess[str]:
    """Run one test against a copy of the code."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", node]
    return subprocess.run(
        command, cwd=ROOT, env=environment(source), capture_output=True, text=True, timeout=RUN_S, check=False
    )
