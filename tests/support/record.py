"""A record of payments as a gate leaves it: real toy payments, each taken as far as a test wants."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import Credential
from coinslot.core.instant import format_instant, parse_instant
from coinslot.drive import RealWorld, run
from coinslot.intents.charge import Recognised, Settled, receipt_of
from coinslot.ledger import post_charge
from coinslot.method import Extras, load
from coinslot.settings import settings
from coinslot.store.protocol import Claim, Delivery, Lease, Payment, Stage
from coinslot.store.sqlite import SqliteStore
from support.toybank import Bank


@dataclass
class Record:
    """A SQLite store at `path` (`url`), and payments by alice to the shop. `now_s` moves the store's clock."""

    path: Path
    bank: Bank
    wallet: Mapping[str, object]
    now_s: float | None = None

    def __post_init__(self) -> None:
        self.url = f"sqlite:///{self.path}"
        self.accept = {"method": "toy", "bank": self.bank.path, "recipient": "shop"}
        self.store = SqliteStore(str(self.path), clock=lambda: self.now_s if self.now_s is not None else time.time())
        toy, self.world = load("toy"), RealWorld()
        fields = {name: value for name, value in self.accept.items() if name != "method"}
        self.seller = run(toy.sellers(settings(toy.Accept, fields, "test")), self.world)[0]
        self.payer = run(toy.payers(settings(toy.Wallet, self.wallet, "test")), self.world)[0]
        self.keys = KeyRing((os.urandom(32),))

    def pay(
        self, price: str = "0.01", upto: Stage = Stage.DELIVERED, extras: Extras | None = None, key: str | None = None
    ) -> Payment:
        """A payment, taken to this stage."""
        request = encode_object(self.seller.offer(Decimal(price), extras or Extras()))
        challenge = self.keys.issue(
            Challenge(
                "none", "shop.example", "toy", "charge", request,
                expires=format_instant(time.time() + 60), opaque=encode_object({"n": os.urandom(8).hex()}),
            )
        )  # fmt: skip
        terms = self.payer.terms(challenge)
        shown = run(self.payer.pay(challenge, terms), self.world)
        if shown.sending is not None:
            run(self.payer.send(shown.sending, again=False), self.world)
        credential = Credential(challenge, msgspec.json.encode(shown.payload), shown.source)
        recognised = Recognised(credential, self.seller.terms(challenge.request_object()), self._expiry(challenge))
        checked = run(self.seller.check(recognised), self.world)
        lease = self.store.claim(Claim(challenge, checked.proof, checked.payer, "what for", "which", key)).result()
        assert isinstance(lease, Lease)
        self._go_on(lease, checked, recognised.terms, upto)
        found = self.store.find(challenge.id).result()
        assert found is not None
        assert found.stage == upto
        return found

    @staticmethod
    def _expiry(challenge: Challenge) -> float:
        return parse_instant(challenge.expires or "")

    def _go_on(self, lease: Lease, checked, terms, upto: Stage) -> None:  # type: ignore[no-untyped-def]
        if upto is Stage.FAILED:
            self.store.fail(lease, "the payer thought better of it").result()
        elif upto is not Stage.CLAIMED:
            prepared = run(self.seller.prepare(checked), self.world)
            self.store.prepare(lease, prepared).result()
            if upto is Stage.PREPARED:
                return
            run(self.seller.broadcast(prepared), self.world)
            settled = run(self.seller.confirm(prepared), self.world)
            assert isinstance(settled, Settled)
            self.store.settle(lease, receipt_of(prepared, settled), post_charge(terms, prepared, settled)).result()
            if upto is Stage.DELIVERED:
                self.store.deliver(lease, Delivery(200, (("set-cookie", "visitor=1"),), b"the goods")).result()


@pytest.fixture
def record(tmp_path: Path, bank: Bank, alice: dict[str, object]) -> Iterator[Record]:
    """An empty record, its bank and alice's five coins."""
    made = Record(tmp_path / "payments.sqlite", bank, alice)
    yield made
    made.store.close()
