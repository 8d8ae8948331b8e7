"""Guards without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

TRAIL = "tests/faults/test_trail.py::test_an_opening"

GIVEN_BACK = "tests/faults/test_trail.py::test_what_a_failed_commit_granted_all_the_same_is_given_back"

MUTATIONS = [
    Mutation(
        "F18", "store/sqlite_file.py", '"synchronous = FULL"', '"synchronous = NORMAL"',
        "tests/faults/test_power.py::test_what_was_acknowledged_survives_a_power_cut",
    ),
    Mutation(
        "F10", "server/funding.py", "funded.added_units), 0, rules, entry)",
        "funded.added_units), state.settled_units, rules, entry)", f"{TRAIL}_recorded_while_the_close_is_under_way",
    ),
    Mutation(
        "F10", "server/funding.py", "store.top_up(state.key, state.deposit_units, rules, entry)",
        "store.top_up(state.key, state.deposit_units, rules)",
        "tests/faults/test_trail.py::test_a_top_up_recorded_after_the_close",
    ),
    Mutation(
        "F10", "server/funding.py", "            yield from wait(store.settle(lease, receipt, None))\n    else:",
        "            pass\n    else:", f"{TRAIL}_recorded_after_the_close",
    ),
    Mutation(
        "F08", "store/channel_operations.py", "Spent(known if isinstance(known, Channel) else old)", "Spent(old)",
        "tests/faults/test_trail.py::test_a_stream_that_is_run_again_takes_a_higher_voucher",
    ),
    Mutation(
        "F17", "store/sql.py", "if ended.cancelled() or not isinstance(ended.exception(), StoreBroken):",
        "if True:", GIVEN_BACK,
    ),
    Mutation(
        "F16", "store/sql.py", "            self._returns.remind()", "            pass",
        "tests/faults/test_full_disk.py::test_what_is_held_when_the_disk_is_full_is_given_back_afterwards",
    ),
    Mutation(
        "F07", "server/resolver.py", "    if turn % SWEEP_EVERY == 0:\n", "    if False:\n",
        "tests/server/test_left_claims.py::test_an_opening_that_was_left_before_anything_was_sent_is_given_up",
    ),
    Mutation(
        "F13", "server/funding.py", "    return not known\n", "    return True\n",
        "tests/server/test_left_claims.py::test_an_opening_that_its_payer_sent_by_itself_is_not_given_up",
    ),
    Mutation(
        "F07", "server/resolver.py", "until_s=at_s - ABANDONED_S", "until_s=at_s",
        "tests/server/test_left_claims.py::test_what_is_claimed_and_young_may_still_go_on",
    ),
    Mutation(
        "F19", "store/disowning.py", 'for table in ("payments", "outbox", "keyed"):', "for table in ():", GIVEN_BACK,
    ),
    Mutation(
        "F19", "store/disowning.py", '("payments", "outbox", "keyed")', '("payments", "outbox")',
        "tests/faults/test_trail.py::test_a_request_run_again_under_a_failed_commit_is_free",
    ),
]  # fmt: skip
