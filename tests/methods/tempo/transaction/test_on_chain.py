"""Transactions that we build are taken by a real chain, and do what they say."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
import pytest

from coinslot.chains.evm.rpc import Receipt, balance_of, chain_id, get_receipt, get_transaction, send_raw_sync
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow, RealWorld, run
from coinslot.errors import BadSignature, BadTransaction, RpcRefused, RpcUnreachable
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.tip20 import read_transfers, transfer_call
from coinslot.methods.tempo.transaction.build import (
    sender_digest,
    serialise,
    sign,
    sign_as_fee_payer,
    sign_with_access_key,
    transaction_hash,
)
from coinslot.methods.tempo.transaction.fields import AWAITING_FEE_PAYER, EXPIRING_NONCE_KEY, TempoTransaction
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, TokenLimit, sign_key_authorization
from coinslot.methods.tempo.transaction.read import read_transaction
from support.devnet import Chain

pytestmark = pytest.mark.devnet
AMOUNT = 1234
T = TypeVar("T")


@pytest.fixture(scope="module")
def world() -> Iterator[RealWorld]:
    """The real world, with a connection that is closed at the end."""
    with httpx.Client() as client:
        yield RealWorld(client)


@dataclass(frozen=True)
class Desk:
    """The chain as these tests use it."""

    chain: Chain
    world: RealWorld
    token: str

    def ask(self, question: Callable[..., Flow[T]], *arguments: object, **options: object) -> T:
        """The answer to one of our questions to a node."""
        return run(question(self.chain.rpc_url, *arguments, **options), self.world)

    def held(self, address: str) -> int:
        """Base units of the token that an address holds."""
        return self.ask(balance_of, self.token, address)

    def payment(self, recipient: str, **changes: Any) -> TempoTransaction:
        """An unsigned transfer of AMOUNT that stays valid for 20 seconds of the chain's time."""
        base = TempoTransaction(
            chain_id=self.chain.chain_id,
            calls=(transfer_call(self.token, recipient, AMOUNT),),
            gas_limit=1_000_000,
            max_fee_per_gas=50_000_000_000,
            nonce_key=EXPIRING_NONCE_KEY,
            valid_before=self.chain.timestamp() + 20,
            fee_token=self.token,
        )
        return replace(base, **changes)

    def send(self, tx: TempoTransaction) -> Receipt:
        """Send it and check that the chain knows it by the hash of our bytes."""
        raw = serialise(tx)
        receipt = self.ask(send_raw_sync, raw)
        assert receipt.succeeded
        assert receipt.transaction_hash == transaction_hash(raw)
        assert self.ask(get_receipt, receipt.transaction_hash) == receipt
        known = self.ask(get_transaction, receipt.transaction_hash)
        assert known is not None
        assert known.sender == receipt.sender
        assert known.block_number in (receipt.block_number, None)  # a node may index a block a moment after it is told
        assert receipt.sender == read_transaction(raw).sender
        return receipt


@pytest.fixture
def desk(devnet: Chain, world: RealWorld) -> Desk:
    """The session's chain."""
    return Desk(devnet, world, devnet.tokens["PathUSD"].lower())


def fresh() -> PrivateKey:
    """A key that nobody has used."""
    return PrivateKey(secrets.token_bytes(32))


@pytest.fixture
def payer(devnet: Chain) -> PrivateKey:
    """A fresh account with ten dollars."""
    key = fresh()
    devnet.fund(key.address, 10_000_000)
    return key


def test_the_chain_has_the_id_that_we_sign_for(desk: Desk) -> None:
    """The id comes from the node."""
    assert desk.ask(chain_id) == desk.chain.chain_id


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(lambda _: {}, id="expiring nonce"),
        pytest.param(lambda _: {"nonce_key": 0, "valid_before": None}, id="protocol nonce"),
        pytest.param(lambda _: {"nonce_key": 77, "valid_before": None}, id="nonce of its own key"),
        pytest.param(lambda chain: {"valid_after": chain.timestamp() - 10}, id="valid after"),
        pytest.param(lambda _: {"fee_token": None}, id="fee token of the account"),
    ],
)
def test_a_payment_moves_the_money(
    desk: Desk, payer: PrivateKey, changes: Callable[[Chain], dict[str, object]]
) -> None:
    """Every way of numbering a transaction: taken, and the recipient holds the amount."""
    recipient = fresh().address
    receipt = desk.send(sign(desk.payment(recipient, **changes(desk.chain)), payer))
    assert desk.held(recipient) == AMOUNT
    first = read_transfers(receipt)[0]
    assert (first.sender, first.recipient, first.amount_units, first.memo) == (
        payer.address, recipient, AMOUNT, None,
    )  # fmt: skip


