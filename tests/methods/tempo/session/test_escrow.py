"""Which escrows are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.errors import UsageError
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow, pinned_escrow, require_escrow
from support.tempochannel import BOTH, PAYEE


def test_the_known_escrows_are_pinned() -> None:
    """By protocol and chain; none on a chain that we don't know."""
    known = {
        (version.name, chain): getattr(pinned_escrow(version, chain), "address", None)
        for version in (V1, V2)
        for chain in (4217, 42431, 1)
    }
    assert known == {
        ("v1", 4217): "0x33b901018174ddabe4841042ab76ba85d4e24f25",
        ("v1", 42431): "0xe1c4d3dce17bc111181ddf716f75bae49e61a336",
        ("v1", 1): None,
        ("v2", 4217): "0x4d50500000000000000000000000000000000000",
        ("v2", 42431): "0x4d50500000000000000000000000000000000000",
        ("v2", 1): None,
    }


@pytest.mark.guard("T47")
@pytest.mark.parametrize("place", BOTH)
def test_another_escrow_is_taken_by_option_only(place: Escrow) -> None:
    """Another address, the other protocol's, or one of another chain is refused unless the owner names it."""
    require_escrow(place)
    (other,) = [one for one in BOTH if one != place]
    foreign = pinned_escrow(V1, 4217)
    assert foreign is not None
    for address in (PAYEE, other.address, foreign.address):
        with pytest.raises(UsageError, match="not the known escrow"):
            require_escrow(replace(place, address=address), [place.address])
        require_escrow(replace(place, address=address), [address])
