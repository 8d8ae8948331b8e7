"""Our session primitives against mppx's, both protocols: ids, vouchers, hashes of opens, receipts, snapshots."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.receipt import decode_receipt
from coinslot.errors import CoinslotError
from coinslot.methods.tempo.session.channel import (
    Descriptor,
    StreamChannel,
    channel_id,
    expiring_nonce_hash,
    stream_channel_id,
)
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, Version, pinned_escrow
from coinslot.methods.tempo.session.receipt import SessionReceipt, read_session_receipt
from coinslot.methods.tempo.session.snapshot import Snapshot, decode_snapshot
from coinslot.methods.tempo.session.transaction import open_transaction
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.transaction.build import serialise_for_fee_payer, sign
from support.peers import Peer, mppx_home
from support.tempochannel import funding, open_call, signed

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop")]

SOAKING = os.environ.get("COINSLOT_SOAK") == "1"
ROUNDS = 100_000 if SOAKING else 1_000
BATCH = 250
# Their verification takes milliseconds, and of equal bytes it says little more: one in so many.
SAMPLE = 5
CHANCE = random.Random() if SOAKING else random.Random(1034)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Peer]:
    """mppx's session primitives (tests/interop/session.mjs)."""
    peer = Peer(["node", "session.mjs"], mppx_home())
    yield peer
    peer.stop()


def batches(count: int = ROUNDS) -> Iterator[int]:
    """Sizes of orders."""
    for start in range(0, count, BATCH):
        yield min(BATCH, count - start)


def address(*, maybe: bool = False) -> str:
    """A random address, sometimes nobody's."""
    return ZERO_ADDRESS if maybe and CHANCE.random() < 0.3 else f"0x{CHANCE.getrandbits(160):040x}"


def word() -> str:
    """32 random bytes."""
    return f"0x{CHANCE.getrandbits(256):064x}"


def place(version: Version) -> Escrow:
    """The pinned escrow of a chain, or any other."""
    chain = CHANCE.choice([4217, 42431, CHANCE.randint(1, 2**53 - 1)])
    known = pinned_escrow(version, chain)
    return known if known is not None and CHANCE.random() < 0.5 else Escrow(version, chain, address())


def units(version: Version) -> int:
    """An amount, edges likely."""
    return CHANCE.choice([0, 1, version.max_units, CHANCE.randint(0, version.max_units), CHANCE.randint(0, 10**9)])


def drawn() -> Descriptor:
    """A random descriptor."""
    return Descriptor(address(), address(), address(maybe=True), address(), word(), address(maybe=True), word())


@pytest.mark.spec("TSES-011")
def test_v2_channel_ids_are_equal(oracle: Peer) -> None:
    """Any descriptor, chain and escrow."""
    for size in batches():
        ours = [(place(V2), drawn()) for _ in range(size)]
        orders = [one.members() | {"escrow": at.address, "chainId": at.chain_id} for at, one in ours]
        assert oracle.batch("v2.id", orders) == [channel_id(at, one) for at, one in ours]


@pytest.mark.spec("TSES-009")
def test_v1_channel_ids_are_equal(oracle: Peer) -> None:
    """Any parties, chain and escrow."""
    for size in batches():
        ours = [
            (place(V1), StreamChannel(address(), address(), address(), word(), address(maybe=True)))
            for _ in range(size)
        ]
        orders = [
            {
                "payer": one.payer,
                "payee": one.payee,
                "token": one.token,
                "salt": one.salt,
                "authorizedSigner": one.authorized_signer,
                "escrow": at.address,
                "chainId": at.chain_id,
            }
            for at, one in ours
        ]
        assert oracle.batch("v1.id", orders) == [stream_channel_id(at, one) for at, one in ours]


