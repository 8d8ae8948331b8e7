"""A failpoint that no test strikes at proves nothing."""

from __future__ import annotations

import ast

from support.failpoints import FAILPOINTS, struck_in_tests, under
from support.mutation import SRC, TESTS

# Tests that take all of the failpoints whose names begin so, however many there are; a new one there needs no line.
TAKEN = {
    "faults/test_crash.py": under("gate.", "store.", apart=("store.channel.", "store.delivery.")),
    "faults/test_workers.py": under("session.", "meter.", "funding.", apart=("funding.given_up",)),
    "store/test_channel_processes.py": under("store.channel."),
}


def test_every_failpoint_is_struck_by_a_test() -> None:
    """By one that takes all of its part, or by name."""
    taken = {name for names in TAKEN.values() for name in names}
    assert {"gate.claimed", "gate.broadcast", "store.claim", "store.settle", "store.channel.spend"} <= taken
    assert sorted(FAILPOINTS - taken - struck_in_tests()) == []


def test_who_takes_all_of_a_part_is_there() -> None:
    """A test that was moved away takes nothing."""
    assert [name for name in TAKEN if not (TESTS / name).is_file()] == []


def test_no_failpoint_hides_behind_an_expression() -> None:
    """Each call names its failpoint as text, or passes on a name that the store's operations gave as text."""
    passing_on = ("drive.py", "store/")
    odd = []
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            name = getattr(called, "attr", getattr(called, "id", None))
            if not isinstance(node, ast.Call) or name != "failpoint":
                continue
            given = node.args[0]
            literal = isinstance(given, ast.Constant) and given.value in FAILPOINTS
            if not literal and not path.relative_to(SRC).as_posix().startswith(passing_on):
                odd.append(f"{path.relative_to(SRC)}:{node.lineno}")
    assert odd == []
