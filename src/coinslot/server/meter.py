"""The meter of one answer that is paid for while it is produced: charge first, then send.

A window of units is set aside durably; units are taken from it in memory; when it is used up, what was used is
committed and the next one set aside in one step (`renew`). A channel that runs dry can be waited for (`wait_for`): the
voucher that helps it may reach any server on the same store. Whatever happens, a unit that was taken is spent once,
and if this process dies its last window is spent whole. F08 T25

    if not meter.take():                    # nanoseconds, in memory
        if not (yield from meter.renew()):  # a durable step
            ... tell the client meter.need(), then meter.wait_for()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, failpoint, now, sleep, wait
from coinslot.errors import ChannelFinalized, ChannelNotFound, Problem, StreamDry, UsageError
from coinslot.intents.session import Channel, Refused, Rules, Stage, Why
from coinslot.intents.session_problems import problem_of
from coinslot.method import SessionSeller
from coinslot.server.answer import Answer
from coinslot.server.holding import insist, unless_given_up
from coinslot.server.price import Metering
from coinslot.store.channels import Order, Reservation, Reserved, ReserveResult, SessionStore

# How often a stream that ran dry looks whether a voucher came, here or at another server. Clients
# that pay do so at once; a stream that nobody pays for looks less and less often, since a payer may leave a thousand of
# them dry for the price of a unit each. F28
LOOK_EVERY_S, LOOK_AT_LEAST_EVERY_S = 0.05, 1.0
LOOK_SLOWER = 1.1


@dataclass(frozen=True, slots=True)
class Tab:
    """Whose channel is charged, and by what: `unit_units` base units for each unit of the service."""

    store: SessionStore
    seller: SessionSeller
    rules: Rules
    metering: Metering
    unit_units: int
    challenge_id: str
    ask_again: Callable[[Problem, Channel, int], Flow[Answer]]


class Meter:
    """Counts one answer. Used by one thread or task at a time."""

    __slots__ = (
        "_channel",
        "_counted",
        "_left",
        "_over",
        "_spent",
        "_tab",
        "_taken",
        "_total",
        "_window",
        "begun",
        "ended_dry",
        "last",
    )

    def __init__(self, tab: Tab, channel: Channel, window: Reservation | None) -> None:
        self._tab = tab
        self._channel = channel
        self._window = window
        self._left = 0 if window is None else window.window_units
        self._taken = 0  # of this window: base units
        self._counted = 0  # of this window: units of the service
        self._total = 0
        self._spent = 0
        self._over = False
        self.last: Receipt | None = None  # what `finish` said
        self.ended_dry: StreamDry | None = None  # what `dry` said
        self.begun = True  # whether anything may have been sent; doors that know better say so

    @property
    def unit(self) -> str:
        """The name of what is counted."""
        return self._tab.metering.unit

    @property
    def patience_s(self) -> float:
        """How long a stream that ran dry may wait."""
        return self._tab.metering.patience_s

    @property
    def counted(self) -> int:
        """Units taken so far."""
        return self._total

    @property
    def spent_units(self) -> int:
        """Base units taken so far."""
        return self._spent

    def take(self, units: int = 1) -> bool:
        """Charge for units that are about to be sent; False: nothing was taken, `renew` first. Raises UsageError."""
        if units < 0 or self._over:
            raise UsageError("a meter counts forwards, and only until its answer ends")
        cost = units * self._tab.unit_units
        if cost > self._left:
            return False
        self._left -= cost
        self._taken += cost
        self._counted += units
        self._total += units
        self._spent += cost
        return True

    def renew(self, units: int = 1) -> Flow[bool]:
        """Record what was taken and set the next window aside, for `units` at least. False: the channel is dry.

        Raises ChannelFinalized where the channel was closed meanwhile, StoreError, LeaseLost.
        """
        if self._over:  # F28: nobody would ever give that window back
            raise UsageError("a meter counts only until its answer ends")
        least, most = self._need(units)
        if self._window is None:
            return (yield from self._reserve(least, most))
        if not self.begun:
            return (yield from self._grow(self._window, least, most))
        window, taken, counted = self._window, self._taken, self._counted
        renewed = self._tab.store.commit(window, taken, counted, (least, most), self._tab.rules)
        reserved = yield from unless_given_up(renewed, self._free)  # F29
        failpoint("meter.committed")
        return self._begin(reserved)

    def _grow(self, window: Reservation, least: int, most: int) -> Flow[bool]:
        """A larger window in place of this one, in one step: while nothing was sent, nothing is spent."""
        taken, counted = self._taken, self._counted
        larger = self._tab.store.commit(window, 0, 0, (taken + least, taken + most))
        grown = self._begin((yield from unless_given_up(larger, self._free)))  # F29
        if not grown and taken and not (yield from self._reserve(taken, taken)):
            raise self.dry()  # somebody else took what this answer had set aside
        self._taken, self._counted = taken, counted
        self._left -= taken
        return grown

    def _need(self, units: int) -> tuple[int, int]:
        least = units * self._tab.unit_units
        return least, max(least, self._tab.metering.window * self._tab.unit_units)

    def _begin(self, reserved: Reserved) -> bool:
        self._channel, self._window = reserved.channel, reserved.reservation
        self._taken = self._counted = 0
        self._left = 0 if self._window is None else self._window.window_units
        if self._window is None and self._channel.stage is not Stage.OPEN:
            raise problem_of(Refused(Why.CLOSING, self._channel))
        return self._window is not None

    def _reserve(self, least: int, most: int) -> Flow[bool]:
        order = Order(self._channel.key, 0, self._tab.rules)
        result = yield from unless_given_up(self._tab.store.reserve(order, least, most), self._free)  # F29
        if isinstance(result, Reserved):
            return self._begin(result)
        if isinstance(result, Refused) and result.why is Why.BALANCE:
            self._channel = result.channel or self._channel
            return False
        if isinstance(result, Refused):
            raise problem_of(result)
        raise UsageError("a reservation without a voucher and a key can't be a repeat")

    def _free(self, late: ReserveResult) -> None:
        if isinstance(late, Reserved):
            free(self._tab.store, late)

    def required_units(self, units: int = 1) -> int:
        """The total that the next voucher must say: enough for a window, or `units` where the deposit ends first."""
        least, most = self._need(units)
        base = self._channel.spent + self._channel.reserved
        return base + least if base + most > self._channel.deposit else base + most

    def need(self, units: int = 1) -> Mapping[str, Any]:
        """What to tell the client of a stream that ran dry."""
        return self._tab.seller.need(self._channel, self.required_units(units))

    def dry(self, units: int = 1) -> StreamDry:
        """What to raise where nobody waits any longer."""
        channel = self._channel
        missing = channel.spent + channel.reserved + self._need(units)[0] - channel.accepted
        detail = "what was authorized is used up, and no further voucher came in time"
        self.ended_dry = StreamDry(detail, channel_id=channel.id, required_top_up=max(missing, 0))
        return self.ended_dry

    def refusal(self, dry: StreamDry) -> Flow[Answer]:
        """The answer where a handler ran dry before anything was sent: a fresh challenge that says what is missing."""
        required = self._channel.accepted + (dry.required_top_up or 0)
        return (yield from self._tab.ask_again(dry, self._channel, required))

    def wait_for(self, units: int = 1, at_most_s: float | None = None) -> Flow[bool]:
        """Wait until a voucher covers `units` more, wherever it arrives. False: none came in time.

        `at_most_s` is in place of `patience_s`. Raises ChannelFinalized, ChannelNotFound, StoreError.
        """
        least, _ = self._need(units)
        patience_s = self.patience_s if at_most_s is None else at_most_s
        began, pause_s = (yield from now()), LOOK_EVERY_S
        while 0 <= (waited_s := (yield from now()) - began) < patience_s:
            found = yield from wait(self._tab.store.find_channel(self._channel.key))
            if found is None:
                raise ChannelNotFound(channel_id=self._channel.id)
            if found.stage is not Stage.OPEN:
                raise ChannelFinalized(channel_id=found.id)
            self._channel = found
            if found.free >= least and (yield from self.renew(units)):  # what was taken before is still to be recorded
                return True
            yield from sleep(min(pause_s, patience_s - waited_s))
            pause_s = min(pause_s * LOOK_SLOWER, LOOK_AT_LEAST_EVERY_S)  # F28
        return False

    # --- the end ---------------------------------------------------------------------------------

    def finish(self) -> Flow[Receipt]:
        """The answer went out whole: record what was taken, at least the minimum. Raises StoreError, LeaseLost."""
        missing = self._tab.metering.minimum - self._total
        if missing > 0 and not self._over:
            self.take(min(missing, self._left // self._tab.unit_units if self._tab.unit_units else missing))
        window, self._over = self._window, True
        if window is not None:
            committed = self._tab.store.commit(window, self._taken, self._counted, rules=self._tab.rules)
            reserved = yield from wait(committed)
            self._channel, self._window = reserved.channel, None  # not before: what fails here is left to `abandon`
        failpoint("meter.finished")
        self.last = self.receipt((yield from now()))
        return self.last

    def receipt(self, at_s: float) -> Receipt:
        """How the channel stands, as far as this meter knows."""
        return self._tab.seller.receipt(self._channel, self._tab.challenge_id, at_s, self._total, None)

    def abandon(self) -> None:
        """Nobody listens any more: what was taken is spent, the rest of the window freed. Never waits, never fails."""
        self._end(self._taken, self._counted)

    def forget(self) -> None:
        """Nothing was sent: the window is freed whole; earlier ones stay spent. Never waits, never fails."""
        self._end(0, 0)

    def _end(self, taken: int, counted: int) -> None:
        window, self._window, self._over = self._window, None, True
        if window is not None:
            tab = self._tab
            insist(lambda: tab.store.commit(window, taken, counted, rules=tab.rules))


def free(store: SessionStore, late: Reserved) -> None:
    """Give back a window that nobody will use. Never waits, never fails. F29"""
    window = late.reservation
    if window is not None:
        insist(lambda: store.commit(window, 0, 0))
