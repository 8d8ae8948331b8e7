"""Guards of the settler, and of what it sends, without which a test must fail."""

from __future__ import annotations

from support.mutation import Mutation

SETTLER = "tests/server/test_settler.py::"
SETTLING = "tests/transports/test_settling.py::"
KILLED = "tests/faults/test_settler_crash.py::"

MUTATIONS = [
    Mutation(
        "F08",
        "server/settler.py",
        "for window in (yield from wait(going.store.abandoned(WINDOWS))):",
        "for window in ():",
        KILLED + "test_a_window_that_a_dead_process_held[sqlite]",
    ),
    Mutation(
        "T27",
        "server/settler.py",
        "sorted(going.networks - going.silent):  # T27",
        "sorted(going.networks):",
        SETTLER + "test_a_round_that_saw_all_channels_says_so",
    ),
    Mutation(
        "F26",
        "server/settler.py",
        "yield from wait(going.store.note_watched(network))",
        "pass",
        SETTLER + "test_a_round_that_saw_all_channels_says_so",
    ),
    Mutation(
        "T27",
        "server/reconcile.py",
        "closing = state.closing_at_s is not None and channel.stage is Stage.OPEN",
        "closing = False",
        SETTLER + "test_a_payer_that_asks_the_chain_to_close_buys_nothing_more[memory]",
    ),
    Mutation(
        "F27",
        "server/reconcile.py",
        "except LedgerError as error:",
        "except ZeroDivisionError as error:",
        SETTLER + "test_a_restored_backup_freezes_its_channel_and_nothing_else[memory]",
    ),
    Mutation(
        "F11",
        "server/settler.py",
        "except (ChainError, Problem, UsageError) as error:",
        "except Problem as error:",
        SETTLER + "test_a_network_that_is_down_blocks_no_other",
    ),
    Mutation(
        "F11",
        "server/outbox.py",
        "turn * ROUND % len(waiting) if len(waiting) > ROUND else 0",
        "0",
        SETTLER + "test_jobs_that_stay_open_keep_no_others_from_their_turn",
    ),
    Mutation(
        "T23",
        "server/settler.py",
        "closing = session.close(channel, None, rules)",
        "closing = session.settlement(channel)",
        SETTLER + "test_an_idle_channel_is_closed_and_its_deposit_freed[memory-2]",
    ),
    Mutation(
        "F11",
        "server/payout.py",
        "with suppress(ChainError, Problem):",
        "with suppress(Problem):",
        SETTLER + "test_a_settlement_whose_end_is_not_known_is_asked_about[memory-lost-answer]",
    ),
    Mutation(
        "F13",
        "server/payout.py",
        "> sent.dead_after_s:",
        "< 0:",
        SETTLER + "test_what_was_dropped_is_made_anew_only_when_it_is_dead",
    ),
    Mutation(
        "F09",
        "server/payout.py",
        "yield from wait(store.prepare_jobs(leases, made.reference, made.raw, made.dead_after_s))",
        "pass",
        KILLED + "test_two_settlements_in_one_transaction[sqlite-settler.sent]",
    ),
    Mutation(
        "F10",
        "server/payout.py",
        "entry_of(channel, done)))",
        "None))",
        KILLED + "test_two_settlements_in_one_transaction[sqlite-settler.sent]",
    ),
    Mutation(
        "F10",
        "ledger.py",
        'f"payout/{channel.key}/{channel.settled}"',
        'f"payout/{channel.key}/{id(channel)}"',
        "tests/test_ledger.py::test_two_that_saw_a_payout_from_the_same_total_clash",
    ),
    Mutation(
        "T27",
        "transports/settling.py",
        "if not 0 < every_s * LOOKS_PER_GRACE < grace_s:",
        "if every_s <= 0:",
        SETTLING + "test_an_interval_that_a_payer_could_outrun_is_refused",
    ),
    Mutation(
        "F26",
        "transports/slot.py",
        "self.settling.look()",
        "pass",
        SETTLING + "test_a_slot_has_looked_before_its_first_request",
    ),
    Mutation(
        "T23",
        "server/settler.py",
        "if wanted is None or _ahead(channel, wanted) else",
        "if wanted is None else",
        "tests/server/test_settler.py::test_what_was_signed_ahead_is_not_taken",
    ),
    Mutation(
        "F28",
        "server/settler.py",
        "if len(old) < FORGOTTEN_AT_ONCE:",
        "if old:",
        "tests/server/test_session_payer_keys.py::test_many_answers_are_forgotten_a_few_at_a_time",
    ),
    Mutation(
        "F28",
        "server/settler.py",
        "        yield from _forget(going, policy)\n",
        "        pass\n",
        "tests/server/test_session_payer_keys.py::test_the_answers_of_closed_channels_are_forgotten_in_time[sqlite]",
    ),
]
