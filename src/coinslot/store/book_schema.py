"""The book's tables, in steps: the version of a file is how many it has taken, and a released step is never edited.

Amounts are decimal text of 78 digits with leading zeros: they reach 2^256, beyond any integer of SQLite's, and texts of
one length compare as their numbers do. So the database itself can refuse a total that would go down.
"""

from __future__ import annotations

import sqlite3
from math import isfinite

from coinslot.errors import ConfigError, StoreBroken, StoreNewer
from coinslot.intents.acts import Held, Standing

# "PAYB": tells `file` and people what this is.
APPLICATION_ID = 0x50415942
DIGITS = 78

_FIRST = """
CREATE TABLE channels (
    key TEXT PRIMARY KEY,
    channel_id TEXT NOT NULL,
    network TEXT NOT NULL,
    method TEXT NOT NULL,
    payer TEXT NOT NULL,
    payee TEXT NOT NULL,
    asset TEXT NOT NULL,
    signer TEXT NOT NULL,
    deposit TEXT NOT NULL CHECK (length(deposit) = 78),
    signed TEXT NOT NULL CHECK (length(signed) = 78 AND signed <= deposit),
    acknowledged TEXT NOT NULL CHECK (length(acknowledged) = 78 AND acknowledged <= signed),
    spent TEXT NOT NULL CHECK (length(spent) = 78 AND spent <= signed),
    settled TEXT NOT NULL CHECK (length(settled) = 78 AND settled <= signed),
    standing TEXT NOT NULL,
    voucher BLOB NOT NULL,
    state BLOB NOT NULL,
    opening BLOB NOT NULL,
    reference TEXT,
    dead_after REAL,
    origin TEXT NOT NULL,
    opened_at REAL NOT NULL,
    used_at REAL NOT NULL,
    closing_at REAL
);
CREATE INDEX channels_scope ON channels (network, payer, payee, asset);
CREATE TRIGGER totals_only_grow BEFORE UPDATE ON channels
WHEN new.signed < old.signed OR new.acknowledged < old.acknowledged OR new.spent < old.spent
    OR new.settled < old.settled OR new.deposit < old.deposit
BEGIN SELECT RAISE(ABORT, 'a total would go down'); END;
CREATE TRIGGER ended_is_ended BEFORE UPDATE ON channels
WHEN old.standing IN ('closed', 'lost')
BEGIN SELECT RAISE(ABORT, 'the channel has ended'); END;
CREATE TRIGGER signed_is_kept BEFORE DELETE ON channels
WHEN old.standing NOT IN ('closed', 'lost')
BEGIN SELECT RAISE(ABORT, 'a channel that has not ended'); END;
CREATE TABLE draws (
    asset TEXT NOT NULL,
    origin TEXT NOT NULL,
    slot INTEGER NOT NULL,
    units TEXT NOT NULL,
    PRIMARY KEY (asset, origin, slot)
) WITHOUT ROWID;
"""

_SECOND = """
CREATE TABLE charges (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    origin TEXT NOT NULL,
    method TEXT NOT NULL,
    payer TEXT NOT NULL,
    asset TEXT NOT NULL,
    units TEXT NOT NULL CHECK (length(units) = 78),
    header TEXT NOT NULL,
    credential TEXT NOT NULL,
    raw BLOB NOT NULL,
    valid_until INTEGER NOT NULL,
    reference TEXT,
    made_at REAL NOT NULL
);
CREATE INDEX charges_request ON charges (request);
CREATE TRIGGER sent_stays_as_it_was BEFORE UPDATE ON charges
BEGIN SELECT RAISE(ABORT, 'a charge that may have been sent'); END;
"""

_THIRD = """
ALTER TABLE charges ADD COLUMN place TEXT NOT NULL DEFAULT '';
"""

_STEPS: tuple[str, ...] = (_FIRST, _SECOND, _THIRD)
VERSION = len(_STEPS)

COLUMNS = (
    "key, channel_id, network, method, payer, payee, asset, signer, deposit, signed, acknowledged, spent, settled,"
    " standing, voucher, state, opening, reference, dead_after, origin, opened_at, used_at, closing_at"
)


