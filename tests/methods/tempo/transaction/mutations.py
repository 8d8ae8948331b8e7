"""Guards of methods/tempo/{transaction,tip20,memo} without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

READ = "methods/tempo/transaction/read.py"
SENDER = "methods/tempo/transaction/sender.py"
MEMO = "methods/tempo/memo.py"
HERE = "tests/methods/tempo/transaction"
DEVIATIONS = f"{HERE}/test_read.py::test_each_deviation_is_refused_by_name"
SIGNATURES = f"{HERE}/test_read.py::test_signatures_of_other_kinds_and_spellings_are_refused_by_name"
EXACT = "tests/methods/tempo/test_tip20.py::test_anything_but_one_exact_transfer_is_refused"
ANOTHER = "tests/methods/tempo/test_memo.py::test_another_memo_is_refused_by_name"

MUTATIONS = [
    Mutation("T31", READ, "if items[12] != ():", "if False:", DEVIATIONS),
    Mutation(
        "T15",
        READ,
        "claimed != signer.account:",
        "False:",
        f"{HERE}/test_read.py::test_an_envelope_names_the_sender_who_signed",
    ),
    Mutation("T15", SENDER, "if account == ZERO_ADDRESS:", "if False:", SIGNATURES),
    Mutation(
        "T31",
        "methods/tempo/tip20.py",
        "split_words(arguments, 2)  # T31",
        "split_words(arguments[:64], 2)  # T31",
        EXACT,
    ),
    Mutation(
        "T31",
        "methods/tempo/tip20.py",
        "split_words(arguments, 3)  # T31",
        "split_words(arguments[:96], 3)  # T31",
        EXACT,
    ),
    Mutation("T12", MEMO, "if not compare_digest(memo[_NONCE], _nonce(challenge_id)):", "if False:", ANOTHER),
    Mutation("T12", MEMO, "if not compare_digest(memo[_SERVER], _fingerprint(realm)):", "if False:", ANOTHER),
]
