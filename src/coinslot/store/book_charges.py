"""Charges that their payer sends itself, as rows of the book: there before they are sent, gone when they have ended."""

from __future__ import annotations

import sqlite3

from coinslot.errors import StoreBroken
from coinslot.store.book import PushedCharge
from coinslot.store.book_schema import text_of

_COLUMNS = "id, request, origin, method, payer, asset, units, header, credential, raw, valid_until, reference, made_at"
_INSERT = f"INSERT INTO charges ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_FIND = f"SELECT {_COLUMNS} FROM charges WHERE ? IS NULL OR request = ? ORDER BY made_at, id"  # noqa: S608


def insert(db: sqlite3.Connection, charge: PushedCharge) -> None:
    """Write one down. Raises sqlite3.IntegrityError for a known id."""
    row = (
        charge.id, charge.request, charge.origin, charge.method, charge.payer, charge.asset, text_of(charge.units),
        *charge.header, charge.raw, charge.valid_until, charge.reference, charge.made_at_s,
    )  # fmt: skip
    db.execute(_INSERT, row)


def listed(db: sqlite3.Connection, request: str | None) -> list[PushedCharge]:
    """Those for a request, or all of them. Raises StoreBroken."""
    return [_charge_of(row) for row in db.execute(_FIND, (request, request)).fetchall()]


def delete(db: sqlite3.Connection, charge_id: str) -> None:
    """The end of one is known."""
    db.execute("DELETE FROM charges WHERE id = ?", (charge_id,))


def _charge_of(row: tuple[object, ...]) -> PushedCharge:
    id_, request, origin, method, payer, asset, units, header, credential, raw, valid_until, reference, made_at = row
    if not isinstance(raw, bytes) or not isinstance(valid_until, int) or not isinstance(made_at, float):
        raise StoreBroken("a charge in the book can't be read")
    if not str(units).isdecimal():
        raise StoreBroken("the amount of a charge in the book can't be read")
    return PushedCharge(
        str(id_),
        str(request),
        str(origin),
        str(method),
        str(payer),
        str(asset),
        int(str(units)),
        (str(header), str(credential)),
        raw,
        valid_until,
        None if reference is None else str(reference),
        made_at,
    )
