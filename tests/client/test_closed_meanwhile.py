"""A channel that was closed behind its payer's back is noticed where it would be given more deposit, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coinslot.intents.acts import Standing
from support.awaits.acts import RECLAIMABLE_S, has_had, silence, tidies
from support.awaits.life import Clock
from support.awaits.solana import Node, SolanaRail
from support.awaits.town import Rail, Town
from support.awaits.toy import ToyRail
from support.awaits.trial import quick_folder

RAILS: dict[str, Callable[[Clock], Rail]] = {
    "toy-v1": lambda clock: ToyRail(clock, flavour="v1"),
    "toy-v2": ToyRail,
    "solana": lambda clock: SolanaRail(Node(clock), "client"),
    "solana-operator": lambda clock: SolanaRail(Node(clock), "operator", operator=True),
}


@pytest.mark.parametrize("freed", [False, True], ids=["", "freed"])
@pytest.mark.parametrize("name", RAILS)
def test_a_used_up_channel_that_was_closed_for_silence_is_followed_by_another(name: str, freed: bool) -> None:
    """Whether the chain still tells of it or not: the next request opens a channel, and is served."""
    clock = Clock()
    with quick_folder() as folder:
        town = Town(RAILS[name](clock), clock, folder)
        try:
            town.settling().round()
            town.serving()
            has_had("/item", "/item", "/item")(town)
            silence(town)
            for _ in range(3):
                town.settling().round()
                clock.passes(RECLAIMABLE_S if freed else 20)
            tidies(town)
            assert town.buying().get(town.wish()), town.told
            assert sorted(one.standing for one in town.buying().held()) == [Standing.CLOSED, Standing.OPEN]
        finally:
            town.close()
