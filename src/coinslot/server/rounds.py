"""What the parts of a settler's round share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from coinslot.intents.session import Channel
from coinslot.method import SessionSeller
from coinslot.server.events import ChannelStopped, Event
from coinslot.store.channels import SessionStore


@dataclass(slots=True)
class Round:
    """A round that began at `at_s`. `silent` are networks whose channels could not be seen in it, `trouble` what kept
    the settler from going on with one (an account without money for fees, say); `counts` becomes its report.
    """

    store: SessionStore
    sellers: tuple[SessionSeller, ...]
    at_s: float
    tell: Callable[[Event], None]
    silent: set[str] = field(default_factory=set)
    trouble: dict[str, str] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unsettled: Counter[str] = field(default_factory=Counter)

    @property
    def networks(self) -> set[str]:
        """The networks that have a seller here."""
        return {one.network for one in self.sellers}

    def seller_of(self, channel: Channel) -> SessionSeller | None:
        """Who can settle and close it."""
        return next((one for one in self.sellers if one.method == channel.method and one.serves(channel)), None)

    def stopped(self, event: ChannelStopped) -> None:
        """Nothing more is sold on a channel."""
        self.counts["stopped"] += 1
        self.tell(event)
