"""`coinslot sent`: payments that your wallet sent itself and whose answer nobody saw; look at them, or forget them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from coinslot.cli.channelview import LEAST_PREFIX, asset_of
from coinslot.cli.columns import columns, safe
from coinslot.cli.damage import require_readable
from coinslot.cli.methodflags import environment, with_method_flags
from coinslot.cli.output import print_json
from coinslot.cli.paying import BookOption, MethodOption, PassphraseOption, WalletOption, paying_wallet
from coinslot.core.challenge import Challenge
from coinslot.core.credential import decode_credential
from coinslot.core.instant import format_instant
from coinslot.drive import RealWorld, run
from coinslot.errors import (
    ChainError,
    ConfigError,
    MalformedCredential,
    MalformedHeader,
    PaymentOutcomeUnknown,
    StoreBusy,
    UsageError,
)
from coinslot.method import ChargePayer, Fate, Sending
from coinslot.store.book import Book, Damaged, PushedCharge
from coinslot.store.book_open import default_path, open_book

app = typer.Typer(
    no_args_is_help=True,
    help="Payments that your wallet sent itself and whose answer nobody saw: look at them, or forget them.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
TITLES = ("ID", "SENT", "AMOUNT", "TO", "FOR", "REFERENCE", "ON CHAIN")
NOT_ASKED, NOBODY_KNOWS = "not asked", "nobody knows"
_FATES = {Fate.LANDED: "paid", Fate.DEAD: "never", Fate.OPEN: "not yet"}
AGAIN = "Whoever asks for the same again may then pay again"


@contextmanager
def _opened(book: Path | None) -> Iterator[Book | None]:
    """The book; None where there is none yet: nothing was sent then."""
    path = book or default_path(environment())
    if not path.exists():
        yield None
        return
    with closing(open_book(path)) as found:
        yield found


def _ids(incomplete: str) -> Iterator[str]:
    """Payments whose id begins so, for shells."""
    with _opened(None) as record:
        charges = () if record is None else record.survey().result().charges
    yield from (one.id for one in charges if one.id.startswith(incomplete))


IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The payment's id, or the beginning of it.", autocompletion=_ids),
]


# --- looking -------------------------------------------------------------------------------------


def list_sent(
    look: Annotated[bool, typer.Option("--look", help="Ask the chain what became of each; needs the wallet.")] = False,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Payments that were sent and not answered to the end, the oldest first. Each may have been paid.

    Asking for the same again goes on with it, and pays nothing more. Without --look nobody is asked.
    """
    chain = _Chain(method, wallet, passphrase_file, flags) if look else None
    with _opened(book) as record:
        survey = None if record is None else record.survey().result()
    found = [] if survey is None else [(one, None if chain is None else chain.told(one)) for one in survey.charges]
    if as_json:
        print_json([_members(one, fate) for one, fate in found])
    elif found:
        sys.stdout.write(columns([TITLES, *(_row(one, fate) for one, fate in found)]))
    else:
        typer.echo("Nothing was sent that was not answered.", err=True)
    require_readable(() if survey is None else survey.damaged, charges=True)


@dataclass
class _Chain:
    """Who can say what became of a payment: this wallet's accounts, at its nodes."""

    method: str | None
    wallet: str | None
    passphrase_file: Path | None
    flags: dict[str, Any]
    _payers: Sequence[ChargePayer] | None = None

    def fate(self, charge: PushedCharge) -> Fate:
        """By the chain's own word. Raises ConfigError for another wallet's, ChainError: nobody knows."""
        with closing(RealWorld()) as world:
            if self._payers is None:
                paying = paying_wallet(self.method, self.wallet, self.passphrase_file, self.flags)
                self._payers = run(paying[1].payers(), world)
            for payer in self._payers:
                if (payer.method, payer.source()) == (charge.method, charge.payer):
                    return run(payer.look(Sending(charge.raw, charge.valid_until)), world)
        raise ConfigError(f"payment {charge.id} is of {safe(charge.payer)}, which is neither this wallet nor this node")

    def told(self, charge: PushedCharge) -> str:
        """The same for a list: one that can't be asked about hides no other."""
        try:
            return _FATES[self.fate(charge)]
        except ChainError:
            return NOBODY_KNOWS
        except ConfigError:
            if self._payers is None:  # no wallet at all
                raise
            return NOT_ASKED


def _offered(charge: PushedCharge) -> Challenge | None:
    try:
        return decode_credential(charge.header[1].partition(" ")[2]).challenge
    except MalformedCredential:
        return None


def _recipient(charge: PushedCharge) -> str | None:
    """To whom, where the offer names that as charges do."""
    offered = _offered(charge)
    try:
        named = None if offered is None else offered.request_object().get("recipient")
    except MalformedHeader:
        return None
    return named if isinstance(named, str) else None


