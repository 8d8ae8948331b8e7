"""Whether transfers, asked for by calls or told by events, are those that a charge asks for.

Each leg needs a transfer of its own. What the primary transfer's memo must be:

    the server set one (methodDetails.memo)   exactly that; it ties the transfer to no challenge, so such charges are
                                              pulled only, see pull.py
    otherwise                                 the attribution memo of this challenge, as deployed SDKs demand it
    otherwise, by option                      none at all ("plain"), which binds as little as a memo of the server's

A split's transfer carries the memo that the split names; where it names none, none or, as some deployed clients write
it, the attribution memo of this challenge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from coinslot.core.challenge import Challenge
from coinslot.errors import BadTransaction, PaymentInsufficient, VerificationFailed
from coinslot.methods.tempo.memo import verify_attribution_memo
from coinslot.methods.tempo.terms import Leg


class Moved(Protocol):
    """A transfer asked for by a call, or told by an event."""

    @property
    def token(self) -> str:
        """The token's address."""

    @property
    def recipient(self) -> str:
        """Who gets it."""

    @property
    def amount_units(self) -> int:
        """How much, in base units."""

    @property
    def memo(self) -> bytes | None:
        """32 bytes, or None for a plain transfer."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What ties a transfer to a challenge. `plain_allowed`: also no memo will do (weak: see docs/methods/tempo.md)."""

    challenge: Challenge
    plain_allowed: bool = False

    def refusal(self, memo: bytes | None) -> str | None:
        """Why a primary transfer with this memo is not bound to the challenge; None if it is."""
        if memo is None:
            return None if self.plain_allowed else "the transfer carries no memo that binds it to this challenge"
        try:
            verify_attribution_memo(memo, self.challenge.realm, self.challenge.id)
        except BadTransaction as error:
            return str(error)
        return None


def require_legs(currency: str, legs: Sequence[Leg], moved: Sequence[Moved], binding: Binding) -> tuple[Moved, ...]:
    """The transfers that satisfy the legs, each its own, in the order of the legs; others are passed over.

    Raises PaymentInsufficient or VerificationFailed, naming what is missing (TCHG-053 to TCHG-059, TCHG-062).
    """
    left = [each for each in moved if each.token == currency]  # T29
    if not left:
        raise VerificationFailed("no transfer of the currency that was asked for")
    taken = []
    for index, leg in enumerate(legs):
        judge = binding if index == 0 else replace(binding, plain_allowed=True)
        found = _find(leg, left, judge if leg.memo is None else None)
        left.remove(found)  # a transfer pays one leg only
        taken.append(found)
    return tuple(taken)


def _find(leg: Leg, left: Sequence[Moved], binding: Binding | None) -> Moved:
    """The transfer for a leg; `binding` decides about its memo unless the leg names one (None: exactly the leg's)."""
    mine = [each for each in left if each.recipient == leg.recipient]
    if not mine:
        raise VerificationFailed(f"no transfer to {leg.recipient}")
    exact = [each for each in mine if each.amount_units == leg.amount_units]
    if not exact:
        if max(each.amount_units for each in mine) < leg.amount_units:
            raise PaymentInsufficient(f"less than {leg.amount_units} to {leg.recipient}")
        raise VerificationFailed(f"not exactly {leg.amount_units} to {leg.recipient}")
    if binding is None:
        good = [each for each in exact if each.memo == leg.memo]
        if not good:  # T05: a memo nobody asked for could be another challenge's
            raise VerificationFailed(f"the transfer to {leg.recipient} does not carry the memo asked for")
        return good[0]
    # The bound one first, so that a plain transfer of the same amount is left for a leg that wants it plain.
    exact.sort(key=lambda each: each.memo is None)
    reasons = [binding.refusal(each.memo) for each in exact]
    if None not in reasons:
        raise VerificationFailed(str(reasons[0]))
    return exact[reasons.index(None)]
