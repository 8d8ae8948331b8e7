"""Guards of methods/solana/session without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

ROOM = "methods/solana/session"
HERE = "tests/methods/solana/session"
BEARER, CHANNEL, ESCROW, FIELDS, PROGRAM, VOUCHER = (
    f"{ROOM}/{name}.py" for name in ("bearer", "channel", "escrow", "fields", "program", "voucher")
)
VOUCHERS, CHANNELS, PROGRAMS = (f"{HERE}/test_{name}.py" for name in ("voucher", "channel", "program"))
SIGNER = f"{VOUCHERS}::test_only_the_channels_signer_signs_and_only_these_numbers"
PROOF = f"{HERE}/test_bearer.py::test_a_proof_is_good_for_one_channel_one_challenge_and_one_payer"
PAYLOAD = f"{ROOM}/payload.py"
LOOKUPS = f"{HERE}/test_lookups.py"
QUICK = f"{HERE}/test_payload.py::test_what_is_odd_in_any_way_has_no_quick_answer"

MUTATIONS = [
    Mutation("T08", PAYLOAD, "told.channelId != inner.channelId or", "False or", QUICK),
    Mutation("T09", PAYLOAD, "or len(_compact.encode(told)) != len(raw):", "or False:", QUICK),
    Mutation("T15", VOUCHER, "if self.signer != signer:", "if self.signer == 7:", SIGNER),
    Mutation("T13", VOUCHER, "verify(signer, self.message, self.signature)", "len(signer + str(verify))", SIGNER),
    Mutation(
        "T14",
        VOUCHER,
        "if magic != MAGIC:",
        "if magic == 7:",
        f"{VOUCHERS}::test_other_formats_of_vouchers_are_refused",
    ),
    Mutation(
        "T20",
        FIELDS,
        "if not 0 <= units <= U64_MAX:",
        "if units > 2 * U64_MAX:",
        f"{VOUCHERS}::test_any_other_amount_is_refused_by_its_name",
    ),
    Mutation("T15", BEARER, "if self.payer != payer:", "if self.payer == 7:", PROOF),
    Mutation("T08", BEARER, "if self.challenge_id != challenge_id:", "if self.challenge_id == 7:", PROOF),
    Mutation(
        "T08",
        CHANNEL,
        "        pack_u64(seeds.open_slot),\n    )",
        "    )",
        f"{CHANNELS}::test_every_term_and_the_program_make_another_channel",
    ),
    Mutation(
        "T31",
        CHANNEL,
        "if data[0] != _DISCRIMINATOR:",
        "if data[0] > 2:",
        f"{CHANNELS}::test_what_is_no_channel_is_refused",
    ),
    Mutation(
        "T07",
        CHANNEL,
        "if account.owner != program:",
        "if account.owner == 7:",
        f"{CHANNELS}::test_a_channel_of_another_program_or_at_another_place_is_not_believed",
    ),
    Mutation(
        "T47",
        ESCROW,
        "if program != CHANNEL_PROGRAM and program not in others:",
        "if program == 7 and program not in others:",
        f"{CHANNELS}::test_a_strangers_program_holds_no_deposit_of_ours",
    ),
    Mutation(
        "T15",
        PROGRAM,
        "_require(is_on_curve(seeds.authorized_signer),",
        "_require(bool(is_on_curve),",
        f"{PROGRAMS}::test_an_opening_for_a_signer_that_no_key_can_be_is_refused",
    ),
    Mutation(
        "T31",
        PROGRAM,
        "if given.address != wanted.address:",
        "if given.address == 7:",
        f"{PROGRAMS}::test_every_account_is_the_one_it_must_be",
    ),
    Mutation(
        "T31",
        PROGRAM,
        "if found.data != built.data:",
        "if found.data == 7:",
        f"{PROGRAMS}::test_a_byte_more_or_less_is_refused",
    ),
    Mutation(
        "T47",
        PROGRAM,
        "if instruction.program != program:",
        "if instruction.program == 7:",
        f"{PROGRAMS}::test_another_program_is_not_the_channels",
    ),
]

# --- the server's side ----------------------------------------------------------------------------

TRANSACTION, SELLER, LOOKING, RESUME, PAYOUT, RECORD, CONFIGURE, SPONSORING, RECENT, VERIFYING = (
    f"{ROOM}/{name}.py"
    for name in (
        "transaction", "seller", "looking", "resume", "payout", "record",
        "configure", "sponsoring", "recent", "verifying",
    )
)  # fmt: skip
READING, OPENING, BUYING, PAYING_OUT, ON_CHAIN, SELLING, RECORDS = (
    f"{HERE}/test_{name}.py"
    for name in ("transaction", "opening", "buying", "paying_out", "on_chain", "selling", "record")
)
DOES_MORE = f"{READING}::test_an_opening_that_does_more_is_refused"
SAID = f"{READING}::test_what_is_said_of_an_opening_must_be_what_it_does"
ANOTHER = f"{READING}::test_an_opening_of_another_channel_than_was_asked_for_is_refused"
NOT_OURS = f"{ON_CHAIN}::test_what_is_not_our_channel_is_a_fault_and_no_news"

MUTATIONS += [
    Mutation(
        "T31",
        TRANSACTION,
        "if transaction.lookups:",
        "if transaction.lookups == 7:",
        f"{READING}::test_accounts_from_a_lookup_table_are_refused",
    ),
    Mutation(
        "T31",
        TRANSACTION,
        "if any(account.address not in named for account in transaction.accounts):",
        "if any(account.address == 7 for account in transaction.accounts):",
        f"{READING}::test_accounts_that_no_instruction_uses_are_refused",
    ),
    Mutation("T31", TRANSACTION, "if each is None or each.program != BUDGET_PROGRAM:", "if each is None:", DOES_MORE),
    Mutation(
        "T13",
        TRANSACTION,
        "verify_signatures(transaction, unsigned=() if fee_payer is None else (fee_payer,))",
        "len(str(verify_signatures))",
        f"{READING}::test_only_the_payers_own_signature_opens_a_channel",
    ),
    Mutation(
        "T31",
        TRANSACTION,
        "if fee_payer == payer:",
        "if fee_payer == 7:",
        f"{READING}::test_who_pays_the_fee_is_who_was_agreed_on",
    ),
    Mutation(
        "T31",
        TRANSACTION,
        "if set(transaction.signers) != {fee_payer or payer, payer}:",
        "if set(transaction.signers) == {7}:",
        f"{READING}::test_another_signer_is_not_taken",
    ),
    Mutation("T08", TRANSACTION, "(payload.channel_id == channel_id, ", "(True or channel_id, ", SAID),
    Mutation("T28", TRANSACTION, "(payload.grace_s == call.grace_s == terms.grace_s, ", "(True, ", ANOTHER),
    Mutation(
        "T26",
        TRANSACTION,
        "if call.deposit_units < terms.minimum_deposit_units:",
        "if call.deposit_units < 1:",
        ANOTHER,
    ),
    Mutation(
        "T15",
        TRANSACTION,
        "if call.seeds.authorized_signer != terms.operator:",
        "if call.seeds.authorized_signer == 7:",
        f"{READING}::test_where_the_server_signs_the_channel_names_its_key",
    ),
    Mutation(
        "T08",
        TRANSACTION,
        "(payload.channel_id == recorded.id == call.channel, ",
        "(True, ",
        f"{READING}::test_what_is_said_of_a_top_up_must_be_what_it_does",
    ),
    Mutation(
        "T08",
        RECORD,
        "if recorded.id != channel_id:",
        "if recorded.id == 7:",
        f"{RECORDS}::test_a_record_that_was_changed_is_of_another_channel",
    ),
    Mutation(
        "T38",
        SELLER,
        "proof=None if proof is None else proof_hash(proof.signature),",
        "proof=None if proof is None else str(shown.authentication.members()['signature']),",
        f"{BUYING}::test_nothing_in_the_database_can_be_presented",
    ),
    Mutation(
        "T15",
        VERIFYING,
        "shown.verify(channel.id, channel.payer, recorded.challenge_id)",
        "len(str(shown))",
        f"{BUYING}::test_a_proof_that_was_not_bound_buys_nothing",
    ),
    Mutation(
        "T13",
        VERIFYING,
        "voucher.verify(channel.signer)",
        "len(str(voucher))",
        f"{BUYING}::test_only_the_channels_signer_signs_its_vouchers",
    ),
    Mutation(
        "T07",
        SELLER,
        "if (recorded.program, recorded.splits) != (mine.program, mine.splits):",
        "if recorded.operator == (mine.operator is None):",
        f"{BUYING}::test_a_channel_of_another_program_or_other_splits_does_not_fit",
    ),
    Mutation(
        "T35",
        SELLER,
        "if not (yield from known(config.rpc_url, handed)):",
        "if handed is not None:",
        f"{OPENING}::test_an_opening_that_landed_unseen_is_recorded_when_it_comes_again",
    ),
    Mutation(
        "T31",
        "methods/solana/sponsor.py",
        "if fee_lamports > self.max_fee_lamports:",
        "if fee_lamports < 0:",
        f"{OPENING}::test_a_sponsor_bounds_what_a_payer_bids_and_binds",
    ),
    Mutation(
        "T31",
        SPONSORING,
        "self.sponsor.require_fee(shape.units, MAX_UNITS, shape.fee_lamports)",
        "return",
        f"{OPENING}::test_a_sponsor_bounds_what_a_payer_bids_and_binds",
    ),
    Mutation(
        "T31",
        SPONSORING,
        "return shape.fee_lamports + (self.rent_lamports if opens else 0)",
        "return shape.fee_lamports",
        f"{OPENING}::test_a_sponsor_bounds_what_a_payer_bids_and_binds",
    ),
    Mutation(
        "T07",
        LOOKING,
        "state = read_channel(recorded.program, found)",
        "from coinslot.methods.solana.session.channel import read_channel_account as r; state = r(found.data)",
        NOT_OURS,
    ),
    Mutation("T28", LOOKING, "and state.grace_s == recorded.grace_s", "and True", NOT_OURS),
    Mutation(
        "F12",
        LOOKING,
        "return OnChain(channel.key, False, 0, 0)",
        "return OnChain(channel.key, True, 0, 0, closed=True)",
        f"{ON_CHAIN}::test_a_gift_to_a_channel_that_is_gone_does_not_bring_it_back",
    ),
    Mutation(
        "T27",
        LOOKING,
        "if state.status is Status.CLOSING:",
        "if state.status is None:",
        f"{ON_CHAIN}::test_channels_are_seen_as_the_chain_has_them",
    ),
    Mutation(
        "T27",
        RESUME,
        "state.status is Status.OPEN",
        "state.status is not None",
        f"{SELLING}::test_only_a_channel_that_the_chain_shows_open_is_suggested",
    ),
    Mutation(
        "F12",
        "chains/solana/expiry.py",
        "if time_s is None or time_s <= after_s:",
        "if time_s is None:",
        f"{OPENING}::test_an_opening_that_never_landed_is_dead_when_the_finalized_chain_says_so",
    ),
    Mutation(
        "T32",
        PAYOUT,
        "if state.settled_units < settled or (closes and state.status is not Status.DISTRIBUTED):",
        "if state.settled_units < 0:",
        f"{PAYING_OUT}::test_a_node_that_is_behind_confirms_nothing",
    ),
    Mutation(
        "T28",
        PAYOUT,
        "elif each.name != PAYER and what in (Trouble.FROZEN, Trouble.SPOILT):",
        "elif what == 7:",
        f"{PAYING_OUT}::test_who_is_frozen_is_not_forfeited",
    ),
    Mutation(
        "T28",
        PAYOUT,
        "if each.name == PAYER and what in (Trouble.MISSING, Trouble.FROZEN):",
        "if what == 7:",
        f"{PAYING_OUT}::test_who_closed_its_token_account_is_refunded_when_it_is_back",
    ),
    Mutation(
        "F11",
        RECENT,
        "if self._told is not None and 0 <= at_s - self._told[0] < KEEP_SILENT_S:",
        "if self._told == 7:",
        f"{OPENING}::test_without_an_answer_of_the_node_the_last_blockhash_is_given_out",
    ),
    Mutation(
        "T28",
        CONFIGURE,
        "if key.address != recipient:",
        "if key.address == 7:",
        f"{SELLING}::test_settings_that_could_not_work_are_refused_by_name",
    ),
    Mutation(
        "T29",
        CONFIGURE,
        "if others:",
        "if others == 7:",
        f"{SELLING}::test_a_token_with_an_extension_that_channels_do_not_take_is_refused",
    ),
    Mutation(
        "T28",
        PAYOUT,
        "if case.in_time or state.status is Status.DISTRIBUTED:",
        "if state.status is Status.DISTRIBUTED:",
        f"{ON_CHAIN}::test_the_rent_of_a_channel_that_its_payer_abandoned_comes_back",
    ),
    Mutation(
        "T31",
        SELLER,
        "if first is not None and self.config.refunds is not None:",
        "if first is None and self.config.refunds is not None:",
        f"{PAYING_OUT}::test_new_accounts_for_refunds_are_not_given_without_end",
    ),
    Mutation(
        "F09",
        f"{ROOM}/lookups.py",
        "newest > table.extended_slot + IN_USE_SLOTS:",
        "newest > 0:",
        f"{LOOKUPS}::test_the_rent_of_tables_comes_back",
    ),
    Mutation(
        "T28",
        f"{ROOM}/configure.py",
        "if known is None:",
        "if known == 7:",
        f"{HERE}/test_selling.py::test_a_treasury_that_is_not_known_must_be_named",
    ),
    Mutation(
        "T31",
        SELLER,
        "if units < least:",
        "if units < 0:",
        f"{HERE}/test_opening.py::test_a_top_up_that_is_not_worth_its_fee_is_not_sponsored",
    ),
    Mutation(
        "T31",
        PAYOUT,
        "or nothing_due or case.waits_for_payer:",
        "or nothing_due:",
        f"{PAYING_OUT}::test_a_payer_that_leaves_without_an_account_is_waited_for_a_day",
    ),
    Mutation(
        "F11",
        PAYOUT,
        "if transaction.lookups:",
        "if not transaction.raw:",
        f"{LOOKUPS}::test_a_table_that_is_not_to_be_seen_yet_is_waited_for",
    ),
    Mutation(
        "T30",
        PAYOUT,
        "yield from require_filled(url, parcel.tables, commitment)",
        "pass",
        f"{LOOKUPS}::test_two_payouts_of_one_slot_do_not_use_each_others_table",
    ),
]
