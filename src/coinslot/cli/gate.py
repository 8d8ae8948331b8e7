"""`coinslot gate`: charge for any HTTP API in any language."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from coinslot.cli.configfile import METAVAR, ConfigOption, named_config
from coinslot.cli.methodflags import environment, method_meant, method_table, with_method_flags
from coinslot.cli.output import console, print_json
from coinslot.cli.store import shown
from coinslot.errors import ConfigError, UsageError
from coinslot.services.config import DEFAULT_LISTEN, DEFAULT_STORE, GateConfig, from_table, load_config
from coinslot.services.pricing import BLOCK, in_words
from coinslot.services.serving import check_config, serve

Price = Annotated[
    list[str],
    typer.Option(
        "--price",
        metavar="'METHOD PATH=AMOUNT[/UNIT]'",
        help="What a route costs, in whole tokens: a request of it, or an event, KiB or other UNIT of its answers."
        " Repeatable.",
    ),
]
SESSIONS = "Sessions"
# Units of a price that are bytes, and how many.
_BLOCKS = {"byte": 1, "KiB": BLOCK}


@dataclass(frozen=True)
class _Particulars:
    """What the flags say of all prices per unit."""

    usage: str | None
    include_usage: bool
    max_units: int | None
    window: int | None
    minimum: int | None
    deposit: str | None

    @property
    def metered(self) -> bool:
        """Whether anything is said that is only of use there."""
        given = (self.usage, self.max_units, self.window, self.minimum)
        return self.include_usage or any(one is not None for one in given)

    def price(self, amount: str, unit: str) -> str | dict[str, Any]:
        """One price as the configuration has it."""
        if unit in ("", "request"):
            return amount if self.deposit is None else {"amount": amount, "deposit": self.deposit}
        table: dict[str, Any] = {"amount": amount, "minimum": self.minimum, "deposit": self.deposit}
        if self.usage is not None:
            told = {"usage": self.usage, "max_units": self.max_units, "include_usage": self.include_usage or None}
            return {**table, "per": "unit", "unit": unit, **told}
        if unit in _BLOCKS:
            return {**table, "per": "byte", "block": _BLOCKS[unit], "window": self.window}
        return {**table, "per": "event", "unit": unit, "window": self.window}


def _prices(texts: list[str], particulars: _Particulars) -> dict[str, str | dict[str, Any]]:
    prices: dict[str, str | dict[str, Any]] = {}
    for text in texts:
        pattern, equals, value = text.rpartition("=")
        if not equals or not pattern.strip() or not value.strip():
            raise UsageError(f"--price {text!r}: write it like 'GET /paid/*=0.01' or 'POST /chat=0.0001/token'")
        amount, _, unit = value.strip().partition("/")
        prices[pattern.strip()] = particulars.price(amount.strip(), unit.strip())
    if particulars.metered and not any(isinstance(one, dict) and "per" in one for one in prices.values()):
        raise UsageError(
            "--usage, --include-usage, --max-units, --window and --minimum are for prices per unit: AMOUNT/UNIT"
        )
    return prices


def _from_flags(settings: dict[str, Any], method: str | None, flags: dict[str, Any]) -> GateConfig:
    chosen = method_meant(method, flags)
    table = {"method": chosen, **method_table("Accept", chosen, flags, environment())}
    return from_table({**settings, "accept": [table]}, "flags")


def _announce(config: GateConfig, url: str, as_json: bool) -> None:
    if as_json:
        priced = {pattern: in_words(one) for pattern, one in config.prices.items()}
        print_json({"url": url, "upstream": config.upstream, "realm": config.realm or config.listen, "prices": priced})
        return
    out = console()
    out.print(f"[bold green]Charging[/bold green] at [bold]{url}[/bold] for {config.upstream}")
    for pattern, one in config.prices.items():
        out.print(f"  {pattern}  {in_words(one)}")
    for pattern in config.free:
        out.print(f"  {pattern}  free")
    out.print(f"Payments are kept in {shown(config.store)}. Ctrl-C stops after open requests are done.")  # T38


FreeOption = Annotated[list[str], typer.Option(metavar="'METHOD PATH'", help="A route that passes unpaid. Repeatable.")]
SellsOption = Annotated[
    str | None,
    typer.Option(help="Payment method; else COINSLOT_METHOD, or what the node speaks.", show_default=False),
]
DepositOption = Annotated[
    str | None,
    typer.Option(help="Suggest this deposit to clients, whole tokens.", rich_help_panel=SESSIONS, show_default=False),
]
WindowOption = Annotated[
    int | None,
    typer.Option(help="Units of a stream set aside at once.", rich_help_panel=SESSIONS, show_default=False),
]
MinimumOption = Annotated[
    int | None, typer.Option(help="Least units of a metered answer.", rich_help_panel=SESSIONS, show_default="1")
]
UsageOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Field of the answer's JSON that tells its units, such as usage.total_tokens.",
        rich_help_panel=SESSIONS,
        show_default=False,
    ),
]
IncludeUsageOption = Annotated[
    bool,
    typer.Option(
        "--include-usage",
        help="With --usage: ask the API to tell what a stream used (stream_options.include_usage).",
        rich_help_panel=SESSIONS,
    ),
]
MaxUnitsOption = Annotated[
    int | None,
    typer.Option(help="With --usage: most units of an answer.", rich_help_panel=SESSIONS, show_default=False),
]
SettlerOption = Annotated[
    bool,
    typer.Option(
        "--settler/--no-settler",
        help="Settle, close and watch channels here; without it `coinslot settler` must run.",
        rich_help_panel=SESSIONS,
    ),
]
CheckOption = Annotated[bool, typer.Option("--check", help="Check the configuration, chain and store, then exit.")]


def gate(
    config: Annotated[
        Path | None, typer.Argument(metavar=METAVAR, help="A file instead of flags.", show_default=False)
    ] = None,
    config_option: ConfigOption = None,
    upstream: Annotated[str | None, typer.Option(help="URL of the API to charge for.", show_default=False)] = None,
    price: Price = [],  # noqa: B006 - typer copies it
    free: FreeOption = [],  # noqa: B006
    method: SellsOption = None,
    realm: Annotated[str, typer.Option(help="Name of your service in challenges.", show_default="the address")] = "",
    store: Annotated[str, typer.Option(help="Where payments are recorded.")] = DEFAULT_STORE,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = DEFAULT_LISTEN,
    tls_cert: Annotated[str | None, typer.Option(help="PEM certificate chain.", show_default=False)] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM private key.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    deposit: DepositOption = None,
    window: WindowOption = None,
    minimum: MinimumOption = None,
    usage: UsageOption = None,
    include_usage: IncludeUsageOption = False,
    max_units: MaxUnitsOption = None,
    settler: SettlerOption = True,
    check: CheckOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when ready.")] = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Put a coin slot in front of an HTTP API: a reverse proxy that answers 402 until it is paid.

    A path that is neither priced nor free is 404. HEAD costs what GET costs. The challenge secret comes from
    COINSLOT_SECRET_KEY, else it is made once and kept beside a SQLite store.

    A price per event, byte or other unit of the answer is paid from sessions (payment channels) while it is sent.

    Example: coinslot gate --upstream http://127.0.0.1:8000 --price 'GET /paid/*=0.01' --free 'GET /'
    --recipient 0x... --rpc-url http://127.0.0.1:8545

    Example: COINSLOT_SESSION_KEY=0x... coinslot gate --upstream http://127.0.0.1:8000
    --price 'POST /v1/chat/completions=0.00001/token' --usage usage.total_tokens --include-usage --max-units 4000
    --recipient 0x... --rpc-url http://127.0.0.1:8545
    """
    file = named_config(config, config_option)
    if file is not None:
        said = upstream or price or free or realm or method or tls_cert or tls_key or deposit or usage or flags
        numbers = (max_units, window, minimum) != (None, None, None)
        plain = (store, listen, workers, settler, include_usage) == (DEFAULT_STORE, DEFAULT_LISTEN, 1, True, False)
        if said or numbers or not plain:
            raise UsageError("give a CONFIG.toml or flags, not both")
        chosen = load_config(file)
    else:
        if upstream is None:
            raise ConfigError("--upstream: the URL of the API to charge for (or give a CONFIG.toml)")
        if not price:
            raise ConfigError("--price: what a route costs, such as --price 'GET /paid/*=0.01'")
        settings = {
            "upstream": upstream,
            "prices": _prices(price, _Particulars(usage, include_usage, max_units, window, minimum, deposit)),
            "free": free,
            "realm": realm,
            "store": store,
            "listen": listen,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "workers": workers,
            "settler": settler,
        }
        chosen = _from_flags(settings, method, flags)
    if check:
        found = check_config(chosen)
        if as_json:
            print_json({"ok": True, **found})
        else:
            console().print("[bold green]Fine[/bold green]: " + msgspec.json.encode(found).decode())
        return
    serve(chosen, lambda url: _announce(chosen, url, as_json))


command = with_method_flags("Accept", gate)
