"""What the gate tells an observer. Nothing here is secret: no credential, no key, no body, no raw transaction.

An observer is called in the middle of a request and must neither wait nor raise: an error of its own comes out of the
gate as one of the server's, and the payment is left to whoever made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Offered:
    """A 402 went out. `methods` are the offered "method/intent" pairs, `problem` the slug of why."""

    path: str
    methods: tuple[str, ...]
    problem: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Another problem went out: nobody is asked to pay (again)."""

    path: str
    status: int
    problem: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Paid:
    """A charge settled and was recorded. `units` are base units of `asset` (its ledger key)."""

    path: str
    method: str
    payer: str
    asset: str
    units: int
    reference: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A stored answer went out again."""

    path: str
    reference: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The resolver learnt the end of a payment: `stage` is "settled" or "failed"."""

    challenge_id: str
    reference: str
    stage: str


@dataclass(frozen=True, slots=True)
class Bought:
    """A request was paid from a channel, and recorded. `units` are base units; 0 for a stream, counted as it goes.

    `challenge_id` and `accepted_units` tie what was bought to the challenge and the voucher that it was bought under:
    who keeps these events has the trail that disputes are settled by (TSES "Session Attribution").
    """

    path: str
    method: str
    payer: str
    asset: str
    units: int
    channel: str
    challenge_id: str
    accepted_units: int


@dataclass(frozen=True, slots=True)
class ChannelFunded:
    """A channel was opened or topped up (`act`) by `units` base units; `deposit_units` in all."""

    method: str
    payer: str
    asset: str
    act: str
    units: int
    deposit_units: int
    channel: str
    reference: str


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """A channel was closed: `units` paid out in all, `refunded_units` given back."""

    method: str
    payer: str
    asset: str
    units: int
    refunded_units: int
    channel: str
    reference: str


@dataclass(frozen=True, slots=True)
class ChannelSettled:
    """`units` base units more were paid out of a channel."""

    method: str
    payer: str
    asset: str
    units: int
    channel: str
    reference: str


@dataclass(frozen=True, slots=True)
class ChannelStopped:
    """Nothing more is sold on a channel. `why`: its "payer" asked the chain to close it, it was "idle", or the chain
    does not show it any more ("gone")."""

    method: str
    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class ChannelFrozen:
    """What the chain shows of a channel contradicts our record, as after a restored backup: a person must look."""

    method: str
    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A settlement or a close (`kind`) was not done, and is tried again later."""

    method: str
    channel: str
    kind: str
    reason: str


Event: TypeAlias = (
    Offered
    | Refused
    | Paid
    | Replayed
    | Resolved
    | Bought
    | ChannelFunded
    | ChannelSettled
    | ChannelStopped
    | ChannelFrozen
    | ChannelClosed
    | JobFailed
)
Observer: TypeAlias = Callable[[Event], None]
