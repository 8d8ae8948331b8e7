"""The client's side of a tempo charge, for one account on one chain.

What a server says is compared with what this wallet knows: its own chain, and tokens that were pinned or that its owner
vouches for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.rpc import Receipt, latest_block, send_raw_sync
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, now
from coinslot.errors import (
    ChainError,
    MalformedHeader,
    NoPayableOffer,
    PaymentOutcomeUnknown,
    RpcRefused,
    RpcUnreachable,
    UsageError,
)
from coinslot.intents.charge import INTENT, Refused, Terms
from coinslot.method import Fate, Presentation, Sending
from coinslot.methods.tempo.memo import attribution_memo, is_attribution_memo
from coinslot.methods.tempo.paying import (
    NAME,
    PayerConfig,
    hand_over,
    max_fee_per_gas,
    needed_key_authorization,
    require_balance,
    sign_as_account,
    valid_before,
)
from coinslot.methods.tempo.proof import proof_digest
from coinslot.methods.tempo.settle import find_receipt
from coinslot.methods.tempo.source import source_of
from coinslot.methods.tempo.sponsor import GAS_PER_KEY_AUTHORIZATION
from coinslot.methods.tempo.terms import PUSH, TempoTerms, read_terms
from coinslot.methods.tempo.tip20 import transfer_call
from coinslot.methods.tempo.tokens import fee_units
from coinslot.methods.tempo.transaction.build import transaction_hash
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, EXPIRING_NONCE_KEY, TempoTransaction

# One transfer to an account that never held the token costs 550,000 at most; unused gas costs nothing.
GAS = 1_000_000
GAS_PER_SPLIT = 350_000
# How far a replica may be behind before what it has never seen counts as dead: as a seller's `lag_s`.
LAG_S = 30


@dataclass(frozen=True, slots=True)
class TempoChargePayer:
    """Pays charges from one account."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: PayerConfig

    def terms(self, challenge: Challenge) -> TempoTerms:
        """What is asked, if it is on our chain and in a token that we know (TCHG "Amount Verification").

        Raises NoPayableOffer, which says why not.
        """
        try:
            terms = read_terms(challenge.request_object(), self.config.asset)
        except (UsageError, MalformedHeader) as error:
            raise NoPayableOffer(f"tempo: {error}") from None
        if terms.chain_id != self.config.chain_id:  # T07
            raise NoPayableOffer(f"tempo: asked on chain {terms.chain_id}, this wallet is on {self.config.chain_id}")
        if terms.asset.id not in self.config.tokens:  # T47
            raise NoPayableOffer(f"tempo: the token {terms.asset.id} is neither pinned nor in this wallet's tokens")
        if any(leg.memo is not None and is_attribution_memo(leg.memo) for leg in terms.legs):  # T05
            raise NoPayableOffer("tempo: the server asks for a memo that would pay another challenge")
        return terms

    def source(self) -> str:
        """Who pays, as credentials say it."""
        return source_of(self.config.chain_id, self.config.account)

    def pushes(self, terms: Terms) -> bool:
        """Whether this wallet sends the payment itself. Raises NoPayableOffer."""
        return isinstance(terms, TempoTerms) and terms.amount_units != 0 and self._mode(terms) == PUSH

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """Sign the payment; nothing is sent. Raises NoPayableOffer, ChainError."""
        mine = self.terms(challenge)
        if mine.legs != getattr(terms, "legs", None):
            raise UsageError("these terms are not those of this challenge")
        source = self.source()
        if mine.amount_units == 0:
            return self._prove(challenge, source)
        mode = self._mode(mine)
        tx = yield from self._transaction(challenge, mine)
        raw = hand_over(self.config, sign_as_account(self.config, tx))
        if mode == PUSH:
            reference = transaction_hash(raw)
            sending = Sending(raw, tx.valid_before or 0)
            return Presentation({"type": "hash", "hash": reference}, source, reference, sending)
        reference = transaction_hash(raw) if not mine.sponsored else _memo_reference(challenge, mine, self.config)
        return Presentation({"type": "transaction", "signature": to_hex(raw)}, source, reference)

    def _prove(self, challenge: Challenge, source: str) -> Presentation:
        if self.config.by_access_key:
            raise NoPayableOffer("tempo: an access key can't prove the account (a charge of zero needs its own key)")
        digest = proof_digest(self.config.proof_version, self.config.chain_id, challenge, self.config.account)
        return Presentation({"type": "proof", "signature": to_hex(self.config.key.sign_digest(digest))}, source, None)

    def _mode(self, terms: TempoTerms) -> str:
        """Our preference where the server leaves the choice (TCHG-008, TCHG-049, TCHG-051)."""
        modes = terms.modes - {PUSH} if terms.sponsored else terms.modes
        if not modes:
            raise NoPayableOffer("tempo: the server pays the fee but does not take a signed transaction")
        return self.config.mode if self.config.mode in modes else next(iter(modes))

    # --- the transaction -------------------------------------------------------------------------

    def _transaction(self, challenge: Challenge, terms: TempoTerms) -> Flow[TempoTransaction]:
        config, token = self.config, terms.asset.id
        head = yield from latest_block(config.rpc_url)
        before_s = valid_before(challenge.expires, head, (yield from now()))
        max_fee = yield from max_fee_per_gas(config)
        authorization = yield from needed_key_authorization(config)
        tx = TempoTransaction(
            chain_id=config.chain_id,
            calls=tuple(
                transfer_call(token, leg.recipient, leg.amount_units, memo)
                for leg, memo in zip(terms.legs, _memos(challenge, terms, config), strict=True)
            ),
            gas_limit=_gas_limit(len(terms.legs), authorization),
            max_fee_per_gas=max_fee,
            max_priority_fee_per_gas=0,
            nonce_key=EXPIRING_NONCE_KEY,
            valid_before=before_s,
            key_authorization=authorization,
        )
        if terms.sponsored:  # TCHG-047
            tx = replace(tx, fee_payer_signature=AWAITING_FEE_PAYER)
        else:  # TCHG-011, TCHG-045
            tx = replace(tx, fee_token=config.fee_token or token)
        fee = fee_units(tx.max_fee) if tx.fee_token == token else 0
        yield from require_balance(config, terms.asset, terms.amount_units, fee)  # TCHG-048: not to sign it otherwise
        return tx

    # --- push ------------------------------------------------------------------------------------

    def send(self, sending: Sending, *, again: bool) -> Flow[None]:
        """Broadcast it ourselves, until the chain shows it. Raises NoPayableOffer, PaymentOutcomeUnknown."""
        reference = transaction_hash(sending.raw)
        try:
            receipt = yield from send_raw_sync(self.config.rpc_url, sending.raw)
        except RpcUnreachable as error:
            raise _unknown(reference) from error
        except RpcRefused as refusal:
            if not again:
                raise NoPayableOffer(f"tempo: the node refused the payment: {refusal}") from None
            receipt = yield from self._landed(reference, sending.valid_until)
        if not receipt.succeeded:
            raise NoPayableOffer(f"tempo: the payment {reference} was reverted; nothing but its fee was spent")

    def look(self, sending: Sending) -> Flow[Fate]:
        """What became of it. Raises ChainError."""
        reference = transaction_hash(sending.raw)
        found = yield from find_receipt(self.config.rpc_url, reference, sending.valid_until, LAG_S)
        if isinstance(found, Receipt):
            return Fate.LANDED if found.succeeded else Fate.DEAD
        return Fate.DEAD if isinstance(found, Refused) else Fate.OPEN  # F13

    def _landed(self, reference: str, valid_until_s: int) -> Flow[Receipt]:
        """The receipt of what a node won't take now: another may have taken it before. F12"""
        try:
            found = yield from find_receipt(self.config.rpc_url, reference, valid_until_s, LAG_S)
        except ChainError as error:
            raise _unknown(reference) from error
        if isinstance(found, Refused):  # F13
            raise NoPayableOffer(f"tempo: the payment {reference} was not taken while it could be; nothing moved")
        if not isinstance(found, Receipt):
            raise _unknown(reference)
        return found


def _unknown(reference: str) -> PaymentOutcomeUnknown:
    return PaymentOutcomeUnknown(
        f"the payment {reference} was sent and its end is not known; look it up before paying again",
        reference=reference,
    )


def _memos(challenge: Challenge, terms: TempoTerms, config: PayerConfig) -> list[bytes | None]:
    """The memo of each leg: the server's, or on the primary one the memo that binds it to this challenge."""
    memos = [leg.memo for leg in terms.legs]
    if memos[0] is None:
        memos[0] = attribution_memo(challenge.realm, challenge.id, config.client_id)
    return memos


def _memo_reference(challenge: Challenge, terms: TempoTerms, config: PayerConfig) -> str:
    """What to look up where the sponsor decides about the hash: the memo, which the token's events are indexed by."""
    return f"memo:{to_hex(_memos(challenge, terms, config)[0] or b'')}"


def _gas_limit(legs: int, authorization: bytes | None) -> int:
    return GAS + (legs - 1) * GAS_PER_SPLIT + (GAS_PER_KEY_AUTHORIZATION if authorization else 0)
