"""A real local Tempo chain for tests: one per test session (per xdist worker), stopped at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from coinslot.devnet.protocol import Account
from coinslot.devnet.tempo import DEVNET, RunningTempo


@dataclass(frozen=True)
class Chain:
    """The running chain, and what tests like to do with one."""

    running: RunningTempo

    @property
    def rpc_url(self) -> str:
        """Where to send JSON-RPC."""
        return self.running.rpc_url

    @property
    def chain_id(self) -> int:
        """42431."""
        return self.running.chain_id

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Ten funded accounts: `address`, `private_key`."""
        return self.running.accounts

    @property
    def tokens(self) -> Mapping[str, str]:
        """Address by symbol: PathUSD, AlphaUSD, BetaUSD, ThetaUSD."""
        return self.running.tokens

    def rpc(self, method: str, *params: object) -> object:
        """The result of one call; raises coinslot.errors.RpcRefused."""
        return self.running.rpc(method, *params)

    def balance_of(self, token: str, address: str) -> int:
        """Base units; `token` is a symbol or an address."""
        return self.running.balance(address, token)

    def fund(self, address: str, units: int, token: str = "PathUSD") -> str:
        """Mint to an address; the hash of the mined transaction."""
        return self.running.fund(address, units, token)

    def mine(self, blocks: int = 1) -> int:
        """Mine so many blocks now; the number of the last."""
        for _ in range(blocks):
            self.rpc("evm_mine")
        return int(str(self.rpc("eth_blockNumber")), 16)

    def snapshot(self) -> str:
        """Remember the state, for `revert`."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Back to a snapshot, which is used up; the clock goes back as well."""
        assert self.rpc("evm_revert", snapshot) is True

    def timestamp(self) -> int:
        """Seconds since 1970 of the latest block."""
        block = self.rpc("eth_getBlockByNumber", "latest", False)
        assert isinstance(block, dict)
        return int(block["timestamp"], 16)


@pytest.fixture(scope="session")
def devnet() -> Iterator[Chain]:
    """The chain that all tests of this session share: use fresh accounts, or snapshot and revert."""
    with DEVNET.start() as running:
        yield Chain(running)
