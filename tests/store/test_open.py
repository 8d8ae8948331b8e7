"""Stores by URL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coinslot.errors import ConfigError, StoreError, UsageError
from coinslot.store.memory import MemoryStore
from coinslot.store.open import open_store


def test_memory() -> None:
    """`memory:` is a store without a place."""
    store = open_store("memory:", lease_s=3.0)
    assert isinstance(store, MemoryStore)
    assert store.lease_s == 3.0
    store.close()


def test_three_slashes_are_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLAlchemy spells it; and a later change of folder doesn't move the store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    store = open_store("sqlite:///sub/pay%20ments.db")
    os.chdir("/")
    store.ping().result()
    store.close()
    assert (tmp_path / "sub" / "pay ments.db").is_file()


def test_four_slashes_are_an_absolute_path(tmp_path: Path) -> None:
    """As SQLAlchemy spells it."""
    open_store(f"sqlite:////{str(tmp_path).lstrip('/')}/x.db").close()
    assert (tmp_path / "x.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:x",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/path",
        "sqlite:x.db",
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=ro",
        "sqlite:///x%00.db",
        "mysql://user:hunter2@host/db",
        "postgresql:user:hunter2@host",
        "postgresql://user:hunter2@host/db?hunter2=hunter2",
        "postgresql://user:hunter2@[::1/db",
        "postgresql+psycopg://user:hunter2@host/db",
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the setting and what would do, and holds no password; no file appears."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^store: ") as refused:
        open_store(url)
    while_handling = [refused.value, refused.value.__cause__]
    assert not any("hunter2" in str(each) for each in while_handling)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    """Nobody listens on port 1."""
    with pytest.raises(StoreError, match="can't be reached") as refused:
        open_store("postgresql://user:hunter2@127.0.0.1:1/db", wait_s=1.0)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("lease_s", "wait_s"), [(0.0, 5.0), (15.0, 0.0), (-1.0, 5.0)])
def test_impossible_times_are_refused(lease_s: float, wait_s: float, tmp_path: Path) -> None:
    """A lease that lapses at once would be no lease."""
    with pytest.raises(UsageError):
        open_store(f"sqlite:///{tmp_path}/x.db", lease_s=lease_s, wait_s=wait_s)
