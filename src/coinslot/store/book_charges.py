"""Charges that their payer sends itself, as rows of the book: there before they are sent, gone when they have ended."""

from __future__ import annotations

import sqlite3

from coinslot.errors import StoreBroken
from coinslot.store.book import PushedCharge
from coinslot.store.book_schema import bytes_in, moment_in, name_in, text_in, text_of, units_in

COLUMNS = (
    "id, request, origin, method, payer, asset, units, header, credential, raw, valid_until, reference, made_at, place"
)
_INSERT = f"INSERT INTO charges ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_FIND = f"SELECT {COLUMNS} FROM charges WHERE ? IS NULL OR request = ? ORDER BY made_at, id"  # noqa: S608


def insert(db: sqlite3.Connection, charge: PushedCharge) -> None:
    """Write one down. Raises sqlite3.IntegrityError for a known id."""
    row = (
        charge.id, charge.request, charge.origin, charge.method, charge.payer, charge.asset, text_of(charge.units),
        *charge.header, charge.raw, charge.valid_until, charge.reference, charge.made_at_s, charge.place,
    )  # fmt: skip
    db.execute(_INSERT, row)


def listed(db: sqlite3.Connection, request: str | None) -> list[PushedCharge]:
    """Those for a request, or all of them. Raises StoreBroken."""
    return [charge_of(row) for row in db.execute(_FIND, (request, request)).fetchall()]


def delete(db: sqlite3.Connection, charge_id: str) -> None:
    """The end of one is known."""
    db.execute("DELETE FROM charges WHERE id = ?", (charge_id,))


def charge_of(row: tuple[object, ...]) -> PushedCharge:
    """A row as its record. Raises StoreBroken for one that was damaged: whether it was paid, nobody can tell by it."""
    (
        id_,
        request,
        origin,
        method,
        payer,
        asset,
        units,
        header,
        credential,
        raw,
        valid_until,
        reference,
        made_at,
        place,
    ) = row
    if not isinstance(valid_until, int):
        raise StoreBroken("a charge in the book can't be read: how long it is valid")
    return PushedCharge(
        name_in(id_, "id"),
        name_in(request, "request"),
        text_in(origin, "origin"),
        name_in(method, "method"),
        name_in(payer, "payer"),
        text_in(asset, "asset"),
        units_in(units, "amount"),
        (name_in(header, "header"), name_in(credential, "credential")),
        bytes_in(raw, "transaction"),
        valid_until,
        None if reference is None else text_in(reference, "reference"),
        moment_in(made_at, "time"),
        text_in(place, "place"),
    )
