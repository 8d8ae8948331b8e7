"""Take one guard out of a copy of the code, and see that a test notices.

A file named `mutations.py` anywhere under tests/ holds `MUTATIONS`, a list of `Mutation`s. The texts are exact, so a
list that no longer fits the code fails instead of growing stale.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = ROOT / "tests"
SRC = ROOT / "src" / "coinslot"
# A mutated test has a few seconds' work, or waits in vain for what its guard did, and again while it cleans up: 20 s
# each, and more on a busy machine. One that hangs without its guard counts as not noticed.
RUN_S = 150


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
    """A compiled copy of the package in `folder`; returns what to put on PYTHONPATH."""
    shutil.copytree(SRC, folder / "coinslot")
    assert compileall.compile_dir(folder / "coinslot", quiet=1)
    return folder


def link_source(source: Path, folder: Path) -> Path:
    """A copy of a copy that costs next to nothing: the same files under other names. Change one only by `apply`."""
    shutil.copytree(source / "coinslot", folder / "coinslot", copy_function=os.link)
    return folder


def environment(source: Path | None) -> dict[str, str]:
    """Variables under which Python imports coinslot from `source`. CI is unset: there a skip would look like a red."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS", "PYTHONPATH"}}
    kept = {name: value for name, value in kept.items() if not name.startswith(("PYTEST_XDIST", "COV_"))}
    # a mutated copy's bytecode is used once; that a test failed is enough, the least example is for people
    kept |= {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "mutation", "COINSLOT_MUTATED": "1"}
    return kept | ({"PYTHONPATH": str(source)} if source else {})


def apply(mutation: Mutation, source: Path) -> None:
    """Take the guard out of the copy."""
    path = source / "coinslot" / mutation.file
    text = path.read_text(encoding="utf-8")
    found = text.count(mutation.old)
    assert found == 1, f"{mutation}: the old text occurs {found} times in {mutation.file}, not once"
    # other copies have the same file, and bytecode is told from its source by time and length, which may be equal
    path.unlink()
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """How a test ended: pytest's exit status (None: not in time), what it said, and the failures of test bodies.

    A test whose fixtures or imports fail is not among `failed`.
    """

    status: int | None
    failed: tuple[str, ...]
    output: str


class Runner:
    """Runs tests against copies of the code in forks of one process; see support/mutantserver.py."""

    def __init__(self) -> None:
        # -P: the folder of the script holds a `site.py` of its own, which is not Python's
        command = [sys.executable, "-P", str(Path(__file__).with_name("mutantserver.py"))]
        self._server = subprocess.Popen(
            command, cwd=ROOT, env=environment(None), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, node: str, source: Path, folder: Path) -> Outcome:
        """Run one test against a copy of the code; `folder` takes what it says."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        places = {"source": str(source), "folder": str(folder)}
        request = {"node": node, "environment": environment(source), "seconds": RUN_S, **places}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, f"the server of forks ended: {self._server.poll()}"
        report, output = folder / "report.json", folder / "output"
        failed = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
        return Outcome(
            json.loads(answer)["status"], tuple(failed), output.read_text(encoding="utf-8", errors="replace")
        )

    def __enter__(self) -> Self:
        """The running server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server ends with its input."""
        for pipe in (self._server.stdin, self._server.stdout):
            assert pipe is not None
            pipe.close()
        self._server.wait(RUN_S)
