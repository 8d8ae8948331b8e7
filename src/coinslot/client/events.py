"""What an observer is told. Nothing here is secret: no credential, no key, no body, no query of a URL. T38

An observer is a plain function that takes one of these. It is called from the paying thread or event loop, so it must
be quick and must not raise. `reference` is what to look up on the chain; `Paying` comes before the credential leaves,
so a program that records it knows after a crash what it may have paid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from coinslot.core.receipt import Receipt
from coinslot.intents.charge import Terms


@dataclass(frozen=True, slots=True)
class Offered:
    """A 402 came. `offers` are "method/intent" in the server's order; `unreadable` counts broken challenges."""

    origin: str
    offers: tuple[str, ...]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Declined:
    """We would not or could not pay; nothing was signed."""

    origin: str
    reason: str


@dataclass(frozen=True, slots=True)
class Paying:
    """A credential is about to be sent. `again`: the same one as before, not another payment."""

    origin: str
    terms: Terms
    reference: str | None
    again: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """A payment for this very request was sent before, at `made_at_s`, and its end never seen: it is gone on with."""

    origin: str
    terms: Terms
    reference: str | None
    made_at_s: float


@dataclass(frozen=True, slots=True)
class Paid:
    """The server answered with success. Also what a response carries.

    `receipt` is the server's word, None where it sent none or an unreadable one; `warning` says what was odd about it.
    `resume` presents the same payment once more, should the content get lost on the way.
    """

    origin: str
    terms: Terms
    reference: str | None
    receipt: Receipt | None = field(repr=False)
    warning: str | None
    resume: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Presented:
    """The server answered a credential with neither success nor refusal. Also what a response carries.

    The payment may have moved. `resume` presents it once more.
    """

    origin: str
    terms: Terms
    reference: str | None
    status: int
    resume: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused what was presented."""

    origin: str
    terms: Terms
    reference: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Presented, and the answer was lost."""

    origin: str
    terms: Terms
    reference: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel was opened: `deposit_units` of `asset` lie in escrow. `reference` is the transaction."""

    origin: str
    channel_id: str
    asset: str
    deposit_units: int
    reference: str | None


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """A channel's deposit was raised to `deposit_units`."""

    origin: str
    channel_id: str
    asset: str
    deposit_units: int
    reference: str | None


@dataclass(frozen=True, slots=True)
class Authorized:
    """A voucher was signed and written down: now `total_units` in all, `added_units` more than so far."""

    origin: str
    channel_id: str
    asset: str
    total_units: int
    added_units: int


@dataclass(frozen=True, slots=True)
class Metered:
    """The server's word on a channel, cut to what we signed: spent in all, and the units of this answer, if told."""

    origin: str
    channel_id: str
    asset: str
    spent_units: int
    units: int | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """A channel that the book did not know, or knew too little of, came back from what our own signature proves."""

    origin: str
    channel_id: str
    asset: str
    signed_units: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The server closed a channel; what was not spent goes back. `spent_units` is its word, cut to what we signed."""

    origin: str
    channel_id: str
    asset: str
    spent_units: int
    reference: str | None


Event: TypeAlias = (
    Offered
    | Declined
    | Paying
    | Resumed
    | Paid
    | Presented
    | Refused
    | Unknown
    | Opened
    | ToppedUp
    | Authorized
    | Metered
    | Recovered
    | Closed
)
Observer: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer of a program that has none."""
