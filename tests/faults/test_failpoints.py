"""A failpoint that no test strikes at proves nothing."""

from __future__ import annotations

import ast

from support.failpoints import FAILPOINTS, struck_in_tests
from support.mutation import SRC


def test_every_failpoint_is_struck_by_a_test() -> None:
    """Those of gate and store by test_crash, which takes all of them; any other by name."""
    taken = {name for name in FAILPOINTS if name.startswith(("gate.", "store."))}
    assert {"gate.claimed", "gate.broadcast", "store.claim", "store.settle"} <= taken
    assert FAILPOINTS - taken - struck_in_tests() == set()


def test_no_failpoint_hides_behind_an_expression() -> None:
    """Each call names its failpoint as text, or passes on a name that the store's operations gave as text."""
    passing_on = {"drive.py", "store/memory.py", "store/sqlite_committer.py", "store/postgres.py"}
    odd = []
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            name = getattr(called, "attr", getattr(called, "id", None))
            if not isinstance(node, ast.Call) or name != "failpoint":
                continue
            given = node.args[0]
            literal = isinstance(given, ast.Constant) and given.value in FAILPOINTS
            if not literal and path.relative_to(SRC).as_posix() not in passing_on:
                odd.append(f"{path.relative_to(SRC)}:{node.lineno}")
    assert odd == []
