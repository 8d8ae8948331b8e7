"""What the tests against other implementations share: peers are installed on first use, which may take minutes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinslot.store.book_sqlite import SqliteBook
from support.channelpeers import Buyer
from support.channelshop import account
from support.devnet import Chain
from support.peers import INSTALL_S
from support.solanapeers import Stall, stall
from support.svm import SvmChain

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs a peer waits for its installation; the long searches take what they take."""
    if os.environ.get("COINSLOT_SOAK") == "1":
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(INSTALL_S + 120))


@pytest.fixture
def buyer(devnet: Chain, tmp_path: Path) -> Iterator[Buyer]:
    """With a fresh account and an empty book."""
    book = SqliteBook(tmp_path / "book.sqlite")
    yield Buyer(devnet, book, account(devnet))
    book.close()


@pytest.fixture(scope="module", params=["USDC", "PYUSD"])
def token(request: pytest.FixtureRequest) -> str:
    """An old token of Solana, and one of Token-2022."""
    return str(request.param)


@pytest.fixture(scope="module")
def shop(shared_svm: SvmChain, token: str) -> Iterator[Stall]:
    """Our gate, which sells for that token on the local Solana chain."""
    with stall(shared_svm, token) as opened:
        yield opened
