"""Fixtures for the toy method: a bank with two accounts, and a wallet. Load with pytest_plugins or import them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.toybank import Bank

FUNDS = 5_000_000


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """A bank where `shop` has nothing."""
    made = Bank(str(tmp_path / "bank.db")).create()
    made.open("shop", coin=0)
    return made


@pytest.fixture
def alice(bank: Bank) -> dict[str, object]:
    """The wallet settings of alice, who has five coins and five shells."""
    secret = bank.open("alice", coin=FUNDS, shell=FUNDS)
    return {"bank": bank.path, "account": "alice", "secret": secret}
