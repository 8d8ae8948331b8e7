"""The client's side of a Solana charge, for one account on one cluster.

What a server says is compared with what this wallet knows: its own cluster, and tokens that were pinned or that its
owner vouches for.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar

from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.rpc import block_height, is_blockhash_valid, latest_blockhash
from coinslot.chains.solana.sending import (
    CONFIRM_WAIT_S,
    SignatureStatus,
    await_status,
    preflight_failure,
    send_transaction,
    signature_statuses,
)
from coinslot.chains.solana.signature import signature_text
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, random_bytes
from coinslot.errors import (
    MalformedHeader,
    NoPayableOffer,
    PaymentOutcomeUnknown,
    RpcRefused,
    RpcUnreachable,
    UsageError,
)
from coinslot.intents.charge import INTENT, Terms
from coinslot.method import Fate, Presentation, Sending
from coinslot.methods.solana.paying import (
    NAME,
    PayerConfig,
    require_funds,
    require_token,
    token_program,
    usable_blockhash,
)
from coinslot.methods.solana.source import source_of
from coinslot.methods.solana.spelling import respelt
from coinslot.methods.solana.terms import PUSH, SolanaTerms, read_terms
from coinslot.methods.solana.transaction.build import payment_instructions, unit_limit


@dataclass(frozen=True, slots=True)
class SolanaChargePayer:
    """Pays charges from one account."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: PayerConfig

    def terms(self, challenge: Challenge) -> SolanaTerms:
        """What is asked, if it is on our cluster and in a token that we know (SCHG "Client-Side Verification").

        Raises NoPayableOffer, which says why not.
        """
        config = self.config
        try:
            terms = read_terms(respelt(challenge.request_object(), config.cluster), config.asset)
        except (UsageError, MalformedHeader) as error:
            raise NoPayableOffer(f"solana: {error}") from None
        if terms.cluster != config.cluster:  # SCHG-016 T07 T47
            raise NoPayableOffer(f"solana: asked on {terms.cluster}, this wallet is on {config.cluster}")
        require_token(config, terms)
        if config.account in (terms.fee_payer, *(leg.recipient for leg in terms.legs)):  # T47
            raise NoPayableOffer("solana: the server wants this wallet to pay itself, or to be its sponsor")
        return terms

    def source(self) -> str:
        """Who pays, as credentials say it."""
        return source_of(self.config.network, self.config.account)

    def pushes(self, terms: Terms) -> bool:
        """Whether this wallet sends the payment itself (SCHG-068, SCHG-075)."""
        return self.config.mode == PUSH and isinstance(terms, SolanaTerms) and terms.fee_payer is None

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """Sign the payment; nothing is sent. Raises NoPayableOffer, ChainError."""
        mine = self.terms(challenge)
        if mine.legs != getattr(terms, "legs", None):
            raise UsageError("these terms are not those of this challenge")
        pushed = self.pushes(mine)
        raw = yield from self._transaction(mine, pushed=pushed)
        source = self.source()
        if pushed:
            expires = (yield from latest_blockhash(self.config.rpc_url)).last_valid_height  # not before the one signed
            reference = read_transaction(raw).signature
            payload = {"type": "signature", "signature": reference}
            return Presentation(payload, source, reference, Sending(raw, expires))
        return Presentation(
            {"type": "transaction", "transaction": b64encode(raw).decode()}, source, self._reference(raw)
        )

    # --- the transaction -------------------------------------------------------------------------

    def _transaction(self, terms: SolanaTerms, *, pushed: bool) -> Flow[bytes]:
        """Signed by this account, who pays the fee unless the server does (SCHG-056, SCHG-057)."""
        config = self.config
        program = yield from token_program(config, terms)
        units = unit_limit(terms, int.from_bytes((yield from random_bytes(4)), "big"))
        yield from require_funds(config, terms, program, units)
        offered = None if pushed else terms.blockhash
        blockhash = yield from usable_blockhash(config, offered)
        try:
            built = payment_instructions(terms, config.account, program, (units, config.unit_price))
            message = build_message(terms.fee_payer or config.account, built, blockhash)
        except UsageError as error:  # splits and memos that don't fit
            raise NoPayableOffer(f"solana: {error}") from None
        return sign_partially(message, [config.key])

    def _reference(self, raw: bytes) -> str:
        """What to look up: the transaction's signature, or, where the sponsor's will be the first, ours in it.

        The latter is found among the transactions of this account.
        """
        signatures = read_transaction(raw).signatures
        own = signature_text(signatures[-1])
        return own if len(signatures) == 1 else f"cosigned:{own}"

    # --- push ------------------------------------------------------------------------------------

    def send(self, sending: Sending, *, again: bool) -> Flow[None]:
        """Broadcast it ourselves, until the chain shows it confirmed (SCHG-168). T03

        Raises NoPayableOffer, PaymentOutcomeUnknown.
        """
        sent = read_transaction(sending.raw)
        reference = sent.signature
        try:
            status = (yield from self._seen(reference)) if again else None
            if status is None:
                status = yield from self._broadcast(sending.raw, reference, again=again)
        except RpcUnreachable as error:
            if (yield from self._never_landed(reference, sent.blockhash, sending.valid_until)):
                raise NoPayableOffer("solana: the payment was not taken while it could be; nothing moved") from None
            raise self._unknown(reference) from error
        if status.failure is not None:
            raise NoPayableOffer(
                f"solana: the payment {reference} failed ({status.failure.text}); nothing but its fee was spent"
            )

    def look(self, sending: Sending) -> Flow[Fate]:
        """What became of it. Raises RpcUnreachable."""
        sent = read_transaction(sending.raw)
        status = yield from self._seen(sent.signature)
        if status is not None:
            return Fate.LANDED if status.failure is None else Fate.DEAD
        gone = yield from self._never_landed(sent.signature, sent.blockhash, sending.valid_until)
        return Fate.DEAD if gone else Fate.OPEN

    def _seen(self, reference: str) -> Flow[SignatureStatus | None]:
        """Where it stands if the chain has it confirmed, however long ago. Raises RpcUnreachable."""
        try:
            (status,) = yield from signature_statuses(self.config.rpc_url, [reference], history=True)
        except RpcRefused as refusal:
            raise RpcUnreachable(str(refusal)) from refusal
        return status if status is not None and status.reached("confirmed") else None

    def _broadcast(self, raw: bytes, reference: str, *, again: bool) -> Flow[SignatureStatus]:
        url = self.config.rpc_url
        try:
            yield from send_transaction(url, raw)
        except RpcRefused as refusal:
            if again:  # what was tried out now may have been passed on before
                raise RpcUnreachable(str(refusal)) from refusal
            if preflight_failure(refusal) is not None:  # the node tried it out and did not pass it on
                raise NoPayableOffer(f"solana: the node refused the payment: {refusal}") from None
            raise self._unknown(reference) from refusal
        except RpcUnreachable:
            pass  # whether it was passed on, only the chain knows
        return (yield from await_status(url, reference, wait_s=CONFIRM_WAIT_S))

    def _never_landed(self, reference: str, blockhash: str, last_valid_height: int) -> Flow[bool]:
        """Whether the chain proves that a transaction can never land: its blockhash is past, and it isn't there.

        The height alone may be another replica's word, which was behind when it said how long a blockhash is good.
        """
        url = self.config.rpc_url
        try:
            if (yield from is_blockhash_valid(url, blockhash, commitment="processed")):  # F12
                return False
            height = yield from block_height(url, commitment="finalized")
            (status,) = yield from signature_statuses(url, [reference], history=True)
        except (RpcRefused, RpcUnreachable):
            return False
        return status is None and height > last_valid_height  # F13

    def _unknown(self, reference: str) -> PaymentOutcomeUnknown:
        return PaymentOutcomeUnknown(
            f"the payment {reference} was sent and its end is not known; look it up before paying again",
            reference=reference,
        )
