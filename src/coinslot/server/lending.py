"""The meter of an answer that comes before it is paid (docs/adr/0015).

Nothing is set aside of what was authorized: there is room for a delivery within what its channel is trusted with. What
is counted is owed when the answer ends, however it ends, and its payer commits a voucher for it (commits.py).
"""

from __future__ import annotations

from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, now, wait
from coinslot.errors import UsageError
from coinslot.intents.deliveries import Directive, Usage
from coinslot.intents.owing import Owed
from coinslot.intents.session import Channel
from coinslot.server.holding import insist
from coinslot.server.meter import Meter, Tab
from coinslot.store.channels import Reservation


class LentMeter(Meter):
    """Counts one delivery, up to what it may cost; then its answer ends. Used as any meter is."""

    __slots__ = ("_currency", "_owed")

    def __init__(self, tab: Tab, channel: Channel, owed: Owed, currency: str) -> None:
        super().__init__(tab, channel, Reservation(owed.id, owed.key, owed.most_units))
        self._owed = owed
        self._currency = currency

    @property
    def directive(self) -> Directive:
        """What the client is told before anything else: what this may cost, and under which name to pay it."""
        owed = self._owed
        until_s = int(owed.expires_at_s)
        return Directive(owed.id, self._channel.id, owed.most_units, self._currency, owed.sequence, until_s)

    @property
    def usage(self) -> Usage:
        """What it came to."""
        return Usage(self._owed.id, self._spent)

    def renew(self, units: int = 1) -> Flow[bool]:
        """There is no more: the answer ends. Raises UsageError after its end."""
        if self._over:
            raise UsageError("a meter counts only until its answer ends")
        yield from ()
        return False

    def wait_for(self, units: int = 1, at_most_s: float | None = None) -> Flow[bool]:
        """No voucher adds to a delivery while it streams."""
        yield from ()
        return False

    def finish(self) -> Flow[Receipt]:
        """The answer went out whole: what was taken is owed, at least the minimum. Raises StoreError."""
        if not self._over:
            missing = self._tab.metering.minimum - self._total
            if missing > 0 and missing * self._tab.unit_units <= self._left:
                self.take(missing)
            yield from wait(self._tab.store.owe(self._owed, self._spent, self._total))
            self._over = True  # not before: what fails here is left to `abandon`
        self.last = self.receipt((yield from now()))
        return self.last

    def _end(self, taken: int, counted: int) -> None:
        """As `abandon` and `forget` have it: what was taken is owed; nothing was sent, and there is room again."""
        if self._over:
            return
        self._over = True
        store, owed, cost, units = self._tab.store, self._owed, self._spent, self._total
        insist(lambda: store.owe(owed, cost, units) if taken else store.drop_delivery(owed))
