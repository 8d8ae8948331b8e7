"""Guards of the server without which a test of this folder, or of tests/faults, must fail; those of sessions and of the
settler stand in folders of their own.
"""

from __future__ import annotations

from support.mutation import Mutation

BINDING = "tests/server/test_binding.py::"
REPLAY = "tests/server/test_replay.py::"
KEYS = "tests/server/test_idempotency.py::"
REFUSALS = "tests/server/test_refusals.py::"
CANCEL = "tests/server/test_cancel.py::"
RESOLVER = "tests/server/test_resolver.py::"
DELIVERY = "tests/server/test_delivery.py::"
GATE = "server/gate.py"
LOOK_AGAIN = (
    "outcome = yield from self._ask(prepared, seller)\n        if isinstance(outcome, Refused):\n            raise"
)
SEND_AGAIN = "return (yield from self._settle(hold, prepared, seller, asked))\n        "
STORED = "if payment.stage is Stage.DELIVERED:\n            return self._replayed(payment, asked)\n        seller"

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
]
