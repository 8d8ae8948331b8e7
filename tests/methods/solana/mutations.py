"""Guards of the solana charge without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

ROOM = "methods/solana"
HERE = "tests/methods/solana"
DEVIATIONS = f"{HERE}/test_pull_refused.py::test_each_deviation_is_refused_by_name"
SMUGGLED = f"{HERE}/test_sponsor.py::test_nothing_is_smuggled_past_the_sponsor"
FOREIGN = f"{HERE}/test_payer.py::test_what_it_does_not_know_is_not_signed"
EXTENSIONS = f"{HERE}/test_tokens.py::test_an_extension_that_could_take_a_payment_apart_is_refused_by_name"
LAGS = f"{HERE}/test_settle.py::test_a_node_that_lags_proves_nothing"
LEGS, PULL, PUSH = f"{ROOM}/legs.py", f"{ROOM}/pull.py", f"{ROOM}/push.py"
SELLER, PAYER, PAYING = f"{ROOM}/charge_seller.py", f"{ROOM}/charge_payer.py", f"{ROOM}/paying.py"
SETTLE, SPONSOR, PREFLIGHT = f"{ROOM}/settle.py", f"{ROOM}/sponsor.py", f"{ROOM}/preflight.py"
EXPIRY = "chains/solana/expiry.py"
CONFIGURE, TOKENS, READ = f"{ROOM}/configure.py", f"{ROOM}/tokens.py", f"{ROOM}/transaction/read.py"

MUTATIONS = [
    # T05: what ties a payment to its challenge
    Mutation(
        "T05",
        PUSH,
        "if not referred and not (plain_allowed and not is_reference(terms.external_id)):",
        "if False:",
        f"{HERE}/test_push.py::test_a_payment_without_a_memo_is_not_pushed",
    ),
    Mutation(
        "T05",
        PUSH,
        "if terms.external_id is None and not plain_allowed:",
        "if False:",
        f"{HERE}/test_push.py::test_a_payment_without_a_memo_is_not_pushed",
    ),
    Mutation("T05", LEGS, "if Counter(memo.text for memo in memos) - Counter(terms.memos):", "if False:", DEVIATIONS),
    Mutation(
        "T05",
        SELLER,
        "require_source(recognised.credential, terms.network, payer)",
        "pass",
        f"{HERE}/test_push.py::test_a_pushed_payment_is_its_payers",
    ),
    Mutation(
        "T05",
        SELLER,
        "return pulled.referred and is_reference(terms.external_id)",
        "return True",
        f"{HERE}/test_pull_refused.py::test_a_transaction_that_is_there_already_pays_only_the_challenge_it_names",
    ),
    # T06: one transaction, one proof
    Mutation(
        "T06",
        PUSH,
        "return signature_text(parse_signature(payload))",
        "return str(payload) + (' ' if parse_signature(payload) else '')",
        f"{HERE}/test_push.py::test_pull_and_push_of_one_transaction_are_one_proof",
    ),
    Mutation(
        "T06",
        PULL,
        "signature = signature_text(read_transaction(final).signatures[0])",
        "signature = signature_text(transaction.signatures[1])",
        f"{HERE}/test_settle.py::test_a_sponsored_transaction_is_the_proof_that_the_chain_shows",
    ),
    # T07, T47: clusters, tokens, programs are what we know ourselves
    Mutation(
        "T07",
        CONFIGURE,
        "if wanted is not None and found != wanted:",
        "if False:",
        f"{HERE}/test_settings.py::test_a_wrong_setting_of_a_seller_is_named",
    ),
    Mutation(
        "T07",
        CONFIGURE,
        "if pin is not None and (mint.program, mint.decimals) != (pin.program, pin.decimals):",
        "if False:",
        f"{HERE}/test_settings.py::test_a_known_token_is_what_we_know_of_it",
    ),
    Mutation(
        "T07",
        SELLER,
        "if (terms.cluster, terms.mint) != (self.config.cluster, self.config.asset.id):",
        "if False:",
        f"{HERE}/test_charge.py::test_a_request_for_another_cluster_or_token_is_not_ours",
    ),
    Mutation(
        "T07",
        SELLER,
        "if terms.token_program != self.config.token_program or terms.decimals != self._decimals():",
        "if False:",
        f"{HERE}/test_charge.py::test_a_request_for_another_cluster_or_token_is_not_ours",
    ),
    Mutation("T07", PAYER, "if terms.cluster != config.cluster:", "if False:", FOREIGN),
    Mutation(
        "T47",
        PAYING,
        "known = config.tokens.get(terms.mint)\n    if known is None:",
        "known = config.tokens.get(terms.mint)\n    if known is None:\n        return\n    if False:",
        f"{HERE}/test_payer.py::test_a_token_that_nobody_vouches_for_is_not_paid",
    ),
    Mutation(
        "T47",
        PAYER,
        "if config.account in (terms.fee_payer, *(leg.recipient for leg in terms.legs)):",
        "if False:",
        f"{HERE}/test_payer.py::test_it_neither_sponsors_nor_pays_itself",
    ),
    Mutation(
        "T05",
        PUSH,
        "if terms.slot is None or landed.slot < terms.slot:",
        "if False:",
        f"{HERE}/test_push.py::test_a_payment_is_never_older_than_its_offer",
    ),
    # T16: signatures that the chain would not take
    Mutation(
        "T16",
        PULL,
        "verify_signatures(transaction, unsigned=unsigned)",
        "pass",
        f"{HERE}/test_pull_refused.py::test_a_key_that_signs_everything_signs_nothing",
    ),
    # T20
    Mutation(
        "T20",
        f"{ROOM}/terms.py",
        "if units > U64_MAX:",
        "if False:",
        f"{HERE}/test_terms.py::test_what_can_not_be_right_is_refused_by_name",
    ),
    # T28: nobody is asked to pay where no payment can arrive
    Mutation(
        "T28",
        CONFIGURE,
        "    if held.state is not TokenState.INITIALIZED:",
        "    if False:",
        f"{HERE}/test_settings.py::test_a_frozen_recipient_is_told_at_once",
    ),
    Mutation(
        "T28",
        CONFIGURE,
        "if (yield from account(accept.rpc_url, recipient)) is None:",
        "if False:",
        f"{HERE}/test_settings.py::test_a_wrong_setting_of_a_seller_is_named",
    ),
    Mutation(
        "T28",
        PREFLIGHT,
        "_require_receiver(found[tokens[0]])",
        "pass",
        f"{HERE}/test_charge.py::test_a_recipient_that_can_not_be_paid_any_more_is_not_offered",
    ),
    Mutation(
        "T28",
        SELLER,
        "if seen.missing and not self.config.create_accounts:",
        "if False:",
        f"{HERE}/test_charge.py::test_a_split_that_nobody_could_receive_is_not_offered",
    ),
    # T29: a token is what it says, and a transfer moves it
    Mutation(
        "T29",
        CONFIGURE,
        "tokens.require_plain(mint, trusted)",
        "pass",
        f"{HERE}/test_settings.py::test_tokens_with_extensions_are_taken_or_named",
    ),
    Mutation(
        "T29",
        PREFLIGHT,
        "require_plain(read_mint(found.owner, found.data), trusted)",
        "read_mint(found.owner, found.data)",
        f"{HERE}/test_charge.py::test_a_token_that_begins_to_take_a_fee_is_not_offered_any_more",
    ),
    Mutation("T29", TOKENS, "and not any(any(data[at : at + 2]) for at in _FEE_POINTS_AT)", "", EXTENSIONS),
    Mutation("T29", TOKENS, "return len(data) == _HOOK_BYTES and not any(data[32:])", "return True", EXTENSIONS),
    Mutation("T29", TOKENS, "return data == bytes((TokenState.INITIALIZED,))", "return True", EXTENSIONS),
    Mutation("T29", PAYING, "if terms.decimals != known.decimals:", "if False:", FOREIGN),
    Mutation("T29", PAYING, "if terms.token_program not in (None, known.program):", "if False:", FOREIGN),
    Mutation(
        "T29",
        PAYING,
        "if owner != known.program:",
        "if False:",
        f"{HERE}/test_payer.py::test_the_token_program_is_looked_up_where_the_server_is_silent",
    ),
    Mutation(
        "T29",
        LEGS,
        "return (transfer.mint, transfer.program) == (terms.mint, token_program)",
        "return True",
        DEVIATIONS,
    ),
    # T30: nothing but the payment is co-signed, at no more than its price
    Mutation("T30", PULL, "if transaction.lookups:", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if len(parts.transfers) != len(taken):", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if payer == terms.fee_payer:", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if transaction.signers != expected:", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if len(authorities) != 1:", "if False:", SMUGGLED),
    Mutation(
        "T30",
        PULL,
        "if each.source != own:",
        "if False:",
        f"{HERE}/test_pull_refused.py::test_a_delegate_does_not_pay_with_anothers_money",
    ),
    Mutation("T30", PULL, "if len(set(owners)) != len(owners):", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if each.owner not in allowed:", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if leg.creates_account or terms.fee_payer is None}", "}", SMUGGLED),
    Mutation("T30", PULL, "if (each.mint, each.token_program) != (terms.mint, token_program):", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if each.funder != funder:", "if False:", SMUGGLED),
    Mutation("T30", PULL, "if account.address not in needed or (", "if (", SMUGGLED),
    Mutation("T30", PULL, " or (account.writable and account.address not in written):", ":", SMUGGLED),
    Mutation("T30", PULL, "    sponsor.require(parts)\n", "", SMUGGLED),
    Mutation(
        "T30",
        PULL,
        "if sponsor is None or sponsor.address != terms.fee_payer:",
        "if sponsor is None:",
        f"{HERE}/test_sponsor.py::test_a_sponsor_that_changed_signs_nothing_for_the_old_one",
    ),
    Mutation(
        "T30", LEGS, "if any(signer != payer for memo in memos for signer in memo.signers):", "if False:", SMUGGLED
    ),
    Mutation("T30", READ, "if len(limits) > 1 or len(prices) > 1:", "if False:", SMUGGLED),
    Mutation("T30", SPONSOR, "if fee_lamports > self.max_fee_lamports:", "if False:", SMUGGLED),
    Mutation(
        "T30",
        SPONSOR,
        "if units > max_units:",
        "if False:",
        SMUGGLED,
    ),
    Mutation(
        "T30",
        SELLER,
        "budgets = sponsor.budgets(pulled.parts, terms.network, pulled.payer)",
        "budgets = ()",
        f"{HERE}/test_gate.py::test_a_payer_that_used_up_its_budget_is_not_sponsored",
    ),
    # T32: success that moved nothing
    Mutation(
        "T32",
        PUSH,
        "    require_raised(terms, token_program, landed)\n",
        "",
        f"{HERE}/test_settle.py::test_the_balances_decide",
    ),
    Mutation(
        "T32",
        PULL,
        "if each.destination == own:",
        "if False:",
        f"{HERE}/test_pull_refused.py::test_a_payer_that_is_the_payee_moves_nothing",
    ),
    Mutation(
        "T32",
        PUSH,
        "if landed.failure is not None:",
        "if False:",
        f"{HERE}/test_push.py::test_a_payment_that_failed_on_the_chain_is_none",
    ),
    # T33: what is not confirmed, or another's
    Mutation(
        "T33",
        SETTLE,
        "if not status.reached(commitment):",
        "if False:",
        f"{HERE}/test_settle.py::test_a_node_that_shows_too_much_is_not_believed_too_early",
    ),
    Mutation(
        "T33",
        SETTLE,
        "if payer != prepared.payer:",
        "if False:",
        f"{HERE}/test_settle.py::test_anothers_payment_is_not_this_ones",
    ),
    Mutation(
        "T33",
        PUSH,
        "    verify_signatures(landed.transaction)\n",
        "",
        f"{HERE}/test_settle.py::test_a_transaction_that_nobody_signed_is_no_answer",
    ),
    # T34, T35: between looking and sending
    Mutation(
        "T34",
        SELLER,
        "yield from preflight(self.config.rpc_url, evidence, terms, bound=bound)",
        "pass",
        f"{HERE}/test_sponsor.py::test_a_payment_that_would_fail_is_never_sponsored",
    ),
    Mutation(
        "T35",
        PREFLIGHT,
        "if bound and (yield from _is_there(url, pulled.signature)):",
        "if False:",
        f"{HERE}/test_pull_refused.py::test_a_transaction_that_is_there_already_pays_only_the_challenge_it_names",
    ),
    # F11, F12, F13: silence is no answer, and death is proven
    Mutation(
        "F11",
        PAYER,
        "        except RpcUnreachable:\n            pass  # whether",
        "        except RpcUnreachable:\n            raise  # whether",
        f"{HERE}/test_payer.py::test_a_lost_answer_is_looked_up_and_not_paid_again",
    ),
    Mutation("F12", EXPIRY, "if time_s is None or time_s <= after_s:", "if False:", LAGS),
    Mutation(
        "F12",
        SETTLE,
        "prepared.dead_after_s + lag_s)",
        "prepared.dead_after_s)",
        f"{HERE}/test_settle.py::test_a_replica_may_lag_as_long_as_the_owner_says",
    ),
    Mutation(
        "F13",
        EXPIRY,
        'if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):',
        "if False:",
        f"{HERE}/test_settle.py::test_a_payment_that_never_landed_is_refused_once_it_never_can",
    ),
    Mutation("F13", EXPIRY, "return status is None", "return True", LAGS),
    Mutation(
        "F13",
        SETTLE,
        "[prepared.reference], history=late)",
        "[prepared.reference])",
        f"{HERE}/test_settle.py::test_late_questions_search_the_history",
    ),
    Mutation(
        "F13",
        PAYER,
        "return status is None and height > last_valid_height",
        "return status is None",
        f"{HERE}/test_payer.py::test_what_is_past_and_not_final_proves_nothing",
    ),
    # F28
    Mutation(
        "F28",
        SELLER,
        "if len(self._looks) >= MAX_LOOKS:",
        "if False:",
        f"{HERE}/test_charge.py::test_a_seller_remembers_only_so_many_looks",
    ),
    # a payment that may have been sent before
    Mutation(
        "F12",
        PAYER,
        "if again:  # what was tried out now may have been passed on before",
        "if False:",
        f"{HERE}/test_payer.py::test_a_refusal_of_what_may_have_been_sent_proves_nothing",
    ),
    Mutation(
        "F14",
        PAYER,
        "(yield from self._seen(reference)) if again else None",
        "None",
        f"{HERE}/test_payer.py::test_what_landed_is_not_sent_again",
    ),
]
