"""The doors of the client, all at once, and a shop that sells by the toy method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from support.doors import Door
from support.shop import Shop
from support.toybank import Bank

MakeDoor: TypeAlias = Callable[..., Door]


@pytest.fixture(params=["httpx", "httpx-async", "requests"])
def make_door(request: pytest.FixtureRequest, alice: dict[str, object], tmp_path: Path) -> MakeDoor:
    """A door of each kind, with alice's wallet: `make_door(push=True, policy=Policy(...), timeout_s=1)`."""

    def make(*, policy: Policy | None = None, timeout_s: float = 5.0, proxy: str | None = None, **more: Any) -> Door:
        made = wallet(toy={**alice, **more})
        book = tmp_path / "book.sqlite"
        return Door(request.param, made, policy or Policy(), timeout_s=timeout_s, proxy=proxy, book=book)

    return make


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    """A door with the default policy."""
    return make_door()


@pytest.fixture
def shop(bank: Bank) -> Shop:
    """Sells everything for 0.01 coin."""
    return Shop(bank)
