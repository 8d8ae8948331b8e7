"""Guards of the server without which a test of this folder, or of tests/faults, must fail."""

from __future__ import annotations

from support.mutation import Mutation

BINDING = "tests/server/test_binding.py::"
REPLAY = "tests/server/test_replay.py::"
KEYS = "tests/server/test_idempotency.py::"
REFUSALS = "tests/server/test_refusals.py::"
CANCEL = "tests/server/test_cancel.py::"
RESOLVER = "tests/server/test_resolver.py::"
DELIVERY = "tests/server/test_delivery.py::"
CRASH = "tests/faults/test_crash.py::test_killed_at_a_failpoint_it_is_paid_and_delivered_once"
GATE = "server/gate.py"
SESSIONS = "server/sessions.py"
CLOSING = "server/closing.py"
VOUCHERS = "tests/server/test_session_vouchers.py::"
DEPOSITS = "tests/server/test_session_deposits.py::"
CLOSES = "tests/server/test_session_closing.py::"
SESSION_KEYS = "tests/server/test_session_keys.py::"
SESSION_CANCEL = "tests/server/test_session_cancel.py::"
RACES = "tests/server/test_session_races.py::"
LOOK_AGAIN = (
    "outcome = yield from self._ask(prepared, seller)\n        if isinstance(outcome, Refused):\n            raise"
)
SEND_AGAIN = "return (yield from self._settle(hold, prepared, seller, asked))\n        "
STORED = "if payment.stage is Stage.DELIVERED:\n            return self._replayed(payment, asked)\n        seller"
SETTLER = "tests/server/test_settler.py::"
SETTLING = "tests/transports/test_settling.py::"
KILLED = "tests/faults/test_settler_crash.py::"

