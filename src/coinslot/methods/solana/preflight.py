"""Before an offer, and before broadcasting: can what is asked for be paid, and would the chain take it?

An offer that can't be paid wastes a payer's fee, or worse its payment; a transaction that is known to fail wastes the
sponsor's. What changes between here and the chain is bounded by the sponsor's budgets. T28 T34
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.chains.solana.rpc import Account, Blockhash, accounts, is_blockhash_valid, latest_blockhash
from coinslot.chains.solana.sending import signature_statuses
from coinslot.chains.solana.tokens import TokenState, read_mint, read_token_account
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ChainError, UsageError, VerificationFailed
from coinslot.methods.solana.pull import Pulled
from coinslot.methods.solana.simulate import problem_of, would_fail
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import require_plain


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain looked like when an offer was made: a fresh blockhash, the sponsor's lamports, and which of the
    payees of splits have no token account."""

    recent: Blockhash
    sponsor_lamports: int
    missing: frozenset[str]


def look(url: str, terms: SolanaTerms, token_program: str | None, trusted: Sequence[str]) -> Flow[Seen]:
    """The chain as an offer of these terms needs it.

    Raises ChainError itself (no subclass of it) where the recipient or the token can't be paid in any more; else
    RpcUnreachable, RpcRefused. T28
    """
    legs = () if terms.native else terms.legs
    tokens = tuple(terms.destination(leg, token_program) for leg in legs)
    others = tuple(each for each in (terms.fee_payer, None if terms.native else terms.mint) if each is not None)
    wanted = tuple(dict.fromkeys((*tokens, *others)))
    recent = yield from latest_blockhash(url)
    found = dict(zip(wanted, (yield from accounts(url, wanted)), strict=True)) if wanted else {}
    if not terms.native:
        _require_token(found[terms.mint], trusted)
        _require_receiver(found[tokens[0]])
    missing = frozenset(leg.recipient for leg, at in zip(legs, tokens, strict=True) if found[at] is None)
    purse = found.get(terms.fee_payer or "")
    return Seen(recent, 0 if purse is None else purse.lamports, missing)


def _require_token(found: Account | None, trusted: Sequence[str]) -> None:
    try:
        if found is None:
            raise ChainError("the token is not on this chain any more")
        require_plain(read_mint(found.owner, found.data), trusted)
    except (BadTransaction, UsageError) as error:
        raise ChainError(f"the token can't be paid in any more: {error}") from None


def _require_receiver(found: Account | None) -> None:
    """That the recipient's token account can be paid into (SCHG-088, SCHG-194)."""
    if found is None:
        raise ChainError("the recipient has no token account any more")
    try:
        state = read_token_account(found.owner, found.data).state
    except BadTransaction as error:
        raise ChainError(f"the recipient's token account: {error}") from None
    if state is not TokenState.INITIALIZED:
        raise ChainError("the recipient's token account is frozen")


def preflight(url: str, pulled: Pulled, terms: SolanaTerms, *, bound: bool) -> Flow[None]:
    """That the chain would take the final bytes, or (`bound`) took them already.

    Raises VerificationFailed, RailUnavailable (the sponsor's purse is empty), ChainError.
    """
    failure = yield from would_fail(url, pulled.raw)
    if failure is None:
        return
    if bound and (yield from _is_there(url, pulled.signature)):  # T35: its payer broadcast it as well
        return
    raise problem_of(failure, pulled.transaction, sponsored=terms.fee_payer is not None)


def require_fresh(url: str, pulled: Pulled, *, bound: bool) -> Flow[None]:
    """Without trying it out: that it is not on the chain already, unless it is tied to its challenge, and that it can
    still be taken. T05"""
    if (yield from _is_there(url, pulled.signature)):
        if not bound:
            raise VerificationFailed("this transaction is on the chain already, and nothing ties it to this challenge")
        return
    if not (yield from is_blockhash_valid(url, pulled.transaction.blockhash)):
        raise VerificationFailed("the transaction's blockhash is too old, or not known; sign a fresh one")


def _is_there(url: str, signature: str) -> Flow[bool]:
    (status,) = yield from signature_statuses(url, [signature], history=True)
    return status is not None
