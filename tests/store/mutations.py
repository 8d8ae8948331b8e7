"""Guards of the stores without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

_CONTRACT = "tests/store/test_contract.py::"
_SQLITE = "tests/store/test_sqlite.py::"
_POSTGRES = "tests/store/test_postgres.py::"
_CHANNELS = "tests/store/test_channels.py::"
_PROCESSES = "tests/store/test_channel_processes.py::"
_SESSION = "intents/session.py"
_CHANNEL_ROWS = "store/channel_rows.py"
_CHANNEL_OPERATIONS = "store/channel_operations.py"
_SCHEMA = "store/schema/steps.py"
_OPERATIONS = "store/operations.py"

MUTATIONS = [
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
        "            self.broken(batch, error)\n            ready = batch\n",
        "            ready = batch\n",
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
    # --- channels
    Mutation(
        "T02",
        _SESSION,
        "if added <= 0:  # T02",
        "if added < 0:  # T02",
        _CHANNELS + "test_a_voucher_buys_once[sqlite]",
    ),
    Mutation(
        "T02",
        _CHANNEL_ROWS,
        "{_VOUCHER} > accepted AND",
        "{_VOUCHER} >= accepted AND",
        _CHANNELS + "test_a_voucher_buys_once[postgres]",
    ),
    Mutation(
        "T06",
        _CHANNEL_OPERATIONS,
        "    if not isinstance(claimed, Lease):\n        return claimed\n",
        "",
        _CHANNELS + "test_a_proof_opens_or_pays_once[sqlite]",
    ),
    Mutation(
        "T08",
        _SCHEMA,
        "    key TEXT NOT NULL UNIQUE,",
        "    key TEXT NOT NULL,",
        _CHANNELS + "test_a_channel_is_recorded_once_for_ever[sqlite]",
    ),
    Mutation(
        "T08",
        "store/channels_memory.py",
        "if new.key in self._channels:  # T08",
        "if not new.key:",
        _CHANNELS + "test_a_channel_is_recorded_once_for_ever[memory]",
    ),
    Mutation(
        "T22",
        _SESSION,
        "    if cost_units > channel.free:  # T22",
        "    if cost_units > channel.available:  # T22",
        _CHANNELS + "test_a_window_is_set_aside_before_and_spent_after[sqlite]",
    ),
    Mutation(
        "T22",
        _CHANNEL_ROWS,
        " AND {_VOUCHER} - spent - reserved >= {_COST}",
        "",
        "tests/store/test_channel_sql.py::test_the_one_statement_holds_every_limit",
    ),
    Mutation(
        "T23",
        _SESSION,
        "if offered.amount_units < channel.owed:  # T23",
        "if offered.amount_units < 0:",
        "tests/intents/test_session.py::test_the_voucher_to_close_with_covers_what_is_owed",
    ),
    Mutation(
        "T23",
        _SESSION,
        "return Close(units, raw, channel.owed)  # T23",
        "return Close(units, raw, channel.spent)",
        "tests/intents/test_session.py::test_closing_takes_what_was_spent_or_settled",
    ),
    Mutation(
        "T27",
        _SESSION,
        "if channel.stage is not Stage.OPEN:  # T27: what a closing channel signs may never be collected",
        "if channel.stage is Stage.CLOSED:",
        _CHANNELS + "test_closing_ends_buying[memory]",
    ),
    Mutation(
        "F06",
        _CHANNEL_ROWS,
        "SET accepted = :accepted, voucher = :voucher, spent",
        "SET accepted = :accepted, spent",
        _PROCESSES + "test_what_was_acknowledged_survives_a_kill[sqlite]",
    ),
    Mutation(
        "F08",
        _CHANNEL_OPERATIONS,
        "if not kept or db.rows(alive, mine):  # F08",
        "if not kept:",
        _PROCESSES + "test_a_living_process_s_window_is_not_billed[sqlite]",
    ),
    Mutation(
        "F10",
        "store/channels_memory.py",
        "                self._post(entry)\n",
        "                pass\n",
        _CHANNELS + "test_a_settlement_and_its_entry_are_one_step[memory]",
    ),
    Mutation(
        "F15",
        _CHANNEL_ROWS,
        'UNCHANGED = " WHERE key = :key AND token = :seen"',
        'UNCHANGED = " WHERE key = :key"',
        "tests/store/test_channel_sql.py::test_a_change_between_look_and_write_is_not_overwritten[sqlite]",
    ),
    Mutation(
        "F15",
        _CHANNEL_ROWS,
        'UNCHANGED = " WHERE key = :key AND token = :seen"',
        'UNCHANGED = " WHERE key = :key"',
        "tests/store/test_channel_sql.py::test_what_was_written_last_is_not_believed_without_the_row[sqlite]",
    ),
    Mutation(
        "F19",
        _CHANNEL_OPERATIONS,
        "    if seen == token or keyed.bought_by(db, order, found, token):\n",
        "    if not seen:\n",
        "tests/store/test_channel_sql.py::test_a_connection_lost_in_the_commit[voucher-answer]",
    ),
    Mutation(
        "F19",
        _CHANNEL_OPERATIONS,
        '    raise StoreBroken("the connection broke and others used the channel since; look it up")\n',
        "    return None\n",
        "tests/store/test_channel_sql.py::test_an_unknown_outcome_is_told[sqlite-None]",
    ),
    Mutation(
        "F28",
        _CHANNEL_OPERATIONS,
        '"DELETE FROM coinslot_reservations WHERE id = :id AND lease_owner = :owner"',
        '"UPDATE coinslot_reservations SET at = 0 WHERE id = :id AND lease_owner = :owner"',
        _PROCESSES + "test_a_channel_stays_as_small_as_it_began[sqlite]",
    ),
    Mutation(
        "F19",
        "store/postgres_pool.py",
        "    late.start()",
        "    late.join",
        _POSTGRES + "test_a_line_that_freezes_before_it_is_set_up_is_given_up",
    ),
    Mutation(
        "F19",
        "store/postgres.py",
        "            pool.shutdown(wait=False)",
        "            pool.shutdown()",
        _POSTGRES + "test_closing_waits_for_a_stuck_step_no_longer_than_it_may_take",
    ),
    Mutation(
        "F09",
        "store/channels_sql.py",
        'self._write(run, "store.channel.prepare", atomic=len(leases) > 1)',
        'self._write(run, "store.channel.prepare", atomic=False)',
        _CHANNELS + "test_the_jobs_of_one_transaction_are_prepared_together_or_not_at_all[postgres]",
    ),
    Mutation(
        "F17",
        "store/sqlite_committer.py",
        "            self.broken(batch, error)\n\n    # --- the thread",
        "            pass\n\n    # --- the thread",
        "tests/store/test_turns.py::test_a_commit_that_fails_is_nobodys_success",
    ),
    Mutation(
        "F16",
        "store/sqlite_committer.py",
        'connection.execute("PRAGMA busy_timeout = 0")',
        'connection.execute("PRAGMA busy_timeout = 2000")',
        "tests/store/test_turns.py::test_a_loop_never_waits_for_the_lock_of_another_process",
    ),
    Mutation(
        "F28",
        "store/book_sqlite.py",
        "forget(self._locks, charge_name(charge_id))  # F28",
        "pass",
        "tests/store/test_book_charges.py::test_what_has_ended_leaves_no_file",
    ),
    Mutation(
        "F22",
        "store/book_schema.py",
        "for step in _STEPS[version(connection, path) :]:",
        "for step in _STEPS:",
        "tests/store/test_book_charges.py::test_a_file_of_the_first_version_goes_on",
    ),
    Mutation(
        "F04",
        "store/book_schema.py",
        "if not below <= held.signed_units <= held.deposit_units:  # F04",
        "if False:",
        "tests/store/test_book_damaged.py::test_nothing_is_paid_by_a_damaged_channel",
    ),
    Mutation(
        "F04",
        "store/book_schema.py",
        "if not isinstance(value, bytes):  # F04",
        "if False:",
        "tests/store/test_book_damaged.py::test_nothing_is_paid_by_a_damaged_channel",
    ),
    Mutation(
        "F04",
        "store/book_survey.py",
        """        except StoreBroken as error:  # F04
            damaged.append((place, str(error)))
""",
        "",
        "tests/store/test_book_damaged.py::test_a_damaged_channel_hides_no_other",
    ),
]
