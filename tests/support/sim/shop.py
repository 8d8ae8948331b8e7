"""What a server process of the simulation does: a gate before two routes, as a door runs it.

GET /item      one unit a call, at PRICE_UNITS
GET /stream    as many units as `n=` says, PRICE_UNITS each, charged before each is sent
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from coinslot.core.challenge import KeyRing
from coinslot.drive import Cancelled, Flow, sleep
from coinslot.errors import ChannelFinalized, ChannelNotFound
from coinslot.method import SessionSeller
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.meter import Meter
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from support.sim.bank import SimBank
from support.sim.engine import Process, Sim
from support.sim.oracle import Oracle
from support.sim.stores import Disk, Queued, SqlHere
from support.toyescrow import V2
from support.toysessionseller import ToySessionSeller

REALM = "api.example.com"
SECRET = b"\x05e\x06f\x07g\x08h\x01a\x02b\x03c\x04d\x0dm\x0en\x0fo\x10p\x09i\x0aj\x0bk\x0cl"
PRICE = Decimal("0.01")
PRICE_UNITS = 10_000
WINDOW = 4
# How long a dead process stays dead, at most.
RESTART_S = 8.0
# How often a handler fails by itself.
HANDLER_FAILS = 0.03

Say = Callable[[Any], None]


class Shop:
    """The server processes, the disk and the bank that they share."""

    def __init__(self, sim: Sim, disk: Disk, bank: SimBank, oracle: Oracle, flavour: str = V2) -> None:
        self.sim, self.disk, self.bank, self.oracle = sim, disk, bank, oracle
        self.seller: SessionSeller = ToySessionSeller(
            bank, "main", bank.grace(), "shop", "coin", flavour, TOY_MIN_DELTA, TOY_BATCH
        )
        metering = Metering("unit", WINDOW, patience_s=3.0)
        self.prices = {
            "/item": Price(PRICE, [self.seller]),
            "/stream": Price(PRICE, [self.seller], metering=metering),
        }
        self.runs = 0
        self._gates: dict[str, Gate] = {}

    def open(self, name: str, serves: Callable[[Process, Queued], None] | None = None) -> Process:
        """A process that starts again whenever it dies; `serves` is what it does, a gate if nothing is said."""
        process = Process(name)
        self._begin(process, serves or self._serves)
        return process

    def _begin(self, process: Process, serves: Callable[[Process, Queued], None]) -> None:
        process.alive = True
        store = Queued(
            self.sim, process, SqlHere(self.disk, f"{process.name}/{process.generation}", lambda: self.sim.wall())
        )

        def again() -> None:
            self.sim.after(RESTART_S * self.sim.rng.random(), lambda: self._begin(process, serves))

        process.on_crash.append(again)
        serves(process, store)

    def _serves(self, process: Process, store: Queued) -> None:
        self._gates[process.name] = Gate(Issuer(REALM, KeyRing((SECRET,))), store, 5.0)

    # --- the door

    def door(self, process: Process, incoming: Incoming, say: Say) -> Flow[Answer]:
        """A request from its first byte to its last."""
        gate, price = self._gates[process.name], self.prices[incoming.path]
        got = yield from gate.admit(incoming, price)
        if isinstance(got, Answer):
            self.oracle.answered(incoming, got)
            return got
        assert isinstance(got, SessionAdmission)
        self.runs += 1
        run_name = f"{process.name}-{self.runs}"
        self.oracle.runs(incoming, got, run_name)
        try:
            if got.meter is not None:
                return (yield from self._stream(gate, incoming, got, got.meter, say))
            return (yield from self._item(gate, incoming, got, run_name))
        except (Exception, Cancelled):
            gate.abandoned(got)
            raise

    def _item(self, gate: Gate, incoming: Incoming, got: SessionAdmission, run_name: str) -> Flow[Answer]:
        yield from sleep(self.sim.latency(0.02))
        if self.sim.happens(HANDLER_FAILS):
            gate.abandoned(got)
            self.oracle.ended(incoming, run_name)
            return Answer(500, (), b"the handler failed")
        watching = Delivering(got.receipt, got.headers)
        headers = watching.begin(200, [("content-type", "text/plain")])
        body = f"goods {run_name}".encode()
        watching.add(body)
        delivery = watching.finish()
        assert delivery is not None
        yield from gate.delivered(got, delivery)
        answer = Answer(200, headers, body)
        self.oracle.sold(incoming, got, PRICE_UNITS, run_name)
        self.oracle.answered(incoming, answer)
        return answer

    def _stream(self, gate: Gate, incoming: Incoming, got: SessionAdmission, meter: Meter, say: Say) -> Flow[Answer]:
        wanted = int(parse_qs(incoming.query)["n"][0])
        watching = Delivering(got.receipt, got.headers)
        headers = watching.begin(200, [("content-type", "text/plain")])
        sent = 0
        while sent < wanted:
            if not meter.take() and not (yield from self._more(meter, say)):
                break
            self.oracle.delivers(got.key, PRICE_UNITS)
            say(("unit", sent))
            sent += 1
            watching.add(b"u")
            yield from sleep(self.sim.latency(0.01))
        delivery = watching.finish()
        assert delivery is not None
        yield from gate.delivered(got, delivery)
        answer = Answer(200, headers, b"u" * sent)
        self.oracle.answered(incoming, answer)
        return answer

    def _more(self, meter: Meter, say: Say) -> Flow[bool]:
        """The next window, and the unit out of it."""
        try:
            if not (yield from meter.renew()):
                say(("need", meter.need()))
                if not (yield from meter.wait_for()):
                    return False
        except (ChannelFinalized, ChannelNotFound):
            return False
        return meter.take()


TOY_MIN_DELTA = 0
TOY_BATCH = 4
