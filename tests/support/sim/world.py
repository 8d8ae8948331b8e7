"""A whole history from one number: banks, shops, payers, faults, recovery, and what must hold then.

python -m support.sim.world SEED            from tests/; tells what happened
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from coinslot import drive
from coinslot.drive import Flow, sleep
from coinslot.errors import StoreError
from coinslot.intents.session import Stage
from coinslot.server.resolver import resolve_round
from coinslot.server.settler import Policy, settle_round
from support.sim.bank import SimBank
from support.sim.buyer import LEAVING, Buyer
from support.sim.engine import BEGIN_S, CALM, Broken, Chances, Process, Sim
from support.sim.net import Net
from support.sim.oracle import Oracle
from support.sim.payer import Payer, Wish
from support.sim.shop import PRICE_UNITS, SECRET, WINDOW, Shop
from support.sim.stores import Disk, Queued
from support.toyescrow import V1, V2
from support.toysessionpayer import ToySessionPayer

# How long the faults go on, and how long everybody has to recover from them.
TROUBLE_S = 60.0
RECOVERY_S = 4000.0
JUMP_S = 900.0
COINS = 10_000_000


@dataclass(frozen=True)
class Plan:
    """What a seed decides first."""

    servers: int
    settlers: int
    payers: int
    wishes: int
    flavour: str
    chances: Chances


def plan_of(seed: int) -> Plan:
    """Small worlds; each has a few kinds of faults, so that each kind meets every other."""
    rng = Random(f"plan {seed}")

    def some(most: float) -> float:
        return most * rng.random() if rng.random() < 0.5 else 0.0

    chances = Chances(
        crash=some(0.01),
        lost_call=some(0.2),
        stale=some(0.3),
        forget=some(0.2) if rng.random() < 0.3 else 0.0,
        drop=some(0.15),
        twice=some(0.15),
        late=some(0.01),
        hang_up=some(0.1),
        store=some(0.05),
        pause=some(0.2),
        jump=some(0.1) if rng.random() < 0.3 else 0.0,
        power=some(0.1) if rng.random() < 0.3 else 0.0,
    )
    return Plan(
        rng.randint(1, 3), rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 7), rng.choice([V2, V2, V1]), chances
    )


class World:
    """One history."""

    def __init__(self, seed: int, chances: Chances | None = None) -> None:
        self.seed, self.plan = seed, plan_of(seed)
        if chances is not None:
            self.plan = replace(self.plan, chances=chances)
        self.sim = sim = Sim(seed, self.plan.chances)
        self.disk, self.bank = Disk(), SimBank(sim)
        self.oracle = Oracle(sim, self.disk, self.bank)
        self.shop = Shop(sim, self.disk, self.bank, self.oracle, self.plan.flavour)
        self.servers = [self.shop.open(f"server{n}") for n in range(self.plan.servers)]
        self.settlers = [self.shop.open(f"settler{n}", self._watches) for n in range(self.plan.settlers)]
        Net(sim, self.servers, self.shop.door)
        self.bank.open("shop")
        self.payers: list[Payer] = []
        self.buyers: list[Buyer] = []
        for n in range(self.plan.payers):
            self._client(n)
        self.oracle.total = self.bank.total()
        self.oracle.secrets |= {SECRET, SECRET.hex().encode()}

    def _client(self, n: int) -> None:
        rng, name = self.sim.rng, f"payer{n}"
        secret = hashlib.sha256(f"{self.seed} {name}".encode()).hexdigest()
        self.bank.db.execute("insert into account values (?, ?)", (name, secret))
        self.bank.db.execute("insert into balance values (?, 'coin', ?)", (name, COINS))
        self.oracle.secrets.add(secret.encode())
        wallet = ToySessionPayer(self.bank, "main", self.bank.grace(), name, secret, secret)
        real = rng.random() < 0.5
        wishes = [
            Wish(f"{name}-{at}", rng.randint(2, 9) if not real and rng.random() < 0.3 else 0)
            for at in range(self.plan.wishes)
        ]
        if real:
            self.buyers.append(Buyer(self.sim, name, wallet, wishes, rng.choice(LEAVING)))
        else:
            leaves = rng.choice(["close", "close", "request", "stay"])
            self.payers.append(Payer(self.sim, name, wallet, wishes, leaves))

    def _watches(self, process: Process, store: Queued) -> None:
        """Tells that channels are watched, every now and then."""

        self.sim.start(process, self._rounds(store), _must_not_end, "watch")

    def _rounds(self, store: Queued) -> Flow[None]:
        policy = Policy(settle_units=3 * PRICE_UNITS, settle_after_s=30.0, close_idle_after_s=100.0, batch=3)
        turn = 0
        while True:
            with suppress(StoreError):
                yield from resolve_round(store, [self.shop.seller], None, turn)
                yield from settle_round(store, [self.shop.seller], policy, None, turn)
            turn += 1
            yield from sleep(10.0)

    # --- the history

    def play(self) -> None:
        """Trouble, recovery, and what must hold in the end. Raises Broken."""
        sim = self.sim
        drive.arm_failpoints(sim.strike)
        try:
            self._disturb()
            sim.run(self._all_done, TROUBLE_S)
            sim.chances, sim.offset_s = CALM, 0.0
            if not sim.run(self._all_done, RECOVERY_S):
                raise Broken(f"I8: not done: {[each.process.name for each in self.clients() if not each.done]}")
            if not sim.run(self._all_closed, RECOVERY_S):
                raise Broken("I8: the settler does not end")
            self._final()
        finally:
            drive.arm_failpoints(None)

    def _all_done(self) -> bool:
        return all(each.done for each in self.clients())

    def clients(self) -> list[Payer | Buyer]:
        """Written by hand, and real ones."""
        return [*self.payers, *self.buyers]

    def _disturb(self) -> None:
        """Processes that stand still, and clocks that jump."""
        sim = self.sim

        def again() -> None:
            chances = sim.chances
            if sim.happens(chances.pause):
                process = sim.rng.choice([*self.servers, *(each.process for each in self.clients())])
                process.wakes_at_s = sim.time + 40 * sim.rng.random()
                sim.tell("PAUSE", process.name, process.wakes_at_s - sim.time)
            if sim.happens(chances.power):
                sim.tell("POWER")
                for process in [*self.servers, *self.settlers]:
                    sim.crash(process)
            if sim.happens(chances.jump):
                sim.offset_s += sim.rng.uniform(-JUMP_S, JUMP_S)
                sim.tell("JUMP", sim.offset_s)
            sim.after(2.0, again)

        sim.after(1.0, again)

    def _authorized(self, key: str) -> Iterator[int]:
        """What was signed for on a channel; I2: never more than what was asked for costs."""
        for payer in self.payers:
            yield payer.paper.authorized.get(key, 0)
        for buyer in self.buyers:
            held = buyer.held()
            signed = sum(each.signed_units for each in held)
            # A request may begin on one channel and end on another; a step of one unit buys where an equal does not.
            most = (buyer.asked + len(held)) * (PRICE_UNITS + 1)
            self.oracle.say(signed <= most, "I2", f"{signed} signed for {buyer.asked} requests")
            yield max((each.signed_units for each in held if each.key == key), default=0)

    def _all_closed(self) -> bool:
        return all(each.stage in {Stage.CLOSED, Stage.OPENING} for each in self.oracle.channels())

    def _final(self) -> None:
        """When everything has ended: who had what, by the bank, the journal, the store and the handlers."""
        oracle = self.oracle
        oracle.check()
        oracle.check_books()
        captured = 0
        for record in oracle.channels():
            found = self.bank.channel(record.id)
            delivered = oracle.delivered[record.key]
            oracle.say(delivered <= record.spent, "I1", f"{delivered} delivered for {record.spent}")
            if found is None:
                continue
            captured += found.settled
            oracle.say(record.stage is Stage.CLOSED and found.closed, "I8", f"never closed: {record}")
            oracle.say(record.spent <= found.settled <= record.accepted, "I2", f"captured {found.settled} of {record}")
            oracle.say(found.settled == record.settled, "I6", f"the bank paid {found.settled}, on record: {record}")
            authorized = max(self._authorized(record.key))
            oracle.say(found.settled <= authorized, "I2", f"captured {found.settled}, authorized {authorized}")
        oracle.say(self.bank.balance("shop") == captured, "I6", "the shop was paid something else")
        oracle.check_journal(captured)


def _must_not_end(result: object, error: BaseException | None) -> None:
    raise error or AssertionError("a loop ended")


def tell(world: World) -> None:
    """What happened last, and how to see it again."""
    print("\n".join(world.sim.told))
    print(f"seed {world.seed}: {world.plan}")
    print(f"again: PYTHONPATH=tests python -m support.sim.world {world.seed}")


def main(seeds: list[int]) -> None:
    """Play these histories, and tell of the last."""
    logging.disable(logging.CRITICAL)
    for seed in seeds:
        world = World(seed)
        try:
            world.play()
        except BaseException:
            tell(world)
            raise
    tell(world)
    print(f"{world.sim.events} events, {world.sim.time - BEGIN_S:.0f} s, {PRICE_UNITS=} {WINDOW=}")
    for record in world.oracle.channels():
        print(record.stage, record.deposit, record.accepted, record.spent, record.reserved, world.oracle.delivered)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]])
