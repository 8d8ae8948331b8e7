"""Channels, terms and payloads of Tempo sessions for tests, with one thing changed where a test says so."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.rpc import Log
from coinslot.chains.evm.signature import PrivateKey
from coinslot.methods.tempo.session.calls import OpenCall
from coinslot.methods.tempo.session.channel import ChannelRef, Descriptor, channel_ref
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, Version, pinned_escrow
from coinslot.methods.tempo.session.payload import OpenPayload, TopUpPayload
from coinslot.methods.tempo.session.terms import SessionTerms
from coinslot.methods.tempo.session.transaction import Funding, open_transaction, top_up_transaction
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.tokens import TESTNET, asset, pinned
from coinslot.methods.tempo.transaction.build import serialise, serialise_for_fee_payer, sign
from coinslot.methods.tempo.transaction.fields import TempoTransaction
from coinslot.money import Asset

PATH = "0x20c0000000000000000000000000000000000000"
ALPHA = "0x20c0000000000000000000000000000000000001"
KEY = PrivateKey(b"\x01" * 32)
OTHER_KEY = PrivateKey(b"\x02" * 32)
PAYEE = "0x" + "22" * 20
OPERATOR = "0x" + "66" * 20
SALT = "0x" + "33" * 32
NOW = 1_800_000_000.0
EXPIRES = NOW + 300
TIMES = (NOW, EXPIRES)
DEPOSIT = 1_000_000


def escrow(version: Version, chain_id: int = TESTNET) -> Escrow:
    """The pinned escrow of a protocol."""
    found = pinned_escrow(version, chain_id)
    assert found is not None
    return found


E1, E2 = escrow(V1), escrow(V2)
BOTH = (E1, E2)


def asset_of(chain_id: int, address: str) -> Asset:
    """As sellers and payers name assets."""
    return asset(chain_id, address, pinned(chain_id).get(address))


def descriptor(**changes: str) -> Descriptor:
    """The descriptor of the pinned vectors."""
    base = Descriptor(KEY.address, PAYEE, OPERATOR, PATH, SALT, KEY.address, "0x" + "44" * 32)
    return replace(base, **changes)


def channel(place: Escrow, **changes: str) -> ChannelRef:
    """A channel on an escrow."""
    return ChannelRef(place, "0x" + "55" * 32) if place.version == V1 else channel_ref(place, descriptor(**changes))


def terms(place: Escrow, **changes: Any) -> SessionTerms:
    """Terms of 25 units a token, sold for PAYEE."""
    base = SessionTerms(place, asset_of(place.chain_id, PATH), PAYEE, 25, "llm_token")
    return replace(base, **changes)


def funding(**changes: Any) -> Funding:
    """A funding by KEY that is valid at NOW."""
    base = Funding(KEY.address, 10_000_000_000, int(NOW) + 20, PATH)
    return replace(base, **changes)


def open_call(place: Escrow, **changes: Any) -> OpenCall:
    """Open for PAYEE."""
    return replace(OpenCall(PAYEE, PATH, DEPOSIT, SALT, KEY.address), **changes)


def signed(tx: TempoTransaction, key: PrivateKey = KEY, *, envelope: bool = False) -> bytes:
    """The bytes of a transaction; in the 0x78 envelope if wanted."""
    done = sign(tx, key)
    return serialise_for_fee_payer(done, key.address) if envelope else serialise(done)


@dataclass(frozen=True)
class Opened:
    """An open as a client makes it, all by hand."""

    tx: TempoTransaction
    channel: ChannelRef
    payload: OpenPayload


def opening(place: Escrow, call: OpenCall | None = None, *, units: int = 0, **changes: Any) -> Opened:
    """An open and its first voucher."""
    tx, ref = open_transaction(place, call or open_call(place), funding(**changes))
    signature = VoucherScheme(place).sign(KEY, ref.id, units)
    return Opened(tx, ref, OpenPayload(ref, signed(tx), units, signature, KEY.address))


def topping_up(place: Escrow, units: int = 5000, **changes: Any) -> tuple[TempoTransaction, TopUpPayload]:
    """A top-up of the channel."""
    ref = channel(place)
    tx = top_up_transaction(ref, PATH, units, funding(**changes))
    return tx, TopUpPayload(ref, signed(tx), units)


def random_descriptor() -> Descriptor:
    """Random parties, some of them nobody."""

    def someone(maybe: bool = False) -> str:
        return ZERO_ADDRESS if maybe and secrets.randbits(2) == 0 else "0x" + secrets.token_hex(20)

    def word() -> str:
        return "0x" + secrets.token_hex(32)

    return Descriptor(someone(), someone(), someone(True), someone(), word(), someone(True), word())


def event_log(place: Escrow, channel_id: str, name: str, kinds: str = "", *values: Any) -> Log:
    """An event of a channel between KEY and PAYEE, as another ABI library writes it."""
    types = [kind for kind in kinds.split(",") if kind]
    topic = keccak(text=f"{name}({','.join(['bytes32', 'address', 'address', *types])})")
    who = [bytes.fromhex(side[2:].rjust(64, "0")) for side in (channel_id, KEY.address, PAYEE)]
    return Log(place.address, (topic, *who), encode(types, values))
