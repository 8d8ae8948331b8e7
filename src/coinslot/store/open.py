"""A store by its URL: `memory:`, `sqlite:///PATH`, `postgresql://USER@HOST/DATABASE`."""

from __future__ import annotations

import importlib.util
from urllib.parse import unquote

from coinslot.errors import ConfigError, MissingDependency
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import LEASE_S, WAIT_S
from coinslot.store.sqlite import SqliteStore

_SPELLINGS = "memory:, sqlite:///relative/path, sqlite:////absolute/path, postgresql://user@host/database"


def open_store(url: str, *, lease_s: float = LEASE_S, wait_s: float = WAIT_S) -> SessionStore:
    """Open the store at a URL, made if it isn't there and brought to today's schema.

    `sqlite:///a/b` is the relative path a/b, `sqlite:////a/b` the absolute one. Raises ConfigError (never repeating the
    URL, which may hold a password), MissingDependency, StoreNewer, StoreBusy, StoreBroken.
    """
    if url == "memory:":
        return MemoryStore(lease_s=lease_s)
    if url.startswith("sqlite:"):
        return SqliteStore(_sqlite_path(url), lease_s=lease_s, wait_s=wait_s)
    if url.startswith(("postgresql://", "postgres://")):
        if importlib.util.find_spec("psycopg") is None:
            raise MissingDependency("PostgreSQL stores need psycopg", extra="postgres")
        from coinslot.store.postgres import PostgresStore

        return PostgresStore(url, lease_s=lease_s, wait_s=wait_s)
    raise ConfigError(f"store: not a URL of a store; write one of {_SPELLINGS}")


def _sqlite_path(url: str) -> str:
    path = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path or path == ":memory:" or "?" in path or "\0" in path:
        raise ConfigError(f"store: a SQLite URL names a file and nothing else; write one of {_SPELLINGS}")
    return path
