"""What a store promises about deliveries: streams that come before they are paid. The arithmetic is intents/owing.py's.

As in channels.py every operation is one atomic, durable step. A delivery is a row; those that expired, and all but the
last of those that are paid, are dropped when their channel makes another, or by `expire_deliveries`. F28
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol, TypeAlias

from coinslot.intents.owing import Declined, Owed, Paid, Wish
from coinslot.intents.session import Refused, Rules, Voucher

WishResult: TypeAlias = Owed | Declined | Refused
PayResult: TypeAlias = Paid | Declined | Refused


class Deliveries(Protocol):
    """Where deliveries are recorded. Safe for threads, and for several processes on the same database."""

    def set_aside(self, wish: Wish) -> Future[WishResult]:
        """Make room for a delivery, within the channel's credit and deposit, in one step. One that begins keeps it as
        long as this handle lives: it must come to an end by `owe` or `drop_delivery`. T22 T26
        """

    def owe(self, owed: Owed, cost_units: int, units: int) -> Future[None]:
        """It came, and costs so much from now on, also where its time was up meanwhile; one that costs nothing is
        forgotten. Raises UsageError for more than was set aside.
        """

    def drop_delivery(self, owed: Owed) -> Future[None]:
        """Nothing of it came: its room is free. No error if it is gone."""

    def pay_delivery(self, key: str, delivery_id: str, voucher: Voucher, rules: Rules) -> Future[PayResult]:
        """Accept the voucher, spend what the delivery costs, and mark it as paid: all in one step, or nothing. T02

        Of any number of equal ones one gets Paid, the others the same, `replayed`.
        """

    def expire_deliveries(self, limit: int) -> Future[int]:
        """Drop what nothing became of in time, streams only whose process died; how many were dropped."""
