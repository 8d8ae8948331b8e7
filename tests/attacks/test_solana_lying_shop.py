"""A server that wants more of a payer than it was asked for: more deposits, or the rent of its own accounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.client.wallet import wallet
from coinslot.core.canonical import encode_object
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown
from coinslot.intents.acts import Standing
from coinslot.intents.charge import Settled
from coinslot.method import SessionPayer
from coinslot.services import leaving
from coinslot.store.book_memory import MemoryBook
from support.rpcfault import FaultyNode, answer, edit
from support.solanasession import COST, asked, client_of, only, owner_of, secret, shop
from support.solanashop import DOLLAR, SolanaShop, fresh_key
from support.svm import SvmChain

DEPOSIT = 10 * COST


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """HTTP and clocks."""
    with httpx.Client(trust_env=False) as client:
        yield RealWorld(client)


@pytest.fixture
def solshop(svm: SvmChain, world: RealWorld) -> SolanaShop:
    """Both sides of a charge on a chain of the test's own."""
    return SolanaShop(svm, world)


def payer_of(svm: SvmChain, pair: Keypair, world: RealWorld, **purse: Any) -> SessionPayer:
    """A payer by its settings."""
    table = {"rpc_url": svm.rpc_url, "network": "localnet", "private_key": secret(pair), **purse}
    (payer,) = run(wallet(solana=table).session_payers(), world)
    return payer


@pytest.mark.guard("F13")
def test_an_opening_on_an_old_slot_and_a_new_blockhash_is_not_dead_yet(svm: SvmChain, world: RealWorld) -> None:
    """The finalized chain doesn't know so new a blockhash; taken for dead, the deposit would be made twice."""
    pair, book = client_of(svm), MemoryBook()
    svm.running.advance_slots(400)
    svm.timing(slot_ms=0)
    payer = payer_of(svm, pair, world)
    with shop(svm, owner_of(svm)) as url:
        challenge = asked(url)
        told = challenge.request_object()
        details = told["methodDetails"]
        slot = int(svm.rpc("getSlot", {"commitment": "processed"}))
        details |= {"recentSlot": str(slot - 280), "recentBlockhash": svm.blockhash()}
        challenge = replace(challenge, request=encode_object(dict(told) | {"methodDetails": details}))
        move = run(payer.open(challenge, payer.terms(challenge), DEPOSIT, 0), world)
        opening = encode_credential(challenge, move.payload, move.source).encode()
        book.begin(replace(move.held, opening=opening, origin=url)).result()  # and the server keeps it
        assert run(payer.look(only(book)), world).alive
        node = FaultyNode(svm.rpc_url)
        with closing(node):  # a replica that has not heard of the blockhash, either
            behind = payer_of(svm, pair, world, rpc_url=node.url)
            node.on("isBlockhashValid", answer({"context": {"slot": slot}, "value": False}))
            svm.running.advance_slots(2)
            assert not run(behind.look(only(book)), world).dead
        svm.running.advance_slots(100)  # still good on the chain
        assert not run(payer.look(only(book)), world).dead
        svm.running.advance_slots(600)
        assert run(payer.look(only(book)), world).dead


@pytest.mark.guard("F13")
def test_an_opening_on_a_chain_that_stands_still_is_not_lost_by_our_clock(svm: SvmChain, world: RealWorld) -> None:
    """The blockhash is as good after an hour without blocks; given up, the deposit would be made twice."""
    pair, book = client_of(svm), MemoryBook()
    payer = payer_of(svm, pair, world)
    with shop(svm, owner_of(svm)) as url:
        challenge = asked(url)
        move = run(payer.open(challenge, payer.terms(challenge), DEPOSIT, 0), world)
    svm.timing(slot_ms=0)
    opening = encode_credential(challenge, move.payload, move.source).encode()
    long_ago = replace(move.held, opening=opening, origin="https://shop.example", dead_after_s=1.0, opened_at_s=1.0)
    book.begin(long_ago).result()
    assert run(leaving.reconcile(book, payer, only(book)), world).held.standing is Standing.OPENING


@pytest.mark.guard("T47")
def test_a_cheap_charge_buys_no_accounts_for_its_payees(solshop: SolanaShop) -> None:
    """Four new accounts cost a payer a dollar of rent beside a payment of a cent, and no limit in dollars counts it."""
    payees = [fresh_key().address for _ in range(4)]
    seller = solshop.seller(create_split_accounts=True)
    challenge = solshop.challenge(seller, "0.01", splits=tuple((who, Decimal("0.001")) for who in payees))
    key = solshop.account()
    with pytest.raises(NoPayableOffer, match="max_rent"):
        solshop.pay(solshop.payer(key), challenge)
    allowed = solshop.payer(key, max_rent="0.009")
    assert isinstance(solshop.through(seller, challenge, solshop.pay(allowed, challenge)), Settled)


@pytest.mark.guard("F12")
def test_a_replica_that_lags_does_not_make_a_sent_payment_a_dead_one(
    solshop: SolanaShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names an older height for the end of a blockhash; taken by its word, the same request would be paid twice."""
    monkeypatch.setattr("coinslot.methods.solana.charge_payer.CONFIRM_WAIT_S", 0.0)
    seller = solshop.seller()
    challenge, key = solshop.challenge(seller), solshop.account()

    def older(told: Any) -> Any:
        return told | {"value": told["value"] | {"lastValidBlockHeight": 1}}

    with closing(FaultyNode(solshop.chain.rpc_url)) as node:
        node.on("getLatestBlockhash", lambda ask: ask(), 1)
        node.on("getLatestBlockhash", edit(older))
        solshop.chain.faults.land_late(20)
        payer = solshop.payer(key, mode="push", rpc_url=node.url)
        with pytest.raises(PaymentOutcomeUnknown):
            solshop.pay(payer, challenge)
    solshop.chain.running.advance_slots(30)
    assert solshop.held(key.address) < 5 * DOLLAR
