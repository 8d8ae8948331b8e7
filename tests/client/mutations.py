"""Guards of the paying side, taken out one by one; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

EXCHANGE = "client/exchange.py"
PRESENTING = "client/presenting.py"
JOURNEY = "client/journey.py"
PURSE = "client/purse.py"
LOST = "tests/client/test_lost.py::"
ONCE = "tests/client/test_once.py::"
SECRETS = "tests/client/test_secrets.py::"
BUYING = "client/buying.py"
CHANNELS = "client/channels.py"
STREAMING = "client/streaming.py"
VISIT = "client/visit.py"
BOOK = "tests/store/test_book.py::"
CRASH = "tests/faults/test_client_crash.py::"
HOSTILE = "tests/attacks/test_hostile_session_server.py::"
SESSION_LOST = "tests/client/test_session_lost.py::"
AGAIN = "tests/client/test_stream_again.py::"
PUSHING = "client/pushing.py"
PUSHED = "tests/client/test_pushing.py::"
SIGNED = "signed = yield from wait(visit.book.sign(held.key, total_units, voucher, draw))  # F01 F02"
UNSAVED = "signed = __import__('dataclasses').replace(held, signed_units=total_units, voucher=voucher)"

MUTATIONS = [
    Mutation(
        "T10",
        "client/choose.py",
        "if expires_at_s <= now_s:",
        "if False:",
        "tests/client/test_exchange.py::test_offers_out_of_time_are_not_paid",
    ),
    Mutation(
        "T24",
        PRESENTING,
        "event = Paid(resume.origin, resume.terms, resume.reference, receipt, warning, resume)",
        "event = Paid(resume.origin, resume.terms, receipt and receipt.reference, receipt, warning, resume)",
        "tests/client/test_exchange.py::test_a_receipt_that_claims_more_changes_nothing",
    ),
    Mutation(
        "T37",
        EXCHANGE,
        "if not is_private(origin):  # T37",
        "if False:",
        f"{ONCE}test_no_credential_goes_over_plain_http",
    ),
    Mutation(
        "T37",
        EXCHANGE,
        "if journey.strayed:  # T37",
        "if False:",
        f"{ONCE}test_nothing_is_paid_after_a_redirect_elsewhere",
    ),
    Mutation(
        "T37",
        JOURNEY,
        "self.strayed = self.strayed or origin != self.origin",
        "self.strayed = origin != self.origin",
        f"{ONCE}test_a_detour_through_another_site_is_not_paid",
    ),
    Mutation(
        "T37",
        JOURNEY,
        "if (self.method, self.url, self.digest) != (method, url, hashlib.sha256(body).digest()):",
        "if self.method != method:",
        f"{LOST}test_a_payment_is_resumed_for_its_own_request_only",
    ),
    Mutation(
        "T37",
        "transports/httpx_wire.py",
        "headers = request.headers.copy()",
        "headers = request.headers",
        f"{ONCE}test_a_redirect_after_paying_carries_nothing_and_pays_nothing",
    ),
    Mutation(
        "T37",
        "transports/requests.py",
        "copy = request.copy()\n    copy.hooks = {}",
        "copy = request",
        f"{ONCE}test_a_redirect_after_paying_carries_nothing_and_pays_nothing",
    ),
    Mutation(
        "T37",
        "client/text.py",
        "return ipaddress.ip_address(host).is_loopback",
        "return ipaddress.ip_address(host).is_private",
        "tests/client/test_text.py::test_only_https_and_this_machine_are_private",
    ),
    Mutation(
        "T38",
        JOURNEY,
        "header: tuple[str, str] = field(repr=False)",
        "header: tuple[str, str] = field()",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "client/outcome.py",
        'detail.replace(token, "[credential]")',
        "detail",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "transports/requests.py",
        "error.request = self._request  # the copy in it holds the credential. T38",
        "pass",
        f"{SECRETS}test_failures_show_no_credential",
    ),
    Mutation(
        "T38",
        "transports/requests.py",
        "response.request = self._request",
        "pass",
        "tests/transports/test_requests.py::test_history_and_prepared_requests_hold_no_credential",
    ),
    Mutation(
        "T46",
        EXCHANGE,
        "    if journey.resume is not None:\n        raise (yield from asked_twice(purse, origin, journey.resume))\n",
        "",
        f"{ONCE}test_a_redirect_after_paying_does_not_lead_to_a_second_payment",
    ),
    Mutation(
        "T46",
        PRESENTING,
        "    raise refused(purse, resume, answer.status, problem, doubt=again)",
        "    journey.resume = None\n    return answer",
        f"{ONCE}test_a_server_that_asks_for_ever_is_paid_once",
    ),
    Mutation(
        "T46",
        PRESENTING,
        "    if doubt:\n",
        "    if False:\n",
        f"{LOST}test_a_resumed_payment_that_is_refused_stays_unknown",
    ),
    Mutation(
        "T47",
        PURSE,
        "if terms.amount_units > Fraction(limit) * 10 ** (asset.decimals or 0):",
        "if False:",
        "tests/client/test_purse.py::test_words_of_the_server_change_nothing",
    ),
    Mutation(
        "T47",
        PURSE,
        "for payee in terms.payees if",
        "for payee in terms.payees[:1] if",
        "tests/client/test_purse.py::test_every_payee_must_be_known",
    ),
    Mutation(
        "F03",
        PRESENTING,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Cancelled as error:  # ",
        f"{LOST}test_a_lost_answer_is_an_unknown_outcome",
    ),
    Mutation(
        "F03",
        EXCHANGE,
        "            raise lost(purse, journey.resume, error) from error\n",
        "            raise\n",
        f"{LOST}test_an_answer_lost_after_a_redirect_is_unknown",
    ),
    Mutation(
        "F03",
        "transports/httpx_wire.py",
        "except (httpx.HTTPError, OSError) as error:",
        "except OSError as error:",
        "tests/transports/test_httpx.py::test_a_stream_that_breaks_off_names_the_payment",
    ),
    Mutation(
        "F11",
        PRESENTING,
        "if pause_s is None:",
        "if True:",
        f"{LOST}test_come_back_later_is_obeyed_with_the_same_credential",
    ),
    Mutation(
        "F14",
        EXCHANGE,
        "journey.resume = resume  # from here on this request never pays again. F14",
        "pass",
        f"{LOST}test_an_unanswered_login_does_not_pay_twice",
    ),
    Mutation(
        "F29",
        PRESENTING,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Exception as error:  # ",
        f"{LOST}test_a_cancelled_paid_request_is_unknown",
    ),
    Mutation(
        "F29",
        "transports/httpx_wire.py",
        "except (httpx.HTTPError, OSError, asyncio.CancelledError) as error:",
        "except (httpx.HTTPError, OSError) as error:",
        f"{LOST}test_a_cancelled_paid_request_is_unknown",
    ),
    Mutation("F01", VISIT, SIGNED, UNSAVED, f"{CRASH}test_killed_anywhere_the_next_process_goes_on[client.sent-1]"),
    Mutation("F02", VISIT, SIGNED, UNSAVED, f"{CRASH}test_killed_anywhere_the_next_process_goes_on[client.sent-1]"),
    Mutation(
        "F01",
        "store/book_rules.py",
        "if total_units <= known.signed_units:  # I3",
        "if False:",
        f"{BOOK}test_a_signed_total_only_grows",
    ),
    Mutation(
        "F01",
        "store/book_schema.py",
        "WHEN new.signed < old.signed OR new.acknowledged",
        "WHEN new.acknowledged",
        f"{BOOK}test_the_database_itself_lets_no_total_go_down",
    ),
    Mutation(
        "F01",
        CHANNELS,
        "yield from wait(visit.book.begin(held, draw))  # before anything is sent. F01",
        "pass",
        f"{SESSION_LOST}test_a_lost_opening_is_gone_on_with",
    ),
    Mutation(
        "F03",
        BUYING,
        "raise lost(purse, resume, error) from error",
        "raise",
        f"{SESSION_LOST}test_a_lost_purchase_is_resumed_word_for_word",
    ),
    Mutation(
        "F03",
        CHANNELS,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Cancelled as error:  # ",
        f"{SESSION_LOST}test_a_lost_opening_is_gone_on_with",
    ),
    Mutation(
        "F29",
        BUYING,
        "except (Exception, Cancelled) as error:  # broad on purpose: ",
        "except Exception as error:  # ",
        f"{SESSION_LOST}test_a_cancelled_purchase_keeps_its_watermark_and_gives_its_turn_back",
    ),
    Mutation(
        "F04",
        CHANNELS,
        "found = yield from introduced(visit)",
        "found = []",
        f"{CRASH}test_a_lost_book_recovers_from_our_own_signature",
    ),
    Mutation(
        "F05",
        BUYING,
        "attempts.on(found)  # an old backup catches up. F05",
        "pass",
        f"{CRASH}test_an_old_backup_catches_up",
    ),
    Mutation(
        "F05",
        BUYING,
        "total = None if equal else (yield from _caught_up(attempts))",
        "total = None",
        "tests/client/test_session_lost.py::test_an_old_backup_catches_up_where_only_a_proven_account_is_told",
    ),
    Mutation(
        "F05",
        "store/book_rules.py",
        "signed_units=max(old.signed_units, found.signed_units),",
        "signed_units=old.signed_units,",
        f"{BOOK}test_a_found_channel_merges_upwards",
    ),
    Mutation(
        "F25",
        "store/book_lock.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # F25",
        "pass",
        f"{BOOK}test_one_at_a_time_has_the_turn",
    ),
    Mutation(
        "T24",
        "client/watermark.py",
        "return max(self.signed_units + STEP_UNITS, above + self.price_units)",
        "return max(self.signed_units + STEP_UNITS, above + 2 * self.price_units)",
        "tests/client/test_watermark.py::test_a_request_never_signs_more_than_its_price",
    ),
    Mutation(
        "T24",
        "client/watermark.py",
        "if required_units > self.most_units:",
        "if False:",
        f"{HOSTILE}test_a_stream_that_asks_for_too_much_gets_nothing",
    ),
    Mutation(
        "T24",
        "store/book_rules.py",
        "return min(said_units or 0, known.signed_units)  # T24",
        "return said_units or 0",
        f"{HOSTILE}test_an_inflated_receipt_changes_nothing",
    ),
    Mutation(
        "T24",
        STREAMING,
        "if needed.channel_id != self.held.channel_id:  # T24",
        "if False:",
        f"{HOSTILE}test_a_stream_that_asks_in_strange_words_gets_nothing",
    ),
    Mutation(
        "T46",
        BUYING,
        "MAX_PRESENTED = 4\n",
        "MAX_PRESENTED = 40\n",
        f"{HOSTILE}test_a_server_that_asks_for_ever_gets_one_price",
    ),
    Mutation(
        "T46",
        STREAMING,
        "if self._idle > MAX_IDLE_NEEDS:  # T46",
        "if False:",
        f"{HOSTILE}test_a_stream_that_only_asks_is_left",
    ),
    Mutation(
        "T46",
        "client/terms.py",
        "if same_terms(agreed, terms) and (held is None or payer.fits(held, terms)):  # T46 T47",
        "if True:",
        f"{HOSTILE}test_terms_that_shift_after_a_voucher_get_nothing",
    ),
    Mutation(
        "T47",
        "client/terms.py",
        "if same_terms(agreed, terms) and (held is None or payer.fits(held, terms)):  # T46 T47",
        "if same_terms(agreed, terms):",
        f"{HOSTILE}test_terms_that_shift_after_a_voucher_get_nothing",
    ),
    Mutation(
        "T37",
        "client/closing.py",
        "if not is_private(origin_of(url)):  # T37",
        "if False:",
        "tests/client/test_sessions.py::test_no_voucher_goes_over_plain_http",
    ),
    Mutation(
        "F03",
        BUYING,
        "_watch(visit, held, answer, resume.agreed, said, again=True)",
        "pass",
        f"{AGAIN}test_a_lost_stream_that_comes_again_is_paid_once",
    ),
    Mutation(
        "T24",
        "client/watermark.py",
        "return max(self.before_units, signed_units - self.own_units)  # T24",
        "return signed_units",
        f"{AGAIN}test_what_was_agreed_to_before_the_loss_is_not_agreed_to_again",
    ),
    Mutation(
        "T24",
        STREAMING,
        "self.agreed.asked_units += self.streams.asked(held.signed_units)  # T24",
        "self.streams.asked(held.signed_units)",
        f"{AGAIN}test_what_was_agreed_to_before_the_loss_is_not_agreed_to_again",
    ),
    Mutation(
        "T24",
        "client/deliveries.py",
        "self.agreed.deliveries[told.delivery_id] = due_units  # T24",
        "pass",
        f"{AGAIN}test_a_delivery_that_was_paid_before_the_loss_is_not_paid_again",
    ),
    Mutation(
        "F10",
        CHANNELS,
        "return (yield from _present_move(visit, held, state.deposit_units))",
        "return (yield from _done(visit, held, state.deposit_units))",
        SESSION_LOST
        + "test_a_move_that_the_chain_shows_and_the_server_has_not_recorded_is_gone_on_with[topUp-session.broadcast]",
    ),
    Mutation(
        "F01",
        "intents/session_problems.py",
        "if refused.why is Why.OPENING:",
        "if False:",
        "tests/server/test_session_deposits.py::test_a_voucher_that_overtakes_its_opening_is_told_to_come_again",
    ),
    # charges that the payer sends itself
    Mutation(
        "F01",
        PUSHING,
        "yield from wait(book.begin_charge(charge))  # F01 F02",
        "pass",
        f"{PUSHED}test_what_is_sent_is_on_record_before",
    ),
    Mutation(
        "F02",
        PUSHING,
        "yield from wait(book.begin_charge(charge))  # F01 F02",
        "pass",
        CRASH.replace("client_crash", "push_crash") + "test_killed_anywhere_it_is_paid_once",
    ),
    Mutation(
        "F14",
        EXCHANGE,
        "answer = yield from go_on(errand, purse, journey, body)  # F14",
        "answer = None",
        f"{PUSHED}test_who_asks_again_is_served_by_the_same_payment",
    ),
    Mutation(
        "F03",
        PUSHING,
        "if error.resume is not None:  # F03",
        "if False:",
        f"{PUSHED}test_who_asks_again_is_served_by_the_same_payment",
    ),
    Mutation(
        "F03",
        "transports/tapping.py",
        "tap.finish()  # F03",
        "pass",
        f"{PUSHED}test_who_asks_again_is_served_by_the_same_payment",
    ),
    Mutation(
        "F25",
        PUSHING,
        "    lease = yield from call(book.try_lock, charge)\n    owned",
        "    lease = yield from call(book.try_lock, replace(charge, id='any'))\n    owned",
        f"{PUSHED}test_two_that_ask_at_once_pay_one_each",
    ),
    Mutation(
        "T49",
        PUSHING,
        "if (one.method, one.source()) == (charge.method, charge.payer))",
        "if one.method == charge.method)",
        f"{PUSHED}test_what_is_another_request_is_paid_for_itself",
    ),
    Mutation(
        "F29",
        PUSHING,
        "except (Exception, Cancelled) as error:  # broad on purpose: whatever stopped us, it may have left. F03 F29",
        "except () as error:",
        f"{PUSHED}test_who_is_cancelled_while_it_is_sent_does_not_know",
    ),
    Mutation(
        "F17",
        PUSHING,
        "with suppress(StoreError):  # F17",
        "if True:",
        f"{PUSHED}test_an_answer_is_not_lost_with_the_record",
    ),
    Mutation(
        "F29",
        PUSHING,
        "except Cancelled as error:  # F29",
        "except () as error:",
        f"{PUSHED}test_cancelled_at_any_await_it_is_paid_once",
    ),
    Mutation(
        "T49",
        PUSHING,
        '("idempotency-key", "authorization", "x-api-key", "range")',
        '("idempotency-key", "x-api-key", "range")',
        f"{PUSHED}test_what_one_user_paid_for_is_not_presented_for_another",
    ),
    Mutation(
        "F28",
        PUSHING,
        "yield from _end(purse, charge.id)  # F28",
        "pass  # F28",
        f"{PUSHED}test_who_comes_late_for_a_charge_leaves_no_file",
    ),
    Mutation(
        "F01",
        PUSHING,
        "yield from _end(purse, charge.id)  # F01",
        "pass  # F01",
        f"{PUSHED}test_what_was_written_down_unheard_is_not_sent_later",
    ),
    Mutation(
        "F28",
        "store/book_lock.py",
        """as an answer that was dropped unread, locks nobody out. F28\"\"\"
        descriptor, self._descriptor = self._descriptor, None""",
        """as an answer that was dropped unread, locks nobody out. F28\"\"\"
        descriptor = None""",
        f"{PUSHED}test_an_answer_that_is_dropped_unread_locks_nobody_out",
    ),
    Mutation(
        "F28",
        "store/book_memory.py",
        "self.release()  # F28",
        "pass  # F28",
        f"{PUSHED}test_an_answer_that_is_dropped_unread_locks_nobody_out",
    ),
    Mutation(
        "F03",
        "transports/requests.py",
        "if size is None or size < 0 or (size and not body):  # F03",
        "if False:",
        f"{PUSHED}test_an_answer_that_is_read_raw_is_received",
    ),
]
