"""Guards of chains/evm without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

SIGNATURE = "chains/evm/signature.py"
TESTS = "tests/chains/evm/test_signature.py"
WORDS = "tests/chains/evm/test_typed_data.py::test_words_of_wrong_length_or_dirty_addresses_are_refused"

MUTATIONS = [
    Mutation(
        "T13",
        SIGNATURE,
        "s == _ZERO or s > _HALF_N",
        "s == _ZERO or s >= _N",
        f"{TESTS}::test_only_low_s_and_r_in_range_are_taken",
    ),
    Mutation("T13", SIGNATURE, "r == _ZERO or r >= _N", "False", f"{TESTS}::test_only_low_s_and_r_in_range_are_taken"),
    Mutation(
        "T14", SIGNATURE, "v not in (27, 28)", "v not in (27, 28, 29)", f"{TESTS}::test_only_v_27_and_28_are_taken"
    ),
    Mutation(
        "T14",
        SIGNATURE,
        "len(signature) != SIGNATURE_BYTES:  # T14",
        "len(signature) < SIGNATURE_BYTES:",
        f"{TESTS}::test_only_65_bytes_are_taken",
    ),
    Mutation("T31", "chains/evm/abi.py", "if len(data) != count * WORD:", "if len(data) < count * WORD:", WORDS),
    Mutation(
        "T33",
        "chains/evm/rpc.py",
        "!= transaction_hash:",
        "== 7:",
        "tests/chains/evm/test_rpc.py::test_an_answer_about_another_transaction_is_no_answer",
    ),
]
