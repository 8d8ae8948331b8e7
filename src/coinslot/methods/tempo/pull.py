"""Pull: the payer hands over a signed transaction, and we broadcast it (TCHG "Transaction Verification").

It is read to the last byte and must consist of the transfers asked for and nothing else. Its proof is the hash that the
chain will know it by, known before anything is sent: for a sponsored one with the sponsor's signature, which is the
same every time. A push of the same transaction has the same proof, so neither can follow the other. T06

A transfer that carries no memo of this challenge (the server's own memo, or none by option) might be another payment
that is on the chain already; such a transaction must not be there yet when we take it. T05
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.evm.hexdata import parse_hex
from coinslot.errors import (
    BadSignature,
    BadTransaction,
    MalformedCredential,
    RailUnavailable,
    UsageError,
    VerificationFailed,
)
from coinslot.methods.tempo.legs import Binding, require_legs
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.terms import PULL, TempoTerms
from coinslot.methods.tempo.tip20 import Transfer, read_transfer_call
from coinslot.methods.tempo.tokens import is_tip20
from coinslot.methods.tempo.transaction.build import transaction_hash
from coinslot.methods.tempo.transaction.fields import TRANSACTION_TYPE, TempoTransaction
from coinslot.methods.tempo.transaction.read import SignedTransaction, read_transaction

# A transaction of ten splits and a key authorization is under 4 KiB; nodes take more, a header doesn't.
MAX_RAW_BYTES = 16 * 1024
# Clients round the challenge's end up to whole seconds and bound the validity after it.
EXPIRY_SLACK_S = 5


@dataclass(frozen=True, slots=True)
class Pulled:
    """A transaction that we will broadcast.

    `raw` are the final bytes, `hash` what the chain will know them by; `fee_payer` pays the fee in `fee_token`, or in
    what the chain chooses for it.
    `bound`: it carries the memo of its challenge, so it can't be another payment.
    """

    signed: SignedTransaction
    raw: bytes = field(repr=False)
    hash: str
    fee_payer: str
    fee_token: str | None
    bound: bool


def read_pull(payload: object) -> bytes:
    """The bytes of a transaction. Raises MalformedCredential."""
    try:
        return parse_hex(payload, most=MAX_RAW_BYTES)
    except UsageError as error:
        raise MalformedCredential(f"payload.signature: {error}") from None


def check_pull(
    raw: bytes, terms: TempoTerms, binding: Binding, sponsor: Sponsor | None, times: tuple[float, float]
) -> Pulled:
    """A transaction that pays these terms if the chain takes it; `times` are now and when the challenge expires.

    Raises VerificationFailed, PaymentInsufficient, RailUnavailable.
    """
    if PULL not in terms.modes:  # TCHG-060
        raise VerificationFailed("this charge does not take a signed transaction (pull)")
    try:
        signed = read_transaction(raw)
    except (BadTransaction, BadSignature) as error:
        raise VerificationFailed(f"transaction: {error}") from None
    tx = signed.transaction
    _require_fields(tx, terms, times)
    taken = require_legs(terms.asset.id, terms.legs, _transfers(tx), binding)
    if len(tx.calls) != len(taken):  # T31
        raise VerificationFailed("the transaction does more than the payment")
    bound = taken[0].memo is not None and not terms.custom_memo
    if not terms.sponsored:
        return Pulled(signed, raw, transaction_hash(raw), signed.sender, _own_fee_token(signed), bound)
    if sponsor is None:
        raise RailUnavailable("fees are not paid for by this server any more; ask for a fresh challenge")
    sponsor.require(signed, times[0], len(terms.legs))
    final = sponsor.complete(signed)  # signed last, kept here until the payment is claimed
    return Pulled(signed, final, transaction_hash(final), sponsor.address, sponsor.fee_token, bound)


def _transfers(tx: TempoTransaction) -> list[Transfer]:
    try:
        return [read_transfer_call(call) for call in tx.calls]
    except BadTransaction as error:
        raise VerificationFailed(f"transaction: {error}") from None


def _require_fields(tx: TempoTransaction, terms: TempoTerms, times: tuple[float, float]) -> None:
    now_s, expires_at_s = times
    if tx.chain_id != terms.chain_id:  # T07
        raise VerificationFailed("the transaction is for another chain")
    if tx.access_list:
        raise VerificationFailed("the transaction has an access list")
    if tx.valid_before is None:  # F13: without an end, a lost transaction would be pending for ever
        raise VerificationFailed("the transaction has no valid_before")
    if tx.valid_before > expires_at_s + EXPIRY_SLACK_S:
        raise VerificationFailed("the transaction stays valid longer than the challenge")
    if tx.valid_before <= now_s:
        raise VerificationFailed("the transaction is not valid any more")
    if tx.valid_after is not None and tx.valid_after > now_s:
        raise VerificationFailed("the transaction is not valid yet")


def _own_fee_token(signed: SignedTransaction) -> str | None:
    """The token in which the sender pays its own fee (TCHG "Client-Paid Fees").

    The document has clients name it; deployed ones leave it to the chain, which costs nobody but them.
    """
    tx = signed.transaction
    if signed.raw[0] != TRANSACTION_TYPE or tx.sponsored:
        raise VerificationFailed("the transaction wants a sponsor, and this charge has none")
    if tx.fee_token is not None and not is_tip20(tx.fee_token):  # TCHG-045
        raise VerificationFailed("the transaction names no TIP-20 token to pay its fee in")
    return tx.fee_token
