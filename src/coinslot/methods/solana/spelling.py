"""What deployed servers write otherwise than the document: read as what it means, and as nothing more.

    currency       "USDC" for its mint (solana-pay-kit's default), "SOL" for "sol"
    network        "mainnet-beta" for "mainnet" (@solana/mpp's default)

A symbol is only ever a mint that we pinned ourselves: whoever names a token can't choose which one it is. What stands
in a challenge is echoed as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coinslot.methods.solana.tokens import MAINNET, SOL, pinned

_NETWORKS = {"mainnet-beta": MAINNET}


def respelt(request: Mapping[str, Any], cluster: str) -> Mapping[str, Any]:
    """The request object of a charge as the document would have it; what means nothing here stays as it is.

    `cluster` is the payer's own ("mainnet", "devnet", "localnet"), whose tokens the symbols name.
    """
    details = request.get("methodDetails")
    if isinstance(details, Mapping):
        network = details.get("network")
        if isinstance(network, str) and network in _NETWORKS:
            request = {**request, "methodDetails": {**details, "network": _NETWORKS[network]}}
    symbols = {token.symbol: mint for mint, token in pinned(cluster).items()} | {"SOL": SOL}
    currency = request.get("currency")
    return {**request, "currency": symbols[currency]} if isinstance(currency, str) and currency in symbols else request
