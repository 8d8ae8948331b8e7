"""Stores for the tests of this folder: each test runs over every kind it makes sense for."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from coinslot.store.open import open_store
from coinslot.store.protocol import Store
from support import store_cases

Opener = Callable[..., Store]
Child = Callable[..., subprocess.Popen[str]]
# Children import tests/support, too; where a copy of the package is tested, they import that.
PATH = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(Path(__file__).resolve().parent.parent)]))

DISKS = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]


def _schema(server: str) -> str:
    """A schema of its own in a shared database: made in a moment, where a database takes a while."""
    name = f"s_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{server}?options=-csearch_path%3D{name}"


def _url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "postgres":
        return _schema(str(request.getfixturevalue("postgres_url")))
    return "memory:" if kind == "memory" else f"sqlite:///{folder}/payments.db"


@pytest.fixture(params=["memory", *DISKS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store of any kind."""
    return _url(request.param, request, tmp_path)


@pytest.fixture(params=DISKS)
def disk_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store that outlives a process."""
    return _url(request.param, request, tmp_path)


@pytest.fixture
def opened(disk_url: str) -> Iterator[Opener]:
    """Open handles on one place; all are closed in the end."""
    stores: list[Store] = []

    def opener(**settings: float) -> Store:
        stores.append(open_store(disk_url, **settings))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store of each kind."""
    made = open_store(url)
    yield made
    made.close()


@pytest.fixture
def child() -> Iterator[Child]:
    """Start `store_cases` as another process; whatever still runs is killed in the end."""
    running: list[subprocess.Popen[str]] = []

    def start(job: str, url: str, subject: str, *more: str, lease_s: float = 15.0) -> subprocess.Popen[str]:
        command = [sys.executable, store_cases.__file__, job, url, subject, *more]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATH, "LEASE_S": str(lease_s)},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
