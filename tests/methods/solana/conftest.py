"""The fixtures of the solana tests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from coinslot.drive import RealWorld
from support.rpcfault import FaultyNode
from support.solanashop import SolanaShop
from support.svm import SvmChain


@pytest.fixture
def solshop(svm: SvmChain) -> Iterator[SolanaShop]:
    """Both sides on a chain of the test's own."""
    with httpx.Client() as client:
        yield SolanaShop(svm, RealWorld(client))


@pytest.fixture
def faulty_svm(svm: SvmChain) -> Iterator[FaultyNode]:
    """A faulty node in front of the local chain; healthy until told otherwise."""
    node = FaultyNode(svm.rpc_url)
    yield node
    node.close()


@pytest.fixture(scope="module")
def hall(shared_svm: SvmChain) -> Iterator[SolanaShop]:
    """One chain for all of this file."""
    with httpx.Client() as client:
        yield SolanaShop(shared_svm, RealWorld(client))
