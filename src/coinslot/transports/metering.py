"""The meter in a handler's hands: charge, then send.

    async with meter(request) as m:             with meter(environ) as m:
        await m.charge(3)                           m.charge(3)

`charge` takes units from a window in memory; every window is one durable step of the store. On a channel that runs dry
it waits for a voucher, wherever that arrives, and raises StreamDry if none came; at once while nothing was sent, for
then no client knows, and the door answers 402. The block's end records what was taken: `m.receipt` is the last word.
Where it ends by an exception the door does so: what was taken is spent if anything of the answer went out.

Each framework's door has its own `meter`; underneath it is what stands at `METER` in the scope or the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, RealAsyncWorld, RealWorld, run, run_async
from coinslot.errors import StreamDry, UsageError
from coinslot.server.admission import Admission, SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.lending import LentMeter
from coinslot.server.meter import Meter
from coinslot.transports.slot import Slot

# Where handlers find it: in an ASGI scope, and in a WSGI environment.
METER = "coinslot.meter"


class Counter:
    """What the synchronous and the asynchronous meter share. Used by one thread or task at a time."""

    __slots__ = ("meter",)

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    @property
    def unit(self) -> str:
        """The name of what is counted."""
        return self.meter.unit

    @property
    def counted(self) -> int:
        """Units charged so far."""
        return self.meter.counted

    @property
    def spent_units(self) -> int:
        """Base units charged so far."""
        return self.meter.spent_units

    @property
    def patience_s(self) -> float:
        """How long a dry stream may wait for a voucher."""
        return self.meter.patience_s

    @property
    def lent(self) -> LentMeter | None:
        """What an answer that comes before it is paid must say; None where it is paid as it comes."""
        return self.meter if isinstance(self.meter, LentMeter) and self.meter.lent else None

    @property
    def receipt(self) -> Receipt | None:
        """The last receipt, once the block or `finish` has recorded what was charged."""
        return self.meter.last

    def need(self, units: int = 1) -> Mapping[str, Any]:
        """What to tell a client whose channel ran dry: the data of `payment-need-voucher`."""
        return self.meter.need(units)


class SyncMeter(Counter):
    """For handlers in threads."""

    __slots__ = ("_world",)

    def __init__(self, meter: Meter, world: RealWorld) -> None:
        super().__init__(meter)
        self._world = world

    def lend(self) -> LentMeter | None:
        """What an answer whose payer has credit says first, and is then paid afterwards; None: it is paid as it comes.

        Raises StoreError.
        """
        if isinstance(self.meter, LentMeter):
            run(self.meter.lend(), self._world)
        return self.lent

    def charge(self, units: int = 1) -> None:
        """Charge for units that are about to be sent; waits where the channel is dry and the answer has begun.

        Raises StreamDry, ChannelFinalized where it was closed meanwhile, ChannelNotFound, StoreError, UsageError.
        """
        if self.meter.take(units) or self.covers(units):
            return
        if not self.meter.begun or not self.wait(units):
            raise self.meter.dry(units)

    def covers(self, units: int = 1) -> bool:
        """Charge for units if they are covered now; else nothing was charged. Raises as `charge`, but never waits."""
        return self.meter.take(units) or (run(self.meter.renew(units), self._world) and self.meter.take(units))

    def wait(self, units: int = 1, at_most_s: float | None = None) -> bool:
        """Wait for a voucher and charge; False: none came in time, and nothing was charged. Raises as `charge`."""
        return run(self.meter.wait_for(units, at_most_s), self._world) and self.meter.take(units)

    def finish(self) -> Receipt:
        """Record what was charged, once. Raises StoreError."""
        return self.meter.last or run(self.meter.finish(), self._world)


class AsyncMeter(Counter):
    """For handlers on an event loop."""

    __slots__ = ("_world",)

    def __init__(self, meter: Meter, world: RealAsyncWorld) -> None:
        super().__init__(meter)
        self._world = world

    async def lend(self) -> LentMeter | None:
        """What an answer whose payer has credit says first, and is then paid afterwards; None: it is paid as it comes.

        Raises StoreError.
        """
        if isinstance(self.meter, LentMeter):
            await run_async(self.meter.lend(), self._world)
        return self.lent

    async def secure(self) -> None:
        """The answer begins: if it is not lent it is paid as it comes, and what it must have covered is set aside.

        Raises StreamDry, ChannelFinalized, StoreError.
        """
        if isinstance(self.meter, LentMeter):
            await run_async(self.meter.secure(), self._world)

    async def charge(self, units: int = 1) -> None:
        """Charge for units that are about to be sent; waits where the channel is dry and the answer has begun.

        Raises StreamDry, ChannelFinalized where it was closed meanwhile, ChannelNotFound, StoreError, UsageError.
        """
        if self.meter.take(units) or await self.covers(units):
            return
        if not self.meter.begun or not await self.wait(units):
            raise self.meter.dry(units)

    async def covers(self, units: int = 1) -> bool:
        """Charge for units if they are covered now; else nothing was charged. Raises as `charge`, but never waits."""
        if self.meter.take(units):
            return True
        # A handler may have nothing to wait for, and a store's answer be there at once: others on this loop get their
        # turn all the same, once a window, and a client that hung up is heard. T25
        await asyncio.sleep(0)
        return await run_async(self.meter.renew(units), self._world) and self.meter.take(units)

    async def wait(self, units: int = 1, at_most_s: float | None = None) -> bool:
        """Wait for a voucher and charge; False: none came in time, and nothing was charged. Raises as `charge`."""
        return await run_async(self.meter.wait_for(units, at_most_s), self._world) and self.meter.take(units)

    async def finish(self) -> Receipt:
        """Record what was charged, once. Raises StoreError."""
        if self.meter.last is not None:
            return self.meter.last
        return await run_async(self.meter.finish(), self._world)


class Metered:
    """One answer's meter, for `with` and `async with`: `sync` and `asynchronous` are the same count in other words."""

    __slots__ = ("asynchronous", "meter", "sync")

    def __init__(self, meter: Meter, slot: Slot) -> None:
        self.meter = meter
        meter.begun = False
        self.sync = SyncMeter(meter, slot.world)
        self.asynchronous = AsyncMeter(meter, slot.async_world)

    def __enter__(self) -> SyncMeter:
        return self.sync

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (self.meter.begun and issubclass(kind, StreamDry)):
            self.sync.finish()

    async def __aenter__(self) -> AsyncMeter:
        return self.asynchronous

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or (self.meter.begun and issubclass(kind, StreamDry)):
            await self.asynchronous.finish()

    def begin(self) -> None:
        """The first of the answer goes out: from now on, being dry is a matter of waiting."""
        self.meter.begun = True


