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

from coinslot.cli.devnetflags import checked_options, with_chain_flags
from coinslot.cli.output import console, print_json
from coinslot.devnet.protocol import RunningDevnet, find_devnet
from coinslot.errors import DevnetError
from coinslot.money import parse_decimal, to_text

# How soon a node that died is noticed.
WATCH_S = 0.5

app = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def run_chain(
    context: typer.Context,
    options: dict[str, int],
    chain: str,
    port: Annotated[
        int | None, typer.Option(help="Port on loopback; 0 takes a free one.", show_default="where clients expect it")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Keep the chain's state here across restarts.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a local chain with funded accounts until Ctrl-C.

    Tempo: the first start fetches the node's program through npm (19 MB) and checks it; later ones need no network.

    Solana: in this process, with the tokens of the main network (USDC, USDT, PYUSD) and the channel program.
    Faults and cheats over JSON-RPC: svm_fault, svm_advanceSlots, svm_warpSeconds, svm_expireBlockhashes, svm_mint.
    """
    if context.invoked_subcommand is not None:
        return
    progress = logging.getLogger("coinslot.devnet")
    progress.addHandler(logging.StreamHandler())  # to standard error: a first start may take a while
    progress.setLevel(logging.INFO)
    stop = threading.Event()
    began = time.monotonic()
    devnet = find_devnet(chain)
    chosen = checked_options(devnet, options)
    port = devnet.default_port if port is None else port
    with closing(devnet.start(port=port, state_dir=state_dir, **chosen)) as running:
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
        **running.facts,
        "accounts": [{"address": each.address, "private_key": each.private_key} for each in running.accounts],
        "tokens": dict(running.tokens),
    }


def _welcome(chain: str, running: RunningDevnet, took_s: float) -> Group:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("RPC URL", f"[bold]{running.rpc_url}[/bold]")
    for name, fact in running.facts.items():
        facts.add_row(name.replace("_", " ").capitalize(), str(fact))
    for symbol, address in running.tokens.items():
        facts.add_row(symbol, address)
    seller, buyer = running.accounts[0], running.accounts[1]
    settings = "".join(f" --{name.replace('_', '-')} {value}" for name, value in running.settings.items())
    return Group(
        f"[bold green]Local {chain} chain ready[/bold green] in {took_s:.1f} s",
        facts,
        "",
        "[bold]Funded accounts and their keys[/bold] (public knowledge: never use them elsewhere)",
        *(f"  {each.address} {each.private_key}" for each in running.accounts),
        "\n[bold]Next, in another terminal[/bold]",
        f"  coinslot devnet fund YOUR_ADDRESS --chain {chain} --rpc-url {running.rpc_url}",
        f"  coinslot gate --upstream http://127.0.0.1:8000 --price 'GET /paid/*=0.01' --recipient {seller.address}"
        f" --rpc-url {running.rpc_url}{settings} --listen 127.0.0.1:8402",
        f"  COINSLOT_PRIVATE_KEY={buyer.private_key} coinslot fetch http://127.0.0.1:8402/paid/hello"
        f" --rpc-url {running.rpc_url}{settings}",
        "\nCtrl-C stops it.",
    )


def fund(
    address: Annotated[str, typer.Argument(help="Who gets the tokens.")],
    chain: str,
    token: Annotated[str | None, typer.Option(help="Symbol or address; by default the chain's first token.")] = None,
    amount: Annotated[str, typer.Option(help="Whole tokens as decimal text.")] = "100",
    rpc_url: Annotated[
        str | None,
        typer.Option(envvar="COINSLOT_RPC_URL", help="The devnet's RPC URL.", show_default="where it starts by itself"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give an address tokens on a running devnet; prints the transaction and the new balance."""
    devnet = find_devnet(chain)
    url = rpc_url or f"http://127.0.0.1:{devnet.default_port}"
    funded = devnet.fund_at(url, address, parse_decimal(amount), token)
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


app.callback(invoke_without_command=True)(with_chain_flags(run_chain, starts=True))
app.command("fund")(with_chain_flags(fund, starts=False))
