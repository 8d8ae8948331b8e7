"""The meter of an answer that may come before it is paid (docs/adr/0015).

Whether it does is known when it begins: whoever tells the client what the delivery may cost takes it up by `lend`. Then
nothing is set aside of what was authorized: there is room for the delivery within what its channel is trusted with,
what is counted is owed when the answer ends, however it ends, and its payer commits a voucher for it (commits.py).

An answer that tells nothing could never be paid afterwards. So it is none on credit: it is paid as it comes, like any
other, from what was authorized (`least` units of it were set aside before anything ran), and its room is given back.
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
    """Counts one answer: as any meter, or, once it was lent, up to what it may cost; then it ends. Used as any is."""

    __slots__ = ("_currency", "_lent", "_owed", "_roomy")

    def __init__(self, tab: Tab, channel: Channel, owed: Owed, currency: str, surety: Reservation | None) -> None:
        super().__init__(tab, channel, surety)
        self._owed = owed
        self._currency = currency
        self._lent = False
        self._roomy = True  # whether the room is still ours

    @property
    def lent(self) -> bool:
        """Whether it is paid after it came."""
        return self._lent

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

    def lend(self) -> Flow[bool]:
        """From now on it is paid after it came: the client is about to be told `directive`. What was set aside of the
        channel's money is free again. False: something was charged already, and it goes on like that.

        Raises StoreError.
        """
        if self._lent:
            return True
        if self._total or self._over or not self._roomy:
            return False
        window = self._window
        if window is not None:
            freed = yield from wait(self._tab.store.commit(window, 0, 0))
            self._channel, self._window = freed.channel, None  # not before: what fails here is left to `abandon`
        self._lent, self._left = True, self._owed.most_units
        return True

    @property
    def undecided(self) -> bool:
        """Whether the answer may still be lent, or nothing of what any must have covered was set aside."""
        return not self._lent and not self._over and (self._roomy or self._uncovered)

    @property
    def _uncovered(self) -> bool:
        return self._window is None and not self._total

    def secure(self) -> Flow[None]:
        """The answer begins: unless it is lent its room is given back, and what any must have covered is set aside.

        Raises StreamDry, ChannelFinalized, StoreError.
        """
        if not self.undecided:
            return
        self._keep_no_room()  # T26
        least = self._tab.metering.least
        if self._uncovered and not (yield from self.renew(least)):
            raise self.dry(least)

    def renew(self, units: int = 1) -> Flow[bool]:
        """As any meter; where it is lent there is no more: the answer ends. Raises UsageError after its end."""
        if self._over:
            raise UsageError("a meter counts only until its answer ends")
        if self._lent:
            return False
        self._keep_no_room()
        return (yield from super().renew(units))

    def wait_for(self, units: int = 1, at_most_s: float | None = None) -> Flow[bool]:
        """As any meter; no voucher adds to a delivery while it streams."""
        return False if self._lent else (yield from super().wait_for(units, at_most_s))

    def finish(self) -> Flow[Receipt]:
        """The answer went out whole: what was taken, at least the minimum, is spent, or owed where it was lent.

        Raises StreamDry where the minimum is not covered, StoreError, LeaseLost.
        """
        if not self._lent:
            yield from self.secure()
            return (yield from super().finish())
        if not self._over:
            missing = self._tab.metering.minimum - self._total
            if missing > 0 and missing * self._tab.unit_units <= self._left:
                self.take(missing)
            yield from wait(self._tab.store.owe(self._owed, self._spent, self._total))
            self._over = True  # not before: what fails here is left to `abandon`
        self.last = self.receipt((yield from now()))
        return self.last

    def _end(self, taken: int, counted: int) -> None:
        """As `abandon` and `forget` have it: what was taken is spent, or owed; nothing was sent, and there is room."""
        if not self._lent:
            self._keep_no_room()
            super()._end(taken, counted)
        elif not self._over:
            self._over = True
            store, owed, cost, units = self._tab.store, self._owed, self._spent, self._total
            insist(lambda: store.owe(owed, cost, units) if taken else store.drop_delivery(owed))

    def _keep_no_room(self) -> None:
        if self._roomy:
            self._roomy = False
            store, owed = self._tab.store, self._owed
            insist(lambda: store.drop_delivery(owed))
