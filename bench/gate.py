"""The whole gate without HTTP, on memory and on SQLite FULL: a first payment, and one that comes again.

A first payment is everything between a request with a credential and the record of its delivery, one caller after the
other; with SQLite that is four commits, each on the disk (fsync) before the next step, so its wall time is the disk's.
A payment that comes again is one look-up. The 402 and pympp's handler beside it are measured in peers.py.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.instant import credentials, slot
from coinslot.drive import RealWorld, run
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.request import Incoming

PATH = "/paid/report"
ROUNDS, TIMES = 9, 40
Row = dict[str, object]


def _asking(values: list[str]) -> list[Incoming]:
    return [Incoming("GET", PATH, headers={"authorization": (value,)}) for value in values]


def _median(work: Callable[[Incoming], None], rounds: list[list[Incoming]]) -> tuple[float, float]:
    """Microseconds for one: on the wall, and of the processor (all threads)."""
    walls, processors = [], []
    for requests in rounds:
        wall, processor = time.perf_counter(), time.process_time()
        for request in requests:
            work(request)
        walls.append((time.perf_counter() - wall) / len(requests) * 1e6)
        processors.append((time.process_time() - processor) / len(requests) * 1e6)
    return statistics.median(walls), statistics.median(processors)


def _measure(name: str, url: str) -> list[Row]:
    till = slot(url)
    price, world = till.price("0.01"), RealWorld()
    requests = _asking(credentials(PATH, ROUNDS * TIMES))

    def first(request: Incoming) -> None:
        admission = run(till.gate.admit(request, price), world)
        assert isinstance(admission, Admission)
        watching = Delivering(admission.receipt)
        watching.begin(200, [("content-type", "application/json")])
        watching.add(b'{"answer": 42}')
        delivery = watching.finish()
        assert delivery is not None
        run(till.gate.delivered(admission, delivery), world)

    def again(request: Incoming) -> None:
        answer = run(till.gate.admit(request, price), world)
        assert isinstance(answer, Answer)
        assert answer.status == 200

    rounds = [requests[at : at + TIMES] for at in range(0, len(requests), TIMES)]
    rows = []
    for what, work in (("a first payment", first), ("a payment that comes again", again)):
        wall, processor = _median(work, rounds)
        for kind, value in (("wall", wall), ("cpu", processor)):
            rows.append(_row(f"gate, {name}: {what}: {kind}", value))
    till.close()
    return rows


def _row(name: str, value: float) -> Row:
    return {"name": name, "value": round(value, 1), "unit": "us", "peer": None, "peer_value": None, "ratio": None}


def rows() -> list[Row]:
    """One row per figure: name, value, unit; there is no peer whose gate keeps a record."""
    with tempfile.TemporaryDirectory(prefix="coinslot-bench-") as folder:
        return [*_measure("memory", "memory:"), *_measure("SQLite FULL", f"sqlite:///{Path(folder)}/payments.db")]


if __name__ == "__main__":
    for each in rows():
        print(each)
