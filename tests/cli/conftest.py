"""What commands that pay need: alice's purse, and nothing of whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.toybank import Bank


@pytest.fixture
def key(alice: dict[str, object], bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flags of alice's purse, and a home of her own."""
    for name in [name for name in os.environ if name.startswith("COINSLOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return ["--method", "toy", "--bank", bank.path, "--account", "alice", "--secret", str(alice["secret"])]
