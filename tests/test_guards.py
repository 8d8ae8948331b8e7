"""Every guard in the code names its threat (T..) or fault (F..), is proven by a test, and that test can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from support import mutation as mutations
from support.mutation import (
    ROOT,
    RUN_S,
    SRC,
    TESTS,
    Mutation,
    Runner,
    apply,
    copy_source,
    environment,
    guard_ids,
    link_source,
    listed,
    marked_in,
)

NAMED = guard_ids(path.read_text(encoding="utf-8") for path in SRC.rglob("*.py"))
MARKED = {each for path in TESTS.rglob("test_*.py") for each in marked_in(path)}
MUTATIONS = listed()


def chosen() -> Iterator[ParameterSet]:
    """All mutations; each id's first in a file runs every time, its others in that file with the long searches. Of a
    payment method, or what speaks to its chain, each id's first in a folder: the files there are parts of one thing.

    Every run of one costs a second or two, and CI must end within minutes.
    """
    seen: set[tuple[str, str]] = set()
    for each in MUTATIONS:
        by_folder = each.file.startswith(("methods/", "chains/"))
        place = (each.id, each.file.rpartition("/")[0] if by_folder else each.file)
        yield pytest.param(each, marks=[pytest.mark.soak] if place in seen else [], id=str(each))
        seen.add(place)


@pytest.mark.parametrize("guard", sorted(NAMED))
def test_each_guard_has_a_test_and_a_mutation(guard: str) -> None:
    """An id in src/ has a test marked with it, and a mutation that takes the guard out."""
    assert guard in MARKED, f"no test is marked guard({guard!r})"
    assert guard in {each.id for each in MUTATIONS}, f"no mutations.py under tests/ takes {guard} out"


def test_marks_name_guards_that_exist() -> None:
    """A test marked with an id that no line of src/ names proves nothing."""
    assert sorted(MARKED - NAMED) == []


@cache
def decorators(file: str) -> dict[str, set[str]]:
    """The ids that the functions of a file are marked with, by the functions' names."""
    found: dict[str, set[str]] = {}
    for each in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            ids = guard_ids(ast.unparse(decorator) for decorator in each.decorator_list)
            found.setdefault(each.name, set()).update(ids)
    return found


def decorated_with(node: str) -> set[str]:
    """The ids that a test, given as a pytest node, is marked with."""
    file, _, inside = node.partition("::")
    return decorators(file).get(inside.rpartition("::")[2].partition("[")[0], set())


def test_no_mutation_is_stale() -> None:
    """The text that each takes out stands in its file, once, and its test is marked with its id."""
    for each in MUTATIONS:
        text = (SRC / each.file).read_text(encoding="utf-8")
        assert text.count(each.old) == 1, f"{each}: occurs {text.count(each.old)} times"
        assert each.id in decorated_with(each.test), f"{each.test} is not marked guard({each.id!r})"


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled copy of the package, which nobody changes."""
    return copy_source(tmp_path_factory.mktemp("copied"))


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """Runs tests against copies of the code."""
    with Runner() as running:
        yield running


# A test that was never run, for want of what the mutation took away, proves no guard.
UNRUNNABLE = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "IndentationError")


@pytest.mark.timeout(2 * RUN_S)
@pytest.mark.parametrize("mutation", list(chosen()))
def test_without_its_guard_a_test_fails(mutation: Mutation, runner: Runner, copied: Path, tmp_path: Path) -> None:
    """The named test is marked with the id, and its body goes red on the code without the guard."""
    assert mutation.id in decorated_with(mutation.test), f"{mutation.test} is not marked guard({mutation.id!r})"
    source = link_source(copied, tmp_path / "source")
    apply(mutation, source)
    done = runner.run(mutation.test, source, tmp_path)
    assert done.status == 1, f"exit status {done.status}\n{done.output}"
    assert done.failed, done.output
    assert not done.failed[0].startswith(UNRUNNABLE), done.output


def test_a_mutated_copy_is_what_runs(runner: Runner, copied: Path, tmp_path: Path) -> None:
    """Python imports the copy, in a fork and in what it starts, or no mutation would mean anything."""
    source = link_source(copied, tmp_path / "source")
    command = [sys.executable, "-c", "import coinslot; print(coinslot.__file__)"]
    done = subprocess.run(command, env=environment(source), capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
    (tmp_path / "test_where.py").write_text(
        "import coinslot, os, subprocess, sys\n"
        f"child = subprocess.run({command!r}, capture_output=True, text=True).stdout.strip()\n"
        f"def test_it():\n    raise AssertionError(f'<{{coinslot.__file__}}> <{{child}}>')\n"
    )
    place = f"<{source}/coinslot/__init__.py>"
    assert f"{place} {place}" in runner.run(str(tmp_path / "test_where.py"), source, tmp_path).failed[0]


def test_a_mutation_that_no_longer_fits_fails(copied: Path, tmp_path: Path) -> None:
    """A list whose old text is gone can't pass unnoticed."""
    source = link_source(copied, tmp_path)
    stale = Mutation("T00", "version.py", "this text is not there", "", "tests/test_guards.py::x")
    with pytest.raises(AssertionError, match="occurs 0 times"):
        apply(stale, source)


