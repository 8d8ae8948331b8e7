"""The server's side of a tempo charge: offers, and the five verbs from a proof to a receipt.

    payload.type   proof                        what happens
    transaction    pull.py                      checked, simulated, broadcast by us, confirmed by its events
    hash           push.py                      broadcast by the payer; its events and memo are checked
    proof          proof.py                     a price of zero: a signature; nothing moves

Proofs share one name space, "eip155:<chain>/tx/<hash>", whichever way they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex, to_hex
from coinslot.chains.evm.rpc import code_at, get_receipt
from coinslot.chains.evm.signature import SIGNATURE_BYTES
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, now
from coinslot.errors import (
    InvalidChallenge,
    MalformedCredential,
    PaymentInsufficient,
    UsageError,
    VerificationFailed,
)
from coinslot.intents.charge import INTENT, Budget, Checked, Outcome, Prepared, Recognised, Settled, Terms
from coinslot.method import Extras
from coinslot.methods.tempo.legs import Binding
from coinslot.methods.tempo.preflight import preflight, require_fresh, require_key
from coinslot.methods.tempo.proof import verify_proof
from coinslot.methods.tempo.pull import Pulled, check_pull, read_pull
from coinslot.methods.tempo.push import check_push, read_hash, require_push
from coinslot.methods.tempo.settle import broadcast_raw, confirm_paid
from coinslot.methods.tempo.source import read_source, require_source
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.terms import MAX_AMOUNT, MODES, TempoTerms, read_terms
from coinslot.methods.tempo.tokens import asset as asset_of
from coinslot.methods.tempo.tokens import network, pinned
from coinslot.money import Asset, to_units
from coinslot.plain import PlainSeller, charge_request

NAME = "tempo"


@dataclass(frozen=True, slots=True)
class SellerConfig:
    """A seller's settings, parsed and completed by the chain; see settings.Accept."""

    rpc_url: str = field(repr=False)  # providers put keys into it
    chain_id: int
    asset: Asset
    recipient: str
    memo: bytes | None
    modes: tuple[str, ...]
    plain_allowed: bool
    proof_versions: tuple[str, ...]
    simulate: bool
    confirmations: int
    lag_s: int
    sponsor: Sponsor | None


