"""Kill one process at one await of one act, let everybody recover, end everything, and count the money.

    every_await(plan, clock, rail, ...)  counts the awaits of the undisturbed act, then dies at each, before and after

What a plan's victim did until it died must be enough for the others, and for whoever starts in its place, to grant
every wish once, for its price, and to give everything else back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinslot.intents.session import Stage
from coinslot.services import leaving
from coinslot.store.book import ENDED
from coinslot.store.channels import ChannelQuery
from coinslot.store.protocol import Query
from coinslot.store.protocol import Stage as Paying
from support.awaits.acts import Act, leaves, nothing
from support.awaits.life import Clock, Died, Life, Side
from support.awaits.town import COST, Rail, Town

# Rounds in which everything must have come to its end, each a minute apart; half-way the longest silence passes.
ROUNDS = 10
MINUTE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """An act and who dies in it: "server", "client" or "settler". `before` is what happened until then. What is paid in
    the end is what the wishes cost, or at most `more_units` besides.
    """

    name: str
    victim: str
    act: Act
    before: Act = nothing
    rail: dict[str, Any] = field(default_factory=dict)  # keywords of the rail
    more_units: int = 0
    leaves: bool = True  # the client closes its channels in the end; else they are closed for being silent
    returns: bool = True  # the client comes back for what it wished for
    loses: bool = False  # calls of the victim get lost, and it lives on


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder for files that die with their test: in memory where the system has such a place."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as found:
        yield Path(found)


# Which awaits of a run to die at, and on which side.
Points = Callable[[list[str]], Iterator[tuple[int, Side]]]


@dataclass
class Tally:
    """What was tried."""

    awaits: int = 0
    crashes: int = 0
    names: list[str] = field(default_factory=list)


def every_await(
    plan: Plan,
    clock: Clock,
    rail: Callable[..., Any],
    folder: Path,
    points: Callable[[list[str]], Iterator[tuple[int, Side]]],
) -> Tally:
    """Die everywhere. Raises AssertionError that names the first place that can't be survived."""
    passed = attempt(plan, clock, rail, folder, 0, Side.BEFORE)
    tally = Tally(len(passed), 0, passed)
    for at, side in points(passed):
        attempt(plan, clock, rail, folder, at, side)
        tally.crashes += 1
    return tally


def both_sides(names: list[str]) -> Iterator[tuple[int, Side]]:
    """Every await, before it is carried out, and after that."""
    for at in range(1, len(names) + 1):
        yield at, Side.BEFORE
        yield at, Side.AFTER


# Whoever dies before or after one of these leaves the world as it was after the last thing that changed it.
_READS = (
    "now", "random", "sleep", "rpc.get", "rpc.is", "rpc.simulate",
    "store.find", "store.watched", "store.list", "store.jobs_of", "store.pending", "store.unresolved", "store.payments",
    "store.abandoned", "store.ping", "book.find", "book.get", "book.all", "book.drawn", "book.try_lock",
    "call.body", "call.read", "call.<lambda>", "call.verify", "call.simulate", "call.look", "call.now", "call.balance",
    "call.payout", "call.channels_of", "call.identity", "call.grace",
)  # fmt: skip


def distinct(names: list[str]) -> Iterator[tuple[int, Side]]:
    """Both sides of every await that changes anything: every state of the world that a death can leave behind."""
    for at, name in enumerate(names, start=1):
        if not name.startswith(_READS):
            yield at, Side.BEFORE
            yield at, Side.AFTER


def calls(names: list[str]) -> Iterator[tuple[int, Side]]:
    """Every call to a node or a server: lost on its way there, or on its way back."""
    for at, name in enumerate(names, start=1):
        if name == "send" or name.startswith("rpc."):
            yield at, Side.BEFORE
            yield at, Side.AFTER


def attempt(plan: Plan, clock: Clock, rail: Callable[..., Rail], folder: Path, at: int, side: Side) -> list[str]:
    """One history."""
    label = f"{plan.name}-{at}-{side}"
    home = folder / label
    home.mkdir()
    clock.begins_anew()
    town = Town(rail(label, **plan.rail), clock, home)
    life = Life(at, side, loses=plan.loses)
    try:
        town.settling().round()
        town.serving()
        town.buying()
        plan.before(town)
        {"server": town.serving, "client": town.buying, "settler": town.settling}[plan.victim](life)
        try:
            plan.act(town)
        except Died:
            assert life.dead
        passed = list(life.passed)
        assert life.dead == (bool(at) and not plan.loses)
        granted = all(wish.body is not None for wish in town.wishes)
        assert granted or at, "an undisturbed act grants its wishes"
        recover(plan, town)
    except AssertionError as error:
        name = life.passed[at - 1] if 0 < at <= len(life.passed) else "nothing"
        history = "\n  ".join(town.told)
        raise AssertionError(
            f"{plan.name}: {plan.victim} was struck {side} await {at} ({name}): {error}\n  {history}"
        ) from error
    finally:
        town.close()
        shutil.rmtree(home, ignore_errors=True)
    return passed


