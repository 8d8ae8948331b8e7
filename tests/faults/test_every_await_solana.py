"""Die at every await of every act on a Solana chain, and recover: whoever is killed, everybody gets their own.

A payer, a server and a settler are real flows of the product on real files and a real chain in one process. For each
act one of them is killed at each thing that it asks of the world: before that is carried out, and after that, before
its answer is seen. Then all go on as processes that start anew do, the payer gets what it asked for, the channels are
closed, and the money is counted on the chain. In CI each state that a death can leave behind is tried once (reads leave
none behind); `soak` dies at literally every await, on both sides, and in the variants that differ by little.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from coinslot.services import leaving
from support.awaits.acts import (
    GRACE_PASSED_S,
    RECLAIMABLE_S,
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
    tidies,
)
from support.awaits.life import Clock
from support.awaits.solana import Node, SolanaRail
from support.awaits.town import COST, WINDOW
from support.awaits.trial import Plan, Points, Tally, both_sides, calls, distinct, every_await, quick_folder

OWN, OPERATOR, SPLITS = {"sponsored": False}, {"operator": True}, {"splits": 8}
CHARGE, PUSH = {"charges": True}, {"charges": True, "push": True, **OWN}
# What a dead stream had set aside may be billed whole.
AHEAD = WINDOW * COST
ONE = has_had("/item")
THREE = has_had("/item", "/item", "/item")  # a deposit
STREAMED = has_had("/stream?n=1")


def plans() -> list[Plan]:
    """Every act, and who dies in it."""
    found: list[Plan] = []
    for victim in ("server", "client"):
        for kind, rail in (("", {}), ("-own", OWN), ("-operator", OPERATOR)):
            found += [
                Plan(f"{victim}-open{kind}", victim, asks_for(), rail=rail),
                Plan(f"{victim}-buy{kind}", victim, asks_for(), ONE, rail),
                Plan(f"{victim}-top-up{kind}", victim, asks_for(), THREE, rail),
                Plan(f"{victim}-close{kind}", victim, closes, ONE, rail),
                Plan(f"{victim}-stream{kind}", victim, asks_for("/stream?n=5"), STREAMED, rail, AHEAD),
            ]
        found += [
            Plan(f"{victim}-close-splits", victim, closes, ONE, SPLITS),
            Plan(f"{victim}-lost-book", victim, asks_for(), then(ONE, loses_book)),
            Plan(f"{victim}-charge", victim, asks_for(), rail=CHARGE),
            Plan(f"{victim}-charge-own", victim, asks_for(), rail=CHARGE | OWN),
            Plan(f"{victim}-charge-push", victim, asks_for(), rail=PUSH),
        ]
    asked = then(ONE, each(leaving.ask_to_close))
    left = then(ONE, settler_stays_away, each(leaving.ask_to_close), later(GRACE_PASSED_S))
    return [
        *found,
        Plan("client-ask-to-close", "client", each(leaving.ask_to_close), ONE, OWN),
        Plan("client-withdraw", "client", each(leaving.withdraw), left, OWN),
        Plan("settler-settle", "settler", rounds, ONE),
        Plan("settler-settle-operator", "settler", rounds, ONE, OPERATOR),
        Plan("settler-watch", "settler", rounds, asked, OWN),
        Plan("settler-watch-splits", "settler", rounds, asked, OWN | SPLITS),
        Plan("settler-idle", "settler", rounds, then(ONE, silence)),
        Plan("settler-idle-operator", "settler", rounds, then(ONE, silence), OPERATOR),
        Plan("settler-idle-splits", "settler", rounds, then(ONE, silence), SPLITS),
        Plan("settler-tidy", "settler", tidies, then(ONE, closes, later(RECLAIMABLE_S))),
    ]


def gone(plan: Plan) -> Plan:
    """The same, and the client never comes back: what it did not buy is sent back to it all the same."""
    return replace(plan, name=f"{plan.name}-gone", leaves=False, returns=False)


ALL = {plan.name: plan for plan in plans()}
ALL |= {f"{name}-gone": gone(plan) for name, plan in ALL.items() if plan.victim != "settler" and "push" not in name}
# One of each kind.
CI = [
    "server-open", "server-open-gone", "server-buy", "server-buy-operator", "server-top-up", "server-top-up-gone",
    "server-close", "server-close-splits", "server-stream", "server-charge", "server-charge-push",
    "client-open-own", "client-buy", "client-top-up", "client-close", "client-stream-operator", "client-lost-book",
    "client-charge-own", "client-charge-push", "client-ask-to-close", "client-withdraw",
    "settler-settle", "settler-watch", "settler-idle-splits", "settler-tidy",
]  # fmt: skip


def tried(plan: Plan, points: Points = distinct) -> Tally:
    """On a chain of its own."""
    clock = Clock()
    with quick_folder() as folder:
        return every_await(plan, clock, partial(SolanaRail, Node(clock)), folder, points)


@pytest.mark.guard("F01", "F02", "F03", "F06", "F07", "F08", "F09", "F10", "T02", "T06")
@pytest.mark.parametrize("name", CI)
def test_whoever_dies_everybody_gets_their_own(name: str) -> None:
    """Bought once, paid once, nothing lost and nothing kept, whatever the victim had done until then."""
    tally = tried(ALL[name])
    assert tally.crashes > 1


@pytest.mark.soak
@pytest.mark.parametrize("name", ALL)
def test_whoever_dies_at_whatever_await_everybody_gets_their_own(name: str) -> None:
    """The same at every await, reads included, in every variant."""
    tally = tried(ALL[name], both_sides)
    assert tally.crashes == 2 * tally.awaits


def lossy(name: str) -> Tally:
    """A plan whose victim lives on, and misses one answer."""
    return tried(replace(ALL[name], loses=True), calls)


@pytest.mark.guard("F11")
@pytest.mark.parametrize(
    "name", ["server-close", "server-charge", "client-charge-push", "client-open-own", "settler-settle"]
)
def test_whatever_answer_is_lost_everybody_gets_their_own(name: str) -> None:
    """A node's or a server's, or the call itself: nothing is paid, sent or sold twice for that."""
    assert lossy(name).crashes > 1


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in ALL if not name.endswith("-gone")])
def test_whatever_answer_is_lost_in_whatever_act_everybody_gets_their_own(name: str) -> None:
    """The same in every variant; not all of them call anybody."""
    lossy(name)
