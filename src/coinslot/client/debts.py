"""What deliveries came to whose reader left early, until the book has it: in memory, by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.client.watermark import Agreed

# Servers lend no more at once; a client that leaves more than that forgets the oldest.
MAX_DEBTS = 16


@dataclass(frozen=True, slots=True)
class Debt:
    """A delivery that came, as far as its reader wanted it, and is not paid: base units, seconds since 1970.

    `amount_units` is what came by our own count, or the server's usage. `more_units` may be added where its server says
    that it delivered more: it had sent ahead of its reader, within what was agreed to. Nobody takes a commit after
    `until_s`. `agreed` is its request's.
    """

    origin: str
    url: str
    delivery_id: str
    amount_units: int
    more_units: int
    until_s: float
    agreed: Agreed = field(repr=False, compare=False)


@dataclass
class Debts:
    """Those of one client, by the channel's key. What is in the book as a pending commit is not here any more."""

    _found: dict[str, dict[str, Debt]] = field(default_factory=dict)

    def owe(self, key: str, debt: Debt) -> None:
        """One more. F28"""
        known = self._found.setdefault(key, {})
        known[debt.delivery_id] = debt
        while len(known) > MAX_DEBTS:
            known.pop(next(iter(known)))

    def of(self, key: str, origin: str) -> Sequence[Debt]:
        """Those on a channel, at one site, the oldest first."""
        return [one for one in self._found.get(key, {}).values() if one.origin == origin]

    def drop(self, key: str, delivery_id: str) -> None:
        """It is in the book, or not owed any more. A second time does nothing."""
        known = self._found.get(key, {})
        known.pop(delivery_id, None)
        if not known:
            self._found.pop(key, None)
