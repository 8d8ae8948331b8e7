"""A coin slot: everything a door needs, put together from a few words of configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, TypeAlias, TypedDict

from coinslot.core.challenge import KeyRing
from coinslot.drive import RealAsyncWorld, RealWorld, run
from coinslot.errors import ConfigError
from coinslot.method import Extras, Seller, load, sellers_of, sells_sessions, settings
from coinslot.money import parse_decimal
from coinslot.server.events import Observer
from coinslot.server.gate import PATIENCE_S, Gate
from coinslot.server.issue import EXPIRES_IN_S, Issuer
from coinslot.server.price import Amount, Price, Pricing, Route, Routes
from coinslot.server.settler import Policy
from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from coinslot.transports.resolving import Resolving
from coinslot.transports.secret import challenge_keys
from coinslot.transports.settling import EVERY_S, Settling

Table: TypeAlias = Mapping[str, Any]
RouteTable: TypeAlias = Mapping[str, "Amount | Pricing | Price | None"]


class PriceOptions(TypedDict, total=False):
    """What a price may say besides its amount; see `Slot.price`."""

    description: str | None
    external_id: str | None
    splits: Mapping[str, Amount] | None
    bind_body: bool


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
    ) -> Price:
        """A price on this slot: "0.01" whole tokens, or a function of the request. Raises UsageError."""
        shares = tuple((who, _decimal(share)) for who, share in (splits or {}).items())
        return Price(amount, self.sellers, Extras(description, external_id, shares), bind_body)

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
