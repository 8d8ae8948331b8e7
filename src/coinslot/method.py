"""What a payment method is to the house, and how one is found.

A method is an object published under the entry-point group `coinslot.methods` whose name is the method's name on the
wire. It publishes typed settings for both sides, so that programs learn flags and configuration fields from it. It
computes and asks for effects; it never records (stores belong to the roles) and never sees HTTP.

A seller goes through `offer`, `terms`, `check`, `prepare`, `broadcast`, `confirm`; a payer through `terms`, `pay`.
All of the verbs that touch a chain are flows (see drive.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Any, Protocol

import msgspec

from coinslot.core.challenge import Challenge
from coinslot.drive import Flow
from coinslot.errors import ConfigError
from coinslot.intents.charge import Checked, Outcome, Prepared, Recognised, Terms
from coinslot.money import Asset

GROUP = "coinslot.methods"


@dataclass(frozen=True, slots=True)
class Extras:
    """What one price may add to an offer; all of it optional. `splits` are (recipient, decimal share of the price)."""

    description: str | None = None
    external_id: str | None = None
    splits: tuple[tuple[str, Decimal], ...] = ()


class ChargeSeller(Protocol):
    """The server's side of a method's charge, for one chain, asset and recipient."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "charge"."""

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """The request object for a price in whole tokens, rounded up to base units. Pure: no effects.

        Raises UsageError for a price this method can't ask (too small, too large, splits that don't fit).
        """

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """Read back a request that we once bound. Raises InvalidChallenge if it is not this seller's (chain, asset)."""

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """Whether the proof is good. Nothing moves. Raises a Problem (VerificationFailed ...) or ChainError."""

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """What will be broadcast and its hash: co-sign, simulate. Nothing moves.

        Raises VerificationFailed if the chain would refuse it, ChainError if it can't be asked.
        """

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """The only irreversible act; the same bytes may be sent again. Raises ChainError: then only confirm knows."""

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """What the chain says now. Refused only if it can never be paid any more. Raises ChainError."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a payer presents: the proof, who pays, and what to look up if the answer is lost (None: nothing moves)."""

    payload: Mapping[str, Any] = field(repr=False)
    source: str
    reference: str | None


class ChargePayer(Protocol):
    """The client's side of a method's charge, for one wallet."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "charge"."""

    def terms(self, challenge: Challenge) -> Terms:
        """What a challenge asks, pinned to what this payer knows (chain, tokens). Raises NoPayableOffer."""

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """Build and sign the proof. Raises NoPayableOffer or ChainError before anything moved,
        PaymentOutcomeUnknown after.
        """


class Method(Protocol):
    """What is published. `Accept` and `Wallet` are Structs whose fields, types, defaults and docs are the settings."""

    @property
    def name(self) -> str:
        """The name on the wire: lower-case letters."""

    @property
    def Accept(self) -> type[msgspec.Struct]:
        """Settings of a seller: the fields of one [[accept]] table."""

    @property
    def Wallet(self) -> type[msgspec.Struct]:
        """Settings of a payer."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[ChargeSeller]]:
        """Sellers for these settings; asks the chain who it is. Raises ConfigError, MissingDependency, ChainError."""

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[ChargePayer]]:
        """Payers for these settings. Raises ConfigError, MissingDependency, ChainError."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What an address owns of one asset, in base units."""

    asset: Asset
    amount_units: int


class Keyed(Protocol):
    """Optional: what a method publishes as `keys` if its payers sign with a key of 32 bytes that a wallet can keep.

    A private key is text here: "0x" and 64 hex digits; the method's Wallet settings take it as `private_key`. An
    address is in the method's canonical spelling.
    """

    def new_key(self) -> Flow[str]:
        """A fresh private key from the world's randomness."""

    def address_of(self, private_key: str) -> str:
        """The address that a private key signs for. Raises UsageError, which never repeats the key."""

    def balances(self, rpc_url: str, address: str, assets: Sequence[str]) -> Flow[Sequence[Holding]]:
        """What an address owns of these assets, or of those the method knows. Raises UsageError, ChainError."""

    def chain_time_s(self, rpc_url: str) -> Flow[float]:
        """The time of the newest block, seconds since 1970. Raises ChainError."""


def installed() -> list[str]:
    """The names of the methods that can be loaded, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> Method:
    """The method of that name. Raises ConfigError naming what is installed, or MissingDependency of the method."""
    for point in entry_points(group=GROUP, name=name):
        method: Method = point.load()
        return method
    raise ConfigError(f"no payment method is called {name!r}; installed: {', '.join(installed()) or 'none'}")


def keys_of(method: Method) -> Keyed:
    """What a method publishes about keys. Raises ConfigError if it has none that a wallet could keep."""
    keys: Keyed | None = getattr(method, "keys", None)
    if keys is None:
        raise ConfigError(f"payment method {method.name!r} has no keys that a wallet could keep")
    return keys


def reader_of(method: Method) -> Callable[[Mapping[str, Any]], Terms] | None:
    """What a method may publish as `read_terms`: the terms of any request object of its charges, for lists and reports,
    with no chain asked. It raises UsageError. None if there is no such thing.
    """
    reader: Callable[[Mapping[str, Any]], Terms] | None = getattr(method, "read_terms", None)
    return reader


def settings(
    kind: type[msgspec.Struct], table: Mapping[str, Any], where: str, environ: Mapping[str, str] | None = None
) -> msgspec.Struct:
    """Typed settings from a configuration table. Raises ConfigError naming the field and the reason.

    With `environ`, the field `NAME_env` may name the variable that holds NAME, so that files need no secrets.
    """
    known = {one.encode_name for one in msgspec.structs.fields(kind)}
    given = dict(table) if environ is None else _from_environment(table, known, where, environ)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def _from_environment(
    table: Mapping[str, Any], known: set[str], where: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    given = dict(table)
    for name in table:
        field = name.removesuffix("_env")
        if name in known or field == name or field not in known:
            continue
        if field in table:
            raise ConfigError(f"{where}: {field!r} and {name!r} are both set")
        value = environ.get(str(given.pop(name)))
        if not value:
            raise ConfigError(f"{where}: {name}: that environment variable is not set")
        given[field] = value
    return given
