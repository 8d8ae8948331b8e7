"""Guards of what is kept under Idempotency-Keys, without which a test must fail."""

from __future__ import annotations

from support.mutation import Mutation

_PROCESSES = "tests/store/test_channel_processes.py::"
_CHANNEL_OPERATIONS = "store/channel_operations.py"
_SCHEMA = "store/schema/steps.py"
_KEYED = "store/keyed.py"
_KEYED_MEMORY = "store/keyed_memory.py"
_KEYED_RULES = "store/keyed_rules.py"
_KEYED_TESTS = "tests/store/test_keyed.py::"
_PAYERS = "tests/store/test_payer_keys.py::"

MUTATIONS = [
    Mutation(
        "F07",
        _KEYED,
        "return Repeated(found, None) if kept.active and not mine else Spent(found)",
        "return Repeated(found, None)",
        _PROCESSES + "test_a_keyed_request_whose_process_died_is_run_again[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        '" AND NOT " + ACTIVE, old)',
        '" AND 1 = 0", old)',
        _KEYED_TESTS + "test_key_after_key_costs_the_same[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        '" AND NOT " + ACTIVE, old)',
        '"", old)',
        _KEYED_TESTS + "test_a_request_that_is_answered_is_not_forgotten[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        "if running > MAX_RUNNING_KEYS:",
        "if running < 0:",
        _KEYED_TESTS + "test_of_requests_that_run_for_long_there_are_only_so_many[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        "        if total > MAX_KEPT_BODY:",
        "        if total < 0:",
        _KEYED_TESTS + "test_the_bodies_of_a_channel_are_bounded[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        "number = COALESCE({_NEWEST}, 1), lease_owner",
        "number = COALESCE({_NEWEST}, 0) + 1, lease_owner",
        _KEYED_TESTS + "test_running_again_makes_nobody_older[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        "SET number = {_NEWEST}, lease_owner",
        "SET lease_owner",
        _KEYED_TESTS + "test_a_request_that_is_answered_is_not_forgotten[sqlite]",
    ),
    Mutation(
        "F19",
        _KEYED,
        "mine = db.redo and kept.token == token",
        "mine = False",
        "tests/store/test_channel_sql.py::test_a_connection_lost_while_a_keyed_request_is_run_again[answer]",
    ),
    Mutation(
        "F19",
        _CHANNEL_OPERATIONS,
        "seen == token or keyed.bought_by(db, order, found, token)",
        "seen == token",
        "tests/store/test_channel_sql.py::test_what_was_bought_under_a_key_is_known_after_others_came[sqlite]",
    ),
    Mutation(
        "F22",
        _SCHEMA,
        "body FROM coinslot_answers\n",
        "body FROM coinslot_answers WHERE 1 = 0\n",
        _KEYED_TESTS + "test_the_answer_of_an_older_file_comes_along",
    ),
    Mutation(
        "F14",
        _KEYED,
        "    if kept.answer is not None:  # F14\n",
        "    if kept.answer is not None and not kept.answer.body:  # F14\n",
        _KEYED_TESTS + "test_each_of_many_lost_answers_is_given_again[sqlite]",
    ),
    Mutation(
        "F14",
        _KEYED_MEMORY,
        "if kept.running or kept.answer is not None:",
        "if kept.running:",
        _KEYED_TESTS + "test_each_of_many_lost_answers_is_given_again[memory]",
    ),
    Mutation(
        "F28",
        _KEYED_MEMORY,
        "for other, kept in falling if not kept.running]  # F14",
        "for other, kept in falling if kept.running]  # F14",
        _KEYED_TESTS + "test_a_request_that_is_answered_is_not_forgotten[memory]",
    ),
    Mutation(
        "F28",
        _KEYED_MEMORY,
        "if running > MAX_RUNNING_KEYS and",
        "if running < 0 and",
        _KEYED_TESTS + "test_of_requests_that_run_for_long_there_are_only_so_many[memory]",
    ),
    Mutation(
        "F14",
        _KEYED,
        '    " OR (p.payer = :payer AND p.idempotency_key = :idempotency_key)"\n',
        '    " OR (1 = 0 AND p.payer = :payer AND p.idempotency_key = :idempotency_key)"\n',
        _PAYERS + "test_what_a_closed_channel_paid_is_answered_on_the_next[sqlite]",
    ),
    Mutation(
        "F15",
        _KEYED,
        " AND lease_token = :seen AND status IS NULL",
        " AND :seen = :seen AND status IS NULL",
        _PAYERS + "test_who_finds_a_key_taken_meanwhile_leaves_no_trace[lost]",
    ),
    Mutation(
        "F15",
        _SCHEMA,
        "CREATE UNIQUE INDEX coinslot_keyed_payer",
        "CREATE INDEX coinslot_keyed_payer",
        _PAYERS + "test_who_finds_a_key_taken_meanwhile_leaves_no_trace[new]",
    ),
    Mutation(
        "F22",
        _SCHEMA,
        "    AND newer.key = o.channel AND mine.key = coinslot_keyed.channel AND newer.seq > mine.seq)",
        "    AND newer.key = o.channel AND mine.key = coinslot_keyed.channel AND newer.seq >= mine.seq)",
        _PAYERS + "test_the_keys_of_an_older_database_are_their_payers[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED,
        '" AND touched_at <= :now - :kept_s"',
        '" AND :now > :kept_s"',
        _PAYERS + "test_old_answers_of_a_closed_channel_are_forgotten[sqlite]",
    ),
    Mutation(
        "F28",
        _KEYED_MEMORY,
        "or kept.touched_at_s > until_s:",
        "or not until_s:",
        _PAYERS + "test_old_answers_of_a_closed_channel_are_forgotten[memory]",
    ),
    Mutation(
        "F14",
        _KEYED,
        " AND c.stage = 'closed'",
        "",
        _PAYERS + "test_answers_of_open_channels_are_never_old[sqlite]",
    ),
    Mutation(
        "T05",
        _KEYED_RULES,
        "{found.payer} {found.signer} {found.payee}",
        "{found.signer} {found.payee}",
        _PAYERS + "test_anybody_else_s_key_is_another[memory-payer]",
    ),
    Mutation(
        "T05",
        _KEYED_RULES,
        "{found.payer} {found.signer} {found.payee}",
        "{found.payer} {found.payee}",
        _PAYERS + "test_anybody_else_s_key_is_another[sqlite-signer]",
    ),
    Mutation(
        "T05",
        _KEYED_RULES,
        "{found.payer} {found.signer} {found.payee}",
        "{found.payer} {found.signer}",
        _PAYERS + "test_anybody_else_s_key_is_another[memory-payee]",
    ),
    Mutation(
        "T05",
        _KEYED,
        "not_shown(found, order) if kept.channel != order.key else None  # T05",
        "None",
        _PAYERS + "test_a_voucher_that_all_can_read_asks_for_nothing_of_another_channel[sqlite]",
    ),
    Mutation(
        "T05",
        _KEYED_MEMORY,
        "not_shown(found, order) if holder is not self._of.get(order.key) else None  # T05",
        "None",
        _PAYERS + "test_a_channel_that_ends_asks_for_nothing_of_another[memory-10]",
    ),
]
