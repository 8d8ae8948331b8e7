"""Guards of the services without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

KEYSTORE = "tests/services/test_keystore.py"

MUTATIONS = [
    Mutation(
        "T38",
        "services/keystore.py",
        "private_key: str = field(repr=False)",
        "private_key: str",
        f"{KEYSTORE}::test_no_failure_shows_the_key",
    ),
    Mutation(
        "T38",
        "services/keystore.py",
        'raise UsageError("a private key is 64 hex digits, with or without 0x")',
        'raise UsageError(f"{text} is not 64 hex digits")',
        f"{KEYSTORE}::test_a_key_is_64_hex_digits",
    ),
    Mutation(
        "T38",
        "services/keystore.py",
        "os.O_CLOEXEC, 0o600)",
        "os.O_CLOEXEC, 0o644)",
        f"{KEYSTORE}::test_nobody_else_may_read",
    ),
    Mutation(
        "T10",
        "services/audit.py",
        "if ahead > MOST_AHEAD_S:",
        "if False:",
        "tests/cli/test_doctor.py::test_a_chain_with_another_time",
    ),
]
