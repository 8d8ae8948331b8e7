"""Guards of the command line without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

MUTATIONS = [
    Mutation(
        "T38",
        "cli/wallet.py",
        "    if context.args:",
        "    if False:",
        "tests/cli/test_wallet.py::test_no_argument_is_a_key",
    ),
    Mutation(
        "T38",
        "cli/wallet.py",
        '"allow_extra_args": True',
        '"allow_extra_args": False',
        "tests/cli/test_wallet.py::test_no_argument_is_a_key",
    ),
    Mutation(
        "T38",
        "cli/store.py",
        '.rpartition("@")[2]',
        "",
        "tests/cli/test_store.py::test_a_stores_password_is_not_shown",
    ),
    Mutation(
        "T38",
        "cli/doctor.py",
        "if mode & 0o077:",
        "if False:",
        "tests/cli/test_doctor.py::test_files_that_others_may_use",
    ),
]
