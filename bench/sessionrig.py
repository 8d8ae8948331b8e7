"""Sessions without a chain: channels are written into a store as the chain would have shown them, vouchers are signed.

What is measured with it is what a paid request costs: reading, binding, verifying, accepting, spending, telling. What
differs from one payment method to the next is a `Rig`: temporig.py and solanarig.py each have one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Protocol

from bench.instant import REALM, SECRET
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.drive import World, run
from coinslot.intents.session import Channel, Rules
from coinslot.method import SessionSeller
from coinslot.server.issue import Issuer
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.store.channels import Opened, SessionStore
from coinslot.store.protocol import Claim

# Both rigs sell for dollars of six decimals.
PRICE, DECIMALS = "0.0001", 6
DEPOSIT = 10**12
# Every deposit of a bench is an amount on every chain.
RULES = Rules(bits=64)
TEMPO, SOLANA = "tempo", "solana"


class Purse(Protocol):
    """The payer's side of one channel."""

    @property
    def channel(self) -> Channel:
        """As its server has it on record."""
        ...

    def vouchers(self, challenge: Challenge, step_units: int, count: int) -> Iterator[str]:
        """Header values, each good for one more request."""
        ...


class Rig(Protocol):
    """What a payment method brings to be measured: its seller, its payers, and what its chain would say."""

    @property
    def network(self) -> str:
        """The CAIP-2 id of the chain that is never asked."""
        ...

    def seller(self) -> SessionSeller:
        """A seller as it is configured, with the same settings each time."""
        ...

    def purses(self, number: int) -> Sequence[Purse]:
        """Channels of as many payers, the same each time."""
        ...

    def world(self) -> World:
        """Where a challenge is issued: what it takes of the chain is at hand."""
        ...


def rig_of(method: str) -> Rig:
    """The rig of a payment method: only its own libraries are imported."""
    found: Rig = importlib.import_module(f"bench.{method}rig").RIG
    return found


def fill(store: SessionStore, rig: Rig, owners: Sequence[Purse]) -> None:
    """Channels as the chain would have shown them; a watcher that has just looked."""
    for number, one in enumerate(owners):
        challenge = Challenge(f"open{number}", REALM, one.channel.method, "session", "e30")
        proof = f"{one.channel.network}/tx/{one.channel.id}"
        claim = Claim(challenge, proof, one.channel.payer, "", f"{number}")
        opened = store.open_channel(claim, one.channel, RULES).result()
        if not isinstance(opened, Opened):
            raise RuntimeError("the store was not empty")
        store.confirm_open(one.channel.key, DEPOSIT, 0, RULES).result()
    store.note_watched(rig.network).result()


def issuer() -> Issuer:
    """Challenges that live as long as any benchmark."""
    return Issuer(REALM, KeyRing((SECRET.encode(),)), expires_in_s=86400)


def challenge(rig: Rig, path: str, metering: Metering | None = None) -> Challenge:
    """A challenge for a path."""
    price = Price(PRICE, [rig.seller()], metering=metering)
    return run(issuer().challenges(Incoming("GET", path), price), rig.world())[0]


def unit_units() -> int:
    """The price in base units."""
    return int(Decimal(PRICE) * 10**DECIMALS)
