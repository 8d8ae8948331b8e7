"""Payments of others, shown for a challenge that their observer could choose the words of."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from coinslot.drive import RealWorld
from coinslot.errors import UsageError, VerificationFailed
from support.solanashop import SolanaShop
from support.svm import SvmChain


@pytest.fixture
def solshop(svm: SvmChain) -> Iterator[SolanaShop]:
    """Both sides of a charge on a chain of the test's own."""
    with httpx.Client() as client:
        yield SolanaShop(svm, RealWorld(client))


@pytest.mark.guard("T05")
def test_an_external_id_of_a_route_is_never_taken_for_a_reference_of_ours(solshop: SolanaShop) -> None:
    """A route that names its charges after what is asked (an order's number) would let anybody name somebody's."""
    seller = solshop.seller()
    theirs = solshop.challenge(seller)
    paid = solshop.pay(solshop.payer(mode="push"), theirs)
    solshop.chain.running.advance_slots(20)
    seller._looks.clear()
    reference = theirs.request_object()["externalId"]

    def steal() -> None:
        mine = solshop.challenge(seller, external_id=reference)
        solshop.check(seller, mine, paid.payload)

    with pytest.raises((UsageError, VerificationFailed)):
        steal()
