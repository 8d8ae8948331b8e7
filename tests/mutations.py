"""Guards without which a test must fail; see support/mutation.py. Other lists stand beside the tests they name."""

from __future__ import annotations

from support.mutation import Mutation

MUTATIONS = [
    Mutation(
        "T31",
        "intents/charge.py",
        'Budget(f"{purse}/payer/{payer}", units, self.payer_units, DAY_S)',
        'Budget(f"{purse}/payer/{payer}", units, self.all_units, DAY_S)',
        "tests/intents/test_charge.py::test_what_is_paid_for_one_payer_counts_against_it_and_against_all",
    ),
    Mutation(
        "T31",
        "intents/charge.py",
        "Budget(purse, units, self.all_units, DAY_S)",
        'Budget(f"{purse}/{payer}", units, self.all_units, DAY_S)',
        "tests/intents/test_charge.py::test_what_is_paid_for_one_payer_counts_against_it_and_against_all",
    ),
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
