"""Guards of methods/tempo/session without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

ROOM = "methods/tempo/session"
HERE = "tests/methods/tempo/session"
CHANNEL, PAYLOAD, VOUCHER = f"{ROOM}/channel.py", f"{ROOM}/payload.py", f"{ROOM}/voucher.py"
SNAPSHOT, CALLS, TRANSACTION, RESERVE = (
    f"{ROOM}/{name}.py" for name in ("snapshot", "calls", "transaction", "reserve")
)
ELSEWHERE = f"{HERE}/test_channel.py::test_the_same_channel_elsewhere_has_another_id"
WRONG_ID = f"{HERE}/test_payload.py::test_an_id_that_is_not_its_descriptors_is_refused"
QUICK = f"{HERE}/test_payload.py::test_what_is_read_quickly_is_what_is_read"
NOT_KEPT = f"{HERE}/test_payload.py::test_a_long_descriptor_is_not_kept"
BY_NAME = f"{HERE}/test_voucher.py::test_what_is_not_taken_is_refused_by_name"
SIGNER = f"{HERE}/test_voucher.py::test_only_the_expected_signer_is_taken"
NOT_BELIEVED = f"{HERE}/test_snapshot.py::test_another_channel_is_not_believed"
LENGTH = f"{HERE}/test_calls.py::test_a_call_of_another_length_is_refused"
FIELDS = f"{HERE}/test_transaction.py::test_each_field_of_the_transaction_is_checked"
SAME = f"{HERE}/test_transaction.py::test_an_open_makes_the_channel_that_it_names"
MORE = f"{HERE}/test_transaction.py::test_a_transaction_that_does_more_is_refused"
AGAIN = f"{HERE}/test_reserve.py::test_a_replica_that_is_behind_is_asked_again"
NO_EVENT = f"{HERE}/test_reserve.py::test_success_without_the_escrows_event_confirms_nothing"

PAYER, SUGGESTION = f"{ROOM}/payer.py", f"{ROOM}/suggestion.py"
OWN = f"{HERE}/test_own_channels.py"
UNKNOWN = f"{HERE}/test_payer_terms.py::test_what_it_does_not_know_is_refused_before_anything_is_signed"
MISFIT = f"{HERE}/test_payer_terms.py::test_a_channel_fits_the_terms_it_was_opened_for_and_no_others"
UNPROVEN = f"{HERE}/test_suggestion.py::test_one_unit_more_than_we_signed_is_refused"
LIE = f"{HERE}/test_suggestion.py::test_each_lie_is_refused"

SELLER, FUNDING, PAYOUT, LOOKING = (f"{ROOM}/{name}.py" for name in ("seller", "funding", "payout", "looking"))
FUNDED, PAID = f"{HERE}/test_funding.py", f"{HERE}/test_payout.py"

MUTATIONS = [
    Mutation("T07", PAYLOAD, "if channel.id != told.channelId:", "if False:", QUICK),
    Mutation("T09", PAYLOAD, "or len(_compact.encode(told)) != len(raw):", "or False:", QUICK),
    Mutation("F28", PAYLOAD, " or len(descriptor) > MAX_DESCRIPTOR_BYTES:", ":", NOT_KEPT),
    Mutation(
        "T26",
        SELLER,
        "if asked.deposit_units < self.config.min_deposit_units:",
        "if False:",
        f"{FUNDED}::test_dust_opens_no_channel",
    ),
    Mutation(
        "T07",
        SELLER,
        "(terms.escrow != config.escrow, ",
        "(False, ",
        f"{HERE}/test_seller.py::test_terms_of_another_seller_are_not_taken",
    ),
    Mutation(
        "T15",
        SELLER,
        "self._scheme.verify(voucher.channel, voucher.amount_units, voucher.raw, channel.signer)",
        "pass",
        f"{HERE}/test_seller.py::test_a_voucher_of_somebody_else_is_refused",
    ),
    Mutation(
        "T06",
        SELLER,
        'f"{self.network}/tx/{handed.hash}"',
        'f"{self.network}/open/{handed.hash}"',
        f"{FUNDED}::test_a_charge_can_not_open_and_an_open_can_not_pay",
    ),
    Mutation(
        "T31",
        SELLER,
        "() if sponsor is None else sponsor.budgets(asked.signed.transaction, payer)",
        "()",
        f"{FUNDED}::test_a_channel_is_opened",
    ),
    Mutation(
        "T31",
        FUNDING,
        "sponsor.require(asked.signed, now_s, 1)",
        "pass",
        f"{FUNDED}::test_nothing_is_smuggled_past_the_sponsor_of_a_channel",
    ),
    Mutation(
        "T31",
        FUNDING,
        "if terms.sponsored:  # T31: no signature",
        "if False:  # no signature",
        f"{FUNDED}::test_an_open_that_would_fail_is_not_sent_and_not_signed",
    ),
    Mutation(
        "T18",
        FUNDING,
        "yield from require_key(url, asked.signed)",
        "pass",
        f"{FUNDED}::test_an_access_key_that_nobody_authorized_opens_nothing",
    ),
    Mutation(
        "T32",
        FUNDING,
        "if found != [wanted]:",
        "if False:",
        f"{FUNDED}::test_a_simulation_that_moves_nothing_is_no_success",
    ),
    Mutation(
        "T35",
        FUNDING,
        "if (yield from get_receipt(url, handed.hash)) is None:",
        "if True:",
        f"{FUNDED}::test_an_open_that_is_on_the_chain_already_is_taken",
    ),
    Mutation(
        "T15",
        FUNDING,
        "if found.signer != sent.signer:",
        "if False:",
        f"{HERE}/test_funding_outcome.py::test_a_node_that_names_other_parties_is_not_believed",
    ),
    Mutation(
        "T08",
        PAYOUT,
        "if ref.id != channel.id:",
        "if False:",
        f"{PAID}::test_a_record_of_another_channel_settles_nothing",
    ),
    Mutation(
        "T36",
        PAYOUT,
        "nonce_key=EXPIRING_NONCE_KEY,",
        "nonce_key=7,",
        f"{PAID}::test_many_channels_are_paid_out_in_one_transaction",
    ),
    Mutation(
        "T27",
        LOOKING,
        "closing_at_s=float(state.close_requested_at) or None,",
        "closing_at_s=None,",
        f"{PAID}::test_a_request_to_close_is_seen",
    ),
    Mutation(
        "F12",
        LOOKING,
        "unknown = OnChain(channel.key, False, 0, 0)",
        "unknown = OnChain(channel.key, False, 0, 0, closed=True)",
        f"{PAID}::test_a_node_that_knows_nothing_closes_nothing",
    ),
    Mutation(
        "T07",
        f"{ROOM}/configure.py",
        "if domain != scheme_of(escrow).domain:",
        "if False:",
        f"{HERE}/test_seller.py::test_another_chain_has_no_known_escrow",
    ),
    Mutation(
        "T47",
        f"{ROOM}/escrow.py",
        "if escrow != pinned_escrow(escrow.version, escrow.chain_id) and escrow.address not in others:",
        "if False:",
        f"{HERE}/test_escrow.py::test_another_escrow_is_taken_by_option_only",
    ),
    Mutation(
        "T47",
        f"{ROOM}/terms.py",
        "    require_escrow(terms.escrow, other_escrows)  # T47",
        "",
        f"{HERE}/test_terms.py::test_terms_of_a_strange_escrow_are_refused",
    ),
    Mutation(
        "T07",
        f"{ROOM}/terms.py",
        "if terms.escrow.chain_id != chain_id:",
        "if False:",
        f"{HERE}/test_terms.py::test_terms_of_another_chain_are_refused",
    ),
    Mutation(
        "T20",
        f"{ROOM}/fields.py",
        "units = parse_units(value)  # T20",
        "units = int(str(value))",
        f"{HERE}/test_terms.py::test_amounts_are_strict",
    ),
    Mutation("T07", CHANNEL, "encode_address(escrow.address) + encode_uint256(escrow.chain_id)", "b''", ELSEWHERE),
    Mutation("T07", CHANNEL, "        encode_address(escrow.address),  # T07\n", "", ELSEWHERE),
    Mutation(
        "T15",
        CHANNEL,
        "if signer == ZERO_ADDRESS:",
        "if False:",
        f"{HERE}/test_channel.py::test_a_channel_of_nobody_has_no_signer",
    ),
    Mutation(
        "T08",
        TRANSACTION,
        "expiring_nonce_hash=expiring_nonce_hash(tx, payer),",
        'expiring_nonce_hash="0x" + "00" * 32,',
        f"{HERE}/test_channel.py::test_a_channel_opened_again_is_another_channel",
    ),
    Mutation(
        "T07",
        VOUCHER,
        'b"\\x19\\x01" + domain)',
        'b"\\x19\\x01" + bytes(32))',
        f"{HERE}/test_voucher.py::test_a_voucher_counts_for_its_own_channel_escrow_and_chain_only",
    ),
    *(
        Mutation(each, VOUCHER, "if len(signature) != SIGNATURE_BYTES:", "if False:", BY_NAME)
        for each in ("T14", "T18")
    ),
    Mutation("T13", "chains/evm/signature.py", "if s == _ZERO or s > _HALF_N:", "if s == _ZERO:", BY_NAME),
    Mutation("T15", VOUCHER, "if signer == ZERO_ADDRESS:", "if False:", SIGNER),
    Mutation("T15", VOUCHER, "if found != signer:", "if False:", SIGNER),
    *(Mutation(each, PAYLOAD, "if channel.id != channel_id:", "if False:", WRONG_ID) for each in ("T07", "T08")),
    Mutation("T07", SNAPSHOT, "if snapshot.escrow != escrow:", "if False:", NOT_BELIEVED),
    Mutation("T08", SNAPSHOT, "if ref.id != snapshot.channel_id:", "if False:", NOT_BELIEVED),
    Mutation("T15", SNAPSHOT, "if snapshot.descriptor.signer != signer:", "if False:", NOT_BELIEVED),
    Mutation(
        "T24",
        SNAPSHOT,
        "if snapshot.accepted_units > proven_units(snapshot, signer=signer, signed_units=signed_units):",
        "if False:",
        f"{HERE}/test_snapshot.py::test_a_server_never_has_more_than_we_signed",
    ),
    Mutation(
        "T23",
        CALLS,
        "if call.capture_units > call.cumulative_units:",
        "if False:",
        f"{HERE}/test_calls.py::test_a_close_never_captures_more_than_its_voucher",
    ),
    Mutation(
        "T31",
        CALLS,
        "if call.to != escrow.address:",
        "if False:",
        f"{HERE}/test_calls.py::test_a_call_elsewhere_or_with_value_is_refused",
    ),
    Mutation(
        "T31",
        CALLS,
        "split_words(arguments, 6 if version == V2 else 5)",
        "split_words(arguments[:192 if version == V2 else 160], 6 if version == V2 else 5)",
        LENGTH,
    ),
    Mutation("T31", CALLS, "(units,) = split_words(data, 1)", "(units,) = split_words(data[:32], 1)", LENGTH),
    Mutation("T31", CALLS, "    split_words(data, 0)  # T31\n", "", LENGTH),
    Mutation(
        "T31",
        CALLS,
        "if len(signature) != size or padding != bytes(-size % WORD):",
        "if False:",
        f"{HERE}/test_calls.py::test_the_signature_has_one_place",
    ),
    Mutation("T07", TRANSACTION, "(tx.chain_id != terms.escrow.chain_id,", "(False,", FIELDS),
    Mutation("T31", TRANSACTION, "(bool(tx.access_list),", "(False,", FIELDS),
    Mutation("F13", TRANSACTION, "(tx.valid_before is None,", "(False,", FIELDS),
    Mutation("T08", TRANSACTION, "if payload.channel != channel:", "if False:", SAME),
    Mutation(
        "T08",
        TRANSACTION,
        "if call.channel != payload.channel:",
        "if False:",
        f"{HERE}/test_transaction.py::test_another_top_up_is_refused",
    ),
    Mutation(
        "T15",
        TRANSACTION,
        "if payload.authorized_signer not in (None, call.authorized_signer):",
        "if False:",
        f"{HERE}/test_transaction.py::test_the_first_voucher_is_the_signers",
    ),
    Mutation("T31", TRANSACTION, "if len(calls) > (2 if terms.version == V1 else 1):", "if False:", MORE),
    Mutation(
        "T31",
        TRANSACTION,
        "if (token, spender, approved) != (terms.token, terms.escrow.address, units):",
        "if False:",
        f"{HERE}/test_transaction.py::test_an_approval_is_of_the_deposit_only",
    ),
    Mutation(
        "T32",
        f"{ROOM}/events.py",
        "for log in logs if log.address == escrow.address)",
        "for log in logs)",
        f"{HERE}/test_events.py::test_only_the_escrow_itself_is_believed",
    ),
    Mutation(
        "T08",
        f"{ROOM}/history.py",
        "if ref.id != opened.channel_id:",
        "if False:",
        f"{HERE}/test_on_chain.py::test_a_node_that_lies_about_the_past_is_not_believed",
    ),
    Mutation("T32", RESERVE, "if len(events) != 1:", "if not receipt.logs:", NO_EVENT),
    Mutation(
        "F12",
        RESERVE,
        "_read_channel(url, channel, receipt.block_number)",
        "_read_channel(url, channel, None)",
        f"{HERE}/test_reserve.py::test_an_open_is_confirmed_at_its_own_block",
    ),
    Mutation("F12", RESERVE, "        if (yield from now()) >= deadline:", "        if True:", AGAIN),
    Mutation(
        "T33",
        RESERVE,
        "if block is not None and block.hash == receipt.block_hash:",
        "if block is not None:",
        f"{HERE}/test_reserve.py::test_a_block_that_is_gone_confirms_nothing",
    ),
    Mutation(
        "T27",
        RESERVE,
        "if found.state.close_requested_at:",
        "if False:",
        f"{HERE}/test_reserve.py::test_a_channel_that_is_closing_is_not_paid_from",
    ),
    # the payer: whatever is not known, ours, or proven
    *(
        Mutation(
            each,
            PAYER,
            "if not isinstance(terms, SessionTerms) or _asked(mine) != _asked(terms):",
            "if False:",
            f"{HERE}/test_payer.py::test_a_fresh_challenge_of_other_terms_opens_nothing",
        )
        for each in ("T24", "T47")
    ),
    *(
        Mutation(each, PAYER, "require_terms(terms, wallet.chain_id, self.config.escrows)", "pass", UNKNOWN)
        for each in ("T07", "T47")
    ),
    Mutation(
        "T47",
        PAYER,
        "if terms.token not in wallet.tokens:",
        "if False:",
        f"{HERE}/test_payer_terms.py::test_a_token_or_payee_that_is_none_is_refused",
    ),
    *(
        Mutation(
            each, PAYER, "return ours == theirs and recorded.terms.signer in", "return recorded.terms.signer in", MISFIT
        )
        for each in ("T07", "T47")
    ),
    Mutation(
        "T47",
        PAYER,
        "if not self.fits(held, terms):",
        "if False:",
        f"{HERE}/test_payer.py::test_a_channel_of_another_payee_is_not_topped_up",
    ),
    Mutation(
        "T08",
        PAYER,
        "if recorded.ref.id != held.channel_id:",
        "if False:",
        f"{HERE}/test_payer_terms.py::test_a_record_of_another_channel_signs_nothing",
    ),
    Mutation(
        "T15",
        PAYER,
        "authorized_signer=self.config.voucher_key.address,  # T15",
        "authorized_signer=self.account,  # T15",
        f"{HERE}/test_payer.py::test_an_access_key_is_named_as_the_one_who_signs",
    ),
    Mutation(
        "T20",
        PAYER,
        "if type(total_units) is not int:",
        "if False:",
        f"{HERE}/test_payer_terms.py::test_a_voucher_is_signed_for_any_amount_that_the_protocol_holds",
    ),
    Mutation(
        "F04",
        PAYER,
        "return believed(snapshot, mine, self.account, self.config.signers, same)",
        "return same and believed(snapshot, mine, self.account, self.config.signers, same)",
        f"{HERE}/test_suggestion.py::test_a_lost_record_comes_back_by_our_own_signature",
    ),
    Mutation(
        "F05",
        SUGGESTION,
        "        signed_units=proven,\n",
        "",
        f"{HERE}/test_suggestion.py::test_an_old_record_is_brought_forward_and_keeps_what_it_knows",
    ),
    Mutation(
        "T15",
        SUGGESTION,
        "if descriptor.payer != account or descriptor.signer not in signers:",
        "if False:",
        f"{HERE}/test_suggestion.py::test_a_channel_that_is_not_ours_to_sign_for_is_passed_over",
    ),
    *(
        Mutation(
            each,
            SUGGESTION,
            "believe_snapshot(snapshot, terms.escrow, signer=descriptor.signer, signed_units=most)",
            "pass",
            LIE,
        )
        for each in ("T07", "T08", "T24")
    ),
    Mutation("T24", SUGGESTION, "    if unproven:  # T24\n        return None\n", "", UNPROVEN),
    Mutation(
        "T08",
        f"{ROOM}/record.py",
        "if recorded.ref != ref:",
        "if False:",
        f"{OWN}::test_a_found_channel_must_be_true_to_its_id",
    ),
    Mutation(
        "T08",
        f"{ROOM}/ownchannels.py",
        "    _require_same(found, recorded)\n",
        "",
        f"{OWN}::test_a_node_that_tells_of_another_channel_is_not_believed",
    ),
]
