"""`coinslot fetch`: curl for things that cost money."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import msgspec
import typer

from coinslot.cli.methodflags import with_method_flags
from coinslot.cli.output import ExitCode, print_json
from coinslot.cli.paying import BookOption, MethodOption, PassphraseOption, WalletOption, paying_wallet
from coinslot.cli.spending import Spending
from coinslot.client.events import Declined, Event, Offered, Paid, Paying, Presented, Resumed
from coinslot.client.purse import DEFAULT_MAX, DEFAULT_WINDOW, Policy, Quote
from coinslot.errors import NoPayableOffer, PolicyRefused, ServerUnreachable, UsageError
from coinslot.intents import charge, session
from coinslot.money import parse_decimal
from coinslot.transports.httpx import RESULT, Session, pay
from coinslot.transports.httpx import session as session_of

# Long enough for a slow API; payments wait longer by themselves.
DEFAULT_TIMEOUT_S = 30.0
_SECRET_HEADERS = frozenset(["authorization", "payment-authorization", "cookie", "proxy-authorization"])


@dataclass
class _Story:
    """What happened, for -v, --dry-run and --json."""

    verbose: bool
    silent: bool
    spending: Spending
    quotes: list[Quote] = field(default_factory=list)
    offers: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        self.spending.hear(event)
        match event:
            case Offered(origin=origin, offers=offers):
                self.offers = offers
                self.note(f"{origin} asks for payment: {', '.join(offers)}")
            case Paying(origin=origin, terms=terms, reference=reference, again=again):
                how = "presenting the same payment again" if again else "paying"
                self.note(f"{how} {terms.asset.text(terms.amount_units)} to {origin}, reference {reference}")
            case Resumed(reference=reference):
                self.note(f"this was paid for before, and the answer lost: going on with reference {reference}")
            case Paid(receipt=receipt, warning=warning):
                self.note(
                    "paid" + (f", receipt {receipt.reference}" if receipt else "") + (f"; {warning}" if warning else "")
                )
            case Presented(status=status):
                self.note(f"paid, but the server answered {status}; the same payment may be presented again")
            case Declined(reason=reason):
                self.note(f"not paid: {reason}")
            case _:
                pass

    def note(self, text: str) -> None:
        """A line of the story on standard error."""
        if self.verbose and not self.silent:
            sys.stderr.write(f"* {text}\n")


def _body(data: list[str]) -> bytes | None:
    """What -d says, as curl reads it: texts joined with '&', @FILE and @- from files with line ends removed."""
    parts = []
    for text in data:
        if not text.startswith("@"):
            parts.append(text.encode("utf-8"))
            continue
        try:
            raw = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
        except OSError as error:
            raise UsageError(f"-d {text}: {error.strerror}") from None
        parts.append(raw.replace(b"\r", b"").replace(b"\n", b""))
    return b"&".join(parts) if parts else None


def _headers(texts: list[str], body: bytes | None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"-H {name!r}: write it like 'Name: value'")
        found.append((name.strip(), value.strip()))
    named = {name.lower() for name, _ in found}
    if body is not None and "content-type" not in named:
        found.append(("Content-Type", "application/x-www-form-urlencoded"))
    return found


@dataclass(frozen=True)
class _Ask:
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None


def _shown(response: httpx.Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}"]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in response.headers.raw]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _open(target: Path | None) -> BinaryIO:
    if target is None or str(target) == "-":
        return sys.stdout.buffer
    try:
        return target.open("wb")
    except OSError as error:
        raise UsageError(f"-o {target}: {error.strerror}") from None


def _payment(response: httpx.Response) -> dict[str, Any] | None:
    done = response.extensions.get(RESULT)
    if not isinstance(done, (Paid, Presented)):
        return None
    terms = done.terms
    receipt = done.receipt.members() if isinstance(done, Paid) and done.receipt else None
    return {
        "amount": terms.asset.text(terms.amount_units),
        "amount_units": str(terms.amount_units),
        "asset": terms.asset.key,
        "payees": [{"recipient": one.recipient, "amount_units": str(one.amount_units)} for one in terms.payees],
        "reference": done.reference,
        "receipt": receipt,
    }


def _keep_receipt(path: Path, response: httpx.Response) -> None:
    payment = _payment(response)
    if payment is None or payment["receipt"] is None:
        return
    try:
        path.write_bytes(msgspec.json.encode(payment["receipt"]) + b"\n")
    except OSError as error:
        raise UsageError(f"--receipt {path}: {error.strerror}; it was paid, reference {payment['reference']}") from None


def _dry(quotes: list[Quote], ask: _Ask, as_json: bool, status: int | None) -> None:
    if not quotes:
        print_json({"would_pay": None, "status": status}) if as_json else sys.stdout.write("Nothing to pay.\n")
        return
    quote = quotes[0]
    terms = quote.terms
    if as_json:
        payees = [{"recipient": one.recipient, "amount_units": str(one.amount_units)} for one in terms.payees]
        told = {"amount": terms.asset.text(terms.amount_units), "asset": terms.asset.key}
        told |= {"unit": quote.unit} if quote.unit else {}
        print_json({"would_pay": {**told, "amount_units": str(terms.amount_units), "payees": payees}})
        return
    price = terms.asset.text(terms.amount_units) + (f" per {quote.unit}" if quote.unit else "")
    sys.stdout.write(f"Would pay {price} for {ask.method} {ask.url}\n")
    for one in terms.payees:
        sys.stdout.write(f"  {terms.asset.text(one.amount_units)} to {one.recipient}\n")
    sys.stdout.write("Nothing was signed or sent.\n")


@dataclass(frozen=True)
class _Sessions:
    """Whether and how channels may pay: `max_deposit` None: not at all. Amounts in whole tokens."""

    max_deposit: Decimal | None
    budget: Decimal
    close: bool
    max_window: int | None


def _sessions(
    *, wanted: bool, intent: str | None, max_deposit: str | None, budget: Decimal, close: bool, max_window: int | None
) -> _Sessions:
    if intent not in (None, charge.INTENT, session.INTENT):
        raise UsageError(f"--intent is {charge.INTENT} or {session.INTENT}")
    allowed = wanted or close or max_deposit is not None or intent == session.INTENT
    if allowed and intent == charge.INTENT:
        raise UsageError("--intent charge leaves nothing to --session, --max-deposit and --close")
    if max_window is not None and max_window < 1:
        raise UsageError("--max-window is 1 or more")
    deposit = budget if max_deposit is None else parse_decimal(max_deposit)
    return _Sessions(deposit if allowed else None, budget, close, max_window)


def _policy(sessions: _Sessions, story: _Story, dry: bool) -> Policy:
    def approve(quote: Quote) -> bool:
        story.quotes.append(quote)
        return not dry

    return Policy(
        max_per_request=sessions.budget,
        approve=approve,
        max_deposit=sessions.max_deposit,
        prefer_sessions=sessions.max_deposit is not None,
        max_window=sessions.max_window,
    )


def _send(client: httpx.Client | Session, ask: _Ask, handle: Callable[[httpx.Response], None]) -> None:
    try:
        with client.stream(ask.method, ask.url, headers=ask.headers, content=ask.body) as response:
            handle(response)
    except httpx.InvalidURL as error:
        raise UsageError(f"{ask.url}: {error}") from None
    except httpx.UnsupportedProtocol:
        raise UsageError(f"{ask.url}: write a whole URL, such as https://api.example.com/paid") from None
    except httpx.TooManyRedirects:
        raise ServerUnreachable(f"{ask.url}: too many redirects") from None
    except httpx.TransportError as error:
        raise ServerUnreachable(f"{ask.url}: {type(error).__name__}: {error}") from None


HeaderOption = Annotated[
    list[str], typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="A header. Repeatable.")
]
DataOption = Annotated[list[str], typer.Option("-d", "--data", metavar="TEXT|@FILE|@-", help="A body; makes it POST.")]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", help="Write the body here.", show_default=False)]
LocationOption = Annotated[
    bool, typer.Option("-L", "--location", help="Follow redirects; pays within one origin only.")
]
VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", help="Tell the story of the payment on standard error.")
]
MaxTimeOption = Annotated[float, typer.Option("-m", "--max-time", help="Seconds to wait for an answer.")]
MaxSpendOption = Annotated[
    str | None, typer.Option(help="Most that this request may cost, in whole dollars.", show_default="1")
]
SessionOption = Annotated[
    bool, typer.Option("--session", help="Pay from a channel where that is offered: opened once, used again.")
]
MaxDepositOption = Annotated[
    str | None,
    typer.Option(help="Most that a channel may hold, in whole tokens; allows channels.", show_default="max-spend"),
]
CloseOption = Annotated[
    bool, typer.Option("--close", help="Close the channel afterwards: what was not spent comes back.")
]
IntentOption = Annotated[
    str | None, typer.Option(metavar="charge|session", help="Pay in this way only.", show_default=False)
]
MaxWindowOption = Annotated[
    int | None,
    typer.Option(
        help="Units of a metered answer that may be paid before they come.",
        show_default=f"{DEFAULT_WINDOW} while it comes, max-spend before",
    ),
]


def fetch(
    url: Annotated[str, typer.Argument(help="What to get.")],
    request: Annotated[str | None, typer.Option("-X", "--request", help="HTTP method.", show_default=False)] = None,
    header: HeaderOption = [],  # noqa: B006
    data: DataOption = [],  # noqa: B006
    output: OutputOption = None,
    include: Annotated[bool, typer.Option("-i", "--include", help="Show the answer's headers too.")] = False,
    head: Annotated[bool, typer.Option("-I", "--head", help="HEAD: headers only.")] = False,
    location: LocationOption = False,
    silent: Annotated[bool, typer.Option("-s", "--silent", help="Say nothing on standard error but errors.")] = False,
    verbose: VerboseOption = False,
    fail: Annotated[bool, typer.Option("-f", "--fail", help="Exit with 1 if the answer is an HTTP error.")] = False,
    max_time: MaxTimeOption = DEFAULT_TIMEOUT_S,
    max_spend: MaxSpendOption = None,
    with_session: SessionOption = False,
    max_deposit: MaxDepositOption = None,
    close: CloseOption = False,
    intent: IntentOption = None,
    max_window: MaxWindowOption = None,
    book: BookOption = None,
    wallet: WalletOption = None,
    passphrase_file: PassphraseOption = None,
    method: MethodOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be paid to whom; sign nothing.")] = False,
    receipt: Annotated[Path | None, typer.Option(help="Write the receipt here as JSON.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON: status, payment, body.")] = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Get a URL, and pay for it if it costs no more than --max-spend (1 dollar).

    Pays at most once. Exit codes: 0 answered, 1 failure, 2 usage, 3 network, 4 payment refused (nothing was paid, or
    the server would not take it), 5 outcome unknown: look the reference up before you pay again.

    Where a seller takes sessions, --session pays from a channel: a deposit of at most --max-deposit that is opened once
    and lasts for many requests and streams. What is left of it comes back with --close or `coinslot channels close`.

    Example: coinslot fetch https://api.example.com/paid --rpc-url https://... --max-spend 0.05 -v
    """
    chosen, purse = paying_wallet(method, wallet, passphrase_file, flags, dry=dry_run)
    budget = DEFAULT_MAX if max_spend is None else parse_decimal(max_spend)
    sessions = _sessions(
        wanted=with_session, intent=intent, max_deposit=max_deposit, budget=budget, close=close, max_window=max_window
    )
    live = not (silent or as_json) and sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
    spending = Spending(chosen, live, as_json)
    story = _Story(verbose, silent, spending)
    ask = _asked(url, request or ("HEAD" if head else None), header, data)
    if intent is not None:
        ask.headers.append(("Accept-Payment", f"{chosen}/{intent}"))
    plain = httpx.Client(follow_redirects=location, timeout=max_time)
    # A dry run opens no book: what was sent before would be gone on with.
    client = pay(plain, purse, _policy(sessions, story, dry_run), story, "memory:" if dry_run else book)
    answers: list[httpx.Response] = []

    def handle(response: httpx.Response) -> None:
        answers.append(response)
        if dry_run:
            _dry(story.quotes, ask, as_json, response.status_code)
        elif as_json:
            response.read()
        else:
            _write(response, output, spending, headers=include or head)
        if receipt is not None:
            _keep_receipt(receipt, response)

    with client:
        try:
            _fetched(client, ask, sessions, handle, story)
        except PolicyRefused:
            if not (dry_run and story.quotes):
                raise
            _dry(story.quotes, ask, as_json, None)
        finally:
            spending.end()
    if as_json and not dry_run:
        for response in answers:
            _as_json(response, spending)
    if fail:
        _require_success(answers)
    if (verbose or sys.stderr.isatty()) and not (silent or as_json) and (line := spending.summary()):
        sys.stderr.write(f"* {line}\n")


