"""The book's tables, in steps: the version of a file is how many it has taken, and a released step is never edited.

Amounts are decimal text of 78 digits with leading zeros: they reach 2^256, beyond any integer of SQLite's, and texts of
one length compare as their numbers do. So the database itself can refuse a total that would go down.
"""

from __future__ import annotations

import sqlite3

from coinslot.errors import ConfigError, StoreNewer
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

_STEPS: tuple[str, ...] = (_FIRST, _SECOND)
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
    """A row as its record."""
    (
        key, channel_id, network, method, payer, payee, asset, signer, deposit, signed, acknowledged, spent, settled,
        standing, voucher, state, opening, reference, dead_after, origin, opened_at, used_at, closing_at,
    ) = row  # fmt: skip
    return Held(
        key=str(key),
        channel_id=str(channel_id),
        network=str(network),
        method=str(method),
        payer=str(payer),
        payee=str(payee),
        asset=str(asset),
        signer=str(signer),
        deposit_units=int(str(deposit)),
        signed_units=int(str(signed)),
        acknowledged_units=int(str(acknowledged)),
        spent_units=int(str(spent)),
        settled_units=int(str(settled)),
        standing=Standing(str(standing)),
        voucher=_bytes(voucher),
        state=_bytes(state),
        opening=_bytes(opening),
        reference=None if reference is None else str(reference),
        dead_after_s=_float(dead_after),
        origin=str(origin),
        opened_at_s=_float(opened_at) or 0.0,
        used_at_s=_float(used_at) or 0.0,
        closing_at_s=_float(closing_at),
    )


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, (bytes, memoryview)) else b""


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
