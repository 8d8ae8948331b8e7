"""A local Solana chain: LiteSVM with what a cluster adds, behind the JSON-RPC interface of a node.

    with DEVNET.start() as chain:
        chain.fund("<address>", 5_000_000)

Programs, fees, rent and signatures are the real thing; blocks, forks and other validators there are none. The tokens
stand at the addresses they have on the main network, and the channel program is an own test implementation.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import cast

from coinslot.chains.solana.address import parse_address
from coinslot.devnet.asking import ask_devnet
from coinslot.devnet.channels.solana import program
from coinslot.devnet.door import Door
from coinslot.devnet.keep import StateDir
from coinslot.devnet.protocol import Account, Funded, Option, Running
from coinslot.devnet.svm import facade, faucet, genesis, state
from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.faults import Faults
from coinslot.devnet.svm.making import open_chain
from coinslot.drive import RealWorld
from coinslot.errors import UsageError
from coinslot.money import parse_units, to_units

# Where everybody expects a local Solana node.
DEFAULT_PORT = 8899
NETWORK = "localnet"
MAX_MS = 60_000
_MINT = "svm_mint"
_TOKEN = "svm_token"


class RunningSolana(Running):
    """A Solana chain that runs in this process until `close`. Its calls may come from any thread."""

    def __init__(self, chain: Chain, door: Door, kept: StateDir | None) -> None:
        self.chain, self._door, self._kept = chain, door, kept
        self._closing = threading.Lock()

    @property
    def rpc_url(self) -> str:
        """Where clients connect, on loopback."""
        return self._door.url

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The network's name in challenges, the hash that names this chain, and where the channel program stands."""
        return {
            "network": NETWORK,
            "genesis_hash": str(self.rpc("getGenesisHash")),
            "channel_program": program.PROGRAM_ID,
        }

    @property
    def settings(self) -> Mapping[str, str]:
        """The network, since methods take the main one unless told."""
        return {"network": NETWORK}

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Ten accounts with a million SOL and 10^15 base units of every token each."""
        return genesis.ACCOUNTS

    @property
    def tokens(self) -> Mapping[str, str]:
        """Mint by symbol; USDC first."""
        return genesis.TOKENS

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._door.alive

    @property
    def faults(self) -> Faults:
        """What goes wrong on purpose."""
        return self.chain.faults

    def rpc(self, method: str, *params: object) -> object:
        """The result of one JSON-RPC call, without HTTP and its faults. Raises RpcRefused."""
        return facade.call(self.chain, method, *params)

    def fund(self, address: str, units: int, token: str | None = None) -> str:
        """Give an address base units of a token (symbol, mint or "SOL"); the transaction's signature, final."""
        return faucet.give(self.chain, address, units, faucet.find_asset(self.chain, token))

    def balance(self, address: str, token: str | None = None) -> int:
        """Base units that an address holds in its associated token account; lamports for "SOL"."""
        return faucet.holding(self.chain, address, faucet.find_asset(self.chain, token))

    def advance_slots(self, slots: int) -> int:
        """Let slots pass at once; the newest slot."""
        return self.chain.advance(slots)

    def warp_seconds(self, seconds: int) -> int:
        """Set the clock that programs see ahead; the time it shows then."""
        return self.chain.warp(seconds)

    def expire_blockhashes(self) -> None:
        """No transaction signed so far will be taken any more."""
        self.chain.expire_blockhashes()

    def close(self) -> None:
        """Stop answering; a kept state is written. Harmless when called twice."""
        with self._closing:
            self._door.close()
            if self._kept:
                state.save(self.chain, self._kept.file)
                self._kept.close()
                self._kept = None


class SolanaDevnet:
    """Starts local Solana chains. Fulfils `Devnet`."""

    name = "solana"
    default_port = DEFAULT_PORT
    options: Mapping[str, Option] = MappingProxyType(
        {
            "slot_ms": Option(400, "Milliseconds per slot; 0: slots pass by svm_advanceSlots only"),
            "confirm_ms": Option(0, "Milliseconds from sending a transaction until it is confirmed"),
        }
    )

    def start(
        self, port: int = 0, slot_ms: int = 400, confirm_ms: int = 0, state_dir: Path | None = None
    ) -> RunningSolana:
        """Start a chain that takes transactions; see `Devnet.start` for what it raises.

        `slot_ms` 0: slots pass only when told to. `confirm_ms` is the time from sending to "confirmed".
        """
        for name, value in (("slot time", slot_ms), ("time until a confirmation", confirm_ms)):
            if not 0 <= value <= MAX_MS:
                raise UsageError(f"the {name} is a number of milliseconds from 0 to {MAX_MS}")
        with ExitStack() as undo:
            door = undo.enter_context(closing(Door(port)))  # the port first: whoever can't have it starts nothing
            kept = undo.enter_context(closing(StateDir(state_dir, self.name))) if state_dir else None
            chain = open_chain(slot_ms / 1000, confirm_ms / 1000, state.load(kept.file) if kept else None)
            answers = facade.Facade(chain)
            door.serve(lambda: answers)
            undo.pop_all()
        return RunningSolana(chain, door, kept)

    def fund_at(self, rpc_url: str, address: str, amount: Decimal, token: str | None = None) -> Funded:
        """Give some of a token (symbol, mint or "SOL"; USDC), on a devnet that runs at `rpc_url`."""
        to = parse_address(address)
        with closing(RealWorld()) as world:
            asset = cast("dict[str, object]", ask_devnet(world, rpc_url, _TOKEN, [token]))
            decimals = int(str(asset["decimals"]))
            units = faucet.checked_units(to_units(amount, decimals))
            told = cast("dict[str, object]", ask_devnet(world, rpc_url, _MINT, [to, str(units), asset["mint"]]))
        balance = parse_units(told["balance"])
        return Funded(str(told["signature"]), str(told["mint"]), str(told["symbol"]), units, balance, decimals)


DEVNET = SolanaDevnet()
