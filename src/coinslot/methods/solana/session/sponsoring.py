"""Paying fees and rent of openings and top-ups without being drained (SSES "Fee Sponsorship").

What is co-signed was read to the last byte (transaction.py) and costs at most so much. The rent of a channel and its
escrow comes back when the channel is closed and reclaimed; until then it is out of our pocket, so it counts like a fee
against budgets per payer and per day. T30 T31
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.intents.charge import Budget, DailyLimits
from coinslot.methods.solana.session.transaction import Shape
from coinslot.methods.solana.sponsor import Sponsor

# An opening with fifteen splits takes an eighth of it, unlucky addresses included; what is granted costs by the unit.
MAX_UNITS = 400_000


@dataclass(frozen=True, slots=True)
class Sponsoring:
    """Who pays, and what one channel's rent is, its escrow's included, in lamports."""

    sponsor: Sponsor = field(repr=False)
    rent_lamports: int

    @property
    def address(self) -> str:
        """The account that pays."""
        return self.sponsor.address

    def require(self, shape: Shape) -> None:
        """That its fee is no more than the sponsor allows. Raises VerificationFailed. T31"""
        self.sponsor.require_fee(shape.units, MAX_UNITS, shape.fee_lamports)

    def cost(self, shape: Shape, *, opens: bool) -> int:
        """The most that it takes out of our pocket, in lamports."""
        return shape.fee_lamports + (self.rent_lamports if opens else 0)

    def budgets(self, lamports: int, network: str, payer: str) -> tuple[Budget, ...]:
        """What claiming it draws on. T31"""
        return self.sponsor.daily.budgets(f"{network}/sponsor/{self.address}/channels", payer, lamports)

    def complete(self, raw: bytes) -> bytes:
        """The bytes with our signature, the same for the same transaction every time."""
        return self.sponsor.complete(raw)


@dataclass(frozen=True, slots=True)
class Refunds:
    """What refunds may cost us: a payer that closed its token account gets a new one when its channel is closed, at
    `account_lamports`, which it could take for itself. So each opening draws on budgets of that, whoever pays its fee.
    T31
    """

    payer: str
    account_lamports: int
    daily: DailyLimits

    def budgets(self, network: str, payer: str) -> tuple[Budget, ...]:
        """What claiming an opening draws on."""
        return self.daily.budgets(f"{network}/refunds/{self.payer}", payer, self.account_lamports)
