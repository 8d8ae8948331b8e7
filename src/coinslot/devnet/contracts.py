"""Contracts that a public network has and the local chain lacks, put at their known addresses when it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coinslot.devnet.channels.compile import committed_code
from coinslot.devnet.node import Node
from coinslot.methods.tempo.session.escrow import CHANNEL_RESERVE


@dataclass(frozen=True, slots=True)
class Contract:
    """Runtime code and where it belongs, by chain id; on chains not named at `elsewhere`, or nowhere."""

    name: str
    addresses: Mapping[int, str]
    code: bytes
    elsewhere: str | None = None


# Both are independent test implementations of published interfaces, not the real thing: see docs/adr/0010.
# The reserve's address is the same on every chain.
CHANNEL_CONTRACTS = (
    Contract("TIP-1034 channel reserve", {}, committed_code("reserve"), CHANNEL_RESERVE),
    Contract(
        "TempoStreamChannel escrow",
        {
            42431: "0xe1c4d3dce17bc111181ddf716f75bae49e61a336",
            4217: "0x33b901018174ddabe4841042ab76ba85d4e24f25",
        },
        committed_code("escrow"),
    ),
)
# Every entry is installed at each start, also over a kept state: the code is ours and may have been mended.
CONTRACTS: tuple[Contract, ...] = CHANNEL_CONTRACTS


def install(node: Node, chain_id: int, contracts: Iterable[Contract] = CONTRACTS) -> None:
    """Put the contracts of this chain in place. Raises RpcRefused."""
    for contract in contracts:
        if address := contract.addresses.get(chain_id, contract.elsewhere):
            node.call("anvil_setCode", address, "0x" + contract.code.hex())
