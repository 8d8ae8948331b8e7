"""What a charge means on any method: one payment, at once, for one request (document CHG).

The types carry what is known. Each step of the server takes the one before and nothing less:

    Challenge (offered) -> Credential (claimed) -> Recognised (issued by us, for this request, in time)
      -> Checked (the method finds the proof good; nothing moved) -> Prepared (bytes and hash, recorded)
      -> Settled | Refused | Pending (what the chain says) -> Receipt
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from coinslot.core.challenge import Challenge
from coinslot.core.credential import Credential
from coinslot.core.instant import format_instant
from coinslot.core.receipt import Receipt
from coinslot.money import Asset

INTENT = "charge"
DAY_S = 24 * 60 * 60
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Payee:
    """Who gets how much, in base units."""

    recipient: str
    amount_units: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What a charge asks: `amount_units` of `asset`, shared among `payees` (the primary one first; the sum is exact).

    Methods subclass this with what only they know (memo, chain id ...). `network` is a CAIP-2 id.
    """

    asset: Asset
    amount_units: int
    payees: tuple[Payee, ...]

    @property
    def network(self) -> str:
        """The network on which it is paid."""
        return self.asset.network


@dataclass(frozen=True, slots=True)
class Recognised:
    """A credential whose challenge we issued, for this very request. `terms` are our own, read from what we bound."""

    credential: Credential
    terms: Terms
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class Budget:
    """A spending limit that a settlement draws on: at most `limit_units` under `key` in any `window_s` seconds."""

    key: str
    units: int
    limit_units: int
    window_s: int


@dataclass(frozen=True, slots=True)
class DailyLimits:
    """What a purse that pays for others may lose in any 24 hours: on one payer, and on all of them, in base units."""

    payer_units: int
    all_units: int

    def budgets(self, purse: str, payer: str, units: int) -> tuple[Budget, Budget]:
        """What spending `units` on a payer draws on; `purse` is the name of the purse on its network. T31"""
        return (
            Budget(f"{purse}/payer/{payer}", units, self.payer_units, DAY_S),
            Budget(purse, units, self.all_units, DAY_S),
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """The method finds the proof good; nothing has moved.

    `proof` names the proof for ever and on every path ("network/tx/0xabc..."): the same proof is never taken twice.
    `payer` is who pays, in the method's canonical spelling, proven and not only claimed. `evidence` belongs to the
    method. `budgets` are drawn on when the proof is claimed.
    """

    recognised: Recognised
    payer: str
    proof: str
    evidence: object = field(repr=False, default=None)
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is needed to broadcast and to confirm, also by another process after a crash.

    `reference` is the transaction's hash, known before it is sent; `raw` is what is sent (empty if nothing is);
    after chain time `dead_after_s` an absent transaction can never appear (None: never certain).
    """

    challenge: Challenge
    payer: str
    proof: str
    reference: str
    raw: bytes = field(repr=False, default=b"")
    dead_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The chain shows that what was asked was paid. `settled_at_s` is the chain's own time."""

    reference: str
    settled_at_s: float
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Refused:
    """The chain shows that this was not paid and, with this proof, never will be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """The chain does not tell yet."""

    reason: str


Outcome: TypeAlias = Settled | Refused | Pending


def receipt_of(prepared: Prepared, settled: Settled) -> Receipt:
    """The receipt of a settled charge."""
    return Receipt(prepared.challenge.method, settled.reference, format_instant(settled.settled_at_s), settled.extra)
