"""Contracts that a public network has and the local chain lacks, put at their known addresses when it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coinslot.devnet.node import Node


@dataclass(frozen=True, slots=True)
class Contract:
    """Runtime code and where it belongs, by chain id; on chains not named it is left out."""

    name: str
    addresses: Mapping[int, str]
    code: bytes


# Every entry is installed at each start, also over a kept state: the code is ours and may have been mended.
CONTRACTS: tuple[Contract, ...] = ()


def install(node: Node, chain_id: int, contracts: Iterable[Contract] = CONTRACTS) -> None:
    """Put the contracts of this chain in place. Raises RpcRefused."""
    for contract in contracts:
        if address := contract.addresses.get(chain_id):
            node.call("anvil_setCode", address, "0x" + contract.code.hex())
