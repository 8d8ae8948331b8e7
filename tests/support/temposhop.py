"""Both sides of a tempo charge on a real chain, each step by hand. The fixture `shop` is in tests/methods/tempo."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import decode_credential, encode_credential
from coinslot.core.instant import format_instant, parse_instant
from coinslot.drive import Flow, RealWorld, run
from coinslot.intents.charge import Checked, Outcome, Prepared, Recognised
from coinslot.method import Extras, Presentation
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.method import METHOD
from coinslot.methods.tempo.settings import Accept, Wallet
from coinslot.methods.tempo.transaction.build import serialise, sign
from coinslot.methods.tempo.transaction.fields import TempoTransaction
from coinslot.methods.tempo.transaction.read import read_transaction
from support.devnet import Chain

REALM = "api.example.com"
PATH = "0x20c0000000000000000000000000000000000000"
ALPHA = "0x20c0000000000000000000000000000000000001"
DOLLAR = 1_000_000
_RING = KeyRing((bytes(range(32)),))


@dataclass(frozen=True)
class Shop:
    """Both sides on one chain, each step by hand."""

    chain: Chain
    world: RealWorld

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow against the real chain."""
        return run(flow, self.world)

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

    def challenge(
        self,
        seller: TempoChargeSeller,
        price: str = "0.25",
        *,
        request: Mapping[str, Any] | None = None,
        lives_s: float = 120,
        realm: str = REALM,
        **extras: Any,
    ) -> Challenge:
        """What the seller offers, bound; `request` replaces the offer."""
        offer = seller.offer(Decimal(price), Extras(**extras)) if request is None else request
        expires = format_instant(time.time() + lives_s)
        opaque = encode_object({"n": secrets.token_hex(8)})
        draft = Challenge("", realm, "tempo", "charge", encode_object(dict(offer)), expires=expires, opaque=opaque)
        return _RING.issue(draft)

    def pay(self, payer: TempoChargePayer, challenge: Challenge) -> Presentation:
        """What the payer presents for a challenge."""
        shown = self.run(payer.pay(challenge, payer.terms(challenge)))
        assert isinstance(shown, Presentation)
        return shown

    def recognised(
        self, seller: TempoChargeSeller, challenge: Challenge, payload: Mapping[str, Any], source: str | None
    ) -> Recognised:
        """A credential that travelled, recognised as the gate would."""
        credential = decode_credential(encode_credential(challenge, payload, source).removeprefix("Payment "))
        expires = challenge.expires or ""
        return Recognised(credential, seller.terms(challenge.request_object()), parse_instant(expires))

    def check(
        self, seller: TempoChargeSeller, challenge: Challenge, payload: Mapping[str, Any], source: str | None = None
    ) -> Checked:
        """Step 2 of the gate."""
        checked = self.run(seller.check(self.recognised(seller, challenge, payload, source)))
        assert isinstance(checked, Checked)
        return checked

    def prepare(self, seller: TempoChargeSeller, checked: Checked) -> Prepared:
        """First act of step 4."""
        prepared = self.run(seller.prepare(checked))
        assert isinstance(prepared, Prepared)
        return prepared

    def settle(self, seller: TempoChargeSeller, prepared: Prepared) -> Outcome:
        """The other two acts of step 4."""
        self.run(seller.broadcast(prepared))
        return self.confirm(seller, prepared)

    def confirm(self, seller: TempoChargeSeller, prepared: Prepared) -> Outcome:
        """What the chain says."""
        outcome: Outcome = self.run(seller.confirm(prepared))
        return outcome

    def through(self, seller: TempoChargeSeller, challenge: Challenge, shown: Presentation) -> Outcome:
        """Steps 2 and 4 in one go."""
        checked = self.check(seller, challenge, shown.payload, shown.source)
        return self.settle(seller, self.prepare(seller, checked))

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
