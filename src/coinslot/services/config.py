"""The gate's configuration: one TOML file or the flags of a command line, read into types, wrong ones named."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from coinslot.errors import ConfigError
from coinslot.server.settler import BATCH, CLOSE_IDLE_AFTER_S, KEEP_ANSWERS_S, SETTLE_AFTER_S, Policy
from coinslot.transports.settling import EVERY_S

# The port that says 402.
DEFAULT_LISTEN = "127.0.0.1:8402"
DEFAULT_STORE = "sqlite:///coinslot.sqlite"
MAX_PORT = 65535
# More processes than any machine that runs this has cores.
MAX_WORKERS = 256

Per = Literal["request", "event", "byte", "unit"]
Intent = Literal["charge", "session"]


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A price with its particulars; `amount` is decimal text in whole tokens, for one of what `per` says."""

    amount: str
    per: Per = "request"
    description: str | None = None
    external_id: str | None = None
    splits: dict[str, str] = {}
    bind_body: bool = True
    intents: list[Intent] | None = None
    deposit: str | None = None
    unit: str | None = None
    window: int | None = None
    minimum: int | None = None
    block: int | None = None
    usage: str | None = None
    max_units: int | None = None
    include_usage: bool | None = None
    events: bool | None = None


class SettlerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When channels are settled and closed; 0: never for that reason. `inside`: the gate does it itself."""

    inside: bool = True
    settle_units: int = 0
    settle_after_s: float = SETTLE_AFTER_S
    min_settle_units: int = 0
    close_idle_after_s: float = CLOSE_IDLE_AFTER_S
    batch: int = BATCH
    every_s: float = EVERY_S
    keep_answers_s: float = KEEP_ANSWERS_S

    def policy(self) -> Policy:
        """As the settler takes it. Raises UsageError."""
        return Policy(
            self.settle_units or None,
            self.settle_after_s or None,
            self.close_idle_after_s or None,
            self.batch,
            self.min_settle_units,
            self.keep_answers_s or None,
        )


class GateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `coinslot gate` needs. Each `accept` table names a `method`; its other fields are that method's settings."""

    upstream: str
    prices: dict[str, str | PriceTable]
    accept: list[dict[str, Any]]
    realm: str = ""
    free: list[str] = []
    store: str = DEFAULT_STORE
    listen: str = DEFAULT_LISTEN
    tls_cert: str | None = None
    tls_key: str | None = None
    workers: int = 1
    expires_in_s: int = 300
    payment_header: bool = False
    settler: bool | SettlerTable = True
    title: str = ""
    api_version: str = "1.0.0"
    categories: list[str] = []
    docs: dict[str, str] = {}

    def settling(self) -> SettlerTable:
        """How channels are settled."""
        return self.settler if isinstance(self.settler, SettlerTable) else SettlerTable(inside=self.settler)

    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises ConfigError."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
            raise ConfigError(f"listen: {self.listen!r} is not HOST:PORT, such as {DEFAULT_LISTEN}")
        return host.strip("[]"), int(port)


def check(config: GateConfig) -> GateConfig:
    """What types can't say. Raises ConfigError naming the setting."""
    upstream = urlsplit(config.upstream)
    if upstream.scheme not in ("http", "https") or not upstream.hostname:
        raise ConfigError("upstream: an http:// or https:// URL of the API to charge for")
    if upstream.username or upstream.password or upstream.query or upstream.fragment:
        raise ConfigError("upstream: no user, password, query or fragment; only scheme, host, port and a path prefix")
    if not config.prices:
        raise ConfigError('prices: name at least one route, such as "GET /paid/*" = "0.01"')
    if not config.accept:
        raise ConfigError("accept: name at least one payment method to be paid with")
    if not 1 <= config.workers <= MAX_WORKERS:
        raise ConfigError(f"workers: 1 to {MAX_WORKERS}")
    if config.workers > 1 and config.store.startswith("memory:"):
        raise ConfigError("store: several workers need a shared store (sqlite:///PATH or postgresql://...)")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError("tls_cert and tls_key go together")
    for pattern, price in config.prices.items():
        if isinstance(price, PriceTable):
            _check_price(pattern, price)
    config.address()
    config.settling().policy()
    return config


# Which settings of a price mean something, by what it is asked per.
_MEANT: Mapping[Per, frozenset[str]] = {
    "request": frozenset(),
    "event": frozenset(["unit", "window", "minimum", "events"]),
    "byte": frozenset(["window", "minimum", "block", "events"]),
    "unit": frozenset(["unit", "usage", "max_units", "include_usage", "minimum", "events"]),
}


def _check_price(pattern: str, price: PriceTable) -> None:
    where = f"prices: {pattern!r}"
    for name in sorted(frozenset().union(*_MEANT.values()) - _MEANT[price.per]):
        if getattr(price, name) is not None:
            raise ConfigError(f"{where}: {name} means nothing for a price per {price.per}")
    for name, least in (("window", 1), ("minimum", 0), ("block", 1), ("max_units", 1)):
        value: int | None = getattr(price, name)
        if value is not None and value < least:
            raise ConfigError(f"{where}: {name} is {least} or more")
    if price.per == "unit":
        for name in ("unit", "usage", "max_units"):
            if getattr(price, name) is None:
                raise ConfigError(f"{where}: a price per unit needs {name}")
    if price.per != "request" and price.splits:
        raise ConfigError(f"{where}: splits are for charges; a price per {price.per} is paid from sessions")
    if price.intents is not None and (not price.intents or len(set(price.intents)) != len(price.intents)):
        raise ConfigError(f'{where}: intents names "charge", "session" or both')
    if price.per != "request" and price.intents is not None and price.intents != ["session"]:
        raise ConfigError(f"{where}: a price per {price.per} is paid from sessions only")


def from_table(table: Mapping[str, Any], where: str) -> GateConfig:
    """A configuration from a table of settings. Raises ConfigError."""
    try:
        return check(msgspec.convert(dict(table), GateConfig))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def load_config(path: Path) -> GateConfig:
    """A configuration from a TOML file. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return from_table(table, str(path))
