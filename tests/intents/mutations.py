"""Guards of deliveries, taken out one by one: what a payer believes, and whom a server trusts."""

from __future__ import annotations

from support.mutation import Mutation

PAYER = "tests/client/test_deliveries.py::"
SERVER = "tests/server/test_deliveries.py::"
STORE = "tests/store/test_deliveries.py::"
CRASH = "tests/faults/test_delivery_crash.py::"
OWING = "intents/owing.py"
COMMITS = "server/commits.py"
POSTING = "client/committing.py"
PAYING = "client/deliveries.py"

MUTATIONS = [
    # --- the payer
    Mutation(
        "T24",
        PAYING,
        "if told.channel_id != held.channel_id:  # T24",
        "if False:",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "T29",
        PAYING,
        "if told.currency not in (asset.id, asset.symbol):  # T29",
        "if False:",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "T24",
        PAYING,
        "if told.delivery_id in self._ended or told.sequence <= self._sequence:  # T24",
        "if False:",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "T24",
        PAYING,
        "if self._live is None or told.delivery_id != self._live.delivery_id:  # T24",
        "if False:",
        PAYER + "test_a_usage_of_another_delivery_is_refused",
    ),
    Mutation(
        "T24",
        PAYING,
        "if total > min(streamed, of_request):  # T24",
        "if total > streamed:",
        PAYER + "test_the_limits_of_the_policy_hold",
    ),
    Mutation(
        "T24",
        PAYING,
        "if total > min(streamed, of_request):  # T24",
        "if total > of_request:",
        PAYER + "test_the_limits_of_the_policy_hold",
    ),
    Mutation(
        "T24",
        PAYING,
        "total = self._paid_units + self.due_units",
        "total = self.due_units",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "T37",
        PAYING,
        "if origin_of(url) != origin or",
        "if False and origin_of(url) or",
        PAYER + "test_a_voucher_is_posted_to_the_same_site_only",
    ),
    Mutation(
        "T22",
        PAYING,
        "yield from affordable(visit, total - held.signed_units)",
        "yield from ()",
        "tests/client/test_deliveries.py::test_a_budget_is_asked_before_anything_is_deposited",
    ),
    Mutation(
        "T24",
        POSTING,
        "if receipt.channel_id != held.channel_id:  # T24",
        "if False:",
        PAYER + "test_what_is_no_acknowledgement_moves_nothing",
    ),
    Mutation(
        "T24",
        POSTING,
        "if receipt.delivery_id != commit.delivery_id:  # T24",
        "if False:",
        PAYER + "test_what_is_no_acknowledgement_moves_nothing",
    ),
    Mutation(
        "T20",
        "intents/deliveries.py",
        "units = value if type(value) is int else parse_units(value)  # T20",
        "units = value if isinstance(value, int) else parse_units(value)",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "T20",
        "intents/deliveries.py",
        "if not 0 <= units < 1 << BITS:  # T20",
        "if units < 0:",
        PAYER + "test_a_directive_that_was_not_agreed_to_is_not_paid",
    ),
    Mutation(
        "F03",
        "client/channels.py",
        "    if commit is not None:\n        return (yield from resume(visit, held, commit))\n",
        "    if commit is not None:\n        return held\n",
        PAYER + "test_an_unknown_outcome_is_settled_before_anything_else_is_paid",
    ),
    Mutation(
        "F03",
        POSTING,
        "            if not tries_left or isinstance(error.__cause__, Cancelled):",
        "            if True:",
        PAYER + "test_a_commit_in_doubt_goes_out_again_with_the_same_bytes",
    ),
    Mutation(
        "F01",
        POSTING,
        "signed = held.signed_units == commit.total_units  # F01: else we died before",
        "signed = True",
        CRASH + "test_a_client_dies_around_a_commit",
    ),
    Mutation(
        "F02",
        PAYING,
        "            yield from wait(visit.book.note(held.key, Word(pending=pending)))\n",
        "",
        CRASH + "test_a_client_dies_around_a_commit",
    ),
    # --- the server
    Mutation(
        "T15",
        COMMITS,
        "        seller.verify(presented, channel, claimed, at_s)  # T13 T15\n",
        "",
        SERVER + "test_both_endpoints_want_the_credential_of_the_channel",
    ),
    Mutation(
        "T15",
        COMMITS,
        "        asked.seller.verify(paying, asked.channel, asked.claimed, at_s)  # T13 T15\n",
        "",
        SERVER + "test_a_commit_by_another_signature_is_refused",
    ),
    Mutation(
        "T12",
        COMMITS,
        "        if not ours:  # T12",
        "        if False:",
        SERVER + "test_both_endpoints_want_the_credential_of_the_channel",
    ),
    Mutation(
        "T05",
        COMMITS,
        "or voucher.amount_units <= channel.settled:  # T05",
        "or False:",
        SERVER + "test_a_voucher_that_settling_has_shown_reserves_nothing",
    ),
    Mutation(
        "T05",
        COMMITS,
        "voucher.amount_units < channel.accepted or",
        "False or",
        SERVER + "test_a_voucher_that_settling_has_shown_reserves_nothing",
    ),
    Mutation(
        "T08",
        COMMITS,
        "if named is not None and named != channel.id:  # T08",
        "if False:",
        SERVER + "test_both_endpoints_want_the_credential_of_the_channel",
    ),
    Mutation(
        "T08",
        COMMITS,
        "if paying.key != asked.presented.key or paying.voucher is None:  # T08",
        "if False:",
        SERVER + "test_a_commit_for_another_channel_is_refused",
    ),
    Mutation(
        "T10",
        COMMITS,
        "if at_s >= asked.claimed.expires_at_s:  # T10",
        "if False:",
        SERVER + "test_a_challenge_that_is_over_reserves_nothing",
    ),
    Mutation(
        "T26",
        COMMITS,
        "if fruitless and not self._flood.allows(asked.channel.key, at_s):  # T26",
        "if False:",
        SERVER + "test_a_flood_of_commits_that_pay_nothing_is_told_to_wait",
    ),
    Mutation(
        "T37",
        POSTING,
        "if origin_of(commit.url) != visit.origin:",
        "if False:",
        PAYER + "test_a_commit_in_doubt_waits_for_its_own_site",
    ),
    Mutation(
        "T41",
        "transports/committing.py",
        "if len(body) > MAX_BODY:  # T41",
        "if False:",
        SERVER + "test_a_garbled_commit_is_a_bad_request",
    ),
    Mutation(
        "T26",
        OWING,
        "if credit < wish.least_units or len(open_ones) >= MAX_OPEN:  # T26",
        "if credit < wish.least_units:",
        STORE + "test_a_flood_of_reservations_ends_at_the_sixteenth",
    ),
    Mutation(
        "T26",
        OWING,
        "if credit < wish.least_units or len(open_ones) >= MAX_OPEN:  # T26",
        "if False:",
        STORE + "test_what_is_open_keeps_within_the_credit",
    ),
    Mutation(
        "T22",
        OWING,
        "if room < wish.least_units:  # T22",
        "if False:",
        STORE + "test_what_is_open_keeps_within_the_deposit",
    ),
    Mutation(
        "T27",
        OWING,
        "    if isinstance(stopped, SessionRefused):  # T27\n        return stopped\n",
        "",
        STORE + "test_a_closing_channel_is_given_nothing",
    ),
    Mutation(
        "T24",
        OWING,
        "if added > owed.most_units:  # T24: more than its payer can have meant to pay for it",
        "if False:",
        SERVER + "test_a_commit_pays_what_was_delivered_and_no_more",
    ),
    Mutation(
        "T24",
        OWING,
        "if not 0 <= cost_units <= owed.most_units or owed.state is State.PAID:  # T24",
        "if False:",
        STORE + "test_nothing_is_owed_twice_or_above_what_was_reserved",
    ),
    Mutation(
        "T02",
        OWING,
        "    if owed.state is State.PAID:\n        same",
        "    if False:\n        same",
        STORE + "test_a_delivery_is_paid_in_one_step",
    ),
    Mutation(
        "T26",
        "server/settler.py",
        "    yield from wait(going.store.expire_deliveries(WINDOWS))",
        "    yield from ()",
        SERVER + "test_the_settler_gives_back_what_nothing_became_of",
    ),
    Mutation(
        "T25",
        "transports/sse.py",
        'OURS = ("payment-", "mpp.")',
        'OURS = ("payment-",)',
        SERVER + "test_an_application_can_not_speak_for_us",
    ),
    Mutation(
        "T44",
        "services/eventstream.py",
        '_OURS = (b"payment-", b"mpp.")',
        '_OURS = (b"payment-",)',
        "tests/services/test_lending.py::test_an_upstream_can_not_speak_for_us",
    ),
    Mutation(
        "T25",
        "server/lending.py",
        "store.owe(owed, cost, units) if taken else store.drop_delivery(owed)",
        "store.drop_delivery(owed)",
        SERVER + "test_a_handler_that_fails_half_way_is_owed_what_was_sent",
    ),
]