MUTATIONS = [
    # --- binding
    Mutation(
        "T03",
        GATE,
        'fits = bound.get("s") == scope(request, looked_at(bound))',
        "fits = True",
        BINDING + "test_a_credential_is_good_for_its_request_only",
    ),
    Mutation(
        "T03",
        GATE,
        "if echo.realm != self.issuer.realm or not self.issuer.keys.issued(echo):",
        "if False:",
        BINDING + "test_no_echoed_field_may_be_changed",
    ),
    Mutation(
        "T03",
        "server/request.py",
        "[request.method, request.path, request.query]",
        "[request.method, request.path]",
        BINDING + "test_a_credential_is_good_for_its_request_only",
    ),
    Mutation(
        "T03",
        "server/request.py",
        'hashed.update(b"%d:" % len(raw))',
        "pass",
        BINDING + "test_what_a_request_is_bound_to_is_injective",
    ),
    Mutation(
        "T42",
        "server/request.py",
        "[request.method, request.path, request",
        '["", request.path, request',
        BINDING + "test_a_credential_is_good_for_its_request_only",
    ),
    Mutation(
        "T04",
        GATE,
        "if not body_matches:",
        "if False:",
        BINDING + "test_one_changed_byte_of_the_body_is_another_request",
    ),
    Mutation(
        "T04",
        "server/issue.py",
        "if request.body else None",
        "if False else None",
        BINDING + "test_one_changed_byte_of_the_body_is_another_request",
    ),
    Mutation(
        "T12",
        GATE,
        "if echo.realm != self.issuer.realm or not",
        "if not",
        BINDING + "test_the_realm_is_the_configured_one",
    ),
    Mutation(
        "T12",
        "server/request.py",
        'hashed.update(hashlib.sha256(realm.encode("utf-8")).digest())',
        "pass",
        BINDING + "test_two_services_on_one_store_do_not_share_keys",
    ),
    Mutation(
        "T10",
        GATE,
        "price.sellers)\n        if (yield from now()) >=",
        "price.sellers)\n        if 0 * (yield from now()) >",
        BINDING + "test_a_challenge_ends_exactly_when_it_says",
    ),
    Mutation(
        "T10",
        GATE,
        "price.sellers)\n        if (yield from now()) >= recognised",
        "price.sellers)\n        if (yield from now()) > recognised",
        BINDING + "test_a_challenge_ends_exactly_when_it_says",
    ),
    # --- replay
    Mutation(
        "T01",
        GATE,
        "if payment.credential_hash != asked.credential_hash:",
        "if False:",
        REPLAY + "test_another_proof_on_a_used_challenge_is_refused",
    ),
    Mutation(
        "T01",
        GATE,
        'if result.by == "proof":',
        "if False:",
        REPLAY + "test_one_proof_pays_one_challenge",
    ),
    Mutation(
        "T06",
        "store/memory.py",
        "if claim.proof in self._proofs:",
        "if False:",
        REPLAY + "test_one_proof_pays_one_challenge",
    ),
    Mutation("F14", GATE, STORED, "seller", REPLAY + "test_each_stage_has_its_answer"),
    Mutation(
        "F13",
        GATE,
        LOOK_AGAIN,
        LOOK_AGAIN.replace("yield from self._ask(prepared, seller)", 'Refused("")'),
        REPLAY + "test_each_stage_has_its_answer",
    ),
    Mutation(
        "F13",
        GATE,
        LOOK_AGAIN,
        SEND_AGAIN + LOOK_AGAIN,
        REPLAY + "test_a_failed_payment_is_looked_up_and_never_sent_again",
    ),
    # --- an end that is not known
    Mutation(
        "F11",
        GATE,
        "with suppress(ChainError, Problem):",
        "with suppress(ZeroDivisionError):",
        REFUSALS + "test_no_error_after_the_broadcast_is_a_bill",
    ),
    Mutation(
        "F11",
        GATE,
        "except (ChainError, Problem) as error:  # F11",
        "except ZeroDivisionError as error:  # F11",
        REPLAY + "test_a_bank_that_goes_silent_at_any_call_is_never_unpaid",
    ),
    Mutation(
        "F11",
        "server/resolver.py",
        "silent.add(id(known))",
        'yield from wait(store.fail(hold.lease, "silent"))',
        RESOLVER + "test_a_network_that_is_down_proves_nothing",
    ),
    Mutation(
        "F10",
        GATE,
        "except (StoreError, LedgerError):",
        "except ZeroDivisionError:",
        REFUSALS + "test_a_store_that_fails_after_the_broadcast_leaves_it_to_the_resolver",
    ),
    Mutation(
        "F09",
        GATE,
        "yield from wait(self.store.prepare(hold.lease, prepared))",
        "pass",
        RESOLVER + "test_a_payment_that_was_left_open_is_settled_by_its_hash",
    ),
    Mutation(
        "F21",
        GATE,
        "if not began <= (yield from now()) < began + self.patience_s:",
        "if (yield from now()) >= began + self.patience_s:",
        RESOLVER + "test_a_clock_that_jumps_while_a_request_waits_ends_its_waiting",
    ),
    # --- crashes, leases
    Mutation(
        "F07",
        GATE,
        "if payment.stage is Stage.CLAIMED:\n                yield",
        "if True:\n                yield",
        KEYS + "test_a_claim_that_was_sent_while_we_looked_is_not_given_up",
    ),
    Mutation(
        "F07",
        "server/delivery.py",
        "return 200 <= self._status < 300",
        "return True",
        DELIVERY + "test_what_is_no_2xx_leaves_the_payment_with_its_payer",
    ),
    Mutation(
        "F29",
        "server/holding.py",
        "if not answered:",
        "if False:",
        CANCEL + "test_a_cancelled_request_can_be_repeated",
    ),
    Mutation(
        "F29",
        "server/holding.py",
        "if not self._passed_on:",
        "if False:",
        CANCEL + "test_a_store_error_under_a_fresh_lease_gives_it_back",
    ),
    Mutation(
        "F16",
        "server/holding.py",
        "if tries > 1 and",
        "if False and",
        REFUSALS + "test_a_lease_that_could_not_be_dropped_is_dropped_later",
    ),
    Mutation(
        "F11",
        "server/resolver.py",
        "start = turn * ROUND % len(waiting) if len(waiting) > ROUND else 0",
        "start = 0",
        RESOLVER + "test_payments_that_stay_open_do_not_starve_the_others",
    ),
    # --- answers
    Mutation(
        "T25",
        "server/delivery.py",
        "return Delivery(self._status, kept_headers(self._headers), None)",
        "return None",
        DELIVERY + "test_who_leaves_a_stream_has_had_it",
    ),
    Mutation(
        "T39",
        "server/answer.py",
        '("cache-control", "no-store")]',
        '("cache-control", "public")]',
        REFUSALS + "test_a_402_has_a_challenge_and_is_not_stored",
    ),
    Mutation(
        "T39",
        "server/answer.py",
        'return ", ".join(["private", *[one for one in cache if not one.lower().startswith(_SHARING)]])',
        'return ", ".join(cache)',
        DELIVERY + "test_a_paid_answer_is_private_varies_and_has_a_receipt",
    ),
    Mutation(
        "T41",
        "server/presented.py",
        "not 0 < len(values[0]) <= MAX_IDEMPOTENCY_KEY",
        "False",
        KEYS + "test_a_key_that_is_none_is_refused",
    ),
    # --- the settler
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
    # --- sessions
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
    Mutation(
        "T23",
        "server/settler.py",
        "if wanted is None or _ahead(channel, wanted) else",
        "if wanted is None else",
        "tests/server/test_settler.py::test_what_was_signed_ahead_is_not_taken",
    ),
]