def recover(plan: Plan, town: Town) -> None:
    """Everybody starts again; the client gets what it wished for; everything is closed; then the money is counted."""
    town.rail.conserved()
    town.bury()
    town.serving()
    town.settling().round()
    grown(town)
    if plan.returns:
        town.grant(*town.wishes)
    for number in range(ROUNDS):
        if number == ROUNDS // 2:
            town.clock.passes(town.rail.idle_s + MINUTE_S)
        over = end(plan, town)
        town.clock.passes(MINUTE_S)
        if over:
            break
    else:
        raise AssertionError(f"I8: never over: {standing(town)}")
    count(plan, town)


def end(plan: Plan, town: Town) -> bool:
    """One round towards the end; whether it has come."""
    client = town.buying()
    for held in client.held():
        if held.standing not in ENDED and plan.leaves:
            client.close(held)
    town.settling().round()
    for held in client.held():
        if held.standing not in ENDED:
            leaves(client, held, leaving.reconcile)
    return not standing(town)


def standing(town: Town) -> list[str]:
    """What is not over."""
    store = town.settling().handle
    channels = store.list_channels(ChannelQuery()).result()
    found = [f"channel {one.stage}" for one in channels if one.stage is not Stage.CLOSED]
    found += [f"job {job.kind} {job.stage}" for job in store.pending_jobs(10).result()]
    found += [
        f"payment {one.stage}"
        for one in store.payments(Query()).result()
        if one.stage in (Paying.CLAIMED, Paying.PREPARED)
    ]
    found += [f"book {one.standing}" for one in town.buying().held() if one.standing not in ENDED]
    return found


def grown(town: Town) -> None:
    """I3: what is on record of a channel fits together, and none of it is less than it was."""
    for one in town.settling().handle.list_channels(ChannelQuery()).result():
        now = (one.deposit, one.accepted, one.spent, one.settled)
        before = town.seen.get(one.key, (0, 0, 0, 0))
        assert all(map(int.__ge__, now, before)), f"I3: {before} became {now}"
        assert max(one.spent, one.settled) <= one.accepted <= one.deposit, f"I3: {now}"
        town.seen[one.key] = now


def told_no_secret(town: Town) -> None:
    """I9: no private key stands in any file, nor in what anybody said."""
    found = (
        b"".join(path.read_bytes() for path in town.folder.glob("*.db*") if path.is_file())
        + "".join(town.told).encode()
    )
    for key in town.rail.secrets:
        assert key not in found, "I9"
        assert key.hex().encode() not in found, "I9"


def count(plan: Plan, town: Town) -> None:
    """Nothing was lost, made, taken twice or kept."""
    rail, store = town.rail, town.settling().handle
    rail.conserved()
    grown(town)
    told_no_secret(town)
    cost = delivered = 0
    for wish in town.wishes:
        went = town.left[wish.name]
        assert went <= 1 or wish.streams, f"I5: {wish.name} was delivered {went} times"
        delivered += COST * went
        cost += COST * (went if wish.streams else 1)
    least, most = (
        cost if plan.returns else delivered,
        cost + plan.more_units + rail.step_units * len(store.list_channels(ChannelQuery()).result()),
    )
    assert least <= rail.paid <= most, f"I1 I2: {rail.paid} was paid, and {delivered} delivered for {cost}"
    assert rail.paid == rail.earned, "what was paid is not what was earned"
    journal = {name: units for accounts in store.balances().result().values() for name, units in accounts.items()}
    assert sum(journal.values()) == 0, "I6"
    paid = -sum(units for name, units in journal.items() if name.startswith("payer:"))
    held = sum(units for name, units in journal.items() if name.startswith("channel:"))
    assert (paid, held) == (rail.paid, 0), f"I6: the journal says {journal}, the chain {rail.paid}"
    town.clock.passes(700)
    town.settling().round(turn=0)
    if rail.rent_returns:
        rail.all_back()