def _asked(url: str, verb: str | None, header: list[str], data: list[str]) -> _Ask:
    body = _body(data)
    return _Ask((verb or ("GET" if body is None else "POST")).upper(), url, _headers(header, body), body)


def _require_success(answers: list[httpx.Response]) -> None:
    """Raises typer.Exit, after the reason was said."""
    for response in answers:
        if response.is_error:
            sys.stderr.write(f"Error: the server answered {response.status_code} {response.reason_phrase}.\n")
            raise typer.Exit(ExitCode.FAILURE)


def _fetched(
    client: httpx.Client, ask: _Ask, sessions: _Sessions, handle: Callable[[httpx.Response], None], story: _Story
) -> None:
    """The answer, through a session if channels are allowed."""
    if sessions.max_deposit is None:
        try:
            _send(client, ask, handle)
        except NoPayableOffer as error:
            if any(one.endswith(f"/{session.INTENT}") for one in story.offers):
                raise NoPayableOffer(f"{error} A channel can pay it: allow one with --session.") from None
            raise
        return
    try:
        paid = session_of(client, ask.url, max_deposit=sessions.max_deposit, budget=sessions.budget)
    except httpx.InvalidURL as error:
        raise UsageError(f"{ask.url}: {error}") from None
    story.spending.session = paid
    try:
        _send(paid, ask, handle)
    finally:  # what was not spent comes back, whatever became of the answer
        if sessions.close and paid.channels:
            paid.close()


def _write(response: httpx.Response, output: Path | None, spending: Spending, *, headers: bool) -> None:
    target = _open(output)
    try:
        if headers:
            target.write(_shown(response))
        for chunk in response.iter_bytes():
            target.write(chunk)
            target.flush()
            spending.got(len(chunk))
        target.flush()
    finally:
        if target is not sys.stdout.buffer:
            target.close()


def _as_json(response: httpx.Response, spending: Spending) -> None:
    headers = [[name, value] for name, value in response.headers.multi_items() if name.lower() not in _SECRET_HEADERS]
    told: dict[str, Any] = {"status": response.status_code, "headers": headers, "payment": _payment(response)}
    told["session"] = spending.members()
    try:
        print_json({**told, "body": response.content.decode("utf-8")})
    except UnicodeDecodeError:
        print_json({**told, "body_base64": response.content})


command = with_method_flags("Wallet", fetch)
