"""Guards of the payer of methods/solana/session without which a test must fail; see support/mutation.py."""

from __future__ import annotations

from support.mutation import Mutation

ROOM = "methods/solana/session"
HERE = "tests/methods/solana/session"
EXIT, OPENING, PAYER, SNAPSHOT, WALLET = (
    f"{ROOM}/{name}.py" for name in ("exit", "opening", "payer", "snapshot", "wallet")
)
TERMS = f"{HERE}/test_payer.py::test_what_this_wallet_does_not_know_is_not_paid"
TOKEN = f"{HERE}/test_payer.py::test_another_token_than_the_one_we_know_is_not_paid"
LIMITS = f"{HERE}/test_payer.py::test_nothing_is_deposited_beyond_the_owners_limits"
CLAIMS = f"{HERE}/test_payer.py::test_a_claim_that_we_did_not_sign_is_refused"
OPENED = f"{HERE}/test_payer_opening.py"
CHANNELS = f"{HERE}/test_own_channels.py"
CLIENT = "tests/client/test_solana_sessions.py"

MUTATIONS = [
    Mutation("T07", WALLET, "require_program(terms.program, config.programs)", "len(terms.program)", TERMS),
    Mutation("T47", WALLET, "yield terms.network != wallet.cluster,", "yield terms.network == 7,", TERMS),
    Mutation("T47", WALLET, "yield config.account in others,", "yield config.account in (),", TERMS),
    Mutation("T15", WALLET, "not is_on_curve(operator),", "len(operator) == 7,", TERMS),
    Mutation("T29", WALLET, "yield terms.decimals != token.decimals,", "yield terms.decimals == 7,", TOKEN),
    Mutation("T29", WALLET, "not in (None, token.program),", "== 7,", TOKEN),
    Mutation("T47", WALLET, "if (terms.grace_s or 0) > config.max_grace_s:", "if terms.grace_s == 7:", LIMITS),
    Mutation("T47", WALLET, "if config.operator_deposit is None:", "if config.operator_deposit == 7:", LIMITS),
    Mutation("T47", WALLET, "if least > config.most_units(terms):", "if least == 7:", LIMITS),
    Mutation(
        "T24",
        PAYER,
        "if not same_asked(mine, terms):",
        "if same_asked(mine, terms) == 7:",
        f"{HERE}/test_payer.py::test_other_terms_than_those_agreed_to_are_not_signed_for",
    ),
    Mutation(
        "T07",
        PAYER,
        "(recorded.program, seeds.payee, seeds.mint, recorded.splits) != theirs:",
        "theirs == 7:",
        f"{HERE}/test_payer.py::test_a_channel_pays_only_its_own_terms",
    ),
    Mutation(
        "T08",
        PAYER,
        "(signed.channel_id, signed.cumulative_units, signed.signer) != meant:",
        "meant == 7:",
        f"{HERE}/test_payer.py::test_a_voucher_is_presented_for_its_own_channel_and_total_only",
    ),
    Mutation(
        "T15",
        PAYER,
        "if key is None:",
        "if key == 7:",
        f"{HERE}/test_payer.py::test_a_delegated_key_signs_and_pays",
    ),
    Mutation(
        "T38",
        PAYER,
        "proof_hash(self._proof(recorded).signature).encode()",
        "str(self._proof(recorded).members()).encode()",
        f"{HERE}/test_payer.py::test_the_book_holds_no_proof",
    ),
    Mutation(
        "T47",
        PAYER,
        "deposit_units = min(deposit_units, config.most_units(mine))",
        "deposit_units = min(deposit_units, 2**64 - 1)",
        f"{OPENED}::test_where_the_server_signs_the_deposit_is_the_owners_limit_and_all_of_it_authorized",
    ),
    Mutation(
        "T47",
        PAYER,
        "if total > self.config.most_units(terms):",
        "if total == 7:",
        f"{OPENED}::test_a_channel_whose_server_signs_is_not_topped_up_beyond_the_limit",
    ),
    Mutation(
        "T47",
        OPENING,
        "if not -MOST_AHEAD_SLOTS <= newest - recent <= MOST_BEHIND_SLOTS:",
        "if newest == 7:",
        f"{OPENED}::test_a_slot_far_from_our_nodes_is_not_signed",
    ),
    Mutation(
        "T47",
        OPENING,
        'if (yield from is_blockhash_valid(wallet.rpc_url, blockhash, commitment="processed")):',
        'if (yield from is_blockhash_valid(wallet.rpc_url, blockhash, commitment="processed")) or True:',
        f"{OPENED}::test_a_blockhash_that_our_node_does_not_know_is_not_signed",
    ),
    Mutation(
        "T29",
        OPENING,
        "if (mint.program, mint.decimals) != (purse.token_program, purse.asset.decimals):",
        "if mint.decimals == 77:",
        f"{OPENED}::test_a_token_is_what_the_chain_says_it_is",
    ),
    Mutation(
        "T29",
        OPENING,
        "if {each.kind for each in mint.extensions} - MINT_EXTENSIONS:",
        "if not MINT_EXTENSIONS:",
        f"{OPENED}::test_a_token_is_what_the_chain_says_it_is",
    ),
    Mutation(
        "T28",
        EXIT,
        "if any(each.owner != treasury_owner for each in lacking) or unusable(",
        "if unusable(",
        f"{CHANNELS}::test_a_share_that_would_be_lost_is_left_where_it_is",
    ),
    Mutation("T24", SNAPSHOT, "<= proven or proven > held.deposit_units:", "or proven > held.deposit_units:", CLAIMS),
    Mutation("T24", SNAPSHOT, "<= proven or proven > held.deposit_units:", "<= proven:", CLAIMS),
    Mutation("T13", SNAPSHOT, "voucher.verify(held.signer)", "len(held.signer)", CLAIMS),
    Mutation(
        "T08",
        SNAPSHOT,
        "if voucher.channel_id != held.channel_id or voucher.expires_at:",
        "if voucher.expires_at:",
        f"{HERE}/test_payer.py::test_a_snapshot_of_another_channel_proves_nothing_of_ours",
    ),
    Mutation(
        "F05",
        "client/buying.py",
        "if total is None and equal and attempts.may_sign:",
        "if total == 7:",
        f"{CHANNELS}::test_a_lost_book_finds_its_channels_on_the_chain",
    ),
    Mutation(
        "T22",
        "client/using.py",
        "yield from affordable(visit, added)",
        "yield from ()",
        f"{CLIENT}::test_where_the_server_signs_a_budget_is_for_what_is_deposited",
    ),
    Mutation(
        "T22",
        "client/desk.py",
        "if most_units is not None and self.authorized_units + units > most_units:",
        "if most_units == 7:",
        f"{CLIENT}::test_where_the_server_signs_a_budget_is_for_what_is_deposited",
    ),
    Mutation(
        "F04",
        f"{ROOM}/leftovers.py",
        "except RpcRefused:  # F04",
        "except BadTransaction:  # F04",
        f"{HERE}/test_leftovers.py::test_a_node_that_tells_no_programs_accounts_is_asked_by_the_book",
    ),
    Mutation(
        "F04",
        f"{ROOM}/leftovers.py",
        "size=CHANNEL_BYTES, where=where)",
        "size=CHANNEL_BYTES + len(where), where=where)",
        f"{HERE}/test_leftovers.py::test_channels_that_no_book_knows_give_their_rent_back",
    ),
]
