"""Guards of the stores without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

_CONTRACT = "tests/store/test_contract.py::"
_SQLITE = "tests/store/test_sqlite.py::"
_POSTGRES = "tests/store/test_postgres.py::"
_SCHEMA = "store/schema/steps.py"
_OPERATIONS = "store/operations.py"

MUTATIONS: list[Mutation] = [
    Mutation(
        "T01",
        _SCHEMA,
        "challenge_id TEXT NOT NULL UNIQUE",
        "challenge_id TEXT NOT NULL",
        _CONTRACT + "test_a_challenge_is_used_once[sqlite]",
    ),
    Mutation(
        "T01",
        "store/memory.py",
        "if challenge_id in self._payments:",
        "if not challenge_id:",
        _CONTRACT + "test_a_challenge_is_used_once[memory]",
    ),
    Mutation(
        "T06",
        _SCHEMA,
        "proof TEXT NOT NULL UNIQUE",
        "proof TEXT NOT NULL",
        _CONTRACT + "test_a_proof_is_used_once_for_ever[sqlite]",
    ),
    Mutation(
        "T06",
        "store/memory.py",
        "if claim.proof in self._proofs:",
        "if not claim.proof:",
        _CONTRACT + "test_a_proof_is_used_once_for_ever[memory]",
    ),
    Mutation(
        "T22",
        _OPERATIONS,
        "if spent > budget.limit_units:",
        "if budget.units > budget.limit_units:",
        "tests/store/test_races.py::test_forty_draw_on_a_budget_for_ten[sqlite]",
    ),
    Mutation(
        "F09",
        _OPERATIONS,
        """same = " AND stage = 'claimed' AND""",
        """same = " AND""",
        _CONTRACT + "test_a_step_from_the_wrong_stage_is_refused[sqlite-prepared-prepare]",
    ),
    Mutation(
        "F10",
        _OPERATIONS,
        "if kept != [entry]:",
        "if not kept and not entry:",
        _CONTRACT + "test_an_entry_with_other_content_is_refused[sqlite]",
    ),
    Mutation(
        "F16",
        "store/sqlite_committer.py",
        "if operation.deadline <= now:",
        "if operation.deadline <= 0:",
        _SQLITE + "test_a_busy_file_is_waited_for_and_no_longer",
    ),
    Mutation(
        "F17",
        "store/sqlite_committer.py",
        "            self._broken(batch, error)\n",
        "",
        _SQLITE + "test_writes_that_fail_in_the_kernel_break_nothing",
    ),
    Mutation(
        "F19",
        _OPERATIONS,
        "if db.redo and _has_token(db, wish.challenge.id, token):",
        "if db.redo and not token:",
        _POSTGRES + "test_a_connection_lost_in_the_commit[claim-answer]",
    ),
    Mutation(
        "F19",
        _OPERATIONS,
        "if db.redo and number == lease.number and stage == done:",
        "if db.redo and number == lease.number and stage is None:",
        _POSTGRES + "test_a_connection_lost_in_the_commit[fail-answer]",
    ),
    Mutation(
        "F19",
        "store/postgres_pool.py",
        "if commit in _WEAK_COMMITS:",
        "if commit not in _WEAK_COMMITS:",
        _POSTGRES + "test_commits_are_synchronous_here[off-on]",
    ),
    Mutation(
        "F21",
        "store/rows.py",
        "abs(:now - o.beat_at)",
        "(:now - o.beat_at)",
        _SQLITE + "test_a_clock_that_jumps_makes_no_lease_eternal",
    ),
    Mutation(
        "F22",
        "store/sqlite_file.py",
        "if version > VERSION:",
        "if version < 0:",
        _SQLITE + "test_a_newer_file_is_refused_untouched",
    ),
    Mutation(
        "F22",
        "store/postgres_schema.py",
        "if version > VERSION:",
        "if version < 0:",
        _POSTGRES + "test_a_newer_database_is_refused_untouched",
    ),
]
