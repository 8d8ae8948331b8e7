"""A local Tempo chain: anvil with Tempo's rules behind a shim that speaks as a Tempo node does.

    with DEVNET.start() as chain:
        chain.fund("0x...", 5_000_000)

It stands at hardfork T4 of Tempo. Token transfers, 0x76 transactions, fee sponsorship and access keys are the real
thing; what came after T4 is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from coinslot.devnet import funding
from coinslot.devnet.anvil import Anvil, find_anvil
from coinslot.devnet.contracts import install
from coinslot.devnet.door import Door
from coinslot.devnet.keep import StateDir
from coinslot.devnet.node import Node
from coinslot.devnet.protocol import Account, Funded, Option, Running
from coinslot.devnet.shim import Shim
from coinslot.errors import UsageError

# The id of Tempo's public test network: clients in the field know only this one and the main network's.
CHAIN_ID = 42431
# Above this, some clients can't hold a chain id in a JSON number.
MAX_CHAIN_ID = 2**53 - 1
MAX_BLOCK_TIME_S = 3600
# Where everybody expects a local Ethereum-like chain.
DEFAULT_PORT = 8545
# The accounts of the well-known "test ... junk" mnemonic, which every Ethereum tool knows and funds locally.
ACCOUNTS = (
    Account(
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    ),
    Account(
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    ),
    Account(
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    ),
    Account(
        "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    ),
    Account(
        "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    ),
    Account(
        "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    ),
    Account(
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    ),
    Account(
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    ),
    Account(
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    ),
    Account(
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
    ),
)


class RunningTempo(Running):
    """A Tempo chain that runs until `close`. Fulfils `RunningDevnet`; its calls may come from any thread."""

    def __init__(self, anvil: Anvil, door: Door, chain_id: int, state: StateDir | None) -> None:
        self._anvil, self._door, self._chain_id, self._state = anvil, door, chain_id, state
        self._lock = threading.Lock()
        self._node = Node(int(door.url.rpartition(":")[2]))

    @property
    def rpc_url(self) -> str:
        """Where clients connect, on loopback."""
        return self._door.url

    @property
    def chain_id(self) -> int:
        """The id that transactions must be signed for."""
        return self._chain_id

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The chain id."""
        return {"chain_id": self._chain_id}

    @property
    def settings(self) -> Mapping[str, str]:
        """None: the chain's address tells methods everything."""
        return {}

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Ten accounts with 2^64 - 1 base units of every token each."""
        return ACCOUNTS

    @property
    def tokens(self) -> Mapping[str, str]:
        """Address by symbol; pathUSD first."""
        return funding.TOKENS

    @property
    def alive(self) -> bool:
        """Whether the node still runs."""
        return self._anvil.alive

    def rpc(self, method: str, *params: object) -> object:
        """The result of one JSON-RPC call through the shim. Raises RpcRefused or RpcUnreachable."""
        with self._lock:
            return self._node.call(method, *params)

    def fund(self, address: str, units: int, token: str | None = None) -> str:
        """Mint base units of a token (symbol or address; pathUSD) to an address; the mined transaction's hash."""
        funding.checked_units(units)
        return str(
            self.rpc(funding.MINT_METHOD, funding.address_text(address), str(units), funding.token_address(token))
        )

    def balance(self, address: str, token: str | None = None) -> int:
        """Base units of a token that an address holds."""
        with self._lock:
            return funding.balance(self._node, address, token)

    def close(self) -> None:
        """Stop door and node; a kept state is written. Harmless when called twice."""
        with self._lock:
            self._node.close()
        self._door.close()
        self._anvil.close()
        if self._state:
            self._state.close()


class TempoDevnet:
    """Starts local Tempo chains. Fulfils `Devnet`."""

    name = "tempo"
    default_port = DEFAULT_PORT
    options: Mapping[str, Option] = MappingProxyType(
        {
            "chain_id": Option(CHAIN_ID, "Chain id. Clients in the field know 42431 and 4217"),
            "block_time": Option(1, "Seconds between blocks while nothing happens"),
        }
    )

    def start(
        self, port: int = 0, chain_id: int = CHAIN_ID, block_time: int = 1, state_dir: Path | None = None
    ) -> RunningTempo:
        """Start a chain and wait until it takes transactions; see `Devnet.start` for what it raises."""
        if not 0 < chain_id <= MAX_CHAIN_ID:
            raise UsageError(f"a chain id is a number from 1 to {MAX_CHAIN_ID}")
        if not 0 < block_time <= MAX_BLOCK_TIME_S:
            raise UsageError(f"the block time is a number of seconds from 1 to {MAX_BLOCK_TIME_S}")
        with ExitStack() as undo:
            # the port first: whoever can't have it fetches and starts nothing
            door = undo.enter_context(closing(Door(port)))
            state = undo.enter_context(closing(StateDir(state_dir, str(chain_id)))) if state_dir else None
            kept = state.file if state else None
            anvil = undo.enter_context(closing(Anvil(find_anvil(), chain_id, block_time, kept)))
            _prepare(anvil.wait_port(), chain_id)
            node_port = anvil.wait_port()
            door.serve(lambda: Shim(node_port))
            undo.pop_all()
        return RunningTempo(anvil, door, chain_id, state)

    def fund_at(self, rpc_url: str, address: str, amount: Decimal, token: str | None = None) -> Funded:
        """Mint some of a token (symbol or address; pathUSD), on a devnet that runs at `rpc_url`."""
        return funding.fund_at(rpc_url, address, amount, token)


def _prepare(port: int, chain_id: int) -> None:
    """Open the faucet, install contracts, and leave block 0, whose time of 1970 makes every transaction invalid."""
    node = Node(port)
    try:
        funding.open_issuer(node)
        install(node, chain_id)
        node.call("evm_mine")
    finally:
        node.close()


DEVNET = TempoDevnet()
