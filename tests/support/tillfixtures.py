"""Fixtures for tills that sell from channels: on a memory store, and stores of each kind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from support.sessiontill import SessionTill
from support.toybank import Bank

DISKS = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]


def _schema(server: str) -> str:
    """A schema of its own in a shared database: made in a moment, where a database takes a while."""
    psycopg = pytest.importorskip("psycopg")
    name = f"s_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}?options=-csearch_path%3D{name}"


def _url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "postgres":
        return _schema(str(request.getfixturevalue("postgres_url")))
    return "memory:" if kind == "memory" else f"sqlite:///{folder}/payments.db"


@pytest.fixture(params=DISKS)
def disk_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store that outlives a process."""
    return _url(request.param, request, tmp_path)


@pytest.fixture(params=["memory", *DISKS])
def session_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """An empty store of each kind."""
    made = open_store(_url(request.param, request, tmp_path))
    yield made
    made.close()


@pytest.fixture
def session_till(bank: Bank, alice: dict[str, Any]) -> Iterator[SessionTill]:
    """A till on a memory store."""
    made = SessionTill(bank, alice)
    yield made
    made.store.close()
