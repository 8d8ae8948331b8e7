"""What a voucher costs inside one process: step by step, after a hundred thousand of them, and by the unit.

All of it is processor time of this thread, the best of several rounds: the others had more of somebody else in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from bench.sessionrig import DEPOSIT, PRICE, Purse, challenge, fill, issuer, purses, seller, unit_units
from coinslot.core.credential import Credential, find_credential
from coinslot.core.receipt import Receipt
from coinslot.drive import RealAsyncWorld, RealWorld, run, run_async
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


def steps() -> Iterator[Row]:
    """Where the time of one voucher goes, in memory; what a durable store adds is measured over HTTP."""
    store, owner = MemoryStore(), purses(1)[0]
    fill(store, [owner])
    mine, price = seller(), Price(PRICE, [seller()])
    gate = Gate(issuer(), store)
    sent = list(owner.vouchers(challenge(PATH), unit_units(), ROUNDS * TIMES))
    turn, world = iter(sent), RealAsyncWorld()

    def whole() -> None:
        admitted = _driven(run_async(gate.admit(_request(next(turn)), price), world))
        assert isinstance(admitted, SessionAdmission), admitted

    yield "a voucher, in memory: all", _best(whole), "us"
    yield "a voucher, in memory: read the header", _best(lambda: find_credential((sent[7],), ())), "us"
    credential = find_credential((sent[7],), ())
    assert isinstance(credential, Credential)
    terms = price.fixed[0].terms
    assert terms is not None
    asked, now = asked_of(_request(sent[7]), price, credential), time.time()
    yield "a voucher, in memory: is it ours", _best(lambda: gate._authenticate(credential, asked.request, price)), "us"
    yield (
        "a voucher, in memory: read the payload",
        _best(lambda: gate._counter._recognise(asked, price.fixed, now)),
        "us",
    )
    presented, claimed = mine.read(credential.payload_object(), terms), Claimed(credential, terms, now)
    verified = (presented, owner.channel, claimed, now)
    yield "a voucher, in memory: its signature", _best(lambda: mine.verify(*verified)), "us"
    yield "a voucher, in memory: accept and spend", _best(_buying(owner)), "us"
    channel = store.find_channel(owner.channel.key).result()
    assert channel is not None
    told = [("content-type", "application/json"), ("content-length", "14")]

    def answer() -> None:
        receipt: Receipt = mine.receipt(channel, credential.challenge.id, now, 1, None)
        paid_headers(told, receipt, (("payment-session", channel.id),))

    yield "a voucher, in memory: the receipt and the headers", _best(answer), "us"


def _orders(owner: Purse, first: int, number: int) -> list[Order]:
    rules, units = seller().rules(Price(PRICE, [seller()]).fixed[0].terms), unit_units()  # type: ignore[arg-type]
    return [
        Order(owner.channel.key, units, rules, Voucher(owner.channel.id, n * units, b"v" * 65), 1)
        for n in range(first, first + number)
    ]


def _buying(owner: Purse) -> Callable[[], None]:
    store = MemoryStore()
    fill(store, [owner])
    turn = iter(_orders(owner, 1, ROUNDS * TIMES))

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


def far(kind: str, store: SessionStore) -> Iterator[Row]:
    """Voucher 100,000 of a channel beside its first ones."""
    owner = purses(1)[0]
    fill(store, [owner])

    async def all_of_them() -> tuple[float, float]:
        took = [await _bought(store, _orders(owner, 1 + at, SAMPLE)) for at in range(0, FAR, SAMPLE)]
        return min(took[:3]), min(took[-3:])

    first, last = asyncio.run(all_of_them())
    yield f"{kind}, vouchers 1 to 6,000: accept and spend", first, "us"
    yield f"{kind}, vouchers 94,001 to 100,000: accept and spend", last, "us"
    yield f"{kind}, voucher 100,000 to voucher 1", last / first, "x"


# --- by the unit ---------------------------------------------------------------------------------


def metering(kind: str, store: SessionStore) -> Iterator[Row]:
    """A unit of a stream: taken in memory, and with its part of a durable window."""
    owner = purses(1)[0]
    fill(store, [owner])
    price = Price(PRICE, [seller()], metering=Metering("token"))
    gate, world = Gate(issuer(), store), RealAsyncWorld()
    (offered,) = run(gate.issuer.challenges(Incoming("GET", PATH), price), RealWorld())
    (sent,) = owner.vouchers(offered, DEPOSIT // 2, 1)

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
