"""Both sides of a tempo charge on a real chain, each step by hand. The fixture `shop` is in tests/methods/tempo."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import Challenge
from coinslot.drive import RealWorld
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.method import METHOD
from coinslot.methods.tempo.settings import Accept, Wallet
from coinslot.methods.tempo.transaction.build import serialise, sign
from coinslot.methods.tempo.transaction.fields import TempoTransaction
from coinslot.methods.tempo.transaction.read import read_transaction
from support.chargeshop import ChargeShop
from support.devnet import Chain

PATH = "0x20c0000000000000000000000000000000000000"
ALPHA = "0x20c0000000000000000000000000000000000001"
DOLLAR = 1_000_000


@dataclass(frozen=True)
class Shop(ChargeShop):
    """Both sides on one chain, each step by hand."""

    chain: Chain
    world: RealWorld

    def account(self, dollars: int = 5) -> PrivateKey:
        """A fresh account that holds so many pathUSD."""
        key = PrivateKey(secrets.token_bytes(32))
        if dollars:
            self.chain.fund(key.address, dollars * DOLLAR)
        return key

    def seller(self, **settings: Any) -> TempoChargeSeller:
        """A seller; a fresh recipient unless told otherwise."""
        settings.setdefault("rpc_url", self.chain.rpc_url)
        settings.setdefault("recipient", fresh_address())
        (seller,) = self.run(METHOD.sellers(Accept(**settings)))
        assert isinstance(seller, TempoChargeSeller)
        return seller

    def payer(self, key: PrivateKey | None = None, **settings: Any) -> TempoChargePayer:
        """A payer; a fresh account with five dollars unless told otherwise."""
        key = key or self.account()
        settings.setdefault("rpc_url", self.chain.rpc_url)
        (payer,) = self.run(METHOD.payers(Wallet(private_key=key.secret().hex(), **settings)))
        assert isinstance(payer, TempoChargePayer)
        return payer

    def transaction(self, payer: TempoChargePayer, challenge: Challenge) -> TempoTransaction:
        """The transaction with which a payer would pay, signature included."""
        shown = self.pay(payer, challenge)
        return read_transaction(bytes.fromhex(shown.payload["signature"][2:])).transaction

    def held(self, address: str, token: str = PATH) -> int:
        """Base units that an address holds."""
        return self.chain.balance_of(token, address)


def payload(raw: bytes) -> dict[str, str]:
    """The payload that presents these bytes in pull mode."""
    return {"type": "transaction", "signature": to_hex(raw)}


def signed(tx: TempoTransaction, key: PrivateKey, **changes: Any) -> bytes:
    """The transaction with some fields changed, signed anew by its sender."""
    return serialise(sign(replace(tx, **changes), key))


def fresh_address() -> str:
    """An address that nobody has used."""
    return PrivateKey(secrets.token_bytes(32)).address
