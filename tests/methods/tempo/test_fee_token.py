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


@pytest.mark.spec("TCHG-047")
@pytest.mark.parametrize(("envelope", "first"), [(True, "0x78"), (False, "0x76")])
def test_a_sponsored_payment_is_handed_over_in_either_form(shop: Shop, *, envelope: bool, first: str) -> None:
    """As deployed servers read it, or as the document writes it; our server settles both."""
    seller = shop.seller(fee_payer_key=shop.account().secret().hex())
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(sponsor_envelope=envelope), challenge)
    assert shown.payload["signature"].startswith(first)
    assert isinstance(shop.through(seller, challenge, shown), Settled)
