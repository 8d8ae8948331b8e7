"""What the tests against other implementations share: peers are installed on first use, which may take minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.peers import INSTALL_S

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs a peer waits for its installation."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(INSTALL_S + 120))
