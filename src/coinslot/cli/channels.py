"""`coinslot channels`: the deposits that you have with sellers; look at them, fill them, get them back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from coinslot.cli.channelview import TITLES, amount, asset_of, chosen, members, page, row, to_come_back
from coinslot.cli.columns import columns
from coinslot.cli.damage import require_readable
from coinslot.cli.methodflags import environment, with_method_flags
from coinslot.cli.output import console, print_json
from coinslot.cli.paying import BookOption, MethodOption, PassphraseOption, WalletOption, paying_wallet
from coinslot.cli.payments import parse_moment
from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet
from coinslot.core.instant import format_instant
from coinslot.drive import RealWorld, run
from coinslot.errors import (
    ChainError,
    ConfigError,
    NoPayableOffer,
    PaymentRefused,
    RpcUnreachable,
    ServerUnreachable,
    UsageError,
)
from coinslot.intents.acts import Held, Standing
from coinslot.method import SessionPayer
from coinslot.money import parse_decimal, to_units
from coinslot.services import leaving
from coinslot.services.cooperation import Cooperation
from coinslot.store.book import ENDED, Book, Damaged
from coinslot.store.book_open import default_path, open_book

# Between two looks at the chain while a payee may still settle: soon after its time, and little for a node.
LOOK_EVERY_S = 10.0
# Where `sync` begins to look for channels that the book doesn't know.
SINCE = "30d"

LATER = "Ten minutes after they were opened `coinslot channels withdraw --all` brings it back."

app = typer.Typer(
    no_args_is_help=True,
    help="The deposits that you have with sellers (payment channels): look at them, fill them, get them back.",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="A paid URL of the channel's seller; else it is looked for.", show_default=False),
]


def _ids(incomplete: str) -> Iterator[str]:
    """Channels whose id begins so, for shells."""
    path = default_path(environment())
    if not path.exists():
        return
    with closing(open_book(path)) as book:
        for held in book.survey().result().channels:
            if held.channel_id.startswith(incomplete):
                yield held.channel_id


IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The channel's id, or the beginning of it.", autocompletion=_ids),
]
IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Channels by their ids, or the beginnings of them.", autocompletion=_ids),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every channel that has not ended.")]


@contextmanager
def _opened(book: Path | None) -> Iterator[Book]:
    """The book, which must be there: to look into one must not make one. Raises ConfigError, StoreError."""
    path = book or default_path(environment())
    if not path.exists():
        raise ConfigError(f"there is no book of channels at {path}; a first paid session makes it")
    with closing(open_book(path)) as found:
        yield found


# --- looking -------------------------------------------------------------------------------------


@app.command("list")
def list_channels(
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    book: BookOption = None,
    as_json: JsonOption = False,
) -> None:
    """Your channels, the newest first, as the book has them. Nobody is asked.

    DEPOSIT lies in escrow; SPENT is the seller's last word, never above what you signed.
    """
    with _opened(book) as record:
        survey = record.survey().result()
    found = [one for one in survey.channels if every or one.standing not in ENDED]
    unanswered = len(survey.charges) + sum(one.charge for one in survey.damaged)
    if unanswered:
        typer.echo(
            f"Payments that were sent, and whose answer nobody saw: {unanswered} (`coinslot sent list`).", err=True
        )
    if as_json:
        print_json([members(one) for one in found])
    elif found:
        sys.stdout.write(columns([TITLES, *(row(one) for one in found)]))
    else:
        typer.echo("No channel holds anything of yours. `coinslot channels sync` looks for lost ones.", err=True)
    require_readable(survey.damaged)


@app.command("show")
def show(name: IdArgument, book: BookOption = None, as_json: JsonOption = False) -> None:
    """Everything about one channel but its vouchers, which are money."""
    with _opened(book) as record:
        held = chosen(record, name)
    if as_json:
        print_json(members(held))
    else:
        sys.stdout.write(columns(page(held)))


# --- what needs a wallet -------------------------------------------------------------------------


class _Desk:
    """A wallet and a book at work."""

    def __init__(self, record: Book, wallet: Wallet, policy: Policy, *, as_json: bool) -> None:
        self.book = record
        self.world = RealWorld()
        self.payers = run(wallet.session_payers(), self.world)
        self.cooperation = Cooperation(wallet, record, policy)
        self.as_json = as_json
        self.damaged: tuple[Damaged, ...] = ()

    def channels(self) -> tuple[Held, ...]:
        """Every channel that can be read; the others are told of at the end, by `finish`."""
        survey = self.book.survey().result()
        self.damaged = survey.damaged
        return survey.channels

    def finish(self) -> None:
        """Collect, and tell of what can't be read. Raises StoreBroken."""
        self.collect()
        require_readable(self.damaged)

    def payer(self, held: Held) -> SessionPayer:
        """Who can speak for a channel. Raises ConfigError."""
        return leaving.payer_of(self.payers, held)

    def look(self, held: Held) -> leaving.Seen:
        """Compare with the chain. Raises ConfigError, ChainError, StoreError."""
        return run(leaving.reconcile(self.book, self.payer(held), held), self.world)

    def collect(self) -> None:
        """Take back what channels that are over still hold of ours (rent), and tell; not having it stops nothing."""
        for payer in self.payers:
            try:
                found = run(leaving.collect(self.book, payer), self.world)
            except (ChainError, NoPayableOffer) as error:
                self.note(f"What closed channels hold of {payer.account} (rent) was not collected: {error}")
                continue
            if found.ready:
                self.note(f"Rent of {_channels(len(found.ready))} came back.")
            if found.waiting:
                self.note(f"{_channels(len(found.waiting))} that ended hold rent of yours. {LATER}")

    def close(self) -> None:
        """Let everything go."""
        self.cooperation.__exit__(None, None, None)
        self.world.close()

    def note(self, text: str) -> None:
        """A line of progress on standard error."""
        if not self.as_json:
            typer.echo(text, err=True)


