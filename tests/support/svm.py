"""A local Solana chain for each test: a fresh one starts in some hundredths of a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from coinslot.devnet.solana import DEVNET, RunningSolana
from coinslot.devnet.svm.faults import Faults

# Fees of a hundred thousand transactions.
LAMPORTS = 10**9


@dataclass(frozen=True)
class SvmChain:
    """The running chain, and what tests like to do with one."""

    running: RunningSolana

    @property
    def rpc_url(self) -> str:
        """Where to send JSON-RPC."""
        return self.running.rpc_url

    @property
    def faults(self) -> Faults:
        """lose_answer, never_land, land_late, refuse, http, slow, clear."""
        return self.running.faults

    def keypair(self, *, lamports: int = LAMPORTS, **units: int) -> Keypair:
        """Somebody new who holds lamports and base units of tokens, by symbol: keypair(USDC=5_000_000)."""
        key = Keypair()
        if lamports:
            self.fund(str(key.pubkey()), lamports, "SOL")
        for symbol, amount in units.items():
            self.fund(str(key.pubkey()), amount, symbol)
        return key

    def fund(self, address: str, units: int, token: str | None = None) -> str:
        """Base units of a token (symbol, mint or "SOL"; USDC) for an address; the signature, final at once."""
        return self.running.fund(address, units, token)

    def balance(self, address: str, token: str | None = None) -> int:
        """Base units in an address's associated token account, lamports for "SOL"."""
        return self.running.balance(address, token)

    def rpc(self, method: str, *params: object) -> Any:
        """The result of a call without HTTP and its faults; raises coinslot.errors.RpcRefused."""
        return self.running.rpc(method, *params)

    def blockhash(self) -> str:
        """The newest one."""
        return str(self.rpc("getLatestBlockhash")["value"]["blockhash"])

    def transaction(self, instructions: Sequence[Instruction], *signers: Keypair) -> bytes:
        """A v0 transaction over the newest blockhash, signed by all; the first pays its fee."""
        payer, blockhash = signers[0].pubkey(), Hash.from_string(self.blockhash())
        message = MessageV0.try_compile(payer, list(instructions), [], blockhash)
        return bytes(VersionedTransaction(message, list(signers)))

    def timing(self, *, slot_ms: int | None = None, confirm_ms: int | None = None) -> None:
        """The pace of slots (0: by hand only) and the time until a transaction is confirmed."""
        asked = {"slotMs": slot_ms, "confirmMs": confirm_ms}
        self.rpc("svm_setTiming", {name: value for name, value in asked.items() if value is not None})


def post(url: str, method: str, *params: object) -> dict[str, Any]:
    """The whole answer to one call over HTTP."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    answer = httpx.post(url, json=body, headers={"connection": "close"}).json()
    assert isinstance(answer, dict)
    return answer


@pytest.fixture
def svm() -> Iterator[SvmChain]:
    """A chain of the test's own; slots pass every 400 ms, transactions are confirmed at once."""
    with DEVNET.start() as running:
        yield SvmChain(running)


@pytest.fixture(scope="module")
def shared_svm() -> Iterator[SvmChain]:
    """One chain for all tests of a module: use fresh keys, leave the clock and the faults alone."""
    with DEVNET.start() as running:
        yield SvmChain(running)
