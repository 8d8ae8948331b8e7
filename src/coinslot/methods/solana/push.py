"""Push: the payer broadcast the transfer itself and presents its signature (SCHG "Push Mode Verification").

Everybody can read signatures off the chain, and the document lets the first who presents one be served. Here the
payment must carry the external id of the very challenge that it is presented for, which nobody else was given; and it
must not be older than the offer. T05
"""

from __future__ import annotations

from coinslot.chains.solana.message import verify_signatures
from coinslot.chains.solana.rpc import Commitment
from coinslot.chains.solana.sending import POLL_S, Landed, get_transaction
from coinslot.chains.solana.signature import parse_signature, signature_text
from coinslot.drive import Flow, now, sleep
from coinslot.errors import MalformedCredential, RpcUnreachable, UsageError, VerificationFailed
from coinslot.methods.solana.legs import require_legs, require_raised
from coinslot.methods.solana.memo import is_reference
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.transaction.read import find_parts

# A replica that lags shows a confirmed transaction within a few slots; then the client may come again. F12
LANDED_WAIT_S = 2.0


def read_signature(payload: object) -> str:
    """The signature in its one spelling. Raises MalformedCredential."""
    try:
        return signature_text(parse_signature(payload))  # T06
    except UsageError as error:
        raise MalformedCredential(f"payload.signature: {error}") from None


def require_push(terms: SolanaTerms, *, plain_allowed: bool) -> None:
    """Whether this charge may be paid by push at all. Raises VerificationFailed."""
    if terms.fee_payer is not None:  # SCHG-069 SCHG-112
        raise VerificationFailed("a signature is not taken where the server pays the fee; present the transaction")
    if terms.external_id is None and not plain_allowed:  # T05
        raise VerificationFailed("a signature is not taken for a charge without an external id to tie it to")


def check_push(
    url: str, signature: str, terms: SolanaTerms, token_program: str | None, *, commitment: Commitment
) -> Flow[Landed]:
    """The payment that a signature names. Raises RpcUnreachable: not seen (yet)."""
    deadline = (yield from now()) + LANDED_WAIT_S
    while True:
        landed = yield from get_transaction(url, signature, commitment=commitment)  # SCHG-169
        if landed is not None:
            return landed
        if (yield from now()) >= deadline:
            raise RpcUnreachable(f"the chain doesn't show {signature} yet")
        yield from sleep(POLL_S)


def require_paid(landed: Landed, terms: SolanaTerms, token_program: str | None) -> str:
    """Who paid every leg, by the balances and not only by instructions. T32

    Raises VerificationFailed, or BadSignature: the node shows what nobody signed. T33
    """
    verify_signatures(landed.transaction)
    if landed.failure is not None:
        raise VerificationFailed(f"the transaction failed: {landed.failure.text}")
    taken = require_legs(terms, token_program, find_parts(landed.transaction).transfers)
    payers = {each.authority for each in taken}
    if len(payers) != 1 or terms.fee_payer in payers:
        raise VerificationFailed("the transfers are not one payer's")
    require_raised(terms, token_program, landed)
    (payer,) = payers
    return payer


def require_bound(landed: Landed, terms: SolanaTerms, *, plain_allowed: bool) -> None:
    """That a pushed payment was made for this challenge. Raises VerificationFailed. T05"""
    referred = any(memo.text == terms.external_id for memo in find_parts(landed.transaction).memos)
    if not referred and not (plain_allowed and not is_reference(terms.external_id)):
        raise VerificationFailed("the payment doesn't carry the external id of this charge as a memo")
    if referred and is_reference(terms.external_id):
        return  # nobody knew it before the offer was made
    if terms.slot is None or landed.slot < terms.slot:  # T05
        raise VerificationFailed("the payment is older than this charge")
