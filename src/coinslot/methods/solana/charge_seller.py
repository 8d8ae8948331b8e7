"""The server's side of a Solana charge: offers, and the five verbs from a proof to a receipt.

    payload.type   proof                        what happens
    transaction    pull.py                      checked, simulated, broadcast by us, confirmed by its balances
    signature      push.py                      broadcast by the payer; its balances and memo are checked
    bundle         refused                      confidential charges, which we don't offer

Proofs share one name space, "solana:<reference>/tx/<signature>", whichever way they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.expiry import LIFE_S
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.rpc import Commitment
from coinslot.chains.solana.sending import Landed
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow, now
from coinslot.errors import (
    ChainError,
    InvalidChallenge,
    MalformedCredential,
    RpcRefused,
    RpcUnreachable,
    UsageError,
    VerificationFailed,
)
from coinslot.intents.charge import INTENT, Budget, Checked, Outcome, Prepared, Recognised, Settled, Terms
from coinslot.method import Extras
from coinslot.methods.solana import tokens
from coinslot.methods.solana.memo import is_reference, new_reference
from coinslot.methods.solana.preflight import Seen, look, preflight, require_fresh
from coinslot.methods.solana.pull import Pulled, check_pull, read_pull
from coinslot.methods.solana.push import check_push, read_signature, require_bound, require_paid, require_push
from coinslot.methods.solana.settle import broadcast_raw, confirm_paid
from coinslot.methods.solana.source import require_source
from coinslot.methods.solana.sponsor import Sponsor
from coinslot.methods.solana.terms import PULL, PUSH, SolanaTerms, read_terms
from coinslot.money import Asset, to_units
from coinslot.plain import charge_request

NAME = "solana"
# What one look at the chain serves: offers made within so many seconds share its blockhash (good for sixty or more).
LOOK_S = 2.0
# Different offers (splits) that are remembered at once.
MAX_LOOKS = 256
# A sponsor that could not pay for so many payments more lets its payers pay themselves. What an account must keep to
# exist is no part of that.
SPONSOR_RESERVE = 10
ACCOUNT_LAMPORTS = 890_880


@dataclass(frozen=True, slots=True)
class SellerConfig:
    """A seller's settings, parsed and completed by the chain; see settings.Accept."""

    rpc_url: str = field(repr=False)  # providers put keys into it
    cluster: str
    asset: Asset
    token_program: str | None
    recipient: str
    modes: tuple[str, ...]
    plain_push: bool
    reference: bool
    blockhash: bool
    create_accounts: bool
    trusted: tuple[str, ...]
    simulate: bool
    commitment: Commitment
    lag_s: int
    sponsor: Sponsor | None


