"""Deliveries on SQL databases: each promise as one operation for the store that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from coinslot.intents.owing import Owed, Wish
from coinslot.intents.session import Rules, Voucher
from coinslot.store import delivery_operations
from coinslot.store.deliveries import PayResult, WishResult
from coinslot.store.operations import Db

T = TypeVar("T")


class SqlDeliveries(ABC):
    """deliveries.Deliveries, in the words of sql.SqlStore."""

    @abstractmethod
    def _write(self, run: Callable[[Db], T], name: str = "", *, atomic: bool = True) -> Future[T]: ...

    @abstractmethod
    def _lively(self, run: Callable[[Db, str, str], T], name: str = "", *, atomic: bool) -> Future[T]: ...

    @abstractmethod
    def _token(self) -> str: ...

    def set_aside(self, wish: Wish) -> Future[WishResult]:
        """Room for a delivery. T22 T26"""
        return self._lively(
            lambda db, owner, token: delivery_operations.set_aside(db, owner, token, wish),
            "store.delivery.set_aside",
            atomic=True,
        )

    def owe(self, owed: Owed, cost_units: int, units: int) -> Future[None]:
        """What came is due. Raises UsageError."""
        token = self._token()
        return self._write(lambda db: delivery_operations.owe(db, token, owed, cost_units, units), "store.delivery.owe")

    def drop_delivery(self, owed: Owed) -> Future[None]:
        """Its room is free."""
        return self._write(lambda db: delivery_operations.drop(db, owed), "store.delivery.drop", atomic=False)

    def pay_delivery(self, key: str, delivery_id: str, voucher: Voucher, rules: Rules) -> Future[PayResult]:
        """Voucher, cost and mark in one step. T02 T22"""
        token = self._token()
        return self._write(
            lambda db: delivery_operations.pay(db, token, key, delivery_id, voucher, rules), "store.delivery.pay"
        )

    def expire_deliveries(self, limit: int) -> Future[int]:
        """Drop what nothing became of in time."""
        return self._write(lambda db: delivery_operations.expire(db, limit), "store.delivery.expire")
