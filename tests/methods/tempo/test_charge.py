"""Each way to pay a tempo charge, on a real chain: balances change by exactly what was agreed."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.core.challenge import Challenge
from coinslot.drive import RealAsyncWorld, run_async
from coinslot.intents.charge import Outcome, Settled
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, sign_key_authorization
from support.temposhop import ALPHA, DOLLAR, Shop, fresh_address


def test_a_pulled_payment_moves_the_price_once(shop: Shop) -> None:
    """The recipient gets the price, the payer spends it and a fee."""
    seller, payer = shop.seller(), shop.payer()
    challenge = shop.challenge(seller)
    shown = shop.pay(payer, challenge)
    outcome = shop.through(seller, challenge, shown)
    assert isinstance(outcome, Settled)
    assert outcome.reference == shown.reference
    assert shop.held(seller.config.recipient) == DOLLAR // 4
    assert shop.held(payer.config.account) < 5 * DOLLAR - DOLLAR // 4


@pytest.mark.parametrize("mode", ["pull", "push"])
def test_splits_pay_everybody_in_one_transaction(shop: Shop, mode: str) -> None:
    """The recipient gets the remainder, each other payee exactly its share."""
    seller, payer = shop.seller(), shop.payer(mode=mode)
    others = [fresh_address(), fresh_address()]
    challenge = shop.challenge(seller, "1", splits=((others[0], Decimal("0.05")), (others[1], Decimal("0.01"))))
    outcome = shop.through(seller, challenge, shop.pay(payer, challenge))
    assert isinstance(outcome, Settled)
    assert [shop.held(each) for each in (seller.config.recipient, *others)] == [940_000, 50_000, 10_000]


def test_a_pushed_payment_is_found_on_the_chain(shop: Shop) -> None:
    """The payer broadcasts, the hash and the challenge's memo are all that the server needs."""
    seller, payer = shop.seller(), shop.payer(mode="push")
    challenge = shop.challenge(seller)
    shown = shop.pay(payer, challenge)
    assert shown.payload == {"type": "hash", "hash": shown.reference}
    assert shop.held(seller.config.recipient) == DOLLAR // 4
    outcome = shop.through(seller, challenge, shown)
    assert isinstance(outcome, Settled)
    assert shop.held(seller.config.recipient) == DOLLAR // 4


def test_a_price_of_zero_is_proven_and_moves_nothing(shop: Shop) -> None:
    """A signature is enough, from an account that holds nothing; the receipt refers to the challenge."""
    seller, payer = shop.seller(), shop.payer(shop.account(dollars=0))
    challenge = shop.challenge(seller, "0")
    shown = shop.pay(payer, challenge)
    assert shown.payload["type"] == "proof"
    outcome = shop.through(seller, challenge, shown)
    assert isinstance(outcome, Settled)
    assert outcome.reference == challenge.id


def test_a_sponsored_payer_spends_the_price_and_nothing_more(shop: Shop) -> None:
    """The sponsor pays the fee; the payer needs no more than the price."""
    sponsor = shop.account()
    seller = shop.seller(fee_payer_key=sponsor.secret().hex())
    key = shop.account(dollars=1)
    challenge = shop.challenge(seller, "1")
    outcome = shop.through(seller, challenge, shop.pay(shop.payer(key), challenge))
    assert isinstance(outcome, Settled)
    assert (shop.held(key.address), shop.held(seller.config.recipient)) == (0, DOLLAR)
    assert 5 * DOLLAR - DOLLAR // 10 < shop.held(sponsor.address) < 5 * DOLLAR


def test_a_memo_of_the_seller_travels_with_the_payment(shop: Shop) -> None:
    """The event on the chain carries exactly the memo that was asked for."""
    memo = "0x" + "5a" * 32
    seller = shop.seller(memo=memo)
    challenge = shop.challenge(seller)
    outcome = shop.through(seller, challenge, shop.pay(shop.payer(), challenge))
    assert isinstance(outcome, Settled)
    receipt = shop.chain.rpc("eth_getTransactionReceipt", outcome.reference)
    assert isinstance(receipt, dict)
    assert any(log["topics"][-1] == memo for log in receipt["logs"])


@pytest.mark.parametrize("sponsored", [False, True])
def test_an_access_key_pays_for_its_account(shop: Shop, *, sponsored: bool) -> None:
    """The first payment brings the key's authorization along; the second must not, and need not."""
    root, access = shop.account(), shop.account(dollars=0)
    authorization = KeyAuthorization(access.address, shop.chain.chain_id, expires_at=int(time.time()) + 3600)
    payer = shop.payer(
        access,
        account=root.address,
        key_authorization=to_hex(sign_key_authorization(authorization, root)),
    )
    extra = {"fee_payer_key": shop.account().secret().hex(), "sponsor_key_authorization": True} if sponsored else {}
    seller = shop.seller(**extra)
    sizes = []
    for _ in range(2):
        challenge = shop.challenge(seller)
        shown = shop.pay(payer, challenge)
        sizes.append(len(shown.payload["signature"]))
        assert shown.source == f"did:pkh:eip155:42431:{root.address}"
        assert isinstance(shop.through(seller, challenge, shown), Settled)
    assert sizes[1] < sizes[0]
    assert shop.held(seller.config.recipient) == DOLLAR // 2
    assert shop.held(access.address) == 0


def test_another_token_can_be_asked_for(shop: Shop) -> None:
    """The price is in the seller's token, and so is the payer's fee."""
    key = shop.account(dollars=0)
    shop.chain.fund(key.address, 2 * DOLLAR, ALPHA)
    seller = shop.seller(currency=ALPHA)
    challenge = shop.challenge(seller)
    assert isinstance(shop.through(seller, challenge, shop.pay(shop.payer(key), challenge)), Settled)
    assert shop.held(seller.config.recipient, ALPHA) == DOLLAR // 4


def test_the_receipt_echoes_the_sellers_own_reference(shop: Shop) -> None:
    """externalId of the offer comes back, so that a payment finds its order."""
    seller = shop.seller()
    challenge = shop.challenge(seller, external_id="order-7", description="one tea")
    outcome = shop.through(seller, challenge, shop.pay(shop.payer(), challenge))
    assert isinstance(outcome, Settled)
    assert outcome.extra == {"externalId": "order-7"}


def test_an_event_loop_pays_and_settles_by_the_same_flows(shop: Shop) -> None:
    """The sync and the async driver drive one and the same code."""

    async def story(seller: TempoChargeSeller, payer: TempoChargePayer, challenge: Challenge) -> Outcome:
        world = RealAsyncWorld()
        try:
            shown = await run_async(payer.pay(challenge, payer.terms(challenge)), world)
            recognised = shop.recognised(seller, challenge, shown.payload, shown.source)
            prepared = await run_async(seller.prepare(await run_async(seller.check(recognised), world)), world)
            await run_async(seller.broadcast(prepared), world)
            return await run_async(seller.confirm(prepared), world)
        finally:
            await world.aclose()

    seller, payer = shop.seller(), shop.payer()
    assert isinstance(asyncio.run(story(seller, payer, shop.challenge(seller))), Settled)
    assert shop.held(seller.config.recipient) == DOLLAR // 4
