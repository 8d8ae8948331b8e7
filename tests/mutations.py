"""Guards without which a test must fail; see support/mutation.py. Other lists stand beside the tests they name."""

from __future__ import annotations

from support.mutation import Mutation

MUTATIONS = [
    Mutation(
        "T38",
        "settings.py",
        "if name not in hidden)  # T38",
        ")",
        "tests/test_settings.py::test_no_secret_is_shown_wherever_it_says_that_it_is_one",
    ),
    Mutation(
        "T38",
        "settings.py",
        "return any(is_secret(one) for one in get_args(annotation))",
        "return False",
        "tests/test_settings.py::test_no_secret_is_shown_wherever_it_says_that_it_is_one",
    ),
]
