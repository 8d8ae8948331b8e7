"""`coinslot settler`: pay out and close payment channels, and watch who wants to leave."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from coinslot.cli.configfile import METAVAR, ConfigOption, named_config
from coinslot.cli.methodflags import environment, method_meant, method_table, with_method_flags
from coinslot.cli.output import ExitCode, console, print_json
from coinslot.cli.store import shown
from coinslot.drive import RealWorld, run
from coinslot.errors import StoreError, UsageError
from coinslot.server.settler import BATCH, CLOSE_IDLE_AFTER_S, SETTLE_AFTER_S, Report
from coinslot.services.accepting import accept, all_sellers
from coinslot.services.config import DEFAULT_STORE, SettlerTable, load_config
from coinslot.services.settler import SettlerService, members
from coinslot.store.open import open_store
from coinslot.transports.settling import EVERY_S

SettleUnitsOption = Annotated[
    int | None,
    typer.Option(
        metavar="UNITS", help="Settle a channel when that many base units were bought; 0: never.", show_default="0"
    ),
]
SettleAfterOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="Settle what was bought at that age; 0: never.", show_default=f"{SETTLE_AFTER_S:g}"
    ),
]
CloseIdleOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Close a channel that was not used for so long; 0: never.",
        show_default=f"{CLOSE_IDLE_AFTER_S:g}",
    ),
]


def settler(
    config: Annotated[
        Path | None,
        typer.Argument(metavar=METAVAR, help="The gate's file: its store, and what it accepts.", show_default=False),
    ] = None,
    config_option: ConfigOption = None,
    method: Annotated[
        str | None,
        typer.Option(help="Payment method; else COINSLOT_METHOD, or what the node speaks.", show_default=False),
    ] = None,
    store: Annotated[
        str | None, typer.Option(envvar="COINSLOT_STORE", help="The gate's store; by default the one in CONFIG.toml.")
    ] = None,
    settle_units: SettleUnitsOption = None,
    settle_after: SettleAfterOption = None,
    min_settle_units: Annotated[
        int | None,
        typer.Option(metavar="UNITS", help="Age alone settles no less than that many base units.", show_default="0"),
    ] = None,
    close_idle_after: CloseIdleOption = None,
    batch: Annotated[
        int | None, typer.Option(help="At most that many channels in one transaction.", show_default=str(BATCH))
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Pause between two rounds.", show_default=f"{EVERY_S:g}"),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Do what is to be done now, wait for its end, and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per round.")] = False,
    flags: dict[str, Any] = {},  # noqa: B006 - typer copies it
) -> None:
    """Settle and close the payment channels of a gate, and watch for payers who ask the chain to close theirs.

    A gate does this itself unless its configuration says settler = false; then run one `coinslot settler` on its store
    (two do no harm). What no flag says is taken from the table `settler` of CONFIG.toml.

    A payer that asks to close can take back what was not paid out after the grace time (15 minutes on Tempo): a gate
    refuses to sell from channels when the last round is older than a third of that.

    Each round bills what dead processes had set aside, looks at every open channel, pays out what was bought at
    --settle-units or --settle-after, closes channels that are idle or that somebody wants closed, and goes on with what
    earlier rounds sent. Transactions are recorded before they are sent, so it may be killed at any time.

    Exit codes with --once: 0 done, 1 a job failed or a channel is frozen, 3 a network did not answer or the fee can't
    be paid, 5 sent, and the chain has not told the end yet. SIGTERM and Ctrl-C finish the round that is under way.

    Example: coinslot settler gate.toml --settle-units 5000000 --every 10
    """
    file = named_config(config, config_option)
    if file is not None and flags:
        raise UsageError("give a CONFIG.toml or flags of the payment method, not both")
    gate = None if file is None else load_config(file)
    tables: list[dict[str, object]] = _tables(method, flags) if gate is None else gate.accept
    url = store or (gate.store if gate is not None else DEFAULT_STORE)
    asked = {
        "settle_units": settle_units,
        "settle_after_s": settle_after,
        "min_settle_units": min_settle_units,
        "close_idle_after_s": close_idle_after,
        "batch": batch,
        "every_s": every,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    chosen = msgspec.structs.replace(gate.settling() if gate is not None else SettlerTable(), **given)
    with closing(RealWorld()) as world, closing(open_store(url)) as record:
        sellers = all_sellers(run(accept(tables), world))
        service = SettlerService(
            record, sellers, chosen.policy(), chosen.every_s, lambda name, found: _tell(name, found, as_json)
        )
        if once:
            raise typer.Exit(_told(service.once(), as_json))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        _announce(service, url, as_json)
        if not service.serve():
            raise typer.Exit(ExitCode.FAILURE)


def _tables(method: str | None, flags: dict[str, Any]) -> list[dict[str, object]]:
    chosen = method_meant(method, flags)
    return [{"method": chosen, **method_table("Accept", chosen, flags, environment())}]


def _announce(service: SettlerService, url: str, as_json: bool) -> None:
    if as_json:
        print_json({"watching": service.networks, "store": shown(url)})
        return
    out = console()
    out.print(f"[bold green]Settling[/bold green] for {shown(url)} on {', '.join(service.networks)}. Ctrl-C stops.")


def _told(found: dict[str, Report], as_json: bool) -> ExitCode:
    for name, report in found.items():
        _tell(name, report, as_json, always=True)
    reports = found.values()
    if any(one.trouble for one in reports):
        return ExitCode.NETWORK
    if any(one.frozen or one.failed for one in reports):
        return ExitCode.FAILURE
    return ExitCode.UNKNOWN if any(one.pending for one in reports) else ExitCode.OK


def _tell(network: str, report: Report | StoreError, as_json: bool, *, always: bool = False) -> None:
    """A round: always as JSON; for people only where something happened or is wrong."""
    if as_json:
        print_json(members(network, report))
        return
    out = console()
    if isinstance(report, StoreError):
        out.print(f"{network}: [bold red]no round[/bold red]: {report}")
    elif report.silent:
        said = report.trouble.get(network, "no answer")
        out.print(
            f"{network}: [bold red]its channels can't be seen[/bold red]: {said}; sessions are refused if this lasts"
        )
    elif always or _happened(report):
        out.print(_line(network, report))
        if network in report.trouble:
            out.print(f"  [bold red]not settled[/bold red]: {report.trouble[network]}")
        for key in report.frozen:
            out.print(f"  [bold red]frozen[/bold red] {key}: the chain contradicts the record")
        for key in report.unserved:
            out.print(f"  nothing accepted here can settle {key}")


def _happened(report: Report) -> bool:
    counts = (report.stopped, report.billed, report.settled, report.closed, report.failed, report.pending)
    return any(counts) or bool(report.frozen or report.trouble)


def _line(network: str, report: Report) -> str:
    owed = ", ".join(f"{units} of {asset}" for asset, units in report.unsettled.items() if units)
    parts = [
        f"{report.channels} channels watched",
        f"{report.settled} settled",
        f"{report.closed} closed",
        *(
            f"{count} {name}"
            for name, count in (
                ("stopped", report.stopped),
                ("billed", report.billed),
                ("failed", report.failed),
                ("pending", report.pending),
            )
            if count
        ),
    ]
    return f"{network}: {', '.join(parts)}" + (f"; not settled before this round: {owed}" if owed else "")


command = with_method_flags("Accept", settler)
