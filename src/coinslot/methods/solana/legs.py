"""Whether transfers, asked for by instructions, are those that a charge asks for; and whether balances say so, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from coinslot.chains.solana.memo import Memo
from coinslot.chains.solana.sending import Landed, TokenBalance
from coinslot.errors import VerificationFailed
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.transaction.read import Transfer


def require_legs(terms: SolanaTerms, token_program: str | None, transfers: Sequence[Transfer]) -> tuple[Transfer, ...]:
    """The transfers that satisfy the legs, each its own, in the order of the legs; others are passed over.

    Raises VerificationFailed, naming what is missing (SCHG "Native SOL Verification", "SPL Token Verification").
    """
    left = [each for each in transfers if _in_currency(terms, token_program, each)]  # T29
    if not left:
        raise VerificationFailed("no transfer of the currency that was asked for")
    taken = []
    for leg in terms.legs:
        account = terms.destination(leg, token_program)
        mine = [each for each in left if each.destination == account]
        if not mine:
            raise VerificationFailed(f"no transfer to {leg.recipient}")
        exact = [each for each in mine if each.amount_units == leg.amount_units]
        if not exact:
            raise VerificationFailed(f"not exactly {leg.amount_units} to {leg.recipient}")
        left.remove(exact[0])  # SCHG-125 SCHG-133: a transfer pays one leg only
        taken.append(exact[0])
    return tuple(taken)


def _in_currency(terms: SolanaTerms, token_program: str | None, transfer: Transfer) -> bool:
    if terms.native:
        return transfer.mint is None
    return (transfer.mint, transfer.program) == (terms.mint, token_program)


def require_memos(terms: SolanaTerms, memos: Sequence[Memo], payer: str) -> bool:
    """That nothing is said but what was asked for, at most once each; whether the external id is among it.

    Raises VerificationFailed.
    """
    if any(signer != payer for memo in memos for signer in memo.signers):  # T30
        raise VerificationFailed("somebody besides the payer signs a memo")
    if Counter(memo.text for memo in memos) - Counter(terms.memos):  # T05: it could be another challenge's
        raise VerificationFailed("the transaction carries a memo that was not asked for")
    return any(memo.text == terms.external_id for memo in memos)


def require_raised(terms: SolanaTerms, token_program: str | None, landed: Landed) -> None:
    """That every account that was paid into holds more than before, by what its legs ask for. T29 T32

    Raises VerificationFailed: the instructions say so, and the balances don't.
    """
    wanted: Counter[str] = Counter()
    for leg in terms.legs:
        wanted[terms.destination(leg, token_program)] += leg.amount_units
    for account, units in wanted.items():
        rise = _lamports_raised(landed, account) if terms.native else _tokens_raised(landed, account, terms.mint)
        if rise < units:
            raise VerificationFailed(f"{account} did not receive what was paid to it")


def _lamports_raised(landed: Landed, account: str) -> int:
    if account not in landed.accounts:
        return 0
    at = landed.accounts.index(account)
    # Who pays the fee as well as being paid receives the difference.
    fee = landed.fee_lamports if at == 0 else 0
    return landed.lamports_after[at] - landed.lamports_before[at] + fee


def _tokens_raised(landed: Landed, account: str, mint: str) -> int:
    return _held(landed.tokens_after, account, mint) - _held(landed.tokens_before, account, mint)


def _held(balances: Sequence[TokenBalance], account: str, mint: str) -> int:
    return sum(each.amount_units for each in balances if (each.account, each.mint) == (account, mint))
