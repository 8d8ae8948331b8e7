"""The schema in a PostgreSQL database, brought up to date by whichever process comes first."""

from __future__ import annotations

from typing import Any

import psycopg

from coinslot.errors import ConfigError, StoreBroken, StoreNewer
from coinslot.store.schema.steps import VERSION, Words, statements, version_table

# Any number; every coinslot that changes the schema does so under this one.
SCHEMA_LOCK = 0x736C6F74

# 78 digits hold any uint256, with its sign.
_WORDS = Words(
    serial="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    blob="BYTEA",
    real="DOUBLE PRECISION",
    units="NUMERIC(78, 0)",
)


def upgrade(connection: psycopg.Connection[Any]) -> None:
    """Take the missing steps in one transaction. F22

    Raises StoreNewer (nothing was touched), ConfigError, StoreBroken.
    """
    try:
        if _version(connection) == VERSION:
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
            _take_steps(connection, _version(connection))
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError("store: this PostgreSQL user may not create or read coinslot's tables") from error
    except psycopg.Error as error:
        raise StoreBroken(f"PostgreSQL: the schema could not be brought up to date: {type(error).__name__}") from error


def _version(connection: psycopg.Connection[Any]) -> int:
    """The schema's version, 0 for none. Raises StoreNewer."""
    # Not to_regclass: it may answer from a cache that doesn't know yet what another process created meanwhile.
    visible = "SELECT 1 FROM pg_class WHERE relname = 'coinslot_schema' AND pg_table_is_visible(oid)"
    if connection.execute(visible).fetchone() is None:
        return 0
    found = connection.execute("SELECT version FROM coinslot_schema").fetchone()
    version = int(found[0]) if found else 0
    if version > VERSION:
        raise StoreNewer(f"the database has schema {version}, this program knows {VERSION}; use the newer coinslot")
    return version


def _take_steps(connection: psycopg.Connection[Any], version: int) -> None:
    if version == 0:
        connection.execute(version_table(_WORDS).encode())
        connection.execute("INSERT INTO coinslot_schema (version, pinged_at) VALUES (0, 0)")
    for step in range(version, VERSION):
        for statement in statements(step, _WORDS):
            connection.execute(statement.encode())
    connection.execute("UPDATE coinslot_schema SET version = %s", (VERSION,))
