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

MUTATIONS = [
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
