"""A coin slot: everything a door needs, put together from a few words of configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from coinslot.core.challenge import KeyRing
from coinslot.drive import RealAsyncWorld, RealWorld, run
from coinslot.errors import ConfigError, UsageError
from coinslot.method import ChargeSeller, Extras, Seller, load, sellers_of, sells_charges, sells_sessions
from coinslot.money import parse_decimal
from coinslot.server.events import Observer
from coinslot.server.gate import PATIENCE_S, Gate
from coinslot.server.issue import EXPIRES_IN_S, Issuer
from coinslot.server.price import PATIENCE_DRY_S, WINDOW, Amount, Metering, Price, Pricing, Route, Routes
from coinslot.server.settler import Policy
from coinslot.settings import settings
from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from coinslot.transports.resolving import Resolving
from coinslot.transports.secret import challenge_keys
from coinslot.transports.settling import EVERY_S, Settling

Table: TypeAlias = Mapping[str, Any]
PayBy: TypeAlias = Literal["charge", "session"]
RouteTable: TypeAlias = Mapping[str, "Amount | Pricing | Price | None"]


class PriceOptions(TypedDict, total=False):
    """What a price may say besides its amount; see `Slot.price`."""

    description: str | None
    external_id: str | None
    splits: Mapping[str, Amount] | None
    bind_body: bool
    pay_by: PayBy | None
    deposit: Amount | None


class Slot:
    """Takes payments for a realm.

        slot = Slot("api.example.com", tempo={"recipient": "0x...", "rpc_url": "https://..."})

    Each keyword names a payment method and gives its settings, or a list of settings for several assets. `store` is a
    store or its URL; `secret_key` (text of 32 characters or more, or a list with the newest first) else comes from
    COINSLOT_SECRET_KEY, else from a file beside a SQLite store. Payment channels are watched, settled and closed by
    `settle`'s policy, unless it is False because `coinslot settler` does so. Raises ConfigError, MissingDependency,
    ChainError.
    """

    def __init__(  # noqa: PLR0913 - all but the realm are named and optional
        self,
        realm: str,
        *,
        store: str | SessionStore = "sqlite:///coinslot.sqlite",
        secret_key: str | Sequence[str] | None = None,
        sellers: Sequence[Seller] = (),
        expires_in_s: int = EXPIRES_IN_S,
        alternate_header: bool = False,
        observe: Observer | None = None,
        patience_s: float = PATIENCE_S,
        settle: bool | Policy = True,
        settle_every_s: float = EVERY_S,
        **methods: Table | Sequence[Table],
    ) -> None:
        # Shared by all doors of this slot, and with them the connections to nodes.
        self.world, self.async_world = RealWorld(), RealAsyncWorld()
        self.sellers = (*sellers, *_sellers(methods))
        if not self.sellers:
            raise ConfigError("name at least one payment method and its settings")
        keys = KeyRing(challenge_keys(secret_key, store if isinstance(store, str) else "", os.environ))
        issuer = Issuer(realm, keys, expires_in_s=expires_in_s, alternate_header=alternate_header)
        self.store: SessionStore = open_store(store) if isinstance(store, str) else store
        self.gate = Gate(issuer, self.store, patience_s, observe)
        sessions = [one for one in self.sellers if sells_sessions(one)]
        self.settling: Settling | None = None
        if sessions and settle is not False:
            policy = settle if isinstance(settle, Policy) else Policy()
            self.settling = Settling(self.store, sessions, policy, observe, settle_every_s)
            self.settling.look()
        self.resolving = Resolving(self.store, self.sellers, observe, settling=self.settling)

    def price(
        self,
        amount: Amount | Pricing,
        *,
        description: str | None = None,
        external_id: str | None = None,
        splits: Mapping[str, Amount] | None = None,
        bind_body: bool = True,
        pay_by: PayBy | None = None,
        deposit: Amount | None = None,
    ) -> Price:
        """A price of each request: "0.01" whole tokens, or a function of the request. Raises UsageError.

        Where sessions are set up it can be paid from a channel too; `pay_by` names the one way that is wanted, and what
        is shared out (`splits`) or costs nothing is charged. `deposit` (whole tokens) is suggested to who opens one.
        """
        shares = tuple((who, _decimal(share)) for who, share in (splits or {}).items())
        free = not callable(amount) and not _decimal(amount)
        sellers = self._paid_by("charge" if pay_by is None and (shares or free) else pay_by)
        extras = Extras(description, external_id, shares)
        suggested = None if deposit is None else _decimal(deposit)
        return Price(amount, sellers, extras, bind_body, deposit=suggested, provers=self._provers())

    def metered(  # noqa: PLR0913 - all but the amount are named and optional
        self,
        amount: Amount | Pricing,
        *,
        unit: str = "unit",
        deposit: Amount | None = None,
        window: int = WINDOW,
        least: int = 1,
        minimum: int = 1,
        patience_s: float = PATIENCE_DRY_S,
        events: bool = False,
        description: str | None = None,
        external_id: str | None = None,
        bind_body: bool = True,
    ) -> Price:
        """A price of each unit that an answer delivers, paid from channels while it is produced. See `Metering`.

        Raises UsageError.
        """
        metering = Metering(unit, window, least, minimum, patience_s, events)
        suggested = None if deposit is None else _decimal(deposit)
        extras, sellers = Extras(description, external_id), self._paid_by("session")
        return Price(amount, sellers, extras, bind_body, metering, suggested, self._provers())

    def _paid_by(self, way: PayBy | None) -> tuple[Seller, ...]:
        """Raises UsageError where nothing that is set up can be paid so."""
        if way not in (None, "charge", "session"):
            raise UsageError('pay_by: "charge", "session", or None for both')
        wanted = sells_sessions if way == "session" else sells_charges
        found = tuple(one for one in self.sellers if way is None or wanted(one))
        if not found:
            raise UsageError(f"no payment method of this slot is set up for a {way}")
        return found

    def _provers(self) -> tuple[ChargeSeller, ...]:
        return tuple(one for one in self.sellers if sells_charges(one))

    def priced(self, amount: Amount | Pricing | Price, **options: Unpack[PriceOptions]) -> Price:
        """A price of this slot as it is, or one made of an amount. Raises UsageError."""
        if not isinstance(amount, Price):
            return self.price(amount, **options)
        if options:
            raise UsageError("this price is made already; say its options where it is made")
        return amount

    def routes(self, table: RouteTable) -> Routes:
        """A route table: {"GET /paid/*": "0.01", "/health": None}; None is free. Raises ConfigError, UsageError."""
        return Routes.of(Route(pattern, self._priced(value)) for pattern, value in table.items())

    def _priced(self, value: Amount | Pricing | Price | None) -> Price | None:
        return value if value is None or isinstance(value, Price) else self.price(value)

    def close(self) -> None:
        """Stop the resolver, close the store and the connections of synchronous doors."""
        self.resolving.stop()
        self.store.close()
        self.world.close()

    async def aclose(self) -> None:
        """Close everything, also what belongs to the running event loop."""
        await self.async_world.aclose()
        self.close()


def _decimal(amount: Amount) -> Decimal:
    return parse_decimal(amount)


def _sellers(methods: Mapping[str, Table | Sequence[Table]]) -> list[Seller]:
    found: list[Seller] = []
    with closing(RealWorld()) as world:
        for name, given in methods.items():
            method = load(name)
            for table in [given] if isinstance(given, Mapping) else given:
                found += run(sellers_of(method, settings(method.Accept, table, name)), world)
    return found
