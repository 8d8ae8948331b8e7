"""Every guard in the code names its threat (T..) or fault (F..), is proven by a test, and that test can fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from support import mutation as mutations
from support.mutation import ROOT, SRC, TESTS, Mutation, apply, copy_source, environment, guard_ids, listed, marked_in

NAMED = guard_ids(path.read_text(encoding="utf-8") for path in SRC.rglob("*.py"))
MARKED = {each for path in TESTS.rglob("test_*.py") for each in marked_in(path)}
MUTATIONS = listed()


def chosen() -> Iterator[ParameterSet]:
    """All mutations; each id's first in a file runs every time, its others in that file with the long searches.

    Every run of one costs a second or two, and CI must end within minutes.
    """
    seen: set[tuple[str, str]] = set()
    for each in MUTATIONS:
        place = (each.id, each.file)
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


def decorated_with(node: str) -> set[str]:
    """The ids that a test, given as a pytest node, is marked with."""
    file, _, inside = node.partition("::")
    function = inside.rpartition("::")[2].partition("[")[0]
    found: set[str] = set()
    for each in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == function:
            found |= guard_ids(ast.unparse(decorator) for decorator in each.decorator_list)
    return found


def test_no_mutation_is_stale() -> None:
    """The text that each takes out stands in its file, once, and its test is marked with its id."""
    for each in MUTATIONS:
        text = (SRC / each.file).read_text(encoding="utf-8")
        assert text.count(each.old) == 1, f"{each}: occurs {text.count(each.old)} times"
        assert each.id in decorated_with(each.test), f"{each.test} is not marked guard({each.id!r})"


@pytest.mark.parametrize("mutation", list(chosen()))
def test_without_its_guard_a_test_fails(mutation: Mutation, tmp_path: Path) -> None:
    """The named test is marked with the id, and goes red, by an assertion, on the code without the guard."""
    assert mutation.id in decorated_with(mutation.test), f"{mutation.test} is not marked guard({mutation.id!r})"
    source = copy_source(tmp_path)
    apply(mutation, source)
    done = mutations.run_test(mutation.test, source)
    assert done.returncode == 1, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert re.search(r"\d+ failed", done.stdout), done.stdout


def test_a_mutated_copy_is_what_runs(tmp_path: Path) -> None:
    """Python imports the copy, not the installed package, or no mutation would mean anything."""
    source = copy_source(tmp_path)
    command = [sys.executable, "-c", "import coinslot; print(coinslot.__file__)"]
    done = subprocess.run(command, env=environment(source), capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_a_mutation_that_no_longer_fits_fails(tmp_path: Path) -> None:
    """A list whose old text is gone can't pass unnoticed."""
    source = copy_source(tmp_path)
    stale = Mutation("T00", "version.py", "this text is not there", "", "tests/test_guards.py::x")
    with pytest.raises(AssertionError, match="occurs 0 times"):
        apply(stale, source)


def test_only_the_mutation_turns_the_test_red(tmp_path: Path) -> None:
    """The same test is green on an untouched copy and red on a mutated one."""
    source = copy_source(tmp_path)
    node = "tests/test_exports.py::test_the_version_is_the_installed_one"
    assert mutations.run_test(node, source).returncode == 0
    apply(Mutation("T00", "version.py", 'VERSION = "', 'VERSION = "9.', node), source)
    assert mutations.run_test(node, source).returncode == 1