def _members(charge: PushedCharge, fate: str | None) -> dict[str, object]:
    """A payment for programs: all but its credential and its bytes, which pay. T38"""
    asset, offered = asset_of(charge.method, charge.asset), _offered(charge)
    return {
        "id": charge.id,
        "sent_at": format_instant(charge.made_at_s),
        "method": charge.method,
        "payer": charge.payer,
        "recipient": _recipient(charge),
        "amount_units": str(charge.units),
        "asset": charge.asset,
        "symbol": asset.symbol or None,
        "decimals": asset.decimals,
        "origin": charge.origin,
        "request": charge.place or None,
        "description": None if offered is None else offered.description,
        "reference": charge.reference,
        "on_chain": fate,
    }


def _row(charge: PushedCharge, fate: str | None) -> list[str]:
    paid = asset_of(charge.method, charge.asset).text(charge.units)
    told = (
        charge.id,
        format_instant(charge.made_at_s),
        paid,
        _recipient(charge) or "?",
        charge.place or charge.origin,
        charge.reference or "?",
        fate or NOT_ASKED,
    )
    return [safe(cell) for cell in told]


# --- forgetting ----------------------------------------------------------------------------------


def forget(
    name: IdArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Don't ask the chain; forget it though it may still be paid.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Forget a payment: whoever asks for the same again may then pay again.

    The chain is asked first: one that it may still take is not forgotten, unless by --force. Nothing is sent.

    Example: coinslot sent forget 5f2e --rpc-url https://...
    """
    with _opened(book) as record:
        charge = _chosen(record, name)
        assert record is not None  # noqa: S101 - else nothing was chosen
        lease = record.try_lock(charge)
        if lease is None:  # F25
            raise StoreBusy(f"a program is going on with payment {safe(charge.id)} right now; nothing was forgotten")
        try:
            fate = None
            if not force:
                require_readable([charge] if isinstance(charge, Damaged) else [], charges=True)
                assert isinstance(charge, PushedCharge)  # noqa: S101 - for the type checker
                fate = _settled(_Chain(method, wallet, passphrase_file, flags), charge)
            _agreed(charge, fate, yes=yes)
            record.end_charge(charge.id).result()
        finally:
            lease.release()
    if as_json:
        print_json({"forgotten": charge.id, "on_chain": None if fate is None else _FATES[fate]})
    else:
        typer.echo(f"Payment {safe(charge.id)} is forgotten.", err=True)


def _settled(chain: _Chain, charge: PushedCharge) -> Fate:
    """What became of it, for good. Raises PaymentOutcomeUnknown where that is not certain."""
    fate = chain.fate(charge)
    if fate is Fate.OPEN:  # F03
        raise PaymentOutcomeUnknown(
            f"payment {safe(charge.id)} (reference {safe(charge.reference) or 'none'}) is not on the chain, and the "
            "chain may still take it; nothing was forgotten. Try later, or say --force",
            reference=charge.reference,
        )
    return fate


def _agreed(charge: PushedCharge | Damaged, fate: Fate | None, *, yes: bool) -> None:
    """That it may be forgotten. Raises typer.Abort for a no, UsageError where nobody can be asked."""
    if fate is Fate.DEAD or yes:
        return
    known = "was paid" if fate is Fate.LANDED else "may have been paid, or may be paid yet"
    if not _somebody_there():
        raise UsageError(f"payment {safe(charge.id)} {known}. {AGAIN}: say --yes. Nothing was forgotten")
    typer.confirm(f"Payment {safe(charge.id)} {known}. {AGAIN}. Forget it?", abort=True, err=True)


def _somebody_there() -> bool:
    return sys.stdin.isatty()


def _chosen(record: Book | None, name: str) -> PushedCharge | Damaged:
    """The payment of this id, or of the only id that begins so. Raises UsageError, StoreError."""
    found: list[PushedCharge | Damaged] = []
    if record is not None:
        survey = record.survey().result()
        every: list[PushedCharge | Damaged] = [*survey.charges]
        every += [one for one in survey.damaged if one.charge and one.id and "\N{REPLACEMENT CHARACTER}" not in one.id]
        exact = [one for one in every if one.id == name]
        found = exact or [one for one in every if one.id.startswith(name.lower())]
    if len(found) > 1:
        raise UsageError(f"{name!r} could be {len(found)} payments; write more of its id")
    if not found or len(name) < LEAST_PREFIX:
        raise UsageError(f"no payment {name!r} is in the book; `coinslot sent list` shows them")
    return found[0]


app.command("list")(with_method_flags("Wallet", list_sent))
app.command("forget")(with_method_flags("Wallet", forget))
