"""`coinslot devnet`: a local chain with funded accounts, for tests and first steps."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from coinslot.cli.output import console, print_json
from coinslot.devnet.protocol import RunningDevnet, find_devnet
from coinslot.errors import DevnetError
from coinslot.money import parse_decimal, to_text

# Where everybody expects a local Ethereum-like chain.
DEFAULT_PORT = 8545
# How soon a node that died is noticed.
WATCH_S = 0.5

app = typer.Typer()

ChainOption = Annotated[str, typer.Option("--chain", help="Which kind of local chain.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


@app.callback(invoke_without_command=True)
def run_chain(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port on loopback; 0 takes a free one.")] = DEFAULT_PORT,
    chain_id: Annotated[int, typer.Option(help="Chain id. Clients in the field know 42431 and 4217.")] = 42431,
    block_time: Annotated[int, typer.Option(help="Seconds between blocks while nothing happens.")] = 1,
    state_dir: Annotated[Path | None, typer.Option(help="Keep the chain's state here across restarts.")] = None,
    chain: ChainOption = "tempo",
    as_json: JsonOption = False,
) -> None:
    """Run a local chain with funded accounts until Ctrl-C.

    The first start fetches the node's program through npm (19 MB) and checks it; later starts need no network.
    """
    if context.invoked_subcommand is not None:
        return
    progress = logging.getLogger("coinslot.devnet")
    progress.addHandler(logging.StreamHandler())  # to standard error: a first start may take a while
    progress.setLevel(logging.INFO)
    stop = threading.Event()
    began = time.monotonic()
    with closing(find_devnet(chain).start(port, chain_id, block_time, state_dir)) as running:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        if as_json:
            print_json(description(running))
        else:
            console().print(_welcome(chain, running, time.monotonic() - began))
        while not stop.wait(WATCH_S):
            if not running.alive:
                raise DevnetError("the chain's node ended by itself; start it again")


def description(running: RunningDevnet) -> dict[str, object]:
    """What a program needs to know of a chain that is ready; its accounts' keys are public knowledge."""
    return {
        "rpc_url": running.rpc_url,
        "chain_id": running.chain_id,
        "accounts": [{"address": each.address, "private_key": each.private_key} for each in running.accounts],
        "tokens": dict(running.tokens),
    }


def _welcome(chain: str, running: RunningDevnet, took_s: float) -> Group:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("RPC URL", f"[bold]{running.rpc_url}[/bold]")
    facts.add_row("Chain id", str(running.chain_id))
    for symbol, address in running.tokens.items():
        facts.add_row(symbol, address)
    seller, buyer = running.accounts[0], running.accounts[1]
    return Group(
        f"[bold green]Local {chain} chain ready[/bold green] in {took_s:.1f} s",
        facts,
        "",
        "[bold]Funded accounts and their keys[/bold] (public knowledge: never use them elsewhere)",
        *(f"  {each.address} {each.private_key}" for each in running.accounts),
        "\n[bold]Next, in another terminal[/bold]",
        f"  coinslot devnet fund 0xYOUR_ADDRESS --rpc-url {running.rpc_url}",
        f"  coinslot gate --upstream http://127.0.0.1:8000 --price 'GET /paid/*=0.01' --recipient {seller.address}"
        f" --rpc-url {running.rpc_url} --listen 127.0.0.1:8402",
        f"  COINSLOT_PRIVATE_KEY={buyer.private_key} coinslot fetch http://127.0.0.1:8402/paid/hello"
        f" --rpc-url {running.rpc_url}",
        "\nCtrl-C stops it.",
    )


@app.command("fund")
def fund(
    address: Annotated[str, typer.Argument(help="Who gets the tokens.")],
    token: Annotated[str | None, typer.Option(help="Symbol or address; by default the chain's first token.")] = None,
    amount: Annotated[str, typer.Option(help="Whole tokens as decimal text.")] = "100",
    rpc_url: Annotated[
        str, typer.Option(envvar="COINSLOT_RPC_URL", help="The devnet's RPC URL.")
    ] = f"http://127.0.0.1:{DEFAULT_PORT}",
    chain: ChainOption = "tempo",
    as_json: JsonOption = False,
) -> None:
    """Give an address tokens on a running devnet; prints the transaction and the new balance."""
    funded = find_devnet(chain).fund_at(rpc_url, address, parse_decimal(amount), token)
    balance = to_text(funded.balance_units, funded.decimals)
    if as_json:
        print_json(
            {
                "transaction": funded.transaction,
                "address": address,
                "token": funded.token,
                "symbol": funded.symbol,
                "amount_units": str(funded.units),
                "balance_units": str(funded.balance_units),
                "balance": balance,
            }
        )
    else:
        out = console()
        out.print(f"Funded {address} with {to_text(funded.units, funded.decimals)} {funded.symbol}")
        out.print(f"Transaction {funded.transaction}")
        out.print(f"Balance     {balance} {funded.symbol}")