def test_a_batch_pays_each_leg_and_carries_the_memo(desk: Desk, payer: PrivateKey) -> None:
    """Two transfers in one transaction; the memo's is told once, with the memo."""
    first, second = fresh().address, fresh().address
    memo = attribution_memo("api.example.com", "challenge-123")
    calls = (transfer_call(desk.token, first, 5, memo), transfer_call(desk.token, second, 7))
    receipt = desk.send(sign(desk.payment(first, calls=calls, gas_limit=2_000_000), payer))
    legs = [(each.recipient, each.amount_units, each.memo) for each in read_transfers(receipt)]
    assert legs[:2] == [(first, 5, memo), (second, 7, None)]
    assert (desk.held(first), desk.held(second)) == (5, 7)


def test_a_sponsor_pays_the_fee(desk: Desk, payer: PrivateKey) -> None:
    """The payer's balance falls by the amount only."""
    sponsor, recipient = fresh(), fresh().address
    desk.chain.fund(sponsor.address, 10_000_000)
    before = desk.held(payer.address)
    asked = sign(desk.payment(recipient, fee_token=None, fee_payer_signature=AWAITING_FEE_PAYER), payer)
    handed = read_transaction(serialise(asked))
    desk.send(sign_as_fee_payer(handed.transaction, sponsor, sender=handed.sender, fee_token=desk.token))
    assert desk.held(payer.address) == before - AMOUNT
    assert desk.held(sponsor.address) < 10_000_000
    assert desk.held(recipient) == AMOUNT


def test_an_access_key_is_authorised_and_pays_in_the_same_transaction(desk: Desk, payer: PrivateKey) -> None:
    """Then it pays again alone, within its limit, and not beyond it."""
    access, recipient = fresh(), fresh().address
    limits = (TokenLimit(desk.token, 1_000_000),)
    grant = KeyAuthorization(
        access.address, desk.chain.chain_id, expires_at=desk.chain.timestamp() + 3600, limits=limits
    )
    with_grant = desk.payment(recipient, gas_limit=2_000_000, key_authorization=sign_key_authorization(grant, payer))
    desk.send(sign_with_access_key(with_grant, access, payer.address))
    desk.send(sign_with_access_key(desk.payment(recipient), access, payer.address))
    assert desk.held(recipient) == 2 * AMOUNT
    beyond = desk.payment(recipient, calls=(transfer_call(desk.token, recipient, 2_000_000),))
    receipt = desk.ask(send_raw_sync, serialise(sign_with_access_key(beyond, access, payer.address)))
    assert not receipt.succeeded
    assert desk.held(recipient) == 2 * AMOUNT


def test_a_key_that_nobody_authorised_pays_nothing(desk: Desk, payer: PrivateKey) -> None:
    """Its signature is well-formed, so that only the chain can say no."""
    raw = serialise(sign_with_access_key(desk.payment(fresh().address), fresh(), payer.address))
    assert read_transaction(raw).sender == payer.address
    with pytest.raises((RpcRefused, RpcUnreachable)):
        desk.ask(send_raw_sync, raw, wait_s=3)


def test_the_same_bytes_twice_pay_once(desk: Desk, payer: PrivateKey) -> None:
    """Sending again returns the first receipt."""
    recipient = fresh().address
    tx = sign(desk.payment(recipient), payer)
    assert desk.send(tx) == desk.send(tx)
    assert desk.held(recipient) == AMOUNT


@pytest.mark.guard("T14", "T31")
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda tx: serialise(shifted(tx, -27)), id="v 0 or 1"),
        pytest.param(lambda tx: serialise(shifted(tx, 8)), id="v of EIP-155"),
        pytest.param(lambda tx: serialise(tx) + b"\x00", id="a byte after the end"),
    ],
)  # fmt: skip
def test_a_second_spelling_that_the_chain_rewrites_is_refused_here(
    desk: Desk, payer: PrivateKey, spell: Callable[[TempoTransaction], bytes]
) -> None:
    """The chain takes these bytes under another hash than theirs: whoever looks for that hash finds no payment."""
    raw = spell(sign(desk.payment(fresh().address), payer))
    with pytest.raises((BadTransaction, BadSignature)):
        read_transaction(raw)
    answer = desk.chain.rpc("eth_sendRawTransactionSync", "0x" + raw.hex())
    assert isinstance(answer, dict)
    assert answer["transactionHash"] != transaction_hash(raw)


def shifted(tx: TempoTransaction, by: int) -> TempoTransaction:
    """The transaction with another v in its signature."""
    signature = tx.sender_signature
    return replace(tx, sender_signature=signature[:64] + bytes([signature[64] + by]))


def test_the_first_version_of_access_key_signatures_is_refused_there_and_here(desk: Desk, payer: PrivateKey) -> None:
    """A signature that isn't bound to its account is no use on a chain of today."""
    tx = desk.payment(fresh().address)
    access = fresh()
    signature = b"\x03" + bytes.fromhex(payer.address[2:]) + access.sign_digest(sender_digest(tx))
    raw = serialise(replace(tx, sender_signature=signature))
    with pytest.raises(BadSignature, match="version 1"):
        read_transaction(raw)
    with pytest.raises((RpcRefused, RpcUnreachable)):
        desk.ask(send_raw_sync, raw, wait_s=3)
