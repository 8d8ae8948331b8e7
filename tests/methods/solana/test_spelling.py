"""What deployed servers write otherwise than the document, and what our payer makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from coinslot.errors import NoPayableOffer
from coinslot.methods.solana.settings import KnownToken
from coinslot.methods.solana.spelling import respelt
from coinslot.methods.solana.tokens import PYUSD, USDC, USDC_DEVNET, USDT
from support.solanashop import SolanaShop


@pytest.mark.parametrize(
    ("cluster", "symbol", "mint"),
    [
        ("mainnet", "USDC", USDC),
        ("mainnet", "USDT", USDT),
        ("localnet", "PYUSD", PYUSD),
        ("devnet", "USDC", USDC_DEVNET),
        ("devnet", "SOL", "sol"),
        ("devnet", "PYUSD", "PYUSD"),
        ("mainnet", "usdc", "usdc"),
        ("mainnet", "USDG", "USDG"),
        ("mainnet", USDC, USDC),
    ],
)
def test_a_symbol_is_a_pinned_mint_of_the_payers_cluster(cluster: str, symbol: str, mint: str) -> None:
    """What we didn't pin there keeps its name, and is refused as it always was."""
    assert respelt({"currency": symbol, "amount": "1"}, cluster) == {"currency": mint, "amount": "1"}


def test_mainnet_has_an_older_name() -> None:
    """Other names stay."""
    for named, meant in (("mainnet-beta", "mainnet"), ("mainnet", "mainnet"), ("testnet", "testnet")):
        request = {"currency": USDC, "methodDetails": {"network": named, "decimals": 6}}
        assert respelt(request, "mainnet") == {**request, "methodDetails": {"network": meant, "decimals": 6}}


@pytest.mark.parametrize("request_object", [{}, {"currency": 7}, {"currency": ["USDC"], "methodDetails": 3}])
def test_nonsense_is_left_to_who_reads_it(request_object: dict[str, Any]) -> None:
    """Nothing is raised here."""
    assert respelt(request_object, "mainnet") == request_object


@pytest.mark.guard("T47")
def test_a_symbol_never_names_a_token_of_somebody_elses_choice(solshop: SolanaShop) -> None:
    """A wallet's own token that is called USDC too is not what "USDC" means; another cluster's offer is refused."""
    seller = solshop.seller()
    offer = solshop.offer(seller)
    fake = KnownToken(mint=USDT, decimals=6, symbol="USDC")
    payer = solshop.payer(tokens=(fake,))
    asked = solshop.challenge(seller, request={**offer, "currency": "USDC"})
    assert payer.terms(asked).mint == USDC
    for changed in ({"network": "mainnet-beta"}, {"network": "mainnet"}):
        elsewhere = {**offer, "currency": "USDC", "methodDetails": {**offer["methodDetails"], **changed}}
        with pytest.raises(NoPayableOffer, match="asked on mainnet"):
            payer.terms(solshop.challenge(seller, request=elsewhere))
