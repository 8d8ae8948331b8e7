"""Guards of the services without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

KEYSTORE = "tests/services/test_keystore.py"
LEAVING = "tests/services/test_leaving.py"

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
        "T44",
        "services/eventstream.py",
        "if not event.forged:",
        "if True:",
        "tests/services/test_eventstream.py::test_an_upstream_can_not_speak_in_our_name",
    ),
    Mutation(
        "F28",
        "services/eventstream.py",
        "if self._size + self._rest_size > MAX_EVENT_BYTES:",
        "if False:",
        "tests/services/test_eventstream.py::test_an_event_without_an_end_is_given_up",
    ),
    Mutation(
        "F12",
        "services/leaving.py",
        "old = at_s > held.opened_at_s + NEW_S",
        "old = True",
        f"{LEAVING}::test_a_node_that_knows_nothing_yet_closes_nothing",
    ),
    Mutation(
        "F04",
        "services/leaving.py",
        "if known is None and one.standing not in ENDED:",
        "if known is not None and one.standing not in ENDED:",
        f"{LEAVING}::test_channels_that_the_book_lost_are_found",
    ),
    Mutation(
        "T37",
        "services/cooperation.py",
        "if not is_private(origin_of(at)):",
        "if False:",
        f"{LEAVING}::test_a_voucher_goes_nowhere_in_the_clear",
    ),
    Mutation(
        "T10",
        "services/audit.py",
        "if ahead > MOST_AHEAD_S:",
        "if False:",
        "tests/cli/test_doctor.py::test_a_chain_with_another_time",
    ),
]
