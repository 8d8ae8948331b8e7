"""Building the transaction that pays a charge (SCHG "Client Transaction Construction")."""

from __future__ import annotations

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.system import build_transfer
from coinslot.chains.solana.token import TransferChecked, build_transfer_checked
from coinslot.methods.solana.terms import Leg, SolanaTerms

# Compute units, with room over what the deployed programs need: unused ones cost next to nothing, too few lose the
# payment. A memo is checked byte by byte: 566 of them need the whole of the default limit.
BASE_UNITS = 10_000
UNITS_PER_TRANSFER = 12_000
UNITS_PER_ACCOUNT = 50_000
UNITS_PER_MEMO = 5_000
UNITS_PER_MEMO_BYTE = 360
# Deployed servers refuse to broadcast what may use more.
USUAL_MOST = 200_000
# Two equal payments on one blockhash would be one transaction. A limit drawn from so many makes them differ also where
# the server gave no external id.
DISTINCT_UNITS = 2**16


def payment_instructions(
    terms: SolanaTerms, payer: str, token_program: str | None, budget: tuple[int, int]
) -> tuple[Instruction, ...]:
    """What pays these terms, and nothing else; `budget` is a limit of compute units and their micro-lamports.

    Raises UsageError.
    """
    units, price = budget
    built = [build_unit_price(price), build_unit_limit(units)]
    for index, leg in enumerate(terms.legs):
        if leg.creates_account:  # SCHG-030 SCHG-085
            funder = terms.fee_payer or payer  # SCHG-083
            built.append(build_create_idempotent(funder, leg.recipient, terms.mint, token_program or ""))
        built.append(_transfer(terms, leg, payer, token_program))
        memo = terms.external_id if index == 0 else leg.memo
        if memo is not None:  # SCHG-014
            built.append(build_memo(Memo(memo)))
    return tuple(built)


def _transfer(terms: SolanaTerms, leg: Leg, payer: str, token_program: str | None) -> Instruction:
    to = terms.destination(leg, token_program)
    if terms.native:
        return build_transfer(payer, to, leg.amount_units)
    program = token_program or ""
    source = derive_ata(payer, terms.mint, program)
    return build_transfer_checked(
        TransferChecked(program, source, terms.mint, to, payer, leg.amount_units, terms.decimals or 0)
    )


def unit_limit(terms: SolanaTerms, drawn: int) -> int:
    """Compute units that are enough for these terms, and some more by a random number `drawn`."""
    created = sum(leg.creates_account for leg in terms.legs)
    said = sum(UNITS_PER_MEMO + UNITS_PER_MEMO_BYTE * len(text.encode()) for text in terms.memos)
    needed = BASE_UNITS + UNITS_PER_TRANSFER * len(terms.legs) + UNITS_PER_ACCOUNT * created + said
    room = USUAL_MOST - needed if needed < USUAL_MOST else DISTINCT_UNITS
    return needed + drawn % min(room, DISTINCT_UNITS)
