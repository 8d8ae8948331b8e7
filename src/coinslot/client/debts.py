"""What deliveries came to whose reader left early, until the book has it: in memory, by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.client.watermark import Agreed

# Servers lend a dozen at once on a channel; a client that leaves more than this forgets the oldest.
MAX_DEBTS = 64


@dataclass(frozen=True, slots=True)
class Debt:
    """A delivery that came, as far as its reader wanted it, and is not paid: base units, seconds since 1970.

    `amount_units` is what came by our own count, or the server's usage. `more_units` may be added where its server says
    that it delivered more: it had sent ahead of its reader, within what was agreed to. It is not tried after `until_s`.
    `agreed` is its request's.
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
    """Those of one client, on its channels (by their keys). What the book has as a pending commit is not here any more.

    Safe for threads: each step is one of a dictionary's own.
    """

    _found: dict[tuple[str, str], Debt] = field(default_factory=dict)

    def owe(self, key: str, debt: Debt) -> None:
        """One more. F28"""
        self._found[key, debt.delivery_id] = debt
        for oldest in list(self._found)[:-MAX_DEBTS]:
            self._found.pop(oldest, None)

    def of(self, key: str, origin: str) -> Sequence[Debt]:
        """Those on a channel, at one site, the oldest first."""
        return [one for (channel, _), one in list(self._found.items()) if channel == key and one.origin == origin]

    def drop(self, key: str, delivery_id: str) -> None:
        """It is in the book, or not owed any more. A second time does nothing."""
        self._found.pop((key, delivery_id), None)
