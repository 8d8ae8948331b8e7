"""Guards without which an attack of this folder works."""

from __future__ import annotations

from support.mutation import Mutation

LOOPS = "tests/attacks/test_session_loops.py::"
VOUCHERS = "tests/attacks/test_solana_vouchers.py::"
LYING = "tests/attacks/test_solana_lying_shop.py::"
DRAINS = "tests/attacks/test_solana_drains.py::"
FOREIGN = "tests/attacks/test_session_foreign_channel.py::"
CREDIT = "tests/attacks/test_delivery_credit.py::"
SPELLINGS = "tests/attacks/test_gate_spellings.py::"
METHODS = "tests/attacks/test_method_in_a_header.py::"
CACHES = "tests/attacks/test_shared_caches.py::"
BODIES = "tests/attacks/test_gate_bodies.py::"
PAYOUTS = "tests/attacks/test_settler_batches.py::"
HEADERS = "tests/attacks/test_priced_by_header.py::"
UNTOLD = "tests/attacks/test_gate_untold_usage.py::"

MUTATIONS = [
    Mutation(
        "T27", "server/settler.py", "longest_s = grace_s / RETRIES_PER_GRACE", "pass",
        PAYOUTS + "test_a_payer_that_takes_its_deposit_back_meets_many_tries",
    ),
    Mutation(
        "T41", "services/spelling.py", r"(?<![\x00-\x20\x7f.])", "",
        "tests/attacks/test_route_patterns.py::test_no_spelling_takes_long_to_read",
    ),
    Mutation(
        "T41", "server/price.py", '"(?>.*?"', '"(?:.*?"',
        "tests/attacks/test_route_patterns.py::test_no_path_takes_long_to_match[/**/a/**/b-/a-/z]",
    ),
    Mutation(
        "T31", "methods/tempo/sponsor.py", "tx.valid_before < now_s + MIN_VALID_S", "tx.valid_before < now_s",
        "tests/methods/tempo/test_sponsor.py::test_nothing_is_smuggled_past_the_sponsor[an end that is too near]",
    ),
    Mutation(
        "T41", "services/guarded.py", "self._deaf = self.loop.call_later(self.stall_timeout_s, self.transport.abort)",
        "pass", "tests/attacks/test_gate_stalled.py::test_who_does_not_read_its_answer_is_let_go",
    ),
    Mutation(
        "T41", "services/guarded.py", "        if self._in_body:\n", "        if False:\n",
        "tests/attacks/test_gate_stalled.py::test_who_does_not_finish_its_body_is_let_go",
    ),
    Mutation(
        "F28", "services/proxy.py", "watching = asyncio.create_task(leaving())", "watching = None",
        "tests/attacks/test_gate_left_streams.py::test_nobody_leaves_an_endless_answer_behind",
    ),
    Mutation(
        "T03", "transports/websocket.py", "{**_handshake(self._scope), ", "{",
        "tests/attacks/test_socket_priced_by_header.py::test_a_message_costs_what_its_handshake_asked_for",
    ),
    Mutation(
        "T03", "server/request.py", "for name in looked_at:", "for name in ():",
        HEADERS + "test_what_a_price_was_made_of_is_bound",
    ),
    Mutation(
        "T03", "server/issue.py", "watched = Watched(request.headers) if callable(price.amount) else None",
        "watched = None", HEADERS + "test_a_price_looks_fields_up_by_name",
    ),
    Mutation(
        "T03", "server/gate.py", "request_hash(self.incoming, realm, self.looked_at)",
        "request_hash(self.incoming, realm)", HEADERS + "test_a_key_of_a_small_request_brings_no_large_one",
    ),
    Mutation(
        "T27", "server/outbox.py", "return len(known) > 1 and known[1].stage is JobStage.FAILED", "return False",
        PAYOUTS + "test_a_payout_that_failed_holds_up_nobody_again",
    ),
    Mutation(
        "T27", "server/payout.py", "if alone and (yield from now())", "if (yield from now())",
        PAYOUTS + "test_a_payout_that_failed_holds_up_nobody_again[drop]",
    ),
    Mutation(
        "T42", "services/proxy.py", "if item.strip()) - _OF_THE_MESSAGE", "if item.strip())",
        BODIES + "test_a_length_is_no_hops_own",
    ),
    Mutation(
        "T38", "cli/gate.py", "{shown(config.store)}", "{config.store.rpartition('@')[2]}",
        "tests/attacks/test_record_secrets.py::test_a_gate_announces_no_password_of_its_store",
    ),
    Mutation(
        "T25", "services/metered.py", "unsaid = self.counting.most if self._content else 0", "unsaid = 0",
        UNTOLD + "test_an_answer_that_does_not_say_what_it_used_is_no_cheaper",
    ),
    Mutation(
        "T39", "server/answer.py", "if any(map(_for_shared_caches, names)):", "if False:",
        CACHES + "test_no_shared_cache_is_told_to_keep_what_was_paid_for",
    ),
    Mutation(
        "T39", "transports/django.py", "del response.headers[name]", "pass",
        CACHES + "test_nor_by_a_view_of_a_project",
    ),
    Mutation(
        "T42", "services/spelling.py", "(?:(?:;|%3b)[^/]*)?", "",
        SPELLINGS + "test_parameters_of_a_segment_hide_no_price",
    ),
    Mutation(
        "T42", "services/gate.py", "self._spellings.slips(route, asked, path)", "False",
        SPELLINGS + "test_another_spelling_of_a_priced_path_is_not_free",
    ),
    Mutation(
        "T42", "services/gate.py", "(unpaid or one is not route)", "one is not route",
        METHODS + "test_nothing_is_ordered_unpaid",
    ),
    Mutation(
        "T42", "server/classify.py", "and (unpaid or other is not route)", "and not unpaid and other is not route",
        METHODS + "test_nothing_is_ordered_unpaid",
    ),
    Mutation(
        "T42", "transports/asgi.py", 'name.replace(b"_", b"-") in _OVERRIDES', "name in _OVERRIDES",
        METHODS + "test_nothing_is_ordered_unpaid",
    ),
    Mutation(
        "T44", "services/proxy.py", 'name.lower().replace(b"_", b"-") not in dropped', "name.lower() not in dropped",
        METHODS + "test_no_underscore_speaks_for_us_upstream",
    ),
    Mutation(
        "T07", "methods/tempo/session/seller.py", "return read_record(channel.state).ref.escrow == mine.escrow",
        "return True", FOREIGN + "test_a_voucher_of_the_other_protocol_buys_nothing_on_a_channel",
    ),
    Mutation(
        "T03", "server/sessions.py", "require_taken(case, channel)", "pass",
        FOREIGN + "test_a_voucher_of_the_other_protocol_buys_nothing_on_a_channel",
    ),
    Mutation(
        "T03", "server/deposits.py", "require_taken(case, known)", "pass",
        FOREIGN + "test_an_opening_presented_again_with_a_higher_voucher_pays_its_own_payee_only",
    ),
    Mutation(
        "F16", "store/sqlite_turns.py", "self._loop, self._scheduled = loop, False", "self._loop = loop",
        LOOPS + "test_a_loop_that_ended_with_a_write_asked_for_holds_up_no_other",
    ),
    Mutation(
        "F28", "drive.py", "self._loop = weakref.ref(loop)", "self._loop = lambda: loop",
        LOOPS + "test_loops_that_ended_are_forgotten",
    ),
    Mutation(
        "T24", "client/closing.py", "state = yield from _shown_closed(visit, held)",
        "state = (yield from _shown_closed(visit, held)) or OnChain(held.key, False, 0, 0)",
        "tests/attacks/test_session_hostile_close.py::test_a_close_that_did_not_happen_loses_no_deposit",
    ),
    Mutation(
        "T22", "store/allowance.py", "if most_units is not None and self._drawn + units > most_units:", "if False:",
        "tests/attacks/test_session_budget.py::test_a_budget_holds_over_payees_that_are_paid_at_once",
    ),
    Mutation(
        "T44", "services/proxy.py", ', b"payment-session", b"payment-session-snapshot"', "",
        "tests/attacks/test_session_upstream_speaks.py::test_an_upstream_names_no_channel",
    ),
    Mutation(
        "T44", "services/eventstream.py", 'line.decode("utf-8", "replace").splitlines()',
        '[line.decode("utf-8", "replace")]',
        "tests/attacks/test_session_upstream_speaks.py::test_a_line_that_some_readers_end_early_forges_no_event",
    ),
    Mutation(
        "T22", "store/book_rules.py", "if locked_units + held.deposit_units > draw.most_locked_units:", "if False:",
        "tests/attacks/test_session_budget.py::test_a_new_channel_is_counted_with_all_others_as_it_is_written",
    ),
    Mutation(
        "F28", "server/meter.py", "pause_s = min(pause_s * LOOK_SLOWER, LOOK_AT_LEAST_EVERY_S)", "pass",
        "tests/attacks/test_session_dry.py::test_a_stream_that_nobody_pays_for_looks_less_and_less",
    ),
    Mutation(
        "T03", "server/sessions.py", 'return f"{name}/{cost}" if callable(asked.price.amount) else name', "return name",
        "tests/attacks/test_session_keyed_price.py::test_a_key_that_paid_a_cheap_request_brings_no_dear_one",
    ),
    Mutation(
        "F28", "transports/websocket.py", "if self._unpaid > MAX_UNPAID_CHARS:", "if False:",
        "tests/attacks/test_session_socket_unpaid.py::test_who_has_not_paid_says_little",
    ),
    Mutation(
        "F28", "server/meter.py", "if self._over:", "if False:",
        "tests/attacks/test_session_dry.py::test_a_meter_that_ended_sets_nothing_aside",
    ),
    Mutation(
        "T27", "server/settler.py", "return until_s is not None and until_s - EXPIRY_MARGIN_S <= at_s < until_s",
        "return False", VOUCHERS + "test_a_voucher_signed_ahead_is_settled_before_it_expires",
    ),
    Mutation(
        "T23", "methods/solana/session/seller.py",
        """# SSES-155: a close may have to be sent more than once
                    verify_voucher(shown.voucher, recorded, channel, at_s + config.voucher_life_s,""",
        "\n                    verify_voucher(shown.voucher, recorded, channel, at_s + 120.0,",
        VOUCHERS + "test_a_close_outlives_a_transaction_that_was_lost",
    ),
    Mutation(
        "T05", "server/teller.py", "if shown else ()", "",
        VOUCHERS + "test_what_is_told_of_a_channel_is_told_to_its_signer",
    ),
    Mutation(
        "F13", "methods/solana/session/ownchannels.py", "open_slot + MOST_BEHIND_SLOTS + BLOCKHASH_SLOTS",
        "open_slot + BLOCKHASH_SLOTS",
        LYING + "test_an_opening_on_an_old_slot_and_a_new_blockhash_is_not_dead_yet",
    ),
    Mutation(
        "F13", "services/leaving.py", "dead = state.dead or (late and not state.alive)", "dead = state.dead or late",
        LYING + "test_an_opening_on_a_chain_that_stands_still_is_not_lost_by_our_clock",
    ),
    Mutation(
        "F13", "methods/solana/session/ownchannels.py", "return replace(missing, alive=True)", "pass",
        LYING + "test_an_opening_on_an_old_slot_and_a_new_blockhash_is_not_dead_yet",
    ),
    Mutation(
        "T30", "store/memory.py", "if found.stage is Stage.CLAIMED:", "if True:",
        DRAINS + "test_a_payment_that_failed_on_the_chain_stays_drawn_from_the_sponsors_budget",
    ),
    Mutation(
        "T30", "store/operations.py", """    if db.change(set_failed + _HELD + " AND stage = 'claimed'", values):""",
        """    if db.change(set_failed + _HELD + " AND stage IN ('claimed', 'prepared')", values):""",
        "tests/store/test_contract.py::test_a_payment_that_failed_after_it_was_sent_keeps_its_budget",
    ),
    Mutation(
        "T47", "methods/solana/paying.py", "if rent > config.max_rent_lamports:", "if False:",
        LYING + "test_a_cheap_charge_buys_no_accounts_for_its_payees",
    ),
    Mutation(
        "T05", "methods/solana/charge_seller.py",
        "if extras.external_id is not None and is_reference(extras.external_id):", "if False:",
        "tests/attacks/test_solana_references.py::"
        "test_an_external_id_of_a_route_is_never_taken_for_a_reference_of_ours",
    ),
    Mutation(
        "F12", "methods/solana/charge_payer.py",
        'if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):', "if False:",
        LYING + "test_a_replica_that_lags_does_not_make_a_sent_payment_a_dead_one",
    ),
    Mutation(
        "T05", "methods/solana/pull.py", "if not referred and is_reference(terms.external_id):", "if False:",
        "tests/attacks/test_solana_two_shops.py::test_a_transaction_that_names_no_charge_pays_one_of_them_only",
    ),
    Mutation(
        "T27", "server/settler.py", "seller.collectable_until_s(channel) if channel.unsettled else None",
        "seller.collectable_until_s(channel) if channel.unsettled and channel.stage is Stage.OPEN else None",
        VOUCHERS + "test_a_stream_does_not_hold_up_a_voucher_until_it_expires",
    ),
    Mutation(
        "T26", "intents/owing.py", 'while wish.id is None and f"{channel.id}:{sequence}" in names:', "while False:",
        CREDIT + "test_names_that_a_payer_reserved_are_not_given_to_its_streams[sqlite]",
    ),
    Mutation(
        "T26", "intents/owing.py", "return self.state is State.RESERVED and at_s", "return at_s",
        CREDIT + "test_a_stream_that_is_read_slowly_keeps_its_room[memory]",
    ),
    Mutation(
        "T26", "store/delivery_operations.py", "AND NOT {ACTIVE}))", "))",
        CREDIT + "test_a_stream_that_is_read_slowly_keeps_its_room[sqlite]",
    ),
    Mutation(
        "T38", "core/record.py", "_shown([one.name for one in told if one.repr])", "_shown([one.name for one in told])",
        "tests/attacks/test_record_secrets.py::test_printers_show_no_more_of_a_record_than_its_repr",
    ),
    Mutation(
        "T24", "client/streaming.py", "received - self.streams.asked_units", "received",
        "tests/attacks/test_stream_paid_twice.py"
        "::test_words_that_were_signed_for_while_they_came_are_not_due_once_more[True-10000]",
    ),
    Mutation(
        "T24", "client/visit.py", "return 0 if self.terms.unit_type == WHOLE_ANSWER else", "return",
        "tests/attacks/test_stream_paid_twice.py"
        "::test_words_that_were_signed_for_while_they_came_are_not_due_once_more[False-0]",
    ),
    Mutation(
        "T24", "transports/sse.py",
        '            if lent is not None and _ends(event):  # T24\n                ending = event.encode()\n'
        "            else:\n                yield event.encode()\n        receipt = await",
        "            if False:\n                ending = event.encode()\n"
        "            else:\n                yield event.encode()\n        receipt = await",
        "tests/attacks/test_delivery_last_word.py::test_what_clients_take_for_the_end_comes_after_the_usage[at_our_door]",
    ),
    Mutation(
        "T24", "services/metered.py", "if self._lent is not None and event.ends:", "if False:",
        "tests/attacks/test_delivery_last_word.py"
        "::test_what_clients_take_for_the_end_comes_after_the_usage[behind_the_gate]",
    ),
    Mutation(
        "T26", "server/sessions.py", "meter.forget()  # T26", "pass",
        CREDIT + "test_a_stream_that_never_began_keeps_no_room",
    ),
]  # fmt: skip
