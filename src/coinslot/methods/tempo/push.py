"""Push: the payer broadcast the transfer itself and presents its hash (TCHG "Hash Verification").

Everybody can read hashes off the chain, so a hash alone shows nothing. The transfer must carry the memo of the very
challenge that it is presented for; nobody else's does. T05
"""

from __future__ import annotations

from coinslot.chains.evm.hexdata import parse_hex, to_hex
from coinslot.chains.evm.rpc import Receipt, await_receipt
from coinslot.drive import Flow
from coinslot.errors import MalformedCredential, UsageError, VerificationFailed
from coinslot.methods.tempo.legs import Binding, require_legs
from coinslot.methods.tempo.terms import PUSH, TempoTerms
from coinslot.methods.tempo.tip20 import Transferred, read_transfers

# A replica that lags shows a mined transaction within a block or two; then the client may come again. F12
RECEIPT_WAIT_S = 2.0


def read_hash(payload: object) -> str:
    """The hash in its one spelling, so that case can't make two proofs of one payment. Raises MalformedCredential."""
    try:
        return to_hex(parse_hex(payload, size=32))  # T06
    except UsageError as error:
        raise MalformedCredential(f"payload.hash: {error}") from None


def require_push(terms: TempoTerms) -> None:
    """Whether this charge may be paid by push at all. Raises VerificationFailed."""
    if terms.sponsored:  # TCHG-050
        raise VerificationFailed("a hash is not taken where the server pays the fee; present the signed transaction")
    if PUSH not in terms.modes:  # TCHG-052, TCHG-063
        raise VerificationFailed("this charge does not take a hash (push)")
    if terms.custom_memo:  # T05
        raise VerificationFailed("a hash is not taken where the memo is the server's: it would bind it to no challenge")


def check_push(url: str, transaction_hash: str, terms: TempoTerms, binding: Binding) -> Flow[Receipt]:
    """The receipt of a payment for this challenge. Raises VerificationFailed, or RpcUnreachable: not seen yet."""
    receipt = yield from await_receipt(url, transaction_hash, wait_s=RECEIPT_WAIT_S)
    require_paid(receipt, receipt.sender, terms, Binding(binding.challenge))
    return receipt


def require_paid(receipt: Receipt, payer: str, terms: TempoTerms, binding: Binding) -> None:
    """That a receipt shows every leg paid by `payer`, by its events and not only its status. T32

    Raises VerificationFailed, PaymentInsufficient.
    """
    if not receipt.succeeded:
        raise VerificationFailed("the transaction was reverted")
    if receipt.sender != payer:
        raise VerificationFailed("the transaction is another account's")
    moved = [each for each in read_transfers(receipt) if _by(each, payer)]
    require_legs(terms.asset.id, terms.legs, moved, binding)


def _by(transfer: Transferred, payer: str) -> bool:
    return transfer.sender == payer
