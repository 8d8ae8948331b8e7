"""Guards of the counter where channels pay, without which a test must fail."""

from __future__ import annotations

from support.mutation import Mutation

GATE = "server/gate.py"
SESSIONS = "server/sessions.py"
CLOSING = "server/closing.py"
VOUCHERS = "tests/server/test_session_vouchers.py::"
DEPOSITS = "tests/server/test_session_deposits.py::"
CLOSES = "tests/server/test_session_closing.py::"
SESSION_KEYS = "tests/server/test_session_keys.py::"
SESSION_CANCEL = "tests/server/test_session_cancel.py::"
RACES = "tests/server/test_session_races.py::"

MUTATIONS = [
    Mutation(
        "T02",
        SESSIONS,
        "return (yield from self._stale(case, channel, equal=equal))",
        "return self._bought(case, payer, order, channel, at_s)",
        VOUCHERS + "test_the_same_voucher_a_hundred_times_runs_the_handler_once",
    ),
    Mutation(
        "T02",
        SESSIONS,
        "self._buy(case, done.channel.payer, case.voucher, (yield from now()), key)",
        "self._buy(case, done.channel.payer, None, (yield from now()), key)",
        DEPOSITS + "test_an_old_open_buys_nothing_from_what_was_signed_since",
    ),
    Mutation(
        "T03",
        "server/teller.py",
        "if not ours or not case.seller.takes(channel, terms):",
        "if False:",
        VOUCHERS + "test_a_channel_to_somebody_else_buys_nothing_here",
    ),
    Mutation(
        "T03",
        SESSIONS,
        "if echo.elsewhere and presented.act is not Act.USE:",
        "if False:",
        "tests/methods/solana/session/test_buying.py::test_only_a_proof_comes_under_a_challenge_of_elsewhere",
    ),
    Mutation(
        "T03",
        SESSIONS,
        "elsewhere = _Echo(offers, challenge, seller, current,",
        "elsewhere = _Echo(offers, challenge, seller, terms,",
        "tests/methods/solana/session/test_buying.py::test_a_proof_buys_on_every_path_at_that_paths_price",
    ),
    Mutation(
        "T03",
        SESSIONS,
        "if _same(terms, current):",
        "if True:",
        VOUCHERS + "test_the_price_is_the_routes_at_this_moment",
    ),
    Mutation(
        "T03",
        GATE,
        'fits = bound.get("s") == path_scope(request) or says(credential, Act.USE)',
        "fits = True",
        VOUCHERS + "test_a_challenge_of_another_path_is_refused",
    ),
    Mutation(
        "T03",
        "server/request.py",
        'b"session:%d:" % len(path) + path',
        'b"session:%d:" % len(path)',
        VOUCHERS + "test_a_challenge_of_another_path_is_refused",
    ),
    Mutation(
        "T06",
        "server/deposits.py",
        "row = session.under(case.asked.credential.challenge, checked.proof)",
        "row = case.asked.credential.challenge",
        DEPOSITS + "test_a_top_up_adds_to_the_deposit_and_buys_nothing",
    ),
    Mutation(
        "T06",
        "server/deposits.py",
        "if payment.stage is PaymentStage.DELIVERED:",
        "if False:",
        DEPOSITS + "test_a_top_up_that_comes_again_adds_once",
    ),
    Mutation(
        "T08",
        "server/deposits.py",
        "if isinstance(opened, Known):",
        "if False:",
        DEPOSITS + "test_another_transaction_for_the_same_channel_opens_nothing",
    ),
    Mutation(
        "T10",
        SESSIONS,
        "if at_s >= echo.expires_at_s and",
        "if at_s < 0 and",
        VOUCHERS + "test_an_expired_challenge_is_answered_with_a_fresh_one",
    ),
    Mutation(
        "T13",
        SESSIONS,
        "case.seller.verify(case.presented, facts.channel, case.claimed, at_s)  # T13 T15",
        "pass",
        VOUCHERS + "test_only_the_channels_signer_is_believed",
    ),
    Mutation(
        "T15",
        SESSIONS,
        "case.seller.verify(case.presented, facts.channel, case.claimed, at_s)  # T13 T15",
        "pass",
        VOUCHERS + "test_only_the_channels_signer_is_believed",
    ),
    Mutation(
        "T22",
        "intents/session.py",
        "if missing > 0:",
        "if False:",
        RACES + "test_forty_requests_race_for_a_deposit_that_covers_ten",
    ),
    Mutation(
        "T23",
        CLOSING,
        "wanted = session.close(marked, case.voucher, case.rules)",
        "wanted = session.close(channel, case.voucher, case.rules)",
        CLOSES + "test_what_is_bought_while_a_close_begins_is_taken_too",
    ),
    Mutation(
        "T23",
        "intents/session.py",
        "if offered.amount_units < channel.owed:",
        "if False:",
        CLOSES + "test_a_close_below_what_was_spent_is_refused",
    ),
    Mutation(
        "T27",
        SESSIONS,
        "if case.presented.act is not Act.CLOSE and not self._watched_lately(case.seller, at_s):",
        "if False:",
        VOUCHERS + "test_without_a_watcher_nothing_is_sold",
    ),
    Mutation(
        "T27",
        "intents/session.py",
        "if channel.stage is not Stage.OPEN:  # T27: what",
        "if False:  # T27: what",
        VOUCHERS + "test_a_channel_that_closes_or_closed_sells_nothing",
    ),
    Mutation(
        "F07",
        SESSIONS,
        "self._keep(admission.key, admission.idempotency_key, None)",
        "pass",
        SESSION_KEYS + "test_while_it_is_answered_a_copy_is_told_to_wait",
    ),
    Mutation(
        "F07",
        SESSIONS,
        "if not answered:",
        "if False:",
        SESSION_KEYS + "test_an_observer_that_fails_costs_nobody_a_request",
    ),
    Mutation(
        "F09",
        "server/deposits.py",
        "yield from wait(self.teller.store.prepare(hold.lease, prepared))",
        "pass",
        DEPOSITS + "test_an_open_that_was_struck_goes_on_with_the_same_credential",
    ),
    Mutation(
        "F26",
        SESSIONS,
        "if ago_s is None or ago_s > seller.grace_s / LOOKS_PER_GRACE:",
        "if False:",
        VOUCHERS + "test_without_a_watcher_nothing_is_sold",
    ),
    Mutation(
        "F26",
        SESSIONS,
        "return ago_s + aged_s <= seller.grace_s / LOOKS_PER_GRACE",
        "return True",
        VOUCHERS + "test_a_watch_that_has_aged_is_asked_for_again",
    ),
    Mutation(
        "F29",
        SESSIONS,
        "unless_given_up(self.store.accept_and_spend(order), take_back)",
        "wait(self.store.accept_and_spend(order))",
        SESSION_CANCEL + "test_a_cancelled_keyed_voucher_gets_its_goods_for_one_price",
    ),
    Mutation(
        "F29",
        SESSIONS,
        "unless_given_up(reserved, take_back)",
        "wait(reserved)",
        SESSION_CANCEL + "test_a_cancelled_stream_leaves_no_window",
    ),
    Mutation(
        "F29",
        "server/outbox.py",
        "        if task is None:  # F29: also",
        "        if False:  # F29: also",
        SESSION_CANCEL + "test_a_cancelled_close_goes_on_with_the_same_credential",
    ),
    Mutation(
        "F09",
        "server/outbox.py",
        "task = Task((yield from wait(store.find_channel(channel.key))) or channel, current, lease)",
        "task = Task((yield from wait(store.find_channel(channel.key))) or channel, job, lease)",
        "tests/server/test_session_closing.py::test_what_another_server_sent_is_not_given_up",
    ),
    Mutation(
        "F10",
        "store/channel_operations.py",
        "most = min(deposit_units, old.deposit + (0 if again else ledger.deposited(entry)))",
        "most = deposit_units",
        "tests/server/test_found_deposits.py::test_money_that_was_found_is_not_entered_again_when_its_payer_presents_it",
    ),
    Mutation(
        "F10",
        "ledger.py",
        "    if units == deposited(entry):\n",
        "    if units or not units:\n",
        "tests/server/test_found_deposits.py::test_what_its_payer_presents_while_it_is_found_is_entered_once",
    ),
    Mutation(
        "T26",
        SESSIONS,
        "if not self._flood.allows(key, at_s):",
        "if False:",
        VOUCHERS + "test_vouchers_that_buy_nothing_are_limited_and_those_that_buy_are_not",
    ),
    Mutation(
        "F21",
        "server/flood.py",
        "max(0.0, at_s - before_s)",
        "abs(at_s - before_s)",
        "tests/server/test_flood.py::test_a_clock_that_jumps_back_fills_nothing",
    ),
    Mutation(
        "F28",
        "server/flood.py",
        "if len(self._left) >= REMEMBERED and key not in self._left:",
        "if False:",
        "tests/server/test_flood.py::test_memory_is_bounded",
    ),
]
