"""The page about faults names tests that are there, and every fault that the code names."""

from __future__ import annotations

import re

from support.mutation import ROOT, SRC, TESTS, guard_ids

PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (F\d\d) \| .* \| `([^`]+)::(\w+)` \|$", PAGE, re.MULTILINE)


def test_each_named_test_is_there() -> None:
    """A test that was renamed proves nothing to whoever looks for it."""
    gone = [
        f"{file}::{name}"
        for _, file, name in ROWS
        if not (TESTS / file).is_file()
        or not re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert gone == []


def test_each_fault_of_the_code_has_a_row() -> None:
    """Those that stand in src/."""
    named = {
        each for each in guard_ids(path.read_text(encoding="utf-8") for path in SRC.rglob("*.py")) if each[0] == "F"
    }
    assert sorted(named - {row[0] for row in ROWS}) == []