@dataclass(frozen=True, slots=True)
class TempoChargeSeller(PlainSeller):
    """Takes charges in one token on one Tempo chain for one recipient."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: SellerConfig

    # --- what is asked ---------------------------------------------------------------------------

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """The request object (TCHG "Request Schema"); a price of zero asks for a proof. Raises UsageError."""
        config = self.config
        amount = to_units(price, config.asset.decimals or 0)
        if not 0 <= amount <= MAX_AMOUNT:
            raise UsageError("the price is not in the range of the token")
        details: dict[str, Any] = {"chainId": config.chain_id}
        if config.modes != MODES:  # TCHG-002, TCHG-009, TCHG-010
            details["supportedModes"] = list(config.modes)
        if amount and config.sponsor is not None:
            details["feePayer"] = True
        if amount and config.memo is not None:
            details["memo"] = to_hex(config.memo)
        request = charge_request(config.asset, config.recipient, amount, details, extras, parse_address)
        self._read(request)  # TCHG-014 to TCHG-019: never offer what no client may pay
        return request

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """The terms of a request that we bound. Raises InvalidChallenge for another chain or currency."""
        try:
            terms = self._read(request)
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None
        if (terms.chain_id, terms.asset.id) != (self.config.chain_id, self.config.asset.id):  # T07
            raise InvalidChallenge("the challenge is for another chain or currency")
        return replace(terms, asset=self.config.asset)

    def _read(self, request: Mapping[str, Any]) -> TempoTerms:
        return read_terms(request, lambda chain_id, address: asset_of(chain_id, address, pinned(chain_id).get(address)))

    def _terms_of(self, challenge: Challenge) -> TempoTerms:
        """The terms of a payment under way, also if the settings changed since. Raises InvalidChallenge."""
        try:
            return self._read(challenge.request_object())
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None

    def _binding(self, challenge: Challenge) -> Binding:
        return Binding(challenge, self.config.plain_allowed)

    # --- what is presented -----------------------------------------------------------------------

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """Whether the proof is good (TCHG "Transaction Verification", "Hash Verification", "Proof Verification").

        Raises MalformedCredential, VerificationFailed, PaymentInsufficient, RailUnavailable, ChainError.
        """
        credential = recognised.credential
        terms, payload = self._terms_of(credential.challenge), credential.payload_object()
        kind = payload.get("type")
        if kind not in ("transaction", "hash", "proof"):
            raise MalformedCredential("payload.type is not transaction, hash or proof")
        if (kind == "proof") != (terms.amount_units == 0):  # TCHG-035 T21
            raise VerificationFailed("a proof is for a price of zero, and nothing else is")
        if kind == "proof":
            return (yield from self._check_proof(recognised, terms, payload.get("signature")))
        if kind == "hash":
            return (yield from self._check_push(recognised, terms, payload.get("hash")))
        raw = read_pull(payload.get("signature"))
        times = ((yield from now()), recognised.expires_at_s)
        pulled = check_pull(raw, terms, self._binding(credential.challenge), self.config.sponsor, times)
        require_source(credential, terms.chain_id, pulled.signed.sender)
        yield from self._unless_there(pulled, require_key(self.config.rpc_url, pulled.signed))
        budgets: tuple[Budget, ...] = ()
        if terms.sponsored and self.config.sponsor is not None:
            budgets = self.config.sponsor.budgets(pulled.signed.transaction, pulled.signed.sender)
        return Checked(recognised, pulled.signed.sender, _proof(terms, pulled.hash), pulled, budgets)

    def _check_push(self, recognised: Recognised, terms: TempoTerms, value: object) -> Flow[Checked]:
        credential = recognised.credential
        require_push(terms)
        transaction_hash = read_hash(value)
        receipt = yield from check_push(
            self.config.rpc_url, transaction_hash, terms, self._binding(credential.challenge)
        )
        require_source(credential, terms.chain_id, receipt.sender)  # T05
        return Checked(recognised, receipt.sender, _proof(terms, transaction_hash), transaction_hash)

    def _check_proof(self, recognised: Recognised, terms: TempoTerms, value: object) -> Flow[Checked]:
        credential = recognised.credential
        if credential.source is None:  # TCHG-041
            raise VerificationFailed("a proof needs source: did:pkh:eip155:<chain id>:<address>")
        try:
            chain_id, account = read_source(credential.source)
            signature = parse_hex(value, size=SIGNATURE_BYTES)
        except UsageError as error:
            raise VerificationFailed(f"proof: {error}") from None
        if chain_id != terms.chain_id:  # TCHG-042
            raise VerificationFailed("source names another chain")
        versions = self.config.proof_versions
        verify_proof(signature, versions=versions, chain_id=chain_id, challenge=credential.challenge, account=account)
        if (yield from code_at(self.config.rpc_url, account)):  # T17
            raise VerificationFailed("contract accounts (ERC-1271) are not supported for proofs")
        proof = f"{network(chain_id)}/proof/{credential.challenge.id}"
        return Checked(recognised, account, proof)

    # --- what is done ----------------------------------------------------------------------------

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """The final bytes and their hash, simulated. Raises VerificationFailed, PaymentInsufficient, ChainError."""
        challenge, evidence = checked.recognised.credential.challenge, checked.evidence
        if isinstance(evidence, str):
            return Prepared(challenge, checked.payer, checked.proof, evidence)
        if not isinstance(evidence, Pulled):
            return Prepared(challenge, checked.payer, checked.proof, challenge.id)
        terms = self._terms_of(challenge)
        if not evidence.bound:
            yield from require_fresh(self.config.rpc_url, evidence.hash)
        if self.config.simulate or terms.sponsored:
            binding = self._binding(challenge)
            asked = preflight(self.config.rpc_url, evidence, terms, binding, sponsored=terms.sponsored)
            yield from self._unless_there(evidence, asked)
        dead_after_s = float(evidence.signed.transaction.valid_before or 0)
        return Prepared(challenge, checked.payer, checked.proof, evidence.hash, evidence.raw, dead_after_s)

    def _unless_there(self, pulled: Pulled, required: Flow[None]) -> Flow[None]:
        """What would fail now has perhaps happened: the payer may have broadcast it too, and has paid then. T35"""
        try:
            yield from required
        except (VerificationFailed, PaymentInsufficient):
            if not pulled.bound or (yield from get_receipt(self.config.rpc_url, pulled.hash)) is None:
                raise

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Send the bytes, if there are any. Raises RpcUnreachable, RpcRefused; then only confirm knows."""
        if prepared.raw:
            yield from broadcast_raw(self.config.rpc_url, prepared.raw)

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """What the chain says now. Raises ChainError."""
        terms = self._terms_of(prepared.challenge)
        extra = {} if terms.external_id is None else {"externalId": terms.external_id}
        if terms.amount_units == 0:
            return Settled(prepared.reference, (yield from now()), extra)
        outcome = yield from confirm_paid(
            self.config.rpc_url,
            prepared,
            terms,
            self._binding(prepared.challenge),
            confirmations=self.config.confirmations,
            lag_s=self.config.lag_s,
        )
        return replace(outcome, extra=extra) if isinstance(outcome, Settled) else outcome


def _proof(terms: TempoTerms, transaction_hash: str) -> str:
    return f"{network(terms.chain_id)}/tx/{transaction_hash}"