@dataclass(frozen=True, slots=True)
class SolanaChargeSeller:
    """Takes charges in one token, or SOL, on one cluster for one recipient."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: SellerConfig
    _looks: dict[tuple[str, ...], tuple[float, Seen]] = field(default_factory=dict, repr=False, compare=False)

    # --- what is asked ---------------------------------------------------------------------------

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """The request object (SCHG "Request Schema"). Raises UsageError; there are no charges of zero."""
        config = self.config
        decimals = config.asset.decimals or 0
        amount = to_units(price, decimals)
        if not 0 < amount <= U64_MAX:  # SCHG-007
            raise UsageError("the price is not in the range of the token")
        details: dict[str, Any] = {"network": config.cluster}
        if config.token_program is not None:  # SCHG-018 SCHG-022 SCHG-023
            details |= {"decimals": decimals, "tokenProgram": config.token_program}
        if config.sponsor is not None:  # SCHG-024
            details |= {"feePayer": True, "feePayerKey": config.sponsor.address}
        # T05: only what nobody could know before ties a payment by itself
        if extras.external_id is not None and is_reference(extras.external_id):
            raise UsageError("an external id must not look like a reference that is made up for one challenge")
        request = charge_request(config.asset, config.recipient, amount, details, extras, parse_address)
        self._read(request)  # SCHG-031 to SCHG-035: never offer what no client may pay
        return request

    def complete(self, request: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """The request object with what only this moment knows: a reference of its own (memo.py), a fresh blockhash,
        which accounts of payees are to be created; without the sponsor where its purse is low.

        Raises ChainError where a payee can't be paid in this token (any more). A node that does not answer is no
        reason to offer nothing: clients can do without its hints.
        """
        terms, details, made = self._read(request), dict(request["methodDetails"]), dict(request)
        if self.config.reference and terms.external_id is None:
            made["externalId"] = yield from new_reference()
        try:
            seen = yield from self._look(terms)
        except (RpcUnreachable, RpcRefused):
            return made
        if terms.fee_payer is not None and not self._can_sponsor(seen, len(terms.legs) - 1):  # SCHG-196 SCHG-197
            del details["feePayer"], details["feePayerKey"]
        if seen.missing and not self.config.create_accounts:  # T28
            raise ChainError("a payee of a split has no token account, and create_split_accounts is off")
        if seen.missing:
            details["splits"] = [
                entry | ({"ataCreationRequired": True} if entry["recipient"] in seen.missing else {})
                for entry in details["splits"]
            ]
        if self.config.blockhash:  # SCHG-039: a hint
            details |= {"recentBlockhash": seen.recent.blockhash, "recentSlot": str(seen.recent.slot)}
        return made | {"methodDetails": details}

    def _look(self, terms: SolanaTerms) -> Flow[Seen]:
        """One look serves all offers of the same payees for a moment."""
        key = (terms.fee_payer or "", *(leg.recipient for leg in terms.legs))
        now_s = yield from now()
        known = self._looks.get(key)
        if known is not None and 0 <= now_s - known[0] < LOOK_S:
            return known[1]
        seen = yield from look(self.config.rpc_url, terms, self.config.token_program, self.config.trusted)
        if len(self._looks) >= MAX_LOOKS:  # F28
            self._looks.clear()
        self._looks[key] = (now_s, seen)
        return seen

    def _can_sponsor(self, seen: Seen, splits: int) -> bool:
        sponsor = self.config.sponsor
        if sponsor is None:
            return False
        most = sponsor.max_fee_lamports + (sponsor.rent_lamports * splits if self.config.create_accounts else 0)
        return seen.sponsor_lamports >= ACCOUNT_LAMPORTS + SPONSOR_RESERVE * most

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """The terms of a request that we bound. Raises InvalidChallenge for another cluster or currency."""
        try:
            terms = self._read(request)
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None
        if (terms.cluster, terms.mint) != (self.config.cluster, self.config.asset.id):  # T07
            raise InvalidChallenge("the challenge is for another cluster or currency")
        if terms.token_program != self.config.token_program or terms.decimals != self._decimals():  # T07 T29
            raise InvalidChallenge("the challenge is for another token program, or other decimals")
        return replace(terms, asset=self.config.asset)

    def _decimals(self) -> int | None:
        return None if self.config.token_program is None else self.config.asset.decimals

    def _read(self, request: Mapping[str, Any]) -> SolanaTerms:
        return read_terms(request, self._asset)

    def _asset(self, cluster: str, mint: str, decimals: int | None) -> Asset:
        own = self.config
        if (cluster, mint) == (own.cluster, own.asset.id):
            return own.asset
        return tokens.asset(tokens.network_of(cluster), mint, tokens.pinned(cluster).get(mint))

    def _terms_of(self, challenge: Challenge) -> SolanaTerms:
        """The terms of a payment under way, also if the settings changed since. Raises InvalidChallenge."""
        try:
            return self._read(challenge.request_object())
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None

    def _bound(self, terms: SolanaTerms, pulled: Pulled) -> bool:
        """Whether a transaction can't be another payment: it carries a reference that no other challenge has. T05"""
        return pulled.referred and is_reference(terms.external_id)

    # --- what is presented -----------------------------------------------------------------------

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """Whether the proof is good (SCHG "Verification Procedure").

        Raises MalformedCredential, VerificationFailed, RailUnavailable, ChainError.
        """
        credential = recognised.credential
        terms, payload = self._terms_of(credential.challenge), credential.payload_object()
        kind = payload.get("type")
        if kind not in ("transaction", "signature", "bundle"):  # SCHG-052 SCHG-058
            raise MalformedCredential("payload.type is not transaction, signature or bundle")
        if kind == "bundle":  # SCHG-109
            raise VerificationFailed("a bundle is for confidential charges, which are not supported")
        if kind == "signature":
            return (yield from self._check_push(recognised, terms, payload.get("signature")))
        raw = read_pull(payload.get("transaction"))
        if PULL not in self.config.modes:
            raise VerificationFailed("this charge does not take a signed transaction (pull)")
        sponsor = self.config.sponsor
        pulled = check_pull(raw, terms, terms.token_program, sponsor)
        require_source(credential, terms.network, pulled.payer)
        budgets: tuple[Budget, ...] = ()
        if terms.fee_payer is not None and sponsor is not None:
            budgets = sponsor.budgets(pulled.parts, terms.network, pulled.payer)
        return Checked(recognised, pulled.payer, _proof(terms, pulled.signature), pulled, budgets)

    def _check_push(self, recognised: Recognised, terms: SolanaTerms, value: object) -> Flow[Checked]:
        config, signature = self.config, read_signature(value)
        require_push(terms, plain_allowed=config.plain_push)
        if PUSH not in config.modes:
            raise VerificationFailed("this charge does not take a signature (push)")
        landed: Landed = yield from check_push(
            config.rpc_url, signature, terms, terms.token_program, commitment=config.commitment
        )
        payer = require_paid(landed, terms, terms.token_program)
        require_bound(landed, terms, plain_allowed=config.plain_push)
        require_source(recognised.credential, terms.network, payer)  # T05
        return Checked(recognised, payer, _proof(terms, signature), signature)

    # --- what is done ----------------------------------------------------------------------------

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """The final bytes and their signature, simulated. Raises VerificationFailed, RailUnavailable, ChainError."""
        challenge, evidence = checked.recognised.credential.challenge, checked.evidence
        if not isinstance(evidence, Pulled):
            return Prepared(challenge, checked.payer, checked.proof, str(evidence))
        terms = self._terms_of(challenge)
        bound = self._bound(terms, evidence)
        if self.config.simulate or terms.fee_payer is not None:  # SCHG-118 SCHG-119 SCHG-192
            yield from preflight(self.config.rpc_url, evidence, terms, bound=bound)
        else:
            yield from require_fresh(self.config.rpc_url, evidence, bound=bound)
        dead_after_s = (yield from now()) + LIFE_S
        return Prepared(challenge, checked.payer, checked.proof, evidence.signature, evidence.raw, dead_after_s)

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Send the bytes, if there are any. Raises RpcUnreachable, RpcRefused; then only confirm knows."""
        if prepared.raw:
            yield from broadcast_raw(self.config.rpc_url, prepared.raw, tried=self.config.simulate)

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """What the chain says now. Raises ChainError."""
        terms = self._terms_of(prepared.challenge)
        outcome = yield from confirm_paid(
            self.config.rpc_url,
            prepared,
            terms,
            terms.token_program,
            commitment=self.config.commitment,
            lag_s=self.config.lag_s,
        )
        if not isinstance(outcome, Settled):
            return outcome
        extra = {"challengeId": prepared.challenge.id}
        if terms.external_id is not None:
            extra["externalId"] = terms.external_id
        return replace(outcome, extra=extra)


def _proof(terms: SolanaTerms, signature: str) -> str:
    return f"{terms.network}/tx/{signature}"
