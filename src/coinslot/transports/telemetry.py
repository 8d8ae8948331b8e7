"""Logs, metrics and spans of what a slot does, for structlog and OpenTelemetry. Optional: the extra `telemetry`.

    slot = Slot("api.example.com", observe=observers(log_events(), count_events()), ...)
    trace(slot)

Nothing secret is told: events carry no credential, key or body (server/events.py). Labels of metrics are bounded:
methods, assets and problems are known when the program starts; paths and payers go to logs and spans only.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from coinslot.drive import Flow
from coinslot.errors import MissingDependency
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.events import Event, Observer, Offered, Paid, Refused, Replayed, Resolved
from coinslot.server.gate import Gate
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.transports.slot import Slot

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter
    from opentelemetry.trace import Tracer

SCOPE = "coinslot"
_LEVELS: dict[type[Event], str] = {
    Offered: "info",
    Refused: "warning",
    Paid: "info",
    Replayed: "info",
    Resolved: "info",
}


def observers(*each: Observer) -> Observer:
    """One observer that tells all of these, in order."""

    def tell(event: Event) -> None:
        for one in each:
            one(event)

    return tell


def log_events(logger: Any = None) -> Observer:
    """Log every event under "coinslot.offered", "coinslot.paid" ... with its fields. `logger` is a structlog logger.

    Raises MissingDependency.
    """
    log = logger if logger is not None else _load("structlog").get_logger(SCOPE)

    def tell(event: Event) -> None:
        said = {one.name: getattr(event, one.name) for one in fields(event)}
        getattr(log, _LEVELS[type(event)])(f"{SCOPE}.{type(event).__name__.lower()}", **said)

    return tell


def count_events(meter: Meter | None = None) -> Observer:
    """Count offers and refusals by problem, payments and base units by asset, replays, late ends. OpenTelemetry.

    Raises MissingDependency.
    """
    made = meter if meter is not None else _load("opentelemetry.metrics").get_meter(SCOPE)
    offers = made.create_counter("coinslot.challenges", unit="{response}", description="402 answers, by problem")
    refusals = made.create_counter("coinslot.refusals", unit="{response}", description="other problems, by problem")
    payments = made.create_counter("coinslot.payments", unit="{payment}", description="settled, by method and asset")
    units = made.create_counter("coinslot.units", unit="{unit}", description="settled base units, by method and asset")
    replays = made.create_counter("coinslot.replays", unit="{response}", description="stored answers given again")
    late = made.create_counter("coinslot.resolved", unit="{payment}", description="ends learnt afterwards, by stage")

    def tell(event: Event) -> None:
        match event:
            case Offered():
                offers.add(1, {"problem": event.problem})
            case Refused():
                refusals.add(1, {"problem": event.problem, "status": event.status})
            case Paid():
                labels = {"method": event.method, "asset": event.asset}
                payments.add(1, labels)
                units.add(event.units, labels)
            case Replayed():
                replays.add(1)
            case Resolved():
                late.add(1, {"stage": event.stage})

    return tell


def trace(slot: Slot, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
    """A span "coinslot.admit" around the gate's decision on each priced request, and a histogram of its seconds.

    Calls to a chain's node become its children where httpx is instrumented. Raises MissingDependency.
    """
    spans = tracer if tracer is not None else _load("opentelemetry.trace").get_tracer(SCOPE)
    made = meter if meter is not None else _load("opentelemetry.metrics").get_meter(SCOPE)
    seconds = made.create_histogram("coinslot.gate.duration", unit="s", description="the gate's decision, by outcome")
    slot.gate = _TracedGate(slot.gate, spans, seconds)


class _TracedGate(Gate):
    """The gate, timed."""

    _tracer: Tracer
    _seconds: Histogram

    def __init__(self, gate: Gate, tracer: Tracer, seconds: Histogram) -> None:
        for one in fields(gate):
            object.__setattr__(self, one.name, getattr(gate, one.name))
        object.__setattr__(self, "_tracer", tracer)
        object.__setattr__(self, "_seconds", seconds)

    def admit(self, request: Incoming, price: Price) -> Flow[Answer | Admission]:
        """See Gate.admit."""
        asked = {"http.request.method": request.method, "url.path": request.path}
        began, outcome = time.perf_counter(), "error"
        with self._tracer.start_as_current_span("coinslot.admit", attributes=asked) as span:
            try:
                decided = yield from Gate.admit(self, request, price)
                outcome = str(decided.status) if isinstance(decided, Answer) else "admitted"
                if isinstance(decided, Admission):
                    span.set_attribute("coinslot.method", decided.receipt.method)
                    span.set_attribute("coinslot.reference", decided.receipt.reference)
                    span.set_attribute("coinslot.asset", decided.asset)
            finally:
                span.set_attribute("coinslot.outcome", outcome)
                self._seconds.record(time.perf_counter() - began, {"outcome": outcome})
        return decided


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingDependency(f"telemetry needs {name.partition('.')[0]}", extra="telemetry") from None
