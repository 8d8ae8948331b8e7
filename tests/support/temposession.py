"""A payer of Tempo sessions and its payee on the local chain, each step by hand; and a payer that needs no chain."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.rpc import Receipt, send_raw_sync
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.instant import format_instant
from coinslot.intents.acts import Held, Move, OnChain
from coinslot.methods.tempo.paying import PayerConfig
from coinslot.methods.tempo.session.calls import SessionCall, write_call
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import V1, Escrow, Version
from coinslot.methods.tempo.session.fields import read_units
from coinslot.methods.tempo.session.method import SESSIONS
from coinslot.methods.tempo.session.payer import SessionPayerConfig, TempoSessionPayer
from coinslot.methods.tempo.session.record import read_record
from coinslot.methods.tempo.session.terms import SessionTerms, write_session_request
from coinslot.methods.tempo.settings import Wallet
from coinslot.methods.tempo.tokens import TESTNET, pinned
from coinslot.methods.tempo.transaction.build import serialise, sign, sign_as_fee_payer
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, TempoTransaction
from coinslot.methods.tempo.transaction.read import read_transaction
from support.tempochannel import KEY, PATH, asset_of, escrow
from support.temposhop import DOLLAR, Shop
from support.till import REALM

PRICE = 50_000_000_000
_RING = KeyRing((bytes(range(32)),))


def challenge_of(request: dict[str, Any], lives_s: float = 120) -> Challenge:
    """A request object, bound as a server would."""
    expires = format_instant(time.time() + lives_s)
    opaque = encode_object({"n": secrets.token_hex(8)})
    return _RING.issue(Challenge("", REALM, "tempo", "session", encode_object(request), expires=expires, opaque=opaque))


def offline_payer(key: PrivateKey = KEY, **changes: Any) -> TempoSessionPayer:
    """A payer of both protocols that never asks its chain."""
    wallet = PayerConfig(
        rpc_url="http://127.0.0.1:1",
        chain_id=TESTNET,
        account=key.address,
        key=key,
        key_authorization=None,
        fee_token=None,
        mode="pull",
        max_fee_per_gas=10**11,
        client_id=None,
        tokens=pinned(TESTNET),
        sponsor_envelope=True,
        proof_version="3",
    )
    config = SessionPayerConfig(wallet, key, frozenset(), frozenset({"v1", "v2"}))
    return TempoSessionPayer(replace(config, **changes))


@dataclass(frozen=True)
class Lane:
    """A payer and a payee on one escrow of the chain."""

    shop: Shop
    version: Version
    payer: TempoSessionPayer
    payee: PrivateKey
    sponsor: PrivateKey | None = field(default=None)

    @property
    def escrow(self) -> Escrow:
        """The pinned one."""
        return escrow(self.version)

    @property
    def url(self) -> str:
        """The node."""
        return self.shop.chain.rpc_url

    def terms(self, **changes: Any) -> SessionTerms:
        """What the payee asks: 25 units."""
        base = SessionTerms(self.escrow, asset_of(TESTNET, PATH), self.payee.address, 25, "llm_token")
        return replace(base, sponsored=self.sponsor is not None, **changes)

    def challenge(self, lives_s: float = 120, **changes: Any) -> Challenge:
        """These terms, offered."""
        return challenge_of(write_session_request(self.terms(**changes)), lives_s)

    def open(self, deposit: int = DOLLAR, first: int = 25, **changes: Any) -> Move:
        """Signed, not sent."""
        challenge = self.challenge(**changes)
        move: Move = self.shop.run(self.payer.open(challenge, self.payer.terms(challenge), deposit, first))
        return move

    def opened(self, deposit: int = DOLLAR, first: int = 25) -> Held:
        """An open channel."""
        move = self.open(deposit, first)
        assert self.broadcast(move).succeeded
        return move.held

    def broadcast(self, move: Move) -> Receipt:
        """As a server does: co-sign if we sponsor, and send."""
        raw = bytes.fromhex(move.payload["transaction"][2:])
        if self.sponsor is not None:
            handed = read_transaction(raw)
            final = sign_as_fee_payer(handed.transaction, self.sponsor, sender=handed.sender, fee_token=PATH)
            raw = serialise(final)
        told: Receipt = self.shop.run(send_raw_sync(self.url, raw))
        return told

    def look(self, held: Held) -> OnChain:
        """What the payer sees."""
        told: OnChain = self.shop.run(self.payer.look(held))
        return told

    def ref(self, held: Held) -> ChannelRef:
        """How to speak of a held channel."""
        return read_record(held.state).ref

    def open_salt(self, held: Held) -> str:
        """The salt of a held channel."""
        return read_record(held.state).terms.salt

    def act(self, call: SessionCall) -> Receipt:
        """A call of the payee's."""
        tx = TempoTransaction(
            chain_id=TESTNET,
            calls=(write_call(self.escrow, call),),
            gas_limit=2_000_000,
            max_fee_per_gas=PRICE,
            nonce_key=EXPIRING_NONCE_KEY,
            valid_before=self.shop.chain.timestamp() + 20,
            valid_after=secrets.randbelow(10**9) + 1,
            fee_token=PATH,
        )
        told: Receipt = self.shop.run(send_raw_sync(self.url, serialise(sign(tx, self.payee))))
        return told

    def balance(self, units_of: str) -> int:
        """Base units of pathUSD."""
        return self.shop.chain.balance_of(PATH, units_of)


def session_payer(shop: Shop, key: PrivateKey | None = None, **settings: Any) -> TempoSessionPayer:
    """A payer of sessions; a fresh account with twenty dollars unless told otherwise."""
    settings.setdefault("rpc_url", shop.chain.rpc_url)
    key = key or shop.account(20)
    (payer,) = shop.run(SESSIONS.payers(Wallet(private_key=to_hex(key.secret()), **settings)))
    assert isinstance(payer, TempoSessionPayer)
    return payer


def lane(shop: Shop, version: Version, *, sponsored: bool = False, **settings: Any) -> Lane:
    """A fresh payer and payee."""
    key = settings.pop("key", None)
    sponsor = shop.account(20) if sponsored else None
    return Lane(shop, version, session_payer(shop, key, **settings), shop.account(20), sponsor)


def read_v1_units(value: object, name: str) -> int:
    """An amount that the older protocol can hold."""
    return read_units(value, name, V1.max_units)
