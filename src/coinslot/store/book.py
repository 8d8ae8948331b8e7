"""The payer's book: its channels, the most that it ever signed on each, what it has spent where, and the charges that
it sends itself while their end is not known.

A signed voucher is money in a bottle: whoever finds it can collect it. So the book is written *before* anything is sent
(F01 F02), a total in it never goes down (I3, enforced by the database itself), and one writer at a time speaks for the
channels between a payer and a payee, whichever thread, task or process it is in.

Operations return futures that are done when the change is durable; flows wait for them (drive.wait).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from coinslot.intents.acts import Held, Standing

# A budget looks back at most so far; what is older is forgotten.
MAX_WINDOW_S = 31 * 24 * 3600.0

# Nothing can be bought or come back any more.
ENDED = frozenset({Standing.CLOSED, Standing.LOST})


@dataclass(frozen=True, slots=True)
class Scope:
    """Between whom a channel is: one writer at a time holds all channels of one scope."""

    network: str
    method: str
    payer: str
    payee: str
    asset: str

    def name(self) -> str:
        """One text for it; the parts hold no line ends."""
        return f"{self.network}\n{self.method}\n{self.payer}\n{self.payee}\n{self.asset}"


def scope_of(held: Held) -> Scope:
    """The scope of a channel."""
    return Scope(held.network, held.method, held.payer, held.payee, held.asset)


def charge_name(charge_id: str) -> str:
    """What the owner of a charge locks; no scope has so few parts."""
    return f"charge\n{charge_id}"


@dataclass(frozen=True, slots=True)
class PushedCharge:
    """A charge that its payer sends itself, while its end is not known: what it pays, what is sent, what is presented.

    `request` names the very request (client/pushing.py), `payer` is who pays as credentials say it, `asset` a
    money.Asset key, `header` presents the credential; `raw` and `valid_until` are a method's (method.Sending). A
    fresh `id` for each: it is never used again. `place`: HTTP method and URL without its query, for people.
    """

    id: str
    request: str
    origin: str
    method: str
    payer: str
    asset: str
    units: int
    header: tuple[str, str] = field(repr=False)
    raw: bytes = field(repr=False)
    valid_until: int
    reference: str | None
    made_at_s: float
    place: str = ""

    def name(self) -> str:
        """What its owner locks."""
        return charge_name(self.id)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most_units` in any `window_s` seconds (up to MAX_WINDOW_S), of one origin or of all (None)."""

    most_units: int
    window_s: float
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What a new voucher adds, for which origin, and the limits it must keep. `asset` is a money.Asset key.

    `most_locked_units`: of a new channel, what all channels of the asset that have not ended may hold with it.
    """

    origin: str
    asset: str
    units: int
    at_s: float
    limits: tuple[Limit, ...] = ()
    most_locked_units: int | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A move that was signed and whose end is not known: `opening` presents it again, word for word."""

    opening: bytes = field(repr=False)
    reference: str | None
    dead_after_s: float | None


# The end of a pending move.
SETTLED = Pending(b"", None, None)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that can't be read: nothing is paid upon it, nor instead of it. `key` and `id` name it, as far as they
    can be read themselves ("" where not); `charge`: it is a PushedCharge's, else a channel's.
    """

    key: str
    id: str
    reason: str
    charge: bool = False

    def name(self) -> str:
        """What its owner locks, of a charge."""
        return charge_name(self.id)


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything in a book: what can be read (channels newest first, charges oldest first), and what can't."""

    channels: tuple[Held, ...]
    charges: tuple[PushedCharge, ...]
    damaged: tuple[Damaged, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says of a channel, to be written down; None: nothing said. Amounts only raise what is there.

    `acknowledged_units` and `spent_units` are a server's word and are cut to what we signed. T24
    """

    acknowledged_units: int | None = None
    spent_units: int | None = None
    settled_units: int | None = None
    deposit_units: int | None = None
    standing: Standing | None = None
    closing_at_s: float | None = None
    used_at_s: float | None = None
    pending: Pending | None = None


class Named(Protocol):
    """Something that one at a time may speak for: a Scope, or a charge."""

    def name(self) -> str:
        """One text for it."""


class Lease(Protocol):
    """The right to speak for something. It ends with `release`, or with the process, however that ends. F25"""

    def release(self) -> None:
        """Let the next one in; a second time does nothing."""


class Book(Protocol):
    """The record. Every operation is one transaction; a future may hold a StoreError. A record that was damaged is one
    for whoever asks for it, StoreBroken, and is passed over by `survey` alone: no payment rests on half a book.
    """

    def try_lock(self, what: Named) -> Lease | None:
        """The right to speak for it, or None while somebody else has that. Does not wait. Raises StoreError."""

    def begin(self, held: Held, draw: Draw | None = None) -> Future[None]:
        """Write a new channel down, its first voucher and its opening in it, and that voucher's draw on the budgets.

        Raises LedgerError if its key is known, PolicyRefused where a limit would be passed; then nothing was written.
        """

    def get(self, key: str) -> Future[Held | None]:
        """One channel."""

    def find(self, scope: Scope) -> Future[Sequence[Held]]:
        """The channels of a scope that have not ended, used last first."""

    def all(self) -> Future[Sequence[Held]]:
        """Every channel, the newest first."""

    def sign(self, key: str, total_units: int, voucher: bytes, draw: Draw) -> Future[Held]:
        """Write a higher signed voucher down, and its draw on the budgets, in one step.

        Raises LedgerError for a total that is not higher than the one before or exceeds the deposit, PolicyRefused
        where a limit would be passed; then nothing was written.
        """

    def note(self, key: str, word: Word) -> Future[Held]:
        """Write down what was learnt. Raises LedgerError for a channel that is not there or has ended."""

    def adopt(self, held: Held) -> Future[Held]:
        """A channel that was found again, with what our own signature proves: new, or merged upwards. F04 F05"""

    def survey(self) -> Future[Survey]:
        """Everything that can be read, and what can't: to show it, and to close what can be closed; not to pay by."""

    def drawn(self, asset: str, since_s: float, origin: str | None = None) -> Future[int]:
        """Base units drawn since then, for one origin or for all."""

    def begin_charge(self, charge: PushedCharge) -> Future[None]:
        """Write a charge down before it is sent. Whoever does so has its lock. Raises LedgerError for a known id."""

    def find_charges(self, request: str | None = None) -> Future[Sequence[PushedCharge]]:
        """The charges for a request, or all of them, whose end is not known, the oldest first."""

    def end_charge(self, charge_id: str) -> Future[None]:
        """The end of a charge is known. A second time does nothing."""

    def close(self) -> None:
        """Close files and threads."""
