"""Guards without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

MUTATIONS = [
    Mutation(
        "F18", "store/sqlite_file.py", '"synchronous = FULL"', '"synchronous = NORMAL"',
        "tests/faults/test_power.py::test_what_was_acknowledged_survives_a_power_cut",
    ),
]  # fmt: skip
