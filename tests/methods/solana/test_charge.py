"""Solana charges from offer to receipt on the local chain."""

from __future__ import annotations

import pytest

from coinslot.intents.charge import Settled
from support.solanashop import DOLLAR, SolanaShop

QUARTER = DOLLAR // 4


@pytest.mark.parametrize("currency", ["USDC", "PYUSD", "sol"])
def test_a_pull_payment_is_settled(solshop: SolanaShop, currency: str) -> None:
    seller = solshop.seller(currency=currency)
    payer = solshop.payer(solshop.account(token=currency.replace("sol", "SOL")))
    challenge = solshop.challenge(seller)
    shown = solshop.pay(payer, challenge)
    outcome = solshop.through(seller, challenge, shown)
    assert isinstance(outcome, Settled), outcome
