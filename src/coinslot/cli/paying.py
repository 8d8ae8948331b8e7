"""What commands that pay share: the key of the wallet that was named, and the wallet as a paying client wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coinslot.cli.methodflags import environment, method_meant, method_table
from coinslot.cli.secretinput import PASSPHRASE_VARIABLE, read_passphrase
from coinslot.client.wallet import Wallet
from coinslot.client.wallet import wallet as wallet_of
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError
from coinslot.method import keys_of, load
from coinslot.services.keystore import KEY_VARIABLE, Keystore, choose_wallet, find_key, home

WalletOption = Annotated[
    str | None,
    typer.Option("--wallet", help="Which wallet pays; else COINSLOT_PRIVATE_KEY or the only one.", show_default=False),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help=f"Passphrase of the wallet; else {PASSPHRASE_VARIABLE} or a prompt.",
        show_default=False,
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="Payment method; else COINSLOT_METHOD, or what the node speaks.", show_default=False),
]
BookOption = Annotated[
    Path | None,
    typer.Option(
        "--book",
        envvar="COINSLOT_BOOK",
        help="The file that your channels are written in; by default the one of all programs.",
        show_default=False,
    ),
]


def paying_wallet(
    method: str | None, wallet: str | None, passphrase_file: Path | None, flags: dict[str, Any], *, dry: bool = False
) -> tuple[str, Wallet]:
    """The method's name and a wallet to pay with; `dry`: one that signs nothing needs no key.

    Raises ConfigError, WalletError, MissingDependency.
    """
    chosen = method or _method_of(wallet) or method_meant(None, flags)
    table = method_table("Wallet", chosen, flags, environment())
    if load(chosen).keys is not None:  # a method whose payers sign with a key that a wallet keeps
        table["private_key"] = _key(chosen, wallet, passphrase_file, dry)
    elif wallet is not None:
        raise ConfigError(f"--wallet: payment method {chosen!r} has no keys that a wallet could keep")
    return chosen, wallet_of(**{chosen: table})


def _method_of(wallet: str | None) -> str | None:
    """The method of the wallet that will be opened; None where there is none."""
    store = Keystore(home(environment()) / "wallets")
    if wallet is None and (environment().get(KEY_VARIABLE) or not store.names()):
        return None
    return store.find(wallet if wallet is not None else choose_wallet(store.names())).method


def _key(method: str, wallet: str | None, passphrase_file: Path | None, dry: bool) -> str:
    """The key to pay with. A dry run signs nothing, so any key will do where none is configured."""

    def ask(name: str) -> str:
        return read_passphrase(passphrase_file, f"Passphrase of wallet {name}")

    keys = keys_of(load(method))
    if dry and wallet is None:
        return run(keys.new_key(), RealWorld())
    found = find_key(wallet, Keystore(home(environment()) / "wallets"), ask, environment(), keys.read_key)
    if found.wallet is not None and found.wallet.method != method:
        raise ConfigError(f"wallet {found.wallet.name!r} is of method {found.wallet.method!r}, not {method!r}")
    return found.private_key
