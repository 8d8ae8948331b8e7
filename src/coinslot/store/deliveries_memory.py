"""Deliveries in this process only: the same promises as on disk, except durability."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from coinslot.intents import owing, session
from coinslot.intents.owing import KEPT_PAID, Owed, Paid, State, Wish
from coinslot.intents.session import Channel, Refused, Rules, Voucher, Why
from coinslot.store.deliveries import PayResult, WishResult

T = TypeVar("T")


class MemoryDeliveries(ABC):
    """deliveries.Deliveries for memory.MemoryStore."""

    _channels: dict[str, Channel]

    def __init__(self) -> None:
        super().__init__()
        self._owed: dict[str, dict[str, Owed]] = {}

    @abstractmethod
    def _do(self, step: Callable[[], T], failpoint: str = "") -> Future[T]: ...

    @abstractmethod
    def _now(self) -> float: ...

    def _known(self, key: str) -> dict[str, Owed]:
        """The deliveries of a channel, but for those whose time is up, and those that were paid long ago."""
        at_s, known = self._now(), self._owed.setdefault(key, {})
        paid = sorted((one for one in known.values() if one.state is State.PAID), key=lambda one: one.sequence)
        for one in [*(one for one in known.values() if one.expired(at_s)), *paid[:-KEPT_PAID]]:
            del known[one.id]
        return known

    def set_aside(self, wish: Wish) -> Future[WishResult]:
        """Room for a delivery. T22 T26"""

        def step() -> WishResult:
            channel = self._channels.get(wish.key)
            if channel is None:
                return Refused(Why.NOT_FOUND, None)
            known = self._known(wish.key)
            answered = owing.set_aside(channel, list(known.values()), wish, self._now())
            if isinstance(answered, Owed):
                known[answered.id] = answered
            return answered

        return self._do(step, "store.delivery.set_aside")

    def owe(self, owed: Owed, cost_units: int, units: int) -> Future[None]:
        """What came is due. Raises UsageError."""

        def step() -> None:
            due = owing.delivered(owed, cost_units, units)
            known = self._owed.setdefault(owed.key, {})
            found = known.get(owed.id)
            if found is not None and found.state in (State.DUE, State.PAID):
                return
            if due.cost_units:
                known[due.id] = due
            else:
                known.pop(due.id, None)

        return self._do(step, "store.delivery.owe")

    def drop_delivery(self, owed: Owed) -> Future[None]:
        """Its room is free."""

        def step() -> None:
            known = self._owed.get(owed.key, {})
            found = known.get(owed.id)
            if found is not None and found.state in (State.RESERVED, State.BEGUN):
                del known[owed.id]

        return self._do(step, "store.delivery.drop")

    def pay_delivery(self, key: str, delivery_id: str, voucher: Voucher, rules: Rules) -> Future[PayResult]:
        """Voucher, cost and mark in one step. T02 T22"""

        def step() -> PayResult:
            channel = self._channels.get(key)
            if channel is None:
                return Refused(Why.NOT_FOUND, None)
            known = self._known(key)
            answered = owing.pay(channel, known.get(delivery_id), voucher, rules)
            if isinstance(answered, Paid) and not answered.replayed:
                self._channels[key] = session.used(answered.channel, self._now())
                known[delivery_id] = answered.owed
            return answered

        return self._do(step, "store.delivery.pay")

    def expire_deliveries(self, limit: int) -> Future[int]:
        """Drop what nothing became of in time."""

        def step() -> int:
            at_s = self._now()
            late = [one for known in self._owed.values() for one in known.values() if one.expired(at_s)][:limit]
            for one in late:
                del self._owed[one.key][one.id]
            return len(late)

        return self._do(step, "store.delivery.expire")
