"""`coinslot wallet`: named keys to pay with, encrypted at rest."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from coinslot import method as methods
from coinslot.cli.columns import columns
from coinslot.cli.output import console, print_json
from coinslot.cli.secretinput import read_key, read_passphrase
from coinslot.drive import RealWorld, run
from coinslot.errors import (
    ConfigError,
    MissingDependency,
    UsageError,
    WalletError,
    WalletExists,
    WalletLocked,
)
from coinslot.method import Holding, Keyed, keys_of
from coinslot.money import to_text
from coinslot.services.accepting import VARIABLE
from coinslot.services.keystore import Keystore, Wallet, choose_wallet, home

app = typer.Typer(no_args_is_help=True, help="Named keys to pay with, encrypted at rest.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The wallet's name.")]
MethodOption = Annotated[
    str | None, typer.Option("--method", help="Payment method; else COINSLOT_METHOD, or the only one that has keys.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Read the passphrase here instead of COINSLOT_PASSPHRASE or a prompt."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def wallets() -> Keystore:
    """The user's wallets, in COINSLOT_HOME or the data folder. Raises ConfigError."""
    return Keystore(home(os.environ) / "wallets")


@app.command("new")
def new(
    name: NameArgument,
    method: MethodOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a fresh key and keep it. It is never shown: `export` writes it to a file if another program needs it."""
    store, (method, keys) = _free(name), _keyed(method)
    key = run(keys.new_key(), RealWorld())
    _told(_keep(store, name, (method, keys), key, passphrase_file), "New wallet", as_json)


@app.command("import", context_settings={"allow_extra_args": True})
def import_key(
    context: typer.Context,
    name: NameArgument,
    key_file: Annotated[
        Path | None, typer.Option(help="Read the key here; '-' is standard input. Without it: asked at the terminal.")
    ] = None,
    method: MethodOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep an existing private key: 64 hex digits, or as its chain's wallets export it. From a prompt, a file or
    standard input, never an argument.
    """
    if context.args:  # told here, since the usual complaint would repeat what may be a key. T38
        raise UsageError(
            "import takes a name and nothing else. If that was a key: other users could read it just now, and it is in "
            "your shell's history; take a new one"
        )
    store, (method, keys) = _free(name), _keyed(method)
    key = read_key(key_file, keys.read_key)
    _told(_keep(store, name, (method, keys), key, passphrase_file), "Imported wallet", as_json)


@app.command("list")
def list_wallets(as_json: JsonOption = False) -> None:
    """All wallets. Exit code 1 if the file of one can't be read."""
    store = wallets()
    found: list[Wallet] = []
    damaged: list[WalletError] = []
    for name in store.names():
        try:
            found.append(store.find(name))
        except WalletError as error:
            damaged.append(error)
    if as_json:
        print_json([_members(wallet) for wallet in found])
    elif found:
        rows = [(wallet.name, wallet.method, wallet.address) for wallet in found]
        sys.stdout.write(columns([("NAME", "METHOD", "ADDRESS"), *rows]))
    elif not damaged:
        console().print("No wallets yet. Make one with: coinslot wallet new NAME")
    if damaged:
        raise WalletError("; ".join(str(error) for error in damaged))


@app.command("show")
def show(
    name: NameArgument,
    verify: Annotated[bool, typer.Option("--verify", help="Open it: prove passphrase and address.")] = False,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Address, method and file of a wallet; never its key."""
    store = wallets()
    wallet = store.find(name)
    if verify:
        _proven(store, wallet, passphrase_file)
    _told(wallet, "Verified wallet" if verify else "Wallet", as_json)


@app.command("balance")
def balance(
    rpc_url: Annotated[str, typer.Option(envvar="COINSLOT_RPC_URL", help="A node of the chain to ask.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="By default the default or only wallet.")] = None,
    token: Annotated[list[str] | None, typer.Option(help="A token's address; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What a wallet owns, read from the chain. Needs no passphrase."""
    store = wallets()
    wallet = store.find(name or choose_wallet(store.names()))
    if not rpc_url.startswith(("http://", "https://")):
        raise UsageError("--rpc-url must begin with http:// or https://")
    keys = keys_of(methods.load(wallet.method))
    with closing(RealWorld()) as world:
        owned = run(keys.balances(rpc_url, wallet.address, token or []), world)
    if as_json:
        print_json(_members(wallet) | {"balances": [_holding(each) for each in owned]})
        return
    out = console()
    out.print(f"{wallet.name} {wallet.address}")
    for each in owned:
        out.print(f"  {each.asset.text(each.amount_units)} ({each.asset.key})", markup=False)


@app.command("export")
def export(
    name: NameArgument,
    key_file: Annotated[Path, typer.Option(help="A new file for the key, 0600; an existing one is left alone.")],
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a wallet's private key, in clear, to a new file. Whoever has that file has the money."""
    store = wallets()
    wallet = store.find(name)
    key = _proven(store, wallet, passphrase_file)
    try:
        handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(f"{key}\n")
    except OSError as error:
        raise UsageError(f"key file {key_file}: {error.strerror}") from None
    _told(wallet, f"Private key in clear in {key_file}, of wallet", as_json)


@app.command("remove")
def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a wallet's file. Without another copy of the key, what it owns is lost for ever."""
    store = wallets()
    if name not in store.names():
        store.find(name)  # a damaged file may go; one that isn't there is an error
    if not yes:
        typer.echo(f"This deletes {store.folder / name}.json, the only place where coinslot keeps this key.", err=True)
        if typer.prompt(f"Type {name!r} to delete it", err=True, default="", show_default=False) != name:
            raise WalletError("that is not its name; nothing was removed")
    store.remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        console().print(f"Removed wallet {name}")


def _free(name: str) -> Keystore:
    """The wallets, none of them called `name`. Asked before anything is typed."""
    store = wallets()
    if name in store.names():
        raise WalletExists(f"a wallet called {name!r} exists; nothing was overwritten")
    return store


def _keep(store: Keystore, name: str, keyed: tuple[str, Keyed], key: str, passphrase_file: Path | None) -> Wallet:
    method, address = keyed[0], keyed[1].address_of(key)  # before a passphrase is asked: the key may be none
    passphrase = read_passphrase(passphrase_file, f"New passphrase for wallet {name}", twice=True)
    return store.create(
        name, method=method, address=address, private_key=key, passphrase=passphrase, created_at_s=time.time()
    )


def _proven(store: Keystore, wallet: Wallet, passphrase_file: Path | None) -> str:
    """The key, after it was seen to belong to the address that the file shows."""
    key = store.unlock(wallet.name, read_passphrase(passphrase_file, f"Passphrase of wallet {wallet.name}"))
    if keys_of(methods.load(wallet.method)).address_of(key) != wallet.address:
        raise WalletLocked(f"wallet {wallet.name!r}: its key does not belong to its address")
    return key


def _keyed(name: str | None) -> tuple[str, Keyed]:
    """The method of that name, or the only one with keys. A method whose libraries are missing doesn't count."""
    name = name or os.environ.get(VARIABLE)
    if name is not None:
        return name, keys_of(methods.load(name))
    found: list[tuple[str, Keyed]] = []
    missing: MissingDependency | None = None
    for each in methods.installed():
        try:
            found.append((each, keys_of(methods.load(each))))
        except MissingDependency as error:
            missing = error
        except ConfigError:
            continue
    if len(found) == 1:
        return found[0]
    if not found and missing is not None:
        raise missing
    raise ConfigError(
        f"which payment method? Choose with --method or {VARIABLE}: {', '.join(each for each, _ in found) or 'none'}"
    )


def _members(wallet: Wallet) -> dict[str, object]:
    return {
        "name": wallet.name,
        "method": wallet.method,
        "address": wallet.address,
        "created_at": wallet.created_at,
        "path": str(wallet.path),
    }


def _holding(each: Holding) -> dict[str, object]:
    asset = each.asset
    return {
        "network": asset.network,
        "token": asset.id,
        "symbol": asset.symbol or None,
        "amount_units": str(each.amount_units),
        "decimals": asset.decimals,
        "amount": None if asset.decimals is None else to_text(each.amount_units, asset.decimals),
    }


def _told(wallet: Wallet, what: str, as_json: bool) -> None:
    if as_json:
        print_json(_members(wallet))
        return
    out = console()
    out.print(f"{what} {wallet.name} ({wallet.method})", markup=False)
    out.print(f"  address  {wallet.address}", markup=False)
    out.print(f"  made     {wallet.created_at}", markup=False)
    out.print(f"  file     {wallet.path}", markup=False)
