"""What a stream that ran dry tells its client: how the channel stands, and what the next voucher must say.

The same on any method: no document names the members otherwise, and some name none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.errors import MalformedHeader, UsageError
from coinslot.intents.acts import Balance
from coinslot.intents.session import Channel


@dataclass(frozen=True, slots=True)
class NeedVoucher:
    """The next voucher must say at least `required_units`. All in base units."""

    channel_id: str
    required_units: int
    accepted_units: int
    deposit_units: int

    @classmethod
    def on(cls, channel: Channel, required_units: int) -> NeedVoucher:
        """By the record of the channel."""
        return cls(channel.id, required_units, channel.accepted, channel.deposit)

    def members(self) -> dict[str, str]:
        """As JSON (TSES-175 to TSES-179)."""
        return {
            "channelId": self.channel_id,
            "requiredCumulative": str(self.required_units),
            "acceptedCumulative": str(self.accepted_units),
            "deposit": str(self.deposit_units),
        }

    def balance(self) -> Balance:
        """As a server's word on the channel."""
        return Balance(
            self.channel_id,
            accepted_units=self.accepted_units,
            deposit_units=self.deposit_units,
            required_units=self.required_units,
        )


def read_need_voucher(
    told: Mapping[str, Any], read_id: Callable[[object, str], str], read_units: Callable[[object, str], int]
) -> NeedVoucher:
    """The event's data; a method reads its own ids and amounts. Raises MalformedHeader."""
    try:
        return NeedVoucher(
            channel_id=read_id(told.get("channelId"), "channelId"),
            required_units=read_units(told.get("requiredCumulative"), "requiredCumulative"),
            accepted_units=read_units(told.get("acceptedCumulative"), "acceptedCumulative"),
            deposit_units=read_units(told.get("deposit"), "deposit"),
        )
    except UsageError as error:
        raise MalformedHeader(f"a stream that ran dry: {error}") from None
