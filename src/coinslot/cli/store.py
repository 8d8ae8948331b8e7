"""`coinslot store`: what the record holds, and a copy of it while it is in use."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from coinslot.cli.columns import columns, safe
from coinslot.cli.output import console, print_json
from coinslot.errors import ConfigError
from coinslot.services.config import DEFAULT_STORE
from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from coinslot.store.protocol import Payment, Query, Stage, Store
from coinslot.store.schema.steps import VERSION

# How many payments are read at once: a page of a few hundred KiB.
PAGE = 500
_SQLITE = "sqlite:///"

app = typer.Typer(no_args_is_help=True, help="Back the record of payments up, and see what it holds.")

StoreOption = Annotated[
    str,
    typer.Option("--store", envvar="COINSLOT_STORE", help="sqlite:///PATH or postgresql://..., as the gate has it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


@contextmanager
def opened(url: str) -> Iterator[SessionStore]:
    """A store that exists already: to look into one must not make one. Raises ConfigError, StoreError."""
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise ConfigError(f"there is no store at {path}; name it with --store or COINSLOT_STORE")
    if url.startswith("memory:"):
        raise ConfigError("a store in memory can be seen only by the process that has it")
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite store, None for any other."""
    return Path(unquote(url.removeprefix(_SQLITE))) if url.startswith(_SQLITE) else None


def shown(url: str) -> str:
    """The URL of a store without user, password and options. T38"""
    if sqlite_path(url) is not None:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def pages(store: Store, query: Query) -> Iterator[Payment]:
    """All payments of a query up to its limit, newest first, read page by page."""
    left, before = query.limit, query.before
    while left > 0:
        page = store.payments(
            Query(query.stages, query.payer, query.since_s, query.until_s, before, min(PAGE, left))
        ).result()
        yield from page
        if len(page) < min(PAGE, left):
            return
        left, before = left - len(page), page[-1].challenge.id


@app.command("info")
def info(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Where the record is, how large, how many payments stand where, and what each account has."""
    with opened(store) as record:
        stages = Counter(str(payment.stage) for payment in pages(record, Query(limit=2**63)))
        balances = record.balances().result()
    path = sqlite_path(store)
    size = None if path is None else path.stat().st_size
    counted = {str(stage): stages[str(stage)] for stage in Stage}
    if as_json:
        texts = {asset: {who: str(n) for who, n in accounts.items()} for asset, accounts in balances.items()}
        print_json(
            {"store": shown(store), "schema": VERSION, "bytes": size, "payments": counted, "balances_units": texts}
        )
        return
    rows = [("store", shown(store)), ("schema", str(VERSION))]
    rows += [] if size is None else [("bytes", str(size))]
    rows += [(stage, str(count)) for stage, count in counted.items()]
    sys.stdout.write(columns(rows))
    for asset, accounts in balances.items():
        sys.stdout.write(f"\n{asset} (base units)\n")
        sys.stdout.write(columns([(safe(who), str(units)) for who, units in sorted(accounts.items())]))


@app.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the copy, 0600.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """A consistent copy of a SQLite store, while the gate goes on using it. An existing file is left alone.

    Restoring is putting the copy in the store's place while no program has it open.
    """
    with opened(store) as record:
        record.backup(os.fspath(target)).result()
    size = target.stat().st_size
    if as_json:
        print_json({"store": shown(store), "backup": str(target), "bytes": size})
    else:
        console().print(f"Copied {shown(store)} to {target} ({size} bytes)", markup=False)
