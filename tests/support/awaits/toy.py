"""The town's rail at a toy bank in memory, by the town's clock: other rules than Solana's, no node, no fees.

Flavour "v2" closes for what was spent and takes an equal voucher for known; "v1" closes for what a voucher says, and
refuses a lower one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from coinslot.client.wallet import Wallet
from coinslot.drive import Flow, Rpc
from coinslot.method import Seller
from support import toyescrow
from support.awaits.life import Clock
from support.toy import ToyPayer, ToySeller
from support.toy import Wallet as Purse
from support.toybank import GRACE_S, SCHEMA, Bank
from support.toyescrow import V2
from support.toysessionpayer import ToySessionPayer
from support.toysessionseller import ToySessionSeller

PURSE = 5_000_000
# As settlers close what is silent if nothing else was agreed.
IDLE_S = 86_400.0


class TownBank(Bank):
    """A bank that keeps its file in memory."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("in memory")
        self._clock = clock
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in (SCHEMA + toyescrow.SCHEMA).split(";"):
            self._db.execute(statement)
        facts = [("id", "main"), ("skew", "0"), ("submissions", "0"), ("grace", str(GRACE_S))]
        self._db.executemany("insert into fact values (?, ?)", facts)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        yield self._db

    def _at_s(self, db: sqlite3.Connection) -> float:
        return self._clock()

    def close(self) -> None:
        """With all that was in it."""
        self._db.close()


class ToyRail:
    """The parties of one town, with a bank of their own."""

    def __init__(self, clock: Clock, *, flavour: str = V2, charges: bool = False, push: bool = False) -> None:
        self.bank, self.flavour, self.charges, self.push = TownBank(clock), flavour, charges, push
        self.secret = self.bank.open("alice", coin=PURSE)
        self.bank.open("shop")
        self.rent_returns, self.step_units = True, 0 if charges else 1
        self.secrets = [bytes.fromhex(self.secret)]

    def sellers(self) -> Flow[Sequence[Seller]]:
        """One."""
        yield from ()
        if self.charges:
            return (ToySeller(self.bank, "main", "shop", "coin"),)
        return (ToySessionSeller(self.bank, "main", GRACE_S, "shop", "coin", self.flavour),)

    def wallet(self) -> Wallet:
        """The client's."""
        if self.charges:
            purse = Purse(bank=self.bank.path, account="alice", secret=self.secret, push=self.push)
            return Wallet((), [ToyPayer(self.bank, "main", purse)])
        return Wallet((), [ToySessionPayer(self.bank, "main", GRACE_S, "alice", self.secret, self.secret)])

    def rpc(self, effect: Rpc) -> object:
        """Banks are called, not asked by JSON-RPC."""
        raise AssertionError(effect)

    @property
    def idle_s(self) -> float:
        """After how much silence a channel is closed."""
        return IDLE_S

    @property
    def paid(self) -> int:
        """What the client has less."""
        return PURSE - self.bank.balance("alice")

    @property
    def earned(self) -> int:
        """What the shop has."""
        return self.bank.balance("shop")

    def conserved(self) -> None:
        """No unit was lost or made."""
        assert self.bank.total() == PURSE, "units were lost or made"

    def all_back(self) -> None:
        """Nothing is left in escrow."""
        assert self.paid == self.earned

    def close(self) -> None:
        """The bank is gone."""
        self.bank.close()
