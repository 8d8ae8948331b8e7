"""What a channel costs while it is used: a live line on a terminal, events for programs, and a sum at the end.

All of it goes to standard error. What was *authorized* is the most that it can cost; what was *spent* is the seller's
word, never above that.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from coinslot.cli.channelview import asset_of
from coinslot.cli.columns import safe
from coinslot.client.events import Authorized, Closed, Event, Metered, Opened, Recovered, ToppedUp
from coinslot.transports.httpx import Session

# Fast enough to look alive, slow enough to read.
REFRESH_HZ = 8


@dataclass
class Spending:
    """Hears what a client does with its channels. `method` tells how amounts are written."""

    method: str
    live: bool = False
    as_json: bool = False
    channel_id: str | None = None
    asset: str = ""
    deposit_units: int = 0
    authorized_units: int = 0
    spent_units: int = 0
    closed: bool = False
    received: int = 0
    session: Session | None = None
    _line: Live | None = field(default=None, repr=False)

    def hear(self, event: Event) -> None:
        """Take an event in; events that are not about channels change nothing."""
        match event:
            case Opened() | ToppedUp():
                self.deposit_units = event.deposit_units
            case Authorized():
                self.authorized_units += event.added_units
            case Metered() | Recovered():
                pass
            case Closed():
                self.closed = True
            case _:
                return
        self.channel_id, self.asset = event.channel_id, event.asset
        if self.as_json:
            self._tell(event)
        self._show()

    def _tell(self, event: Opened | ToppedUp | Authorized | Metered | Recovered | Closed) -> None:
        members = {"event": _name(event), **{name: _json(value) for name, value in asdict(event).items()}}
        sys.stderr.write(msgspec.json.encode(members).decode() + "\n")
        sys.stderr.flush()

    def got(self, size: int) -> None:
        """So many bytes more of the answer came."""
        self.received += size
        self._show()

    def _text(self, units: int) -> str:
        return safe(asset_of(self.method, self.asset).text(units))

    def _show(self) -> None:
        if not self.live or self.channel_id is None:
            return
        if self._line is None:
            console = Console(stderr=True)
            self._line = Live(console=console, refresh_per_second=REFRESH_HZ, transient=True)
            self._line.start()
        self._line.update(Text(f"{self.received} bytes, at most {self._text(self.authorized_units)} so far"))

    def _read(self) -> None:
        """The seller's word as the book has it by now; also of a channel of which nothing new was signed."""
        used = [] if self.session is None else self.session.channels
        if self.session is not None and used:
            self.channel_id, self.asset = used[-1].channel_id, used[-1].asset
            self.spent_units = self.session.spent_units
            self.deposit_units = self.session.deposit_units

    def end(self) -> None:
        """Take the live line away."""
        if self._line is not None:
            self._line.stop()
            self._line = None

    def summary(self) -> str | None:
        """A line about the channel that paid; None if none did."""
        self._read()
        if self.channel_id is None:
            return None
        spent = f"spent {self._text(self.spent_units)} of {self._text(self.authorized_units)} authorized"
        if self.spent_units > self.authorized_units:  # authorized before
            spent = f"spent {self._text(self.spent_units)} of a deposit of {self._text(self.deposit_units)}"
        state = "closed" if self.closed else "open; get the rest back with: coinslot channels close " + self.channel_id
        return f"{spent}; channel {self.channel_id} is {state}"

    def members(self) -> dict[str, object] | None:
        """The same for programs."""
        self._read()
        if self.channel_id is None:
            return None
        return {
            "channel_id": self.channel_id,
            "asset": self.asset,
            "authorized_units": str(self.authorized_units),
            "spent_units": str(self.spent_units),
            "deposit_units": str(self.deposit_units),
            "closed": self.closed,
        }


def _name(event: object) -> str:
    return {"ToppedUp": "topped-up"}.get(type(event).__name__, type(event).__name__.lower())


def _json(value: object) -> object:
    """Amounts are text, as everywhere on the wire."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
