"""What is done with a payment channel: the acts that a client presents, and what the chain tells of them.

The types carry what is known, as those of a charge do:

    Credential (claimed) -> Presented (its shape is right, the channel's id is that of its parts)
      voucher, use, close: -> what proves it is verified -> the engine (session.py) decides
      open, topUp:      -> Funding (checked; nothing moved) -> Prepared -> Funded | Refused | Pending
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from coinslot.core.credential import Credential
from coinslot.core.record import quick
from coinslot.intents.charge import Budget, Pending, Refused
from coinslot.intents.session import Channel, Voucher
from coinslot.money import Asset


class Act(StrEnum):
    """What a credential of a session asks for. `use` proves who its payer is, where the payee signs the vouchers."""

    OPEN = "open"
    TOP_UP = "topUp"
    VOUCHER = "voucher"
    USE = "use"
    CLOSE = "close"


class Terms(Protocol):
    """What a session asks, in base units of `asset`; methods add what only they know."""

    @property
    def asset(self) -> Asset:
        """What is paid with."""

    @property
    def recipient(self) -> str:
        """The payee of the channel, in the method's canonical spelling."""

    @property
    def amount_units(self) -> int:
        """The price of one unit of the service."""

    @property
    def unit_type(self) -> str | None:
        """The name of the unit."""

    @property
    def suggested_deposit_units(self) -> int | None:
        """What the server would like to see deposited."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a price says besides its amount per unit: the unit's name, and the deposit to suggest in whole tokens.

    A deposit of None: what the seller itself suggests.
    """

    unit_type: str = "request"
    suggested_deposit: Decimal | None = None


@quick
@dataclass(frozen=True, slots=True)
class Claimed:
    """A credential whose challenge we issued, for this path and price. `terms` are our own, read from what we bound."""

    credential: Credential
    terms: Terms
    expires_at_s: float


@quick
@dataclass(frozen=True, slots=True)
class Presented:
    """A payload whose shape is right; nothing in it is proven yet.

    `key` names the channel as the store does. `voucher` is there for a VOUCHER, and where the method's document puts
    one into an opening or a close; its signature is unverified.
    """

    act: Act
    key: str
    channel_id: str
    voucher: Voucher | None
    evidence: object = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Funding:
    """A good open or top-up; nothing has moved.

    `proof` names its transaction for ever, as that of a charge does; `channel` is the first record of an opened
    channel (stage opening, its first voucher in it), None for a top-up.
    """

    act: Act
    key: str
    payer: str
    proof: str
    channel: Channel | None
    evidence: object = field(repr=False, default=None)
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class OnChain:
    """A channel as the chain has it: base units, and times in seconds since 1970 by the chain's clock.

    `closing_at_s`: when its payer asked to close it, None if that was never or was taken back. `exists` False: the
    chain knows no such channel (some chains forget closed ones). `closed`: nothing can move any more. `dead`: it was
    never opened, and its opening can never appear any more. `alive`: an opening or top-up whose end is not known may
    still appear, as the chain itself says, whatever our clock makes of it.
    """

    key: str
    exists: bool
    deposit_units: int
    settled_units: int
    closing_at_s: float | None = None
    closed: bool = False
    dead: bool = False
    alive: bool = False


@dataclass(frozen=True, slots=True)
class Funded:
    """The chain shows that the transaction opened or topped up its channel, which now stands so."""

    act: Act
    state: OnChain
    added_units: int
    reference: str
    settled_at_s: float


FundingOutcome: TypeAlias = Funded | Refused | Pending


@dataclass(frozen=True, slots=True)
class Sendable:
    """A transaction of ours, signed: what is sent, its hash, and the chain time after which it can never appear."""

    reference: str
    raw: bytes = field(repr=False)
    dead_after_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """The chain shows a settlement or a close: `settled_units` paid out to the payee in all, `refunded_units` back to
    the payer (of a close)."""

    settled_units: int
    refunded_units: int
    closed: bool
    reference: str
    settled_at_s: float


JobOutcome: TypeAlias = Done | Refused | Pending


# --- the payer's side ----------------------------------------------------------------------------


class Standing(StrEnum):
    """Where a payer's channel stands, as far as the payer knows."""

    OPENING = "opening"  # signed and perhaps sent; the chain has not shown it
    OPEN = "open"
    CLOSING = "closing"  # we asked the server or the chain to close it
    CLOSED = "closed"
    LOST = "lost"  # its opening can never appear any more; nothing was deposited


@dataclass(frozen=True, slots=True)
class Held:
    """A channel of ours, as written down before anything about it is sent. Base units; times in seconds since 1970.

    `signed_units` is the most that we ever signed, `voucher` those signed bytes; it never goes down.
    `acknowledged_units` and `spent_units` are the server's word, never believed above `signed_units`. `state` is the
    method's own record of the channel (what is needed to speak of it on the chain). `opening` is the payload that
    opened it, to be presented again, word for word, until its end is known; `reference` is its transaction,
    `dead_after_s` when that is dead.
    """

    key: str
    channel_id: str
    network: str
    method: str
    payer: str
    payee: str
    asset: str
    signer: str
    deposit_units: int
    signed_units: int = 0
    acknowledged_units: int = 0
    spent_units: int = 0
    settled_units: int = 0
    standing: Standing = Standing.OPENING
    voucher: bytes = field(default=b"", repr=False)
    state: bytes = field(default=b"", repr=False)
    opening: bytes = field(default=b"", repr=False)
    reference: str | None = None
    dead_after_s: float | None = None
    origin: str = ""
    opened_at_s: float = 0.0
    used_at_s: float = 0.0
    closing_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """What a payer presents to move money into a channel: the payload, and what to look up if the answer is lost."""

    held: Held
    payload: Mapping[str, Any] = field(repr=False)
    source: str
    reference: str | None
    dead_after_s: float


@dataclass(frozen=True, slots=True)
class Left:
    """What channels that are over still hold of their payer's own besides deposits (rent, for example), by the chain.

    `ready` can be collected now, `waiting` not yet: ids of channels.
    """

    ready: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    evidence: object = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Balance:
    """A server's word on a channel, from a receipt, a snapshot, or a stream that ran dry. None: it did not say.

    `proven_units` is the most that our own signature in it shows us to have signed (0 where none came along).
    """

    channel_id: str
    accepted_units: int | None = None
    spent_units: int | None = None
    deposit_units: int | None = None
    settled_units: int | None = None
    required_units: int | None = None
    units: int | None = None
    proven_units: int = 0
    proven_voucher: bytes = field(default=b"", repr=False)
