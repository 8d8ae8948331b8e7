"""Paying the payers' fees without being drained: what is co-signed, and what it may cost (SCHG "Fee Sponsorship").

The sponsor signs last, over bytes that it read to the last one and that do nothing but what the charge asks for. What
remains is the fee of a payment that fails on the chain after it succeeded in simulation, and the rent of the accounts
that the offer itself promised to create; budgets per payer and per day bound both, drawn on at the highest price the
transaction allows, in the same durable step that claims it. T30
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.solana.message import with_signature
from coinslot.chains.solana.signature import Key
from coinslot.errors import VerificationFailed
from coinslot.intents.charge import Budget, DailyLimits
from coinslot.methods.solana.transaction.read import Parts

# What a payment with many splits, accounts and memos may need beyond the limit for one transfer.
UNITS_PER_SPLIT = 110_000


@dataclass(frozen=True, slots=True)
class Sponsor:
    """Who pays fees, and how much at most. Amounts are lamports; `rent_lamports` is what one token account costs."""

    key: Key = field(repr=False)
    max_units: int
    max_fee_lamports: int
    rent_lamports: int
    daily: DailyLimits

    @property
    def address(self) -> str:
        """The account that pays."""
        return self.key.address

    def cost(self, parts: Parts) -> int:
        """The most that a transaction can cost, in lamports: its fee, and the rent of what it creates."""
        return parts.fee_lamports + self.rent_lamports * len(parts.creates)

    def require(self, parts: Parts) -> None:
        """That it costs no more than the sponsor allows. Raises VerificationFailed. T30"""
        self.require_fee(parts.units, self.max_units + UNITS_PER_SPLIT * (len(parts.transfers) - 1), parts.fee_lamports)

    def require_fee(self, units: int, max_units: int, fee_lamports: int) -> None:
        """That so many compute units and such a fee are sponsored. Raises VerificationFailed. T31"""
        if units > max_units:
            raise VerificationFailed("not sponsored: the limit of compute units is higher than the sponsor allows")
        if fee_lamports > self.max_fee_lamports:
            raise VerificationFailed("not sponsored: the fee could be higher than the sponsor allows")

    def budgets(self, parts: Parts, network: str, payer: str) -> tuple[Budget, ...]:
        """What claiming a transaction draws on."""
        return self.daily.budgets(f"{network}/sponsor/{self.address}", payer, self.cost(parts))

    def complete(self, raw: bytes) -> bytes:
        """The bytes with the sponsor's signature, the same for the same transaction every time."""
        return with_signature(raw, self.key)
