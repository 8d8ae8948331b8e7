"""`coinslot fetch`: curl for things that cost money."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import msgspec
import typer

from coinslot.cli.methodflags import environment, method_table, with_method_flags
from coinslot.cli.output import ExitCode, print_json
from coinslot.cli.secretinput import PASSPHRASE_VARIABLE, read_passphrase
from coinslot.client.events import Declined, Event, Offered, Paid, Paying, Presented
from coinslot.client.purse import Policy, Quote
from coinslot.client.wallet import wallet as wallet_of
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError, PolicyRefused, ServerUnreachable, UsageError
from coinslot.method import keys_of, load
from coinslot.services.accepting import only_method
from coinslot.services.keystore import Keystore, find_key, home
from coinslot.transports.httpx import RESULT, pay

# Long enough for a slow API; payments wait longer by themselves.
DEFAULT_TIMEOUT_S = 30.0
_SECRET_HEADERS = frozenset(["authorization", "payment-authorization", "cookie", "proxy-authorization"])


@dataclass
class _Story:
    """What happened, for -v, --dry-run and --json."""

    verbose: bool
    silent: bool
    quotes: list[Quote] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        match event:
            case Offered(origin=origin, offers=offers):
                self.note(f"{origin} asks for payment: {', '.join(offers)}")
            case Paying(origin=origin, terms=terms, reference=reference, again=again):
                how = "presenting the same payment again" if again else "paying"
                self.note(f"{how} {terms.asset.text(terms.amount_units)} to {origin}, reference {reference}")
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


def _key(method: str, wallet: str | None, passphrase_file: Path | None, dry: bool) -> str:
    """The key to pay with. A dry run signs nothing, so any key will do where none is configured."""

    def ask(name: str) -> str:
        return read_passphrase(passphrase_file, f"Passphrase of wallet {name}")

    keys = keys_of(load(method))
    if dry and wallet is None:
        return run(keys.new_key(), RealWorld())
    found = find_key(wallet, Keystore(home(environment()) / "wallets"), ask, environment())
    if found.wallet is not None and found.wallet.method != method:
        raise ConfigError(f"wallet {found.wallet.name!r} is of method {found.wallet.method!r}, not {method!r}")
    return found.private_key


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
        print_json({"would_pay": {**told, "amount_units": str(terms.amount_units), "payees": payees}})
        return
    sys.stdout.write(f"Would pay {terms.asset.text(terms.amount_units)} for {ask.method} {ask.url}\n")
    for one in terms.payees:
        sys.stdout.write(f"  {terms.asset.text(one.amount_units)} to {one.recipient}\n")
    sys.stdout.write("Nothing was signed or sent.\n")


def _policy(max_spend: str | None, story: _Story, dry: bool) -> Policy:
    def approve(quote: Quote) -> bool:
        story.quotes.append(quote)
        return not dry

    return Policy(max_per_request=max_spend, approve=approve) if max_spend is not None else Policy(approve=approve)


def _send(client: httpx.Client, ask: _Ask, handle: Callable[[httpx.Response], None]) -> None:
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


def fetch(
    url: Annotated[str, typer.Argument(help="What to get.")],
    request: Annotated[str | None, typer.Option("-X", "--request", help="HTTP method.", show_default=False)] = None,
    header: Annotated[
        list[str], typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="A header. Repeatable.")
    ] = [],  # noqa: B006
    data: Annotated[
        list[str], typer.Option("-d", "--data", metavar="TEXT|@FILE|@-", help="A body; makes it POST.")
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the body here.", show_default=False)
    ] = None,
    include: Annotated[bool, typer.Option("-i", "--include", help="Show the answer's headers too.")] = False,
    head: Annotated[bool, typer.Option("-I", "--head", help="HEAD: headers only.")] = False,
    location: Annotated[
        bool, typer.Option("-L", "--location", help="Follow redirects; pays within one origin only.")
    ] = False,
    silent: Annotated[bool, typer.Option("-s", "--silent", help="Say nothing on standard error but errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tell the story of the payment on standard error.")
    ] = False,
    fail: Annotated[bool, typer.Option("-f", "--fail", help="Exit with 1 if the answer is an HTTP error.")] = False,
    max_time: Annotated[
        float, typer.Option("-m", "--max-time", help="Seconds to wait for an answer.")
    ] = DEFAULT_TIMEOUT_S,
    max_spend: Annotated[
        str | None, typer.Option(help="Most that this request may cost, in whole dollars.", show_default="1")
    ] = None,
    wallet: Annotated[
        str | None,
        typer.Option(help="Which wallet pays; else COINSLOT_PRIVATE_KEY or the only one.", show_default=False),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help=f"Passphrase of the wallet; else {PASSPHRASE_VARIABLE} or a prompt.", show_default=False),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Payment method; needed if several are installed.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be paid to whom; sign nothing.")] = False,
    receipt: Annotated[Path | None, typer.Option(help="Write the receipt here as JSON.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON: status, payment, body.")] = False,
    flags: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Get a URL, and pay for it if it costs no more than --max-spend (1 dollar).

    Pays at most once. Exit codes: 0 answered, 1 failure, 2 usage, 3 network, 4 payment refused (nothing was paid, or
    the server would not take it), 5 outcome unknown: look the reference up before you pay again.

    Example: coinslot fetch https://api.example.com/paid --rpc-url https://... --max-spend 0.05 -v
    """
    story = _Story(verbose, silent)
    chosen = method or only_method()
    body = _body(data)
    verb = request or ("HEAD" if head else "POST" if body is not None else "GET")
    ask = _Ask(verb.upper(), url, _headers(header, body), body)
    table = method_table("Wallet", chosen, flags, environment())
    if getattr(load(chosen), "keys", None) is not None:  # a method whose payers sign with a key that a wallet keeps
        table["private_key"] = _key(chosen, wallet, passphrase_file, dry_run)
    elif wallet is not None:
        raise ConfigError(f"--wallet: payment method {chosen!r} has no keys that a wallet could keep")
    client = httpx.Client(follow_redirects=location, timeout=max_time)
    pay(client, wallet_of(**{chosen: table}), _policy(max_spend, story, dry_run), story)

    def handle(response: httpx.Response) -> None:
        if receipt is not None:
            _keep_receipt(receipt, response)
        if dry_run:
            _dry(story.quotes, ask, as_json, response.status_code)
        elif as_json:
            _as_json(response)
        else:
            _write(response, output, headers=include or head)
        if fail and response.is_error:
            sys.stderr.write(f"Error: the server answered {response.status_code} {response.reason_phrase}.\n")
            raise typer.Exit(ExitCode.FAILURE)

    with client:
        try:
            _send(client, ask, handle)
        except PolicyRefused:
            if not (dry_run and story.quotes):
                raise
            _dry(story.quotes, ask, as_json, None)


def _write(response: httpx.Response, output: Path | None, *, headers: bool) -> None:
    target = _open(output)
    try:
        if headers:
            target.write(_shown(response))
        for chunk in response.iter_bytes():
            target.write(chunk)
            target.flush()
        target.flush()
    finally:
        if target is not sys.stdout.buffer:
            target.close()


def _as_json(response: httpx.Response) -> None:
    response.read()
    headers = [[name, value] for name, value in response.headers.multi_items() if name.lower() not in _SECRET_HEADERS]
    told: dict[str, Any] = {"status": response.status_code, "headers": headers, "payment": _payment(response)}
    try:
        print_json({**told, "body": response.content.decode("utf-8")})
    except UnicodeDecodeError:
        print_json({**told, "body_base64": response.content})


command = with_method_flags("Wallet", fetch)