def test_only_the_mutation_turns_the_test_red(runner: Runner, copied: Path, tmp_path: Path) -> None:
    """The same test is green on an untouched copy, red on a mutated one, and green again on the next."""
    node = "tests/test_exports.py::test_the_version_is_the_installed_one"
    for name, status in (("before", 0), ("mutated", 1), ("after", 0)):
        folder = tmp_path / name
        source = link_source(copied, folder / "source")
        if status:
            apply(Mutation("T00", "version.py", 'VERSION = "', 'VERSION = "9.', node), source)
        assert runner.run(node, source, folder).status == status


@pytest.mark.parametrize(
    ("text", "status", "failed"),
    [
        ("import no_such_module", 2, 0),
        ("@pytest.fixture\ndef broken():\n    assert 0\ndef test_it(broken):\n    pass", 1, 0),
        ("def test_it():\n    assert 0", 1, 1),
        ("def test_it():\n    pass", 0, 0),
    ],
    ids=["import", "fixture", "body", "green"],
)
def test_only_a_body_that_fails_counts(
    runner: Runner, copied: Path, tmp_path: Path, text: str, status: int, failed: int
) -> None:
    """What breaks the imports or the fixtures of a test has not shown what the test proves."""
    test = tmp_path / "test_it.py"
    test.write_text(f"import pytest\n{text}\n")
    done = runner.run(str(test), copied, tmp_path)
    assert (done.status, len(done.failed)) == (status, failed), done.output


def test_what_goes_wrong_in_the_end_changes_no_result(runner: Runner, copied: Path, tmp_path: Path) -> None:
    """The last cleaning up may raise, when the test has failed already: for what it asserts."""
    (tmp_path / "conftest.py").write_text("def pytest_unconfigure():\n    raise ValueError('rubbish')\n")
    test = tmp_path / "test_it.py"
    test.write_text("def test_it():\n    assert 0\n")
    done = runner.run(str(test), copied, tmp_path)
    assert (done.status, len(done.failed)) == (1, 1), done.output
    assert "rubbish" in done.output


def test_a_test_that_hangs_is_ended(
    runner: Runner, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as not noticed, and the next one is run."""
    monkeypatch.setattr(mutations, "RUN_S", 2)
    test = tmp_path / "test_it.py"
    test.write_text("import threading\ndef test_it():\n    threading.Event().wait()\n")
    assert runner.run(str(test), copied, tmp_path).status is None
    test.write_text("def test_it():\n    pass\n")
    assert runner.run(str(test), copied, tmp_path).status == 0
