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
    Mutation(
        "F03",
        "cli/sent.py",
        "if fate is Fate.OPEN:  # F03",
        "if False:",
        "tests/cli/test_sent.py::test_what_the_chain_may_still_take_is_not_forgotten",
    ),
    Mutation(
        "F25",
        "cli/sent.py",
        "        if lease is None:  # F25",
        "        if False:",
        "tests/cli/test_sent.py::test_what_a_program_goes_on_with_is_left_alone",
    ),
    Mutation(
        "F04",
        "services/leaving.py",
        "if one.key in damaged:",
        "if False:",
        "tests/cli/test_damaged_book.py::test_the_others_are_compared_and_closed",
    ),
    Mutation(
        "T38",
        "client/pushing.py",
        "{'?...' if parts.query else ''}",
        "?{parts.query}",
        "tests/cli/test_sent.py::test_what_was_sent_and_not_answered_is_listed",
    ),
]