@contextmanager
def _desk(
    book: Path | None, paying: tuple[str, Wallet], *, as_json: bool, policy: Policy | None = None, make: bool = False
) -> Iterator[_Desk]:
    path = book or default_path(environment())
    if not make and not path.exists():
        raise ConfigError(f"there is no book of channels at {path}; a first paid session makes it")
    with (
        closing(open_book(path)) as record,
        closing(_Desk(record, paying[1], policy or Policy(), as_json=as_json)) as desk,
    ):
        yield desk


def _those(desk: _Desk, names: list[str] | None, every: bool, fits: Callable[[Held], bool]) -> list[Held]:
    """The channels that a command is about. Raises UsageError where none is named."""
    if every:
        return [one for one in desk.channels() if fits(one)]
    if not names:
        raise UsageError("name a channel by its id, or say --all")
    return [chosen(desk.book, name) for name in names]


def _asked(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask, where there is somebody to answer. Raises typer.Abort for a no."""
    if not yes and not as_json and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


@dataclass(frozen=True)
class _Ended:
    """How a close or a withdrawal went: by the "server", by the "chain", or "waiting" for its payee's time to pass."""

    held: Held
    how: str
    returned_units: int | None

    def told(self) -> dict[str, object]:
        """For programs."""
        returned = None if self.returned_units is None else str(self.returned_units)
        return {**members(self.held), "closed_by": self.how, "returned_units": returned}


def _print(ended: list[_Ended], as_json: bool) -> None:
    if as_json:
        print_json([one.told() for one in ended])
        return
    for one in ended:
        if one.how == "waiting":
            text = (
                f"{one.held.channel_id} is closing; get the rest with: coinslot channels withdraw {one.held.channel_id}"
            )
        else:
            back = "" if one.returned_units is None else f"; {amount(one.held, one.returned_units)} came back"
            text = f"{one.held.channel_id} is {one.held.standing}{back}"
        console().print(text, markup=False)


def close_channels(
    names: IdsArgument = None,
    every: AllOption = False,
    url: UrlOption = None,
    server_only: Annotated[
        bool, typer.Option("--server-only", help="Give up if the seller doesn't close it; leave the chain alone.")
    ] = False,
    no_server: Annotated[
        bool, typer.Option("--no-server", help="Don't ask the seller; ask the chain, and wait.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Don't wait for the chain; `withdraw` takes the rest later.")
    ] = False,
    yes: YesOption = False,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Close channels, and get back what was not spent.

    The seller is asked first: that takes a block, and costs you nothing. If it doesn't answer or refuses, the chain is
    asked, for a network fee: the seller then has some minutes to take what you spent, and you get the rest after that.
    The wait may be interrupted (Ctrl-C); `coinslot channels withdraw` goes on with it.

    Example: coinslot channels close 0x6d0f --rpc-url https://...
    """
    if server_only and no_server:
        raise UsageError("--server-only and --no-server leave nobody to ask")
    paying = paying_wallet(method, wallet, passphrase_file, flags)
    with _desk(book, paying, as_json=as_json) as desk:
        ended: list[_Ended] = []
        for held in _those(desk, names, every, lambda one: one.standing not in ENDED):
            rest = amount(held, to_come_back(held))
            _asked(f"Close {held.channel_id} at {held.origin or '?'}? {rest} come back.", yes=yes, as_json=as_json)
            done = None if no_server else _by_server(desk, held, url, last=server_only)
            ended.append(done or _by_chain(desk, held, wait=not no_wait))
        _print(ended, as_json)
        desk.finish()


def _by_server(desk: _Desk, held: Held, url: str | None, *, last: bool) -> _Ended | None:
    """Closed by its seller; None where that can't be."""
    with suppress(ChainError):  # the seller may do without us looking
        seen = desk.look(held)
        if seen.held.standing in ENDED:
            return _Ended(seen.held, "chain", _returned(seen))
    try:
        closed = desk.cooperation.close(held, url)
    except (ServerUnreachable, NoPayableOffer, PaymentRefused) as error:
        if last:
            raise
        desk.note(f"The seller did not close {held.channel_id}: {str(error).rstrip('.')}. Asking the chain.")
        return None
    try:
        return _Ended(closed, "server", _returned(desk.look(closed)))
    except ChainError:
        return _Ended(closed, "server", None)


def _returned(seen: leaving.Seen) -> int | None:
    """What came back, by the chain's own word."""
    if not seen.state.closed or seen.held.standing is not Standing.CLOSED:
        return None
    return seen.held.deposit_units - seen.state.settled_units


def _by_chain(desk: _Desk, held: Held, *, wait: bool) -> _Ended:
    seen = run(leaving.ask_to_close(desk.book, desk.payer(held), held), desk.world)
    if seen.held.standing in ENDED:
        return _Ended(seen.held, "chain", _returned(seen))
    return _withdrawn(desk, seen.held, wait=wait)


def _withdrawn(desk: _Desk, held: Held, *, wait: bool) -> _Ended:
    """Take the rest back, now or when its payee's time has passed."""
    payer = desk.payer(held)
    told = False
    while True:
        try:
            seen = run(leaving.withdraw(desk.book, payer, held), desk.world)
        except RpcUnreachable:
            if not told:
                raise
            seen = None  # a node that is away for a while
        if seen is not None:
            return _Ended(seen.held, "chain", _returned(seen))
        if not wait:
            return _Ended(desk.book.get(held.key).result() or held, "waiting", None)
        if not told:
            until = (desk.book.get(held.key).result() or held).closing_at_s or time.time()
            moment = format_instant(until + payer.withdraw_after_s(held))
            desk.note(
                f"{held.channel_id} is closing. Its seller may still settle; waiting until about {moment}. "
                f"Ctrl-C is safe: coinslot channels withdraw {held.channel_id} goes on."
            )
            told = True
        time.sleep(LOOK_EVERY_S)


def withdraw(
    names: IdsArgument = None,
    every: AllOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its payee's time has passed.")] = False,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Take back what is left of channels that the chain was asked to close, once their time has come.

    And rent that you paid for channels that are over, where a chain has such.

    Safe to repeat. Without --wait a channel whose time has not come is told, and left.
    """
    paying = paying_wallet(method, wallet, passphrase_file, flags)
    with _desk(book, paying, as_json=as_json) as desk:
        those = _those(desk, names, every, lambda one: one.standing is Standing.CLOSING)
        _print([_withdrawn(desk, held, wait=wait) for held in those], as_json)
        desk.finish()


def top_up(
    name: IdArgument,
    more: Annotated[str, typer.Argument(metavar="AMOUNT", help="Whole tokens to add.")],
    url: UrlOption = None,
    yes: YesOption = False,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Add to a channel's deposit. What is not spent comes back when it is closed.

    Example: coinslot channels top-up 0x6d0f 5 --rpc-url https://...
    """
    paying = paying_wallet(method, wallet, passphrase_file, flags)
    added = parse_decimal(more)
    with _opened(book) as record:
        held = chosen(record, name)
    decimals = asset_of(held.method, held.asset).decimals
    if decimals is None:
        raise ConfigError(f"how many decimals {held.asset} has is not known here; a paid request tops it up by itself")
    units = to_units(added, decimals)
    most = Decimal(held.deposit_units + units).scaleb(-decimals)
    policy = Policy(max_deposit=most)
    _asked(f"Add {amount(held, units)} to {held.channel_id} at {held.origin or '?'}?", yes=yes, as_json=as_json)
    with _desk(book, paying, as_json=as_json, policy=policy) as desk:
        desk.look(held)
        filled = desk.cooperation.top_up(held, url, units)
    if as_json:
        print_json(members(filled))
    else:
        console().print(f"{filled.channel_id} holds {amount(filled, filled.deposit_units)}", markup=False)


def sync(
    since: Annotated[str, typer.Option(help="Look for lost channels from then on: 2026-01-31, 7d ...")] = SINCE,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    as_json: JsonOption = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Compare the book with the chain, and look on the chain for channels of yours that it doesn't know.

    Needed after a lost or restored book. Nothing is signed and nothing moves.
    """
    paying = paying_wallet(method, wallet, passphrase_file, flags)
    since_s = parse_moment(since) or 0.0
    with _desk(book, paying, as_json=as_json, make=True) as desk:
        known = [one for one in desk.channels() if one.standing not in ENDED]
        others = [one for one in known if not _speaks(desk, one)]
        seen = [desk.look(one) for one in known if _speaks(desk, one)]
        found = [one for payer in desk.payers for one in run(leaving.find(desk.book, payer, since_s), desk.world)]
        left = [run(leaving.left(desk.book, payer), desk.world) for payer in desk.payers]
    ready = [name for each in left for name in each.ready]
    waiting = [name for each in left for name in each.waiting]
    if as_json:
        compared = [{**members(one.held), "on_chain": not one.missing} for one in seen]
        rent = {"ready": ready, "waiting": waiting}
        print_json(
            {"compared": compared, "found": [members(one) for one in found], "not_asked": len(others), "rent": rent}
        )
        require_readable(desk.damaged)
        return
    rows = [[*row(one.held), "not seen on the chain yet" if one.missing else "compared"] for one in seen]
    rows += [[*row(one), "found on the chain"] for one in found]
    if rows:
        sys.stdout.write(columns([[*TITLES, ""], *rows]))
    else:
        typer.echo("Nothing of yours is locked in a channel, as far as this wallet and node know.", err=True)
    if ready:
        typer.echo(
            f"{_channels(len(ready))} that ended hold rent of yours: `coinslot channels withdraw --all` "
            "brings it back.",
            err=True,
        )
    if waiting:
        typer.echo(f"{_channels(len(waiting))} that ended hold rent of yours. {LATER}", err=True)
    if others:
        typer.echo(f"{len(others)} channels belong to another wallet or network, and were not asked about.", err=True)
    require_readable(desk.damaged)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _speaks(desk: _Desk, held: Held) -> bool:
    try:
        desk.payer(held)
    except ConfigError:
        return False
    return True


app.command("close")(with_method_flags("Wallet", close_channels))
app.command("withdraw")(with_method_flags("Wallet", withdraw))
app.command("top-up")(with_method_flags("Wallet", top_up))
app.command("sync")(with_method_flags("Wallet", sync))
