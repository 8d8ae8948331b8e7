"""Guards of the tempo charge without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

ROOM = "methods/tempo"
HERE = "tests/methods/tempo"
DEVIATIONS = f"{HERE}/test_pull_refused.py::test_each_deviation_is_refused_by_name"
SMUGGLED = f"{HERE}/test_sponsor.py::test_nothing_is_smuggled_past_the_sponsor"
BORROWED = (
    "tests/attacks/test_borrowed_name.py::"
    "test_a_key_that_may_not_act_for_an_account_gets_nothing_of_what_the_account_paid_for"
)
LEGS, PULL, PUSH = f"{ROOM}/legs.py", f"{ROOM}/pull.py", f"{ROOM}/push.py"
SELLER, PAYER = f"{ROOM}/charge_seller.py", f"{ROOM}/charge_payer.py"
SETTLE, SPONSOR, PREFLIGHT = f"{ROOM}/settle.py", f"{ROOM}/sponsor.py", f"{ROOM}/preflight.py"

MUTATIONS = [
    # T21: nothing settles for a price of zero, and nothing but money pays another
    Mutation(
        "T21",
        SELLER,
        'if (kind == "proof") != (terms.amount_units == 0):',
        "if False:",
        f"{HERE}/test_proof.py::test_a_proof_pays_no_price_and_a_price_of_zero_takes_nothing_else",
    ),
    # T05: what binds a payment to its challenge
    Mutation(
        "T05",
        PUSH,
        "terms, Binding(binding.challenge))",
        "terms, binding)",
        f"{HERE}/test_push.py::test_a_plain_transfer_is_never_taken_as_a_push",
    ),
    Mutation(
        "T05",
        PUSH,
        "if terms.custom_memo:",
        "if False:",
        f"{HERE}/test_push.py::test_a_memo_of_the_sellers_own_is_never_pushed",
    ),
    Mutation(
        "T05",
        SELLER,
        "require_source(credential, terms.chain_id, receipt.sender)",
        "pass",
        f"{HERE}/test_push.py::test_a_payment_by_another_account_than_the_source_is_refused",
    ),
    Mutation(
        "T05",
        SELLER,
        "if not evidence.bound:",
        "if False:",
        f"{HERE}/test_pull_refused.py::test_what_binds_to_no_challenge_must_not_be_on_the_chain_already",
    ),
    Mutation(
        "T05",
        PAYER,
        "if any(leg.memo is not None and is_attribution_memo(leg.memo) for leg in terms.legs):",
        "if False:",
        f"{HERE}/test_payer.py::test_what_it_does_not_understand_is_not_signed",
    ),
    # T06: one transaction, one proof
    Mutation(
        "T06",
        PUSH,
        "return to_hex(parse_hex(payload, size=32))",
        "parse_hex(payload, size=32)\n        return str(payload)",
        f"{HERE}/test_settle.py::test_pull_and_push_of_one_transaction_are_one_proof",
    ),
    Mutation(
        "T06",
        PULL,
        "return Pulled(signed, final, transaction_hash(final),",
        "return Pulled(signed, final, transaction_hash(raw),",
        f"{HERE}/test_settle.py::test_a_sponsored_transaction_is_the_proof_that_the_chain_shows",
    ),
    # T07: chains
    Mutation("T07", PULL, "if tx.chain_id != terms.chain_id:", "if False:", DEVIATIONS),
    Mutation(
        "T07",
        SELLER,
        "if (terms.chain_id, terms.asset.id) != (self.config.chain_id, self.config.asset.id):",
        "if False:",
        f"{HERE}/test_pull_refused.py::test_a_challenge_for_another_chain_or_currency_is_not_this_sellers",
    ),
    Mutation(
        "T07",
        PAYER,
        "if terms.chain_id != self.config.chain_id:",
        "if False:",
        f"{HERE}/test_payer.py::test_what_it_does_not_understand_is_not_signed",
    ),
    Mutation(
        "T07",
        f"{ROOM}/configure.py",
        "if wanted is not None and wanted != found:",
        "if False:",
        f"{HERE}/test_settings.py::test_a_wrong_setting_of_a_wallet_is_named",
    ),
    # signatures
    Mutation(
        "T13",
        "chains/evm/signature.py",
        "s > _HALF_N",
        "s > _N",
        f"{HERE}/test_proof.py::test_only_the_one_spelling_of_a_signature_is_taken",
    ),
    Mutation(
        "T15",
        f"{ROOM}/proof.py",
        "if signer == account:",
        "if signer:",
        f"{HERE}/test_proof.py::test_a_proof_needs_the_source_that_signed",
    ),
    Mutation(
        "T17",
        SELLER,
        "if (yield from code_at(self.config.rpc_url, account)):",
        "if False:",
        f"{HERE}/test_proof.py::test_an_account_with_code_is_refused_by_name",
    ),
    Mutation("T18", PREFLIGHT, "if not brought and not state.holds_until(until):", "if False:", DEVIATIONS),
    Mutation(
        "T18",
        PREFLIGHT,
        "made.signer == signed.sender",
        "made.signer",
        BORROWED,
    ),
    Mutation(
        "T18",
        PREFLIGHT,
        "and wanted.key_id == signed.signer.key",
        "and True",
        BORROWED,
    ),
    # what moves
    Mutation("T29", LEGS, "if each.token == currency]", "if True]", DEVIATIONS),
    Mutation("T31", PULL, "if len(tx.calls) != len(taken):", "if False:", DEVIATIONS),
    Mutation(
        "T32",
        PUSH,
        "if _by(each, payer)]",
        "if True]",
        f"{HERE}/test_settle.py::test_somebody_elses_transfer_in_the_same_transaction_is_not_the_payers",
    ),
    Mutation(
        "T32",
        LEGS,
        "left.remove(found)",
        "pass",
        f"{HERE}/test_settle.py::test_a_transfer_told_of_twice_is_counted_once",
    ),
    Mutation(
        "T32",
        SETTLE,
        "require_paid(receipt, prepared.payer, terms, binding)",
        "pass",
        f"{HERE}/test_settle.py::test_success_that_moved_nothing_is_no_payment",
    ),
    # the sponsor
    Mutation(
        "T30",
        SPONSOR,
        "(signed.sender == self.address,",
        "(False,",
        f"{HERE}/test_sponsor.py::test_the_sponsor_sponsors_no_payment_of_its_own",
    ),
    Mutation("T31", SPONSOR, "(tx.gas_limit > self._gas(tx, legs),", "(False,", SMUGGLED),
    Mutation("T31", SPONSOR, "tx.max_fee_per_gas > self.max_fee_per_gas,", "False,", SMUGGLED),
    Mutation("T31", SPONSOR, "(self.cost(tx) > self.max_fee_units,", "(False,", SMUGGLED),
    Mutation("T31", SPONSOR, "(tx.fee_token is not None,", "(False,", SMUGGLED),
    Mutation("T31", SPONSOR, "tx.key_authorization is not None and not self.key_authorization,", "False,", SMUGGLED),
    Mutation("T31", SPONSOR, "or tx.valid_before > now_s + self.window_s", "", SMUGGLED),
    Mutation("T36", SPONSOR, "(tx.nonce_key != EXPIRING_NONCE_KEY or tx.nonce != 0,", "(False,", SMUGGLED),
    Mutation(
        "T31",
        SELLER,
        "budgets = self.config.sponsor.budgets(pulled.signed.transaction, pulled.signed.sender)",
        "pass",
        f"{HERE}/test_gate.py::test_a_payer_that_used_up_its_budget_is_not_sponsored",
    ),
    Mutation(
        "T31",
        PREFLIGHT,
        "if tx.gas_limit < needed:",
        "if False:",
        f"{HERE}/test_sponsor.py::test_gas_that_does_not_suffice_is_noticed_before_it_costs_anything",
    ),
    Mutation(
        "T34",
        PREFLIGHT,
        "if not all(each.succeeded for each in moved):",
        "if False:",
        f"{HERE}/test_sponsor.py::test_a_payment_that_would_fail_is_not_sponsored",
    ),
    # nodes
    Mutation(
        "T33",
        SETTLE,
        "if block is None or block.hash != receipt.block_hash:",
        "if block is None:",
        f"{HERE}/test_settle.py::test_a_receipt_in_a_block_that_is_not_there_settles_nothing",
    ),
    Mutation(
        "T33",
        SETTLE,
        "if head.number < receipt.block_number + confirmations:",
        "if False:",
        f"{HERE}/test_settle.py::test_confirmations_are_counted_in_blocks",
    ),
    Mutation(
        "F11",
        SETTLE,
        "if head.timestamp_s > dead_after_s + lag_s:",
        "if True:",
        f"{HERE}/test_settle.py::test_an_answer_that_is_lost_is_not_a_refusal",
    ),
    Mutation(
        "F13",
        SETTLE,
        "dead_after_s + lag_s:",
        "dead_after_s:",
        f"{HERE}/test_settle.py::test_a_payment_that_was_never_taken_dies_with_its_validity",
    ),
    Mutation(
        "F12",
        SETTLE,
        "        return receipt\n    if head",
        "        pass\n    if head",
        f"{HERE}/test_settle.py::test_the_receipt_is_asked_for_again_after_the_clock",
    ),
    Mutation(
        "F12",
        PUSH,
        "RECEIPT_WAIT_S = 2.0",
        "RECEIPT_WAIT_S = 0.0",
        f"{HERE}/test_push.py::test_a_replica_that_lags_gets_a_moment",
    ),
    Mutation(
        "T35",
        SELLER,
        "if not pulled.bound or (yield from get_receipt(self.config.rpc_url, pulled.hash)) is None:",
        "if True:",
        f"{HERE}/test_settle.py::test_a_payment_that_somebody_else_broadcast_settles_as_ours",
    ),
    # what a wallet believes, and what it shows
    Mutation(
        "T47",
        PAYER,
        "if terms.asset.id not in self.config.tokens:",
        "if False:",
        f"{HERE}/test_payer.py::test_what_it_does_not_understand_is_not_signed",
    ),
    Mutation(
        "T47",
        f"{ROOM}/configure.py",
        "tokens={**own, **pinned(number)},",
        "tokens={**pinned(number), **own},",
        f"{HERE}/test_payer.py::test_a_token_of_the_owners_own_is_paid_without_a_peg",
    ),
    Mutation(
        "T38",
        SELLER,
        "rpc_url: str = field(repr=False)",
        "rpc_url: str",
        f"{HERE}/test_settings.py::test_addresses_of_nodes_are_in_no_repr",
    ),
    # a payment that may have been sent before
    Mutation(
        "F12",
        PAYER,
        "if not again:",
        "if True:",
        f"{HERE}/test_payer.py::test_what_is_refused_now_is_dead_when_its_time_is_past",
    ),
    Mutation(
        "F13",
        PAYER,
        "if isinstance(found, Refused):  # F13",
        "if False:",
        f"{HERE}/test_payer.py::test_what_is_refused_now_is_dead_when_its_time_is_past",
    ),
]
