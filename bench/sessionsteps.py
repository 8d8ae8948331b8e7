"""What a voucher costs inside one process: step by step, after a hundred thousand of them, and by the unit.

All of it is processor time of this thread, the best of several rounds: the others had more of somebody else in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from bench.sessionrig import DEPOSIT, PRICE, Purse, Rig, challenge, fill, issuer, unit_units
from coinslot.core.credential import Credential, find_credential
from coinslot.core.receipt import Receipt
from coinslot.drive import RealAsyncWorld, run_async
from coinslot.intents.acts import Claimed
from coinslot.intents.session import Spent, Voucher
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import paid_headers
from coinslot.server.gate import Gate
from coinslot.server.presented import asked_of
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.store.channels import Order, SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.transports.metering import AsyncMeter

Row = tuple[str, float, str]

PATH = "/paid/report"
ROUNDS, TIMES = 25, 200
# So many are bought at once where an event loop writes: as many as 64 connections have under way.
TOGETHER = 64
FAR, SAMPLE = 100_000, 2_000


def _best(work: Callable[[], object], rounds: int = ROUNDS, times: int = TIMES) -> float:
    found = float("inf")
    for _ in range(rounds):
        begun = time.thread_time()
        for _ in range(times):
            work()
        found = min(found, (time.thread_time() - begun) / times)
    return found * 1e6


def _request(authorization: str) -> Incoming:
    return Incoming("GET", PATH, "", {"authorization": (authorization,)})


def _driven(made: Awaitable[object]) -> object:
    """The result of a coroutine that waits for nothing."""
    try:
        made.send(None)  # type: ignore[attr-defined]  # it is a coroutine
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def steps(rig: Rig, named: str = "a voucher, in memory") -> Iterator[Row]:
    """Where the time of one voucher goes, in memory; what a durable store adds is measured over HTTP."""
    store, owner = MemoryStore(), rig.purses(1)[0]
    fill(store, rig, [owner])
    mine, price = rig.seller(), Price(PRICE, [rig.seller()])
    gate = Gate(issuer(), store)
    sent = list(owner.vouchers(challenge(rig, PATH), unit_units(), ROUNDS * TIMES))
    turn, world = iter(sent), RealAsyncWorld()

    def whole() -> None:
        admitted = _driven(run_async(gate.admit(_request(next(turn)), price), world))
        assert isinstance(admitted, SessionAdmission), admitted

    yield f"{named}: all", _best(whole), "us"
    yield f"{named}: read the header", _best(lambda: find_credential((sent[7],), ())), "us"
    credential = find_credential((sent[7],), ())
    assert isinstance(credential, Credential)
    terms = price.fixed[0].terms
    assert terms is not None
    asked, now = asked_of(_request(sent[7]), price, credential), time.time()
    yield f"{named}: is it ours", _best(lambda: gate._authenticate(credential, asked.request, price)), "us"
    yield f"{named}: read the payload", _best(lambda: gate._counter._recognise(asked, price.fixed, now)), "us"
    presented, claimed = mine.read(credential.payload_object(), terms), Claimed(credential, terms, now)
    verified = (presented, owner.channel, claimed, now)
    yield f"{named}: its signature", _best(lambda: mine.verify(*verified)), "us"
    yield f"{named}: accept and spend", _best(_buying(rig, owner)), "us"
    channel = store.find_channel(owner.channel.key).result()
    assert channel is not None
    told = [("content-type", "application/json"), ("content-length", "14")]

    def answer() -> None:
        receipt: Receipt = mine.receipt(channel, credential.challenge.id, now, 1, None)
        paid_headers(told, receipt, (("payment-session", channel.id),))

    yield f"{named}: the receipt and the headers", _best(answer), "us"


def _orders(rig: Rig, owner: Purse, first: int, number: int) -> list[Order]:
    mine, units = rig.seller(), unit_units()
    rules = mine.rules(Price(PRICE, [mine]).fixed[0].terms)  # type: ignore[arg-type]  # a session's offer has terms
    return [
        Order(owner.channel.key, units, rules, Voucher(owner.channel.id, n * units, b"v" * 65), 1)
        for n in range(first, first + number)
    ]


def _buying(rig: Rig, owner: Purse) -> Callable[[], None]:
    store = MemoryStore()
    fill(store, rig, [owner])
    turn = iter(_orders(rig, owner, 1, ROUNDS * TIMES))

    def buy() -> None:
        assert isinstance(store.accept_and_spend(next(turn)).result(), Spent)

    return buy


# --- a hundred thousand --------------------------------------------------------------------------


async def _bought(store: SessionStore, orders: list[Order]) -> float:
    """Processor microseconds for each of these orders, all threads: bought on the event loop, 64 at a time."""
    begun = time.process_time()
    for at in range(0, len(orders), TOGETHER):
        for future in [store.accept_and_spend(one) for one in orders[at : at + TOGETHER]]:
            answered: object = await asyncio.wrap_future(future)  # type: ignore[arg-type]  # a union is fine
            assert isinstance(answered, Spent)
    return (time.process_time() - begun) / len(orders) * 1e6


def far(rig: Rig, kind: str, store: SessionStore) -> Iterator[Row]:
    """Voucher 100,000 of a channel beside its first ones."""
    owner = rig.purses(1)[0]
    fill(store, rig, [owner])

    async def all_of_them() -> tuple[float, float]:
        took = [await _bought(store, _orders(rig, owner, 1 + at, SAMPLE)) for at in range(0, FAR, SAMPLE)]
        return min(took[:3]), min(took[-3:])

    first, last = asyncio.run(all_of_them())
    yield f"{kind}, vouchers 1 to 6,000: accept and spend", first, "us"
    yield f"{kind}, vouchers 94,001 to 100,000: accept and spend", last, "us"
    yield f"{kind}, voucher 100,000 to voucher 1", last / first, "x"


# --- by the unit ---------------------------------------------------------------------------------


def metering(rig: Rig, kind: str, store: SessionStore) -> Iterator[Row]:
    """A unit of a stream: taken in memory, and with its part of a durable window."""
    owner = rig.purses(1)[0]
    fill(store, rig, [owner])
    price = Price(PRICE, [rig.seller()], metering=Metering("token"))
    gate, world = Gate(issuer(), store), RealAsyncWorld()
    (sent,) = owner.vouchers(challenge(rig, PATH, price.metering), DEPOSIT // 2, 1)

    async def measured() -> tuple[float, float]:
        admitted = await run_async(gate.admit(_request(sent), price), world)
        assert isinstance(admitted, SessionAdmission), admitted
        assert admitted.meter is not None
        meter = AsyncMeter(admitted.meter, world)
        whole = float("inf")
        for _ in range(10):
            begun = time.process_time()
            for _ in range(FAR // 50):
                await meter.charge()
            whole = min(whole, (time.process_time() - begun) / (FAR // 50) * 1e6)
        taken = float("inf")
        for _ in range(ROUNDS):
            assert await run_async(admitted.meter.renew(), world)
            begun = time.process_time()
            for _ in range(price.metering.window if price.metering else 1):
                admitted.meter.take()
            taken = min(taken, (time.process_time() - begun) / 64 * 1e6)
        await meter.finish()
        return taken, whole

    taken, whole = asyncio.run(measured())
    yield f"{kind}, metering: a unit, in memory", taken, "us"
    yield f"{kind}, metering: a unit, its window included", whole, "us"
