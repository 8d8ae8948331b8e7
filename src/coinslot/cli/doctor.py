"""`coinslot doctor`: does the record tell the truth, and is what it needs in order?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from coinslot.cli.columns import columns, safe
from coinslot.cli.configfile import METAVAR, ConfigOption, named_config
from coinslot.cli.methodflags import environment, method_meant, method_table
from coinslot.cli.output import ExitCode, print_json
from coinslot.cli.payments import parse_moment
from coinslot.cli.store import JsonOption, opened, shown, sqlite_path
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError
from coinslot.services.accepting import Accepted, accept
from coinslot.services.audit import Finding, Report, audit
from coinslot.services.channelaudit import ChannelReport
from coinslot.services.config import DEFAULT_STORE, load_config
from coinslot.services.keystore import home
from coinslot.store.schema.steps import VERSION

# No finding: anybody can open a channel to anybody.
STRANGERS = (
    "pay a recipient of yours and are not in this store. If another service sells from them with a store of its own, "
    "the same voucher buys at both: give each service a recipient of its own"
)


def command(
    config: Annotated[
        Path | None,
        typer.Argument(metavar=METAVAR, help="The gate's file: its store, and what it accepts.", show_default=False),
    ] = None,
    config_option: ConfigOption = None,
    store: Annotated[
        str | None, typer.Option(envvar="COINSLOT_STORE", help="The store; by default the one in CONFIG.toml.")
    ] = None,
    rpc_url: Annotated[
        str | None, typer.Option(envvar="COINSLOT_RPC_URL", help="Without CONFIG.toml: a node of the chain to ask.")
    ] = None,
    recipient: Annotated[str | None, typer.Option(help="Without CONFIG.toml: who was paid.")] = None,
    currency: Annotated[str | None, typer.Option(help="Without CONFIG.toml: in what, if not the default.")] = None,
    method: Annotated[str | None, typer.Option(help="Without CONFIG.toml: how, if several are installed.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Ask the chain only about payments from then on: 2026-01-31, 7d ...")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the ledger against the payments and every payment against the chain; clocks and files too.

    Nothing is changed. Exit code 0 if all is well, 1 with a list of findings. The chain is asked only where a
    CONFIG.toml, or --rpc-url and --recipient, say which.

    Example: coinslot doctor gate.toml --since 24h
    """
    file = named_config(config, config_option)
    gate = None if file is None else load_config(file)
    url = store or (gate.store if gate else DEFAULT_STORE)
    if gate is not None:
        tables: list[dict[str, object]] = gate.accept
    else:
        tables = _tables(method, {"rpc_url": rpc_url, "recipient": recipient, "currency": currency})
    since_s = parse_moment(since)
    with closing(RealWorld()) as world, opened(url) as record:
        accepted: list[Accepted] = run(accept(tables), world) if tables else []
        report = run(audit(record, accepted, since_s), world)
    report.findings += _files(url)
    if as_json:
        print_json(_members(report, url, bool(accepted)))
    else:
        _print(report, url, bool(accepted))
    if report.findings:
        raise typer.Exit(ExitCode.FAILURE)


def _tables(method: str | None, settings: dict[str, str | None]) -> list[dict[str, object]]:
    """One `[[accept]]` table from flags, or none."""
    given: dict[str, object] = {name: value for name, value in settings.items() if value is not None}
    if "rpc_url" not in given or "recipient" not in given:
        if "recipient" in given or "currency" in given:
            raise ConfigError("--rpc-url and --recipient go together (or give a CONFIG.toml)")
        return []
    name = method_meant(method, given)
    return [{"method": name} | method_table("Accept", name, given, environment())]


def _files(url: str) -> Iterator[Finding]:
    """Files that others may read or change: the record, the gate's secrets beside it, the wallets. T38"""
    watched: list[Path] = []
    record = sqlite_path(url)
    if record is not None:
        watched += sorted(record.parent.glob(f"{record.name}*"))
    wallets = home(os.environ) / "wallets"
    if wallets.is_dir():
        watched += [wallets, *sorted(wallets.glob("*.json"))]
    for path in watched:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            yield Finding("files", str(path), f"others may use it (mode {mode:04o}); chmod go-rwx it")


def _members(report: Report, url: str, asked: bool) -> dict[str, object]:
    return {
        "ok": not report.findings,
        "store": shown(url),
        "schema": VERSION,
        "payments": report.payments,
        "entries": report.entries,
        "chain_asked": asked,
        "confirmed": report.confirmed,
        "channels": {
            "alive": report.channels.alive,
            "frozen": report.channels.frozen,
            "unsettled_units": {asset: str(units) for asset, units in report.channels.unsettled.items()},
            "watched_ago_s": report.channels.watched_ago_s,
            "not_on_record": dict(report.channels.strangers),
        },
        "findings": [{"check": one.check, "subject": one.subject, "text": one.text} for one in report.findings],
    }


def _channels(report: ChannelReport) -> Iterator[tuple[str, str]]:
    """What there is to say of payment channels, if there are any."""
    for network, count in report.strangers.items():
        yield "Strangers", f"{count} open channels on {network} {STRANGERS}"
    if not report.alive and not report.watched_ago_s:
        return
    owed = [f"{units} base units of {asset}" for asset, units in report.unsettled.items() if units]
    yield "Channels", f"{report.alive} not closed; not settled: {', '.join(owed) or 'nothing'}"
    for network, ago_s in report.watched_ago_s.items():
        yield "Watcher", f"{network}: " + ("never looked" if ago_s is None else f"looked {ago_s:.0f} s ago")


def _print(report: Report, url: str, asked: bool) -> None:
    chain = (
        f"{report.confirmed} payments confirmed" if asked else "not asked (give CONFIG.toml, or --rpc-url --recipient)"
    )
    rows = [
        ("Store", f"{shown(url)}, schema {VERSION}, writable"),
        ("Ledger", f"{report.entries} entries, {report.payments} settled payments"),
        ("Chain", chain),
        *_channels(report.channels),
    ]
    rows += [("FOUND", f"{one.check}: {one.subject}: {one.text}") for one in report.findings]
    rows.append(("Verdict", f"{len(report.findings)} found wrong" if report.findings else "all is well"))
    sys.stdout.write(columns([(name, safe(text)) for name, text in rows]))
