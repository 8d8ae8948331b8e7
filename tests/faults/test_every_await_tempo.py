"""The same at a bank whose channels live by the rules of Tempo's escrow: die at every await, and recover.

The toy method's flavours are those of the two protocols: "v2" closes for what was spent, and the bank forgets channels
that are closed; "v1" closes for what a voucher says. Real ones take blocks of a second: these take microseconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coinslot.services import leaving
from support.awaits.acts import (
    GRACE_PASSED_S,
    asks_for,
    closes,
    each,
    has_had,
    later,
    loses_book,
    rounds,
    settler_stays_away,
    silence,
    then,
)
from support.awaits.life import Clock
from support.awaits.town import COST, WINDOW
from support.awaits.toy import ToyRail
from support.awaits.trial import Plan, Points, Tally, both_sides, distinct, every_await, quick_folder

AHEAD = WINDOW * COST
ONE = has_had("/item")
THREE = has_had("/item", "/item", "/item")
STREAMED = has_had("/stream?n=1")
CHARGE = {"charges": True}


def plans(flavour: str) -> list[Plan]:
    """Every act on channels of a flavour, and who dies in it."""
    rail = {"flavour": flavour}
    found: list[Plan] = []
    for victim in ("server", "client"):
        found += [
            Plan(f"{victim}-open-{flavour}", victim, asks_for(), rail=rail),
            Plan(f"{victim}-buy-{flavour}", victim, asks_for(), ONE, rail),
            Plan(f"{victim}-top-up-{flavour}", victim, asks_for(), THREE, rail),
            Plan(f"{victim}-close-{flavour}", victim, closes, ONE, rail),
            Plan(f"{victim}-stream-{flavour}", victim, asks_for("/stream?n=5"), STREAMED, rail, AHEAD),
            Plan(f"{victim}-lost-book-{flavour}", victim, asks_for(), then(ONE, loses_book), rail),
        ]
    asked = then(ONE, each(leaving.ask_to_close))
    left = then(ONE, settler_stays_away, each(leaving.ask_to_close), later(GRACE_PASSED_S))
    return [
        *found,
        Plan(f"client-ask-to-close-{flavour}", "client", each(leaving.ask_to_close), ONE, rail),
        Plan(f"client-withdraw-{flavour}", "client", each(leaving.withdraw), left, rail),
        Plan(f"settler-settle-{flavour}", "settler", rounds, ONE, rail),
        Plan(f"settler-watch-{flavour}", "settler", rounds, asked, rail),
        Plan(f"settler-idle-{flavour}", "settler", rounds, then(ONE, silence), rail),
    ]


def charges() -> list[Plan]:
    """Charges, pulled and pushed."""
    return [
        Plan("server-charge", "server", asks_for(), rail=CHARGE),
        Plan("client-charge", "client", asks_for(), rail=CHARGE),
        Plan("server-charge-push", "server", asks_for(), rail={**CHARGE, "push": True}),
        Plan("client-charge-push", "client", asks_for(), rail={**CHARGE, "push": True}),
    ]


def gone(plan: Plan) -> Plan:
    """The same, and the client never comes back."""
    return replace(plan, name=f"{plan.name}-gone", leaves=False, returns=False)


ALL = {plan.name: plan for plan in [*plans("v1"), *plans("v2"), *charges()]}
ALL |= {f"{name}-gone": gone(plan) for name, plan in ALL.items() if plan.victim != "settler" and "push" not in name}
CI = [
    "server-open-v2", "server-open-v2-gone", "server-top-up-v2", "server-close-v1", "server-stream-v2",
    "client-open-v2", "client-top-up-v2", "client-close-v1", "client-withdraw-v2", "settler-settle-v1",
    "settler-watch-v2", "server-charge-push", "client-charge-push",
]  # fmt: skip


def tried(plan: Plan, points: Points = distinct) -> Tally:
    """At a bank for each history."""
    clock = Clock()

    def rail(label: str, **given: Any) -> ToyRail:
        return ToyRail(clock, **given)

    with quick_folder() as folder:
        return every_await(plan, clock, rail, folder, points)


@pytest.mark.guard("F01", "F02", "F03", "F06", "F07", "F08", "F09", "F10", "T02", "T06")
@pytest.mark.parametrize("name", CI)
def test_whoever_dies_everybody_gets_their_own(name: str) -> None:
    """Bought once, paid once, nothing lost and nothing kept, whatever the victim had done until then."""
    assert tried(ALL[name]).crashes > 1


@pytest.mark.soak
@pytest.mark.parametrize("name", ALL)
def test_whoever_dies_at_whatever_await_everybody_gets_their_own(name: str) -> None:
    """The same at every await, reads included, in every variant."""
    tally = tried(ALL[name], both_sides)
    assert tally.crashes == 2 * tally.awaits
