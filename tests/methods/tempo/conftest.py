"""The fixtures of the tempo tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from coinslot.drive import RealWorld
from support.devnet import Chain
from support.rpcfault import FaultyNode
from support.temposhop import Shop


@pytest.fixture
def shop(devnet: Chain) -> Iterator[Shop]:
    """Both sides on the local chain."""
    with httpx.Client() as client:
        yield Shop(devnet, RealWorld(client))


@pytest.fixture
def faulty(devnet: Chain) -> Iterator[FaultyNode]:
    """A faulty node in front of the local chain; healthy until told otherwise."""
    node = FaultyNode(devnet.rpc_url)
    yield node
    node.close()