def version(connection: sqlite3.Connection, path: str) -> int:
    """How many steps a file has taken; nothing is written. Raises StoreNewer, ConfigError. F22"""
    ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    ((mark,),) = connection.execute("PRAGMA application_id").fetchall()
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if tables and mark != APPLICATION_ID:
        raise ConfigError(f"{path} is a database of something else, not a book of channels")
    if found > VERSION:
        raise StoreNewer(f"{path} has version {found}, this program knows {VERSION}; use the newer coinslot")
    return int(found)


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Bring a file up to date, inside the caller's transaction."""
    for step in _STEPS[version(connection, path) :]:
        for statement in _statements(step):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _statements(text: str) -> list[str]:
    """The statements of a step, triggers whole."""
    found, pending = [], ""
    for line in text.strip().splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def text_of(units: int) -> str:
    """An amount as it is kept."""
    return f"{units:0{DIGITS}d}"


def values_of(held: Held) -> tuple[object, ...]:
    """A record as its row."""
    return (
        held.key, held.channel_id, held.network, held.method, held.payer, held.payee, held.asset, held.signer,
        text_of(held.deposit_units), text_of(held.signed_units), text_of(held.acknowledged_units),
        text_of(held.spent_units), text_of(held.settled_units), held.standing.value, held.voucher, held.state,
        held.opening, held.reference, held.dead_after_s, held.origin, held.opened_at_s, held.used_at_s,
        held.closing_at_s,
    )  # fmt: skip


def held_of(row: tuple[object, ...]) -> Held:
    """A row as its record. Raises StoreBroken for one that was damaged: a channel is never half known."""
    (
        key, channel_id, network, method, payer, payee, asset, signer, deposit, signed, acknowledged, spent, settled,
        standing, voucher, state, opening, reference, dead_after, origin, opened_at, used_at, closing_at,
    ) = row  # fmt: skip
    held = Held(
        key=name_in(key, "key"),
        channel_id=name_in(channel_id, "channel id"),
        network=text_in(network, "network"),
        method=text_in(method, "method"),
        payer=text_in(payer, "payer"),
        payee=text_in(payee, "payee"),
        asset=text_in(asset, "asset"),
        signer=text_in(signer, "signer"),
        deposit_units=units_in(deposit, "deposit"),
        signed_units=units_in(signed, "signed total"),
        acknowledged_units=units_in(acknowledged, "acknowledged total"),
        spent_units=units_in(spent, "spent total"),
        settled_units=units_in(settled, "settled total"),
        standing=_standing(standing),
        voucher=bytes_in(voucher, "voucher"),
        state=bytes_in(state, "state"),
        opening=bytes_in(opening, "pending move"),
        reference=None if reference is None else text_in(reference, "reference"),
        dead_after_s=None if dead_after is None else moment_in(dead_after, "time"),
        origin=text_in(origin, "origin"),
        opened_at_s=moment_in(opened_at, "time"),
        used_at_s=moment_in(used_at, "time"),
        closing_at_s=None if closing_at is None else moment_in(closing_at, "time"),
    )
    below = max(held.acknowledged_units, held.spent_units, held.settled_units)
    if not below <= held.signed_units <= held.deposit_units:  # F04
        raise _unreadable("amounts contradict each other")
    return held


def _unreadable(what: str) -> StoreBroken:
    return StoreBroken(f"a record in the book can't be read: its {what}")


def text_in(value: object, name: str) -> str:
    """Text as it was written. Raises StoreBroken; so do the others."""
    if not isinstance(value, str):
        raise _unreadable(name)
    return value


def name_in(value: object, name: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise _unreadable(name)
    return value


def units_in(value: object, name: str) -> int:
    """An amount as text_of writes it."""
    if not isinstance(value, str) or len(value) != DIGITS or not (value.isascii() and value.isdigit()):
        raise _unreadable(name)
    return int(value)


def bytes_in(value: object, name: str) -> bytes:
    """Bytes as they were written."""
    if not isinstance(value, bytes):  # F04
        raise _unreadable(name)
    return value


def moment_in(value: object, name: str) -> float:
    """Seconds since 1970."""
    if not isinstance(value, float) or not isfinite(value):
        raise _unreadable(name)
    return value


def _standing(value: object) -> Standing:
    try:
        return Standing(text_in(value, "standing"))
    except ValueError:
        raise _unreadable("standing") from None