def metered(admission: Admission, slot: Slot) -> Metered | None:
    """The meter of an admission in a handler's form; None where the price is not metered."""
    if isinstance(admission, SessionAdmission) and admission.meter is not None:
        return Metered(admission.meter, slot)
    return None


def ran_dry(admission: Admission) -> Flow[Answer] | None:
    """The answer where a handler ran dry before anything was sent; None where that is not what happened."""
    meter = admission.meter if isinstance(admission, SessionAdmission) else None
    return None if meter is None or meter.ended_dry is None else meter.refusal(meter.ended_dry)


def undecided(admission: Admission) -> Flow[None] | None:
    """What is to be done before the first of an answer leaves that could be lent, and is not; None: nothing.

    Raises StreamDry where nothing covers it.
    """
    meter = admission.meter if isinstance(admission, SessionAdmission) else None
    return meter.secure() if isinstance(meter, LentMeter) and meter.undecided else None


def nothing_sent(admission: Admission) -> None:
    """An answer that is given back before any of it left: its window costs nothing."""
    if isinstance(admission, SessionAdmission) and admission.meter is not None:
        admission.meter.forget()


def last_receipt(admission: Admission) -> Receipt | None:
    """What the meter said at the end; None where there is none, or it has not ended."""
    if isinstance(admission, SessionAdmission) and admission.meter is not None:
        return admission.meter.last
    return None


def found(meter: object) -> Metered:
    """The meter that a handler looked up. Raises UsageError."""
    if not isinstance(meter, Metered):
        raise UsageError("no meter here: this route's price is not metered (Slot.metered), or nothing charged for it")
    return meter
