"""The purse says yes or no before anything is signed: how much, to whom, in what, for which site (T47).

It looks at the terms that the payer read and pinned, never at words such as a description or a realm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from coinslot.client.desk import Desk, Tally
from coinslot.client.events import Observer, ignore
from coinslot.client.text import origin_of, plain
from coinslot.client.wallet import Wallet
from coinslot.core.accept import Range
from coinslot.core.challenge import Challenge
from coinslot.errors import PolicyRefused, UsageError
from coinslot.intents.charge import Terms
from coinslot.money import Asset, parse_decimal

# Enough for an API call, little enough to lose once by mistake: one unit of a dollar token.
DEFAULT_MAX = Decimal(1)
# The currency that the general limit is counted in.
PEG = "USD"
# Units of a stream that may be paid ahead: a server that sets aside 64 at once is served in one step, and no more than
# twice that is at risk.
DEFAULT_WINDOW = 128
# A signed payment can be used by its holder until it expires; no honest server needs more than a day.
MAX_VALIDITY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Quote:
    """What a person is asked to approve. `description` is the server's own words: show them, don't trust them.

    `unit` names what the price is for ("token") where an answer is metered, and is None where it is for all of it. A
    server may want more authorized before a metered answer begins: that is asked for as one more quote.
    """

    origin: str
    method: str
    terms: Terms
    expires_at_s: float
    description: str
    unit: str | None = None


def _same_name(one: str, other: str) -> bool:
    """Equal names; hexadecimal ones whatever their case (a checksum is written into it)."""
    if one.startswith(("0x", "0X")):
        return one.lower() == other.lower()
    return one == other


def _names(value: Collection[str] | None, field_name: str) -> frozenset[str] | None:
    if isinstance(value, str):
        raise UsageError(f"{field_name} is a list of names, not one text")
    return None if value is None else frozenset(value)


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be paid without asking. None means any; a list means these and no others.

    `max_per_request`: whole tokens, of assets that are pegged to the dollar. Other assets need a line in `limits`,
    which maps an asset's key ("network/id") to whole tokens, or to base units where its decimals are not known; such a
    line also replaces the general limit. `allowed_origins`: "https://api.example.com". `recipients`: every payee must
    be one of them, splits included. `currencies`: asset keys or ids. `networks`: CAIP-2 ids (None: those that the
    wallet itself knows). `approve` is asked last, with a Quote, and may be asynchronous under an asynchronous client.

    Sessions, all in whole tokens: `max_deposit` is the most that one channel may hold; without it no channel is opened
    or used. `max_locked`: what all open channels of an asset may hold together. `max_per_day`, and the same for each
    origin: what vouchers may add up to in 24 hours, over all programs that share the book. `prefer_sessions`: open a
    channel also where a charge would do. `max_window`: units of a metered answer that may be paid before they are
    received; None is DEFAULT_WINDOW of them while it comes, and before it begins what one request may cost, since a
    server that is told the usage at the end sets all aside that it may come to. `units_per_event`: how many one event
    of a stream may count as.

    Raises UsageError for limits that are no amounts, and for origins that are no origins.
    """

    max_per_request: Decimal | str | int = DEFAULT_MAX
    limits: Mapping[str, Decimal | str | int] = field(default_factory=lambda: MappingProxyType({}))
    allowed_origins: Collection[str] | None = None
    methods: Collection[str] | None = None
    recipients: Collection[str] | None = None
    currencies: Collection[str] | None = None
    networks: Collection[str] | None = None
    approve: Callable[[Quote], object] | None = None
    max_deposit: Decimal | str | int | None = None
    max_locked: Decimal | str | int | None = None
    max_per_day: Decimal | str | int | None = None
    max_per_day_and_origin: Decimal | str | int | None = None
    prefer_sessions: bool = False
    max_window: int | None = None
    units_per_event: int = 1

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "max_per_request", parse_decimal(self.max_per_request))
        for name in ("max_deposit", "max_locked", "max_per_day", "max_per_day_and_origin"):
            value = getattr(self, name)
            put(self, name, None if value is None else parse_decimal(value))
        if self.window < 1 or self.units_per_event < 1:
            raise UsageError("max_window and units_per_event are 1 or more")
        put(self, "limits", MappingProxyType({key: parse_decimal(value) for key, value in self.limits.items()}))
        for name in ("allowed_origins", "methods", "recipients", "currencies", "networks"):
            put(self, name, _names(getattr(self, name), name))
        if self.allowed_origins is not None:
            put(self, "allowed_origins", frozenset(origin_of(one) for one in self.allowed_origins))

    @property
    def window(self) -> int:
        """Units of an answer that may be paid ahead of it while it comes."""
        return DEFAULT_WINDOW if self.max_window is None else self.max_window

    def limit(self, asset: Asset) -> Decimal | None:
        """The most of an asset that one request may cost, in whole tokens, or None if it was never allowed."""
        for key, value in self.limits.items():
            network, _, name = key.rpartition("/")
            if network == asset.network and _same_name(name, asset.id):
                return parse_decimal(value)
        return parse_decimal(self.max_per_request) if asset.peg == PEG and asset.decimals is not None else None

    def units(self, name: str, asset: Asset) -> int | None:
        """A limit of this policy ("max_deposit" ...) in base units of an asset, rounded down; None if it is not set."""
        value: Decimal | None = getattr(self, name)
        return None if value is None else units_of(value, asset)

    def judge(self, origin: str, challenge: Challenge, terms: Terms) -> None:
        """Whether this may be paid to this site. Raises PolicyRefused: what was asked, and what is allowed."""
        if self.allowed_origins is not None and origin not in self.allowed_origins:
            raise _no(f"{origin} is not among the allowed origins")
        if self.methods is not None and challenge.method not in self.methods:
            raise _no(f"{origin} wants to be paid by {challenge.method}, which is not among the allowed methods")
        self._judge_asset(origin, terms.asset)
        self._judge_payees(origin, terms)
        self._judge_amount(origin, terms)

    def _judge_asset(self, origin: str, asset: Asset) -> None:
        if self.networks is not None and asset.network not in self.networks:
            raise _no(f"{origin} wants to be paid on {plain(asset.network)}, which is not among the allowed networks")
        named = self.currencies is None or any(one == asset.key or _same_name(one, asset.id) for one in self.currencies)
        if not named:
            raise _no(f"{origin} wants to be paid in {plain(asset.key)}, which is not among the allowed currencies")

    def _judge_payees(self, origin: str, terms: Terms) -> None:
        parts = [payee.amount_units for payee in terms.payees]
        if not parts or min(parts) < 0 or sum(parts) != terms.amount_units:
            raise _no(f"the shares that {origin} asks for don't add up to its price")
        for payee in terms.payees if self.recipients is not None else ():
            if not any(_same_name(one, payee.recipient) for one in self.recipients or ()):
                raise _no(
                    f"{origin} wants {plain(payee.recipient)} to be paid, who is not among the allowed recipients"
                )

    def _judge_amount(self, origin: str, terms: Terms) -> None:
        limit, asset = self.limit(terms.asset), terms.asset
        asked = plain(asset.text(terms.amount_units))
        if limit is None:
            raise _no(
                f"{origin} asks for {asked}, and no limit is set for this asset; "
                f"to pay it, set limits={{{plain(asset.key)!r}: ...}}"
            )
        if terms.amount_units > Fraction(limit) * 10 ** (asset.decimals or 0):
            raise _no(f"{origin} asks for {asked}, and the limit for one request is {limit:f}")


def units_of(value: Decimal, asset: Asset) -> int:
    """Whole tokens in base units, rounded down: a limit is never stretched."""
    return int(Fraction(value) * 10 ** (asset.decimals or 0))


def _no(reason: str) -> PolicyRefused:
    return PolicyRefused(f"{reason}. Nothing was signed.")


@dataclass(frozen=True)
class Purse:
    """Everything a client pays with and by: the wallet, the policy, who is told, and what sessions need.

    `tally` counts what one session object uses; `likes` is what Accept-Payment says.
    """

    wallet: Wallet
    policy: Policy = field(default_factory=Policy)
    observe: Observer = ignore
    desk: Desk = field(default_factory=Desk)
    tally: Tally = field(default_factory=Tally)
    likes: tuple[Range, ...] = field(init=False)

    def __post_init__(self) -> None:
        allowed = self.policy.methods
        ranges = self.wallet.accepts(sessions=self.sessions, prefer_sessions=self.policy.prefer_sessions)
        object.__setattr__(self, "likes", tuple(one for one in ranges if allowed is None or one.method in allowed))

    @property
    def sessions(self) -> bool:
        """Whether channels may be opened and used."""
        return self.policy.max_deposit is not None and self.desk.open_book is not None
