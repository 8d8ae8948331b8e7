"""What a local chain is to a test or a demo, whatever chain it is.

A devnet is published under the entry-point group `coinslot.devnets` as an object that fulfils `Devnet`; a new chain is
a new file and a new entry point, and no existing file is edited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import entry_points
from types import TracebackType
from typing import Protocol, Self, cast

from coinslot.errors import ConfigError

GROUP = "coinslot.devnets"


@dataclass(frozen=True, slots=True)
class Account:
    """A funded account that everybody knows the key of: worth nothing outside the devnet."""

    address: str
    private_key: str = field(repr=False)


class RunningDevnet(Protocol):
    """A chain that runs until `close`; also a context manager."""

    @property
    def rpc_url(self) -> str:
        """Where clients connect, on loopback."""

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What else a program may want to know of this chain, by names of its own: a chain id, a genesis hash."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What sellers and payers of the payment method need for this chain beside its address."""

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Accounts that hold plenty of every token."""

    @property
    def tokens(self) -> Mapping[str, str]:
        """Address by symbol; the first is the one to pay with unless told otherwise."""

    @property
    def alive(self) -> bool:
        """Whether the node still runs."""

    def fund(self, address: str, units: int, token: str | None = None) -> str:
        """Give an address `units` base units of a token (symbol or address); the transaction's hash, mined.

        Raises UsageError for what is no token or address, RpcRefused where the chain says no.
        """

    def balance(self, address: str, token: str | None = None) -> int:
        """Base units of a token that an address holds."""

    def close(self) -> None:
        """Stop everything that was started. Harmless when called twice."""

    def __enter__(self) -> Self:
        """The running chain."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


class Running(ABC):
    """A base for chains that run until `close`: the context manager."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything that was started. Harmless when called twice."""

    def __enter__(self) -> Self:
        """The running chain."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


@dataclass(frozen=True, slots=True)
class Funded:
    """What came of a funding: the mined transaction, and what the address holds now, in base units."""

    transaction: str
    token: str
    symbol: str
    units: int
    balance_units: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Option:
    """Something that can be chosen when a chain is started: a number with a default, and a sentence for people."""

    default: int
    help: str


class Devnet(Protocol):
    """How to start one kind of local chain, and how to fund an address on one that somebody else started."""

    @property
    def name(self) -> str:
        """The name under which it is published, the same as the payment method's."""

    @property
    def default_port(self) -> int:
        """Where programs of the field expect such a chain on loopback."""

    @property
    def options(self) -> Mapping[str, Option]:
        """What `start` takes beside the port and the folder, by name; a new chain brings its own."""

    @property
    def start(self) -> Callable[..., RunningDevnet]:
        """Start the chain and wait until it takes transactions: start(port=0, state_dir=None, **options).

        `port` 0 takes a free one; with `state_dir`, a Path, the chain goes on where it stopped.
        Raises UsageError for bad settings, PortTaken, NodeUnavailable, IntegrityMismatch, DevnetError.
        """

    def fund_at(self, rpc_url: str, address: str, amount: Decimal, token: str | None = None) -> Funded:
        """Give an address some of a token, on a running devnet. Raises UsageError, RpcRefused, RpcUnreachable."""


def facts_text(running: RunningDevnet) -> str:
    """What there is to know of a chain, in one line for people."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in running.facts.items())


def devnet_names() -> list[str]:
    """The kinds of local chain that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_devnet(name: str) -> Devnet:
    """The devnet of that name. Raises ConfigError where none is installed."""
    for point in entry_points(group=GROUP, name=name):
        return cast("Devnet", point.load())
    known = ", ".join(devnet_names()) or "none is installed"
    raise ConfigError(f"there is no local chain named {name!r}; known: {known}")