@pytest.mark.spec("TSES-088", "TSES-090", "TSES-091", "TSES-092", "TSES-093")
@pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
def test_vouchers_are_equal_byte_for_byte(oracle: Peer, version: Version) -> None:
    """The signature, and so the digest; each side takes the other's, and of a sample no other amount's."""
    for size in batches():
        orders: list[dict[str, Any]] = []
        mine = []
        keys = [PrivateKey(CHANCE.randbytes(32)) for _ in range(size)]
        for key in keys:
            at, channel, amount = place(version), word(), units(version)
            order = {"escrow": at.address, "chainId": at.chain_id, "channelId": channel, "amount": str(amount)}
            orders.append(order | {"key": to_hex(key.secret())})
            scheme = VoucherScheme(at)
            signature = scheme.sign(key, channel, amount)
            scheme.verify(channel, amount, signature, key.address)
            mine.append(to_hex(signature))
        assert oracle.batch(f"{version.name}.sign", orders) == mine
        some = slice(size // SAMPLE)
        asked = [
            order | {"signature": signature, "signer": key.address}
            for order, signature, key in zip(orders[some], mine[some], keys[some], strict=True)
        ]
        assert all(oracle.batch(f"{version.name}.verify", asked))
        other = [one | {"amount": str(int(one["amount"]) ^ 1)} for one in asked]
        assert not any(oracle.batch(f"{version.name}.verify", other))


@pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
def test_what_we_take_they_take_of_secp256k1_signatures(oracle: Peer, version: Version) -> None:
    """Second spellings of a signature: whatever passes here passes there."""
    at = place(version)
    scheme, key, channel = VoucherScheme(at), PrivateKey(CHANCE.randbytes(32)), word()
    good = scheme.sign(key, channel, 7)
    forms = [good, good[:64], good + b"\x00", good[:64] + bytes([good[64] - 27]), good[:64] + bytes([good[64] + 8])]
    forms += [good[:64] + bytes([55 - good[64]]), bytes(65), b"\x04" + bytes(20) + good]
    order = {"escrow": at.address, "chainId": at.chain_id, "channelId": channel, "amount": "7", "signer": key.address}
    there = oracle.batch(f"{version.name}.verify", [order | {"signature": to_hex(form)} for form in forms])
    for form, theirs in zip(forms, there, strict=True):
        try:
            scheme.verify(channel, 7, form, key.address)
            here = True
        except CoinslotError:
            here = False
        assert theirs or not here
    assert there[0]


@pytest.mark.spec("TSES-017")
@pytest.mark.parametrize("form", ["own fee", "sponsored", "envelope"])
def test_the_hash_of_an_open_is_equal(oracle: Peer, form: str) -> None:
    """Of our own signed opens, whoever pays the fee, in either form."""
    at = pinned_escrow(V2, 42431)
    assert at is not None
    for size in batches(ROUNDS // 3 + 1):
        orders, mine = [], []
        for _ in range(size):
            key = PrivateKey(CHANCE.randbytes(32))
            call = open_call(at, salt=word(), payee=address(), deposit_units=CHANCE.randint(1, 2**96 - 1))
            past = CHANCE.choice([None, CHANCE.randint(1, 10**9)])
            paying = funding(
                account=key.address,
                sponsored=form != "own fee",
                valid_before=CHANCE.randint(10**9 + 1, 2**40),
                valid_after=past,
                max_fee_per_gas=CHANCE.randint(0, 10**12),
            )
            tx, ref = open_transaction(at, call, paying)
            raw = serialise_for_fee_payer(sign(tx, key), key.address) if form == "envelope" else signed(tx, key)
            orders.append({"transaction": to_hex(raw), "sender": key.address, "feePayer": form != "own fee"})
            found = expiring_nonce_hash(tx, key.address)
            assert ref.required_descriptor().expiring_nonce_hash == found
            mine.append(found)
        assert oracle.batch("nonceHash", orders) == mine


def test_receipts_are_read_by_both(oracle: Peer) -> None:
    """Ours by theirs, theirs by us."""
    for size in batches():
        ours = [
            SessionReceipt(
                "2026-01-06T12:08:30Z",
                f"c_{CHANCE.getrandbits(64):x}",
                word(),
                units(V2),
                units(V2),
                CHANCE.choice([None, CHANCE.randint(0, 10**6)]),
                CHANCE.choice([None, word()]),
            )
            for _ in range(size)
        ]
        read = oracle.batch("receipt.parse", [{"text": one.receipt().encode()} for one in ours])
        assert read == [one.receipt().members() for one in ours]
        orders: list[dict[str, Any]] = [
            {"challengeId": one.challenge_id, "channelId": one.channel_id, "accepted": str(one.accepted_units)}
            | {"spent": str(one.spent_units)}
            | ({} if one.units is None else {"units": one.units})
            | ({} if one.transaction_hash is None else {"txHash": one.transaction_hash})
            for one in ours
        ]
        for one, told in zip(ours, oracle.batch("receipt.format", orders), strict=True):
            found = read_session_receipt(decode_receipt(told))
            assert replace(found, timestamp=one.timestamp) == one


def test_snapshots_are_read_by_both(oracle: Peer) -> None:
    """Headers, with and without the optional members; theirs are padded, against the document."""
    for size in batches():
        ours = [snapshot(place(V2), drawn()) for _ in range(size)]
        read = oracle.batch("snapshot.parse", [{"text": one.encode()} for one in ours])
        assert read == [one.members() for one in ours]
        theirs = oracle.batch("snapshot.format", [one.members() for one in ours])
        assert [decode_snapshot(told) for told in theirs] == ours


def snapshot(at: Escrow, one: Descriptor) -> Snapshot:
    """Of this channel, with random amounts."""
    return Snapshot(
        escrow=at,
        channel_id=channel_id(at, one),
        descriptor=one,
        deposit_units=units(V2),
        settled_units=units(V2),
        accepted_units=units(V2),
        required_units=units(V2),
        spent_units=units(V2),
        close_requested_at=CHANCE.choice([0, 1_800_000_000]),
        units=CHANCE.choice([None, 5]),
    )
