"""What happens in a town: what its client, its server and its settler do, each act ready to be killed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coinslot.drive import Flow
from coinslot.errors import CoinslotError
from coinslot.intents.acts import Held
from coinslot.method import SessionPayer
from coinslot.services import leaving
from coinslot.store.book import ENDED, Book
from support.awaits.life import Gone
from support.awaits.town import EAGER, Client, Town

Act = Callable[[Town], None]
Leaving = Callable[[Book, SessionPayer, Held], Flow[Any]]
# A grace time and some more.
GRACE_PASSED_S = 1_000.0
# Until the accounts of closed channels may be freed.
RECLAIMABLE_S = 700.0
# Between two rounds of a settler.
ROUND_S = 20.0


def nothing(town: Town) -> None:
    """Happens."""


def asks_for(path: str = "/item") -> Act:
    """The client asks for something, once; it may fail."""

    def act(town: Town) -> None:
        town.buying().get(town.wish(path))

    return act


def has_had(*paths: str) -> Act:
    """The client has got these, and wants them no more."""

    def act(town: Town) -> None:
        for path in paths:
            town.grant(town.wish(path))

    return act


def closes(town: Town) -> None:
    """The client asks the shop to close its channels."""
    for held in town.buying().held():
        if held.standing not in ENDED:
            town.buying().close(held)


def leaves(client: Client, held: Held, how: Leaving) -> None:
    """One step away from a channel without the shop's help, if it can be done now."""

    def flow() -> Flow[Any]:
        payers = yield from client.purse.wallet.session_payers()
        return (yield from how(client.book, leaving.payer_of(payers, held), held))

    try:
        client.run(flow())
    except (CoinslotError, Gone) as error:
        client.town.told.append(f"{how.__name__}: {error}")


def each(how: Leaving) -> Act:
    """Such a step for all its channels."""

    def act(town: Town) -> None:
        client = town.buying()
        for held in client.held():
            if held.standing not in ENDED:
                leaves(client, held, how)

    return act


def rounds(town: Town) -> None:
    """Three rounds of a settler that settles whatever was bought."""
    for _ in range(3):
        town.settling().round(EAGER)
        town.clock.passes(ROUND_S)


def tidies(town: Town) -> None:
    """A round of a settler that looks for rent."""
    town.settling().round(turn=0)


def later(seconds: float) -> Act:
    """Time passes."""

    def act(town: Town) -> None:
        town.clock.passes(seconds)

    return act


def silence(town: Town) -> None:
    """Nobody uses a channel for as long as is allowed."""
    town.clock.passes(town.rail.idle_s + 60)


def loses_book(town: Town) -> None:
    """The client goes on with another machine."""
    assert town.client is not None
    town.client.end()
    town.books += 1


def settler_stays_away(town: Town) -> None:
    """What was bought is settled, and then nobody looks any more."""
    town.settling().round(EAGER)
    town.settling().end()


def then(*acts: Act) -> Act:
    """One after the other."""

    def act(town: Town) -> None:
        for one in acts:
            one(town)

    return act
