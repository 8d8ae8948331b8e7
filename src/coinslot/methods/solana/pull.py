"""Pull: the payer hands over a signed transaction, and we broadcast it (SCHG "Pull Mode Verification").

It is read to the last byte and must consist of the transfers asked for, of what the offer allows beside them, and of
nothing else. Its proof is the signature that the chain will know it by, known before anything is sent: for a sponsored
one the sponsor's, which is the same every time. A push of the same transaction has the same proof, so neither can
follow the other. T06
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.message import MAX_BYTES, Transaction, read_transaction, verify_signatures
from coinslot.chains.solana.signature import signature_text
from coinslot.errors import BadSignature, BadTransaction, MalformedCredential, RailUnavailable, VerificationFailed
from coinslot.methods.solana.legs import require_legs, require_memos
from coinslot.methods.solana.memo import is_reference
from coinslot.methods.solana.sponsor import Sponsor
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.transaction.read import Parts, Transfer, read_parts

# 1232 bytes in base64.
MAX_TEXT = -(-MAX_BYTES // 3) * 4


@dataclass(frozen=True, slots=True)
class Pulled:
    """A transaction that we will broadcast.

    `raw` are the final bytes, `signature` what the chain will know them by. `referred`: it carries the external id of
    its challenge as a memo.
    """

    transaction: Transaction
    parts: Parts
    raw: bytes = field(repr=False)
    signature: str
    payer: str
    referred: bool


def read_pull(payload: object) -> bytes:
    """The bytes of a transaction in standard base64, in its one spelling. Raises MalformedCredential."""
    if type(payload) is not str or len(payload) > MAX_TEXT:
        raise MalformedCredential(f"payload.transaction is not base64 of at most {MAX_BYTES} bytes")
    try:
        raw = b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedCredential("payload.transaction is not base64") from None
    if not 0 < len(raw) <= MAX_BYTES or b64encode(raw).decode() != payload:  # SCHG-053
        raise MalformedCredential(f"payload.transaction is not base64 of at most {MAX_BYTES} bytes")
    return raw


def check_pull(raw: bytes, terms: SolanaTerms, token_program: str | None, sponsor: Sponsor | None) -> Pulled:
    """A transaction that pays these terms if the chain takes it. Raises VerificationFailed, RailUnavailable."""
    try:
        transaction = read_transaction(raw)
        if transaction.lookups:  # T30: what a table holds, the transaction doesn't say
            raise VerificationFailed("the transaction looks accounts up in a table")
        unsigned = () if terms.fee_payer is None else (terms.fee_payer,)
        verify_signatures(transaction, unsigned=unsigned)  # SCHG-055 T16: what the chain takes, and no more
        parts = read_parts(transaction)
    except (BadTransaction, BadSignature) as error:
        raise VerificationFailed(f"transaction: {error}") from None
    taken = require_legs(terms, token_program, parts.transfers)
    if len(parts.transfers) != len(taken):  # T30
        raise VerificationFailed("the transaction moves more than the payment")
    payer = _payer(transaction, taken, terms)
    _require_sources(terms, token_program, taken, payer)
    referred = require_memos(terms, parts.memos, payer)
    if not referred and is_reference(terms.external_id):  # T05: it would be as good for another service of this payee
        raise VerificationFailed("the payment doesn't carry the external id of this charge as a memo")
    _require_creates(terms, parts, token_program, transaction.payer)
    _require_roles(transaction, parts, payer)
    if terms.fee_payer is None:
        return Pulled(transaction, parts, raw, transaction.signature, payer, referred)
    if sponsor is None or sponsor.address != terms.fee_payer:
        raise RailUnavailable("fees are not paid for by this account any more; ask for a fresh challenge")
    sponsor.require(parts)
    final = sponsor.complete(raw)  # signed last, kept here until the payment is claimed
    signature = signature_text(read_transaction(final).signatures[0])
    return Pulled(transaction, parts, final, signature, payer, referred)


def _payer(transaction: Transaction, taken: tuple[Transfer, ...], terms: SolanaTerms) -> str:
    """Whose money moves: one signer, who also pays the fee unless the server does. T30"""
    authorities = {each.authority for each in taken}
    if len(authorities) != 1:
        raise VerificationFailed("several accounts pay")
    (payer,) = authorities
    if payer == terms.fee_payer:  # T30: the sponsor's money is not the payer's to spend
        raise VerificationFailed("the sponsor is made to pay")
    expected = (payer,) if terms.fee_payer is None else (terms.fee_payer, payer)
    if transaction.signers != expected:  # SCHG-056 SCHG-057 SCHG-117 T30
        raise VerificationFailed("the transaction is to be signed by others than the payer and who pays the fee")
    return payer


def _require_sources(terms: SolanaTerms, token_program: str | None, taken: tuple[Transfer, ...], payer: str) -> None:
    """That the payer's own account is drawn on, and is not what it pays into."""
    own = payer if terms.native else derive_ata(payer, terms.mint, token_program or "")
    for each in taken:
        if each.source != own:  # T30
            raise VerificationFailed("the transfer draws on an account that is not the payer's own")
        if each.destination == own:  # T32: nothing would move
            raise VerificationFailed("the payer pays itself")


def _require_creates(terms: SolanaTerms, parts: Parts, token_program: str | None, funder: str) -> None:
    """That accounts are created for payees of splits only, each once; at our cost only where the offer says so.

    SCHG "Split Recipient ATA Creation". The program, and that the account is the owner's, were read. T30
    """
    owners = [each.owner for each in parts.creates]
    if len(set(owners)) != len(owners):
        raise VerificationFailed("an account is created twice")
    splits = terms.legs[1:]
    allowed = {leg.recipient for leg in splits if leg.creates_account or terms.fee_payer is None}
    for each in parts.creates:
        if each.owner not in allowed:  # SCHG-079 SCHG-087 SCHG-090 T30
            raise VerificationFailed("an account is created for somebody whom the charge doesn't name for it")
        if (each.mint, each.token_program) != (terms.mint, token_program):  # SCHG-080 SCHG-081 T30
            raise VerificationFailed("an account is created for another token")
        if each.funder != funder:  # SCHG-083
            raise VerificationFailed("an account is created at the cost of somebody who doesn't pay the fee")


def _require_roles(transaction: Transaction, parts: Parts, payer: str) -> None:
    """That no account is there that the payment doesn't need, and none is written that it doesn't write. T30"""
    needed = {transaction.payer, payer}
    for each in transaction.instructions:
        needed.add(each.program)
        needed.update(account.address for account in each.accounts)
    written = {transaction.payer, payer}
    written.update(account for each in parts.transfers for account in (each.source, each.destination))
    written.update(each.account for each in parts.creates)
    for account in transaction.accounts:
        if account.address not in needed or (account.writable and account.address not in written):
            raise VerificationFailed("the transaction takes an account, or a right to write one, that it doesn't need")
