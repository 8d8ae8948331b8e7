"""Guards of chains/solana without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

SIGNATURE = "chains/solana/signature.py"
INSTRUCTION = "chains/solana/instruction.py"
SIGNATURES = "tests/chains/solana/test_signature.py"
MESSAGES = "tests/chains/solana/test_message.py"
PROGRAMS = "tests/chains/solana/test_programs.py"
RFC_8032 = """    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes(pubkey(address))).verify(signature, message)
    except (InvalidSignature, ValueError):
"""

MUTATIONS = [
    Mutation(
        "T13",
        SIGNATURE,
        "    if not Signature.from_bytes(signature).verify(pubkey(address), message):  # T13\n",
        RFC_8032,
        f"{SIGNATURES}::test_a_key_of_small_order_signs_nothing",
    ),
    Mutation(
        "T13",
        SIGNATURE,
        "    if not Signature.from_bytes(signature).verify(pubkey(address), message):  # T13\n",
        RFC_8032,
        f"{SIGNATURES}::test_a_signature_with_a_point_of_small_order_is_refused",
    ),
    Mutation(
        "T14",
        SIGNATURE,
        "if len(signature) != SIGNATURE_BYTES:  # T14",
        "if len(signature) < SIGNATURE_BYTES:",
        f"{SIGNATURES}::test_only_64_bytes_are_a_signature",
    ),
    Mutation(
        "T20",
        INSTRUCTION,
        "if type(value) is not int or not 0 <= value < 1 << 8 * size:",
        "if not 0 <= value < 1 << 8 * size:",
        f"{PROGRAMS}::test_numbers_that_do_not_fit_are_refused",
    ),
    Mutation(
        "T31",
        INSTRUCTION,
        "if len(instruction.data) != size or not",
        "if len(instruction.data) < size or not",
        f"{PROGRAMS}::test_an_account_or_a_byte_too_many_or_too_few_is_refused",
    ),
    Mutation(
        "T31",
        INSTRUCTION,
        "if len(instruction.accounts) != len(shape):  # T31",
        "if len(instruction.accounts) < len(shape):",
        f"{PROGRAMS}::test_an_account_or_a_byte_too_many_or_too_few_is_refused",
    ),
    Mutation(
        "T31",
        "chains/solana/message.py",
        "if len(set(keys)) != count:",
        "if count > 256:",
        f"{MESSAGES}::test_an_account_that_stands_twice_is_refused",
    ),
    Mutation(
        "T33",
        "chains/solana/sending.py",
        "if answer != signature:",
        "if answer == 7:",
        "tests/chains/solana/test_sending.py::test_an_answer_about_another_transaction_is_no_answer",
    ),
    Mutation(
        "T33",
        "chains/solana/rpc.py",
        "if told.owner != program or (size",
        "if told.owner == 7 or (size",
        "tests/chains/solana/test_rpc.py::test_an_account_that_was_not_asked_for_is_no_answer",
    ),
]
