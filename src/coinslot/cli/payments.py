"""`coinslot payments`: what was paid, for the seller's eyes and books."""

from __future__ import annotations

import csv
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from coinslot.cli.columns import columns, safe
from coinslot.cli.output import print_json
from coinslot.cli.store import JsonOption, StoreOption, opened, pages
from coinslot.core.instant import parse_instant
from coinslot.errors import CoinslotError, MalformedHeader, UsageError
from coinslot.intents import session
from coinslot.services.config import DEFAULT_STORE
from coinslot.services.report import COLUMNS, Line, line, moment
from coinslot.store.protocol import Payment, Query, Stage

# An export ends when the payments do.
ALL = 2**63
# What fills a terminal; more by --limit.
LIST_LIMIT = 100
_AGO = re.compile(r"([0-9]{1,6})([smhdw])\Z", re.ASCII)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+")

app = typer.Typer(no_args_is_help=True, help="List, show and export what was paid.")

StageOption = Annotated[list[Stage] | None, typer.Option(help="Only in this stage; may be repeated.")]
PayerOption = Annotated[str | None, typer.Option(help="Only by this payer.")]
SinceOption = Annotated[
    str | None, typer.Option(help="Only from then on: 2026-01-31, 2026-01-31T12:00:00Z, or 24h, 7d ... ago.")
]
UntilOption = Annotated[str | None, typer.Option(help="Only until then; written like --since.")]


@app.command("list")
def list_payments(
    store: StoreOption = DEFAULT_STORE,
    stage: StageOption = None,
    payer: PayerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = LIST_LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Payments, newest first."""
    query = _query(stage, payer, since, until, limit)
    with opened(store) as record:
        found = [line(payment) for payment in pages(record, query)]
    if as_json:
        print_json([_members(each) for each in found])
        return
    rows = [["CLAIMED", "STAGE", "AMOUNT", "PAYER", "CHALLENGE"]]
    for each in found:
        told = each.values()
        row = (told["claimed_at"], told["stage"], _amount(each), told["payer"], told["challenge_id"])
        rows.append([safe(cell) for cell in row])
    sys.stdout.write(columns(rows) if found else "")
    if len(found) == limit:
        typer.echo(f"These are the newest {limit}; there may be more (--limit).", err=True)


@app.command("show")
def show(
    challenge_id: Annotated[str, typer.Argument(metavar="ID", help="The payment's challenge id.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Everything recorded of a payment; of its delivery only the status."""
    with opened(store) as record:
        payment = record.find(challenge_id).result()
    if payment is None:
        raise UsageError("no payment has this challenge id")
    told = _details(line(payment))
    if as_json:
        print_json(told)
        return
    sys.stdout.write(columns([(name, safe(value)) for name, value in _flat(told)]))


@app.command("export")
def export(
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values (the only form there is).")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here, whole or not at all; else to standard output.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    stage: StageOption = None,
    payer: PayerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Payments as a table for books and spreadsheets, newest first, any number of them.

    A cell that begins with = + - @ ' tab or line end gets an apostrophe before it, so that no spreadsheet runs it.
    """
    if not as_csv:
        raise UsageError("say --csv: there may be other forms one day")
    query = _query(stage, payer, since, until, ALL)
    with opened(store) as record, _sink(output) as sink:
        write_csv(sink, pages(record, query))


def write_csv(sink: TextIO, payments: Iterable[Payment]) -> None:
    """Write the header and a row for each payment as it comes."""
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for payment in payments:
        writer.writerow(line(payment).cells())


@contextmanager
def _sink(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8", newline="") as stream:
            yield stream
        draft.replace(output)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def _query(stage: list[Stage] | None, payer: str | None, since: str | None, until: str | None, limit: int) -> Query:
    # hex has one canonical case in records, whatever case a person pastes
    payer = None if payer is None else _HEX.sub(lambda found: found[0].lower(), payer)
    return Query(frozenset(stage or ()), payer, parse_moment(since), parse_moment(until), None, limit)


def parse_moment(text: str | None) -> float | None:
    """A moment as people write it: a date (midnight UTC), RFC 3339, or an age such as 24h. Raises UsageError."""
    if text is None:
        return None
    if age := _AGO.match(text):
        return time.time() - int(age[1]) * _UNITS_S[age[2]]
    try:
        return parse_instant(f"{text}T00:00:00Z" if _DATE.match(text) else text)
    except MalformedHeader:
        raise UsageError("a time is 2026-01-31, 2026-01-31T12:00:00Z, or an age such as 90m, 24h, 7d") from None


def _members(each: Line) -> dict[str, object]:
    """A payment for programs: the columns of the export, with the payees apart."""
    members: dict[str, object] = dict(each.values())
    payees = each.terms.payees if each.terms else ()
    members["payees"] = [{"recipient": one.recipient, "amount_units": str(one.amount_units)} for one in payees]
    return members


def _details(each: Line) -> dict[str, object]:
    payment, offered = each.payment, each.payment.challenge
    try:
        request: object = offered.request_object()
    except CoinslotError:
        request = None
    return _members(each) | {
        "intent": offered.intent,
        "realm": offered.realm,
        "description": offered.description,
        "expires": offered.expires,
        "digest": offered.digest,
        "request": request,
        "proof": payment.proof,
        "request_hash": payment.request_hash,
        "idempotency_key": payment.idempotency_key,
        "leased": payment.leased,
        "dead_after": moment(payment.prepared.dead_after_s) if payment.prepared else None,
        "reason": payment.reason,
        "receipt": payment.receipt.members() if payment.receipt else None,
        "delivery_status": payment.delivery.status if payment.delivery else None,
    }


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested members as lines: "receipt.reference"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _flat(inner, f"{name}.{number}")
    elif value is not None:
        yield name, str(value)


def _amount(each: Line) -> str:
    if each.payment.challenge.intent == session.INTENT:
        return "a deposit"
    return each.terms.asset.text(each.terms.amount_units) if each.terms else "?"
