"""Each way to pay a tempo charge, on a real chain: balances change by exactly what was agreed."""

from __future__ import annotations

from support.temposhop import DOLLAR, Shop

from coinslot.intents.charge import Settled


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
