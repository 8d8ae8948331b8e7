"""A sponsored USDC transfer on the local Solana chain: executed, taken as JSON-RPC, and sent over HTTP.

"Executed" is the chain alone: the SVM, and what the chain remembers of it. "As JSON-RPC" adds what a node does before:
the transaction is read, its signatures are verified, and it is tried out first. Over HTTP the time of the wall counts,
the sender's own work included; else the processor's, all threads. The best of several rounds counts: the others had
more of somebody else in them.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Sequence

import httpx
from solders.transaction import VersionedTransaction

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.token import TransferChecked, build_transfer_checked
from coinslot.devnet.solana import DEVNET, RunningSolana
from coinslot.methods.solana.keys import parse_key
from coinslot.methods.solana.tokens import USDC

ROUNDS, TIMES = 9, 20
UNITS = 12_000


def _transfers(chain: RunningSolana, first: int, number: int) -> list[bytes]:
    """Signed transfers that differ by their amount, their fee paid by another account."""
    sponsor, payer = (parse_key(one.private_key) for one in chain.accounts[:2])
    payee = chain.accounts[2].address
    blockhash = str(chain.rpc("getLatestBlockhash")["value"]["blockhash"])  # type: ignore[index]  # it is our own
    return [_transfer(sponsor, payer, payee, blockhash, units) for units in range(first, first + number)]


def _transfer(sponsor: Key, payer: Key, payee: str, blockhash: str, units: int) -> bytes:
    source, target = derive_ata(payer.address, USDC, TOKEN_PROGRAM), derive_ata(payee, USDC, TOKEN_PROGRAM)
    move = TransferChecked(TOKEN_PROGRAM, source, USDC, target, payer.address, units, 6)
    built = (build_unit_price(1), build_unit_limit(UNITS), build_transfer_checked(move))
    return sign_partially(build_message(sponsor.address, built, blockhash), (sponsor, payer))


def _best(work: Callable[[bytes], object], raws: Sequence[bytes], clock: Callable[[], float]) -> float:
    took = []
    for at in range(0, len(raws), TIMES):
        begun = clock()
        for raw in raws[at : at + TIMES]:
            work(raw)
        took.append((clock() - begun) / TIMES * 1e6)
    return min(took)


def rows() -> list[dict[str, object]]:
    """One row per figure: name, value, unit; there is no peer."""
    with DEVNET.start() as chain, httpx.Client() as client:
        number = ROUNDS * TIMES

        def execute(raw: bytes) -> None:
            record = chain.chain.land(VersionedTransaction.from_bytes(raw), raw)
            assert record is not None
            assert record.error is None

        def call(raw: bytes) -> None:
            chain.rpc("sendTransaction", b64encode(raw).decode(), {"encoding": "base64"})

        def send(raw: bytes) -> None:
            params = [b64encode(raw).decode(), {"encoding": "base64"}]
            told = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params}
            assert "result" in client.post(chain.rpc_url, json=told).json()

        found = [
            ("executed", _best(execute, _transfers(chain, 1, number), time.process_time)),
            ("as JSON-RPC", _best(call, _transfers(chain, 1 + number, number), time.process_time)),
            ("over HTTP, wall", _best(send, _transfers(chain, 1 + 2 * number, number), time.perf_counter)),
        ]
    return [
        {
            "name": f"Solana local chain, a sponsored transfer: {what}",
            "value": round(value, 1),
            "unit": "us",
            "peer": None,
            "peer_value": None,
            "ratio": None,
        }
        for what, value in found
    ]


if __name__ == "__main__":
    for each in rows():
        print(f"{each['name']!s:<66}{each['value']!s:>9} {each['unit']}")
