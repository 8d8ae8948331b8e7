"""Paying the payers' fees without being drained: what is co-signed, and what it may cost (TCHG "Fee Payment").

The sponsor signs last, over bytes that it read to the last one and that do nothing but the transfers asked for. What
remains is the fee of a transfer that fails on the chain after it succeeded in simulation; budgets per payer and per
day bound that, drawn on at the highest price the transaction allows, in the same durable step that claims it. T31
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import VerificationFailed
from coinslot.intents.charge import Budget, DailyLimits
from coinslot.methods.tempo.paying import MIN_VALID_S
from coinslot.methods.tempo.tokens import fee_units, network
from coinslot.methods.tempo.transaction.build import serialise, sign_as_fee_payer
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, TempoTransaction
from coinslot.methods.tempo.transaction.read import SignedTransaction

# A transfer to an account that never held the token creates state, about 270,000 gas; the rest is the margin. TCHG-073
GAS_PER_SPLIT = 350_000
# Authorizing an access key with limits and scopes, measured at about a million.
GAS_PER_KEY_AUTHORIZATION = 1_500_000


@dataclass(frozen=True, slots=True)
class Sponsor:
    """Who pays fees, in which token, and how much at most. Amounts are base units of the fee token (six decimals)."""

    key: PrivateKey = field(repr=False)
    fee_token: str
    max_gas: int
    max_fee_per_gas: int
    max_fee_units: int
    daily: DailyLimits
    window_s: int
    key_authorization: bool

    @property
    def address(self) -> str:
        """The account that pays."""
        return self.key.address

    def cost(self, tx: TempoTransaction) -> int:
        """The most that a transaction can cost, in base units of the fee token."""
        return fee_units(tx.max_fee)

    def require(self, signed: SignedTransaction, now_s: float, legs: int) -> None:
        """Every field but the calls, which are compared with the legs. Raises VerificationFailed. T30 T31 T36"""
        tx = signed.transaction
        for wrong, reason in (
            (not tx.awaiting_fee_payer, "the transaction does not leave its fee to the sponsor"),
            (tx.fee_token is not None, "the transaction names a fee token; the sponsor chooses it"),
            (signed.sender == self.address, "the sponsor is the sender"),
            (bool(tx.access_list), "the transaction has an access list"),
            (
                tx.key_authorization is not None and not self.key_authorization,
                "the transaction authorizes an access key, which is not sponsored here",
            ),
            (tx.nonce_key != EXPIRING_NONCE_KEY or tx.nonce != 0, "a sponsored transaction needs an expiring nonce"),
            # In the past it is entropy: deployed clients keep equal payments apart by it.
            (tx.valid_after is not None and tx.valid_after > now_s, "the transaction is not valid yet"),
            (
                tx.valid_before is None or tx.valid_before > now_s + self.window_s,
                f"the transaction stays valid for more than {self.window_s} s",
            ),
            # One that can't get into a block draws on everybody's budget and costs its payer nothing. T31
            (
                tx.valid_before is not None and tx.valid_before < now_s + MIN_VALID_S,
                f"the transaction stays valid for less than {MIN_VALID_S} s",
            ),
            (tx.gas_limit > self._gas(tx, legs), "the transaction's gas limit is higher than the sponsor allows"),
            (
                tx.max_fee_per_gas > self.max_fee_per_gas,
                "the transaction's gas price is higher than the sponsor allows",
            ),
            (self.cost(tx) > self.max_fee_units, "the transaction could cost more than the sponsor allows"),
        ):
            if wrong:
                raise VerificationFailed(f"not sponsored: {reason}")

    def _gas(self, tx: TempoTransaction, legs: int) -> int:
        extra = GAS_PER_KEY_AUTHORIZATION if tx.key_authorization is not None else 0
        return self.max_gas + (legs - 1) * GAS_PER_SPLIT + extra

    def budgets(self, tx: TempoTransaction, payer: str) -> tuple[Budget, ...]:
        """What claiming a transaction draws on."""
        return self.daily.budgets(f"{network(tx.chain_id)}/sponsor/{self.address}", payer, self.cost(tx))

    def complete(self, signed: SignedTransaction) -> bytes:
        """The bytes with the sponsor's signature, the same for the same transaction every time."""
        final = sign_as_fee_payer(signed.transaction, self.key, sender=signed.sender, fee_token=self.fee_token)
        return serialise(final)
