"""Payments that leave the token of their fee to the chain, as deployed clients do."""

from __future__ import annotations

import time

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import PaymentInsufficient
from coinslot.intents.charge import Settled
from support.temposhop import ALPHA, DOLLAR, PATH, Shop, payload, signed

PRICE = DOLLAR // 4


def test_without_a_fee_token_the_paid_one_pays_the_fee(shop: Shop) -> None:
    """The payer chose none anywhere: the chain takes what is paid with."""
    seller, key = shop.seller(), shop.account()
    challenge = shop.challenge(seller)
    raw = signed(shop.transaction(shop.payer(key), challenge), key, fee_token=None, valid_after=7)
    outcome = shop.settle(seller, shop.prepare(seller, shop.check(seller, challenge, payload(raw))))
    assert isinstance(outcome, Settled)
    assert shop.held(key.address) < 5 * DOLLAR - PRICE
    assert shop.held(seller.config.recipient) == PRICE


def test_the_price_alone_does_not_pay_the_fee(shop: Shop) -> None:
    """Who holds just the price is refused before anything is broadcast."""
    seller, key = shop.seller(), shop.account(dollars=0)
    shop.chain.fund(key.address, PRICE)
    challenge = shop.challenge(seller)
    rich = shop.account()
    tx = shop.transaction(shop.payer(rich), challenge)
    checked = shop.check(seller, challenge, payload(signed(tx, key, fee_token=None)))
    with pytest.raises(PaymentInsufficient, match="network fee"):
        shop.prepare(seller, checked)
    assert shop.held(key.address) == PRICE


def test_an_account_that_chose_a_token_pays_its_fee_in_it(shop: Shop) -> None:
    """The first of the local chain's accounts chose AlphaUSD: what it pays with stays whole."""
    seller = shop.seller()
    account = shop.chain.accounts[0]
    key = PrivateKey.from_hex(account.private_key)
    challenge = shop.challenge(seller)
    raw = signed(shop.transaction(shop.payer(key), challenge), key, fee_token=None, valid_after=int(time.time()) - 60)
    path, alpha = shop.held(key.address, PATH), shop.held(key.address, ALPHA)
    outcome = shop.settle(seller, shop.prepare(seller, shop.check(seller, challenge, payload(raw))))
    assert isinstance(outcome, Settled)
    assert path - shop.held(key.address, PATH) == PRICE
    assert shop.held(key.address, ALPHA) < alpha
