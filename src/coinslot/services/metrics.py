"""Counters of one process in the Prometheus text format. Labels come from closed lists, never from a request."""

from __future__ import annotations

import threading
from collections import Counter

from coinslot.server.events import (
    Bought,
    ChannelClosed,
    ChannelFrozen,
    ChannelFunded,
    ChannelSettled,
    ChannelStopped,
    Event,
    JobFailed,
    Offered,
    Paid,
    Refused,
    Replayed,
    Resolved,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "coinslot_challenges_total": "402 answers, by the problem that led to them.",
    "coinslot_refusals_total": "Answers that ask nobody to pay, by problem.",
    "coinslot_payments_total": "Payments settled and recorded, by method and asset.",
    "coinslot_paid_units_total": "Base units settled, by method and asset.",
    "coinslot_replays_total": "Stored answers given again.",
    "coinslot_resolved_total": "Payments whose end the resolver learnt, by stage.",
    "coinslot_bought_total": "Requests paid from channels, by method and asset.",
    "coinslot_bought_units_total": "Base units that requests of a fixed price took from channels, by method and asset.",
    "coinslot_metered_total": "Units that metered answers counted, by unit.",
    "coinslot_metered_units_total": "Base units that metered answers took from channels, by unit.",
    "coinslot_funded_total": "Openings and top-ups of channels, by method, asset and act.",
    "coinslot_funded_units_total": "Base units deposited in channels, by method, asset and act.",
    "coinslot_settlements_total": "Settlements of channels that stayed open, by method and asset.",
    "coinslot_settled_units_total": "Base units paid out by them, by method and asset.",
    "coinslot_closed_total": "Channels closed, by method and asset.",
    "coinslot_captured_units_total": "Base units paid out of channels over their whole lives, when closed.",
    "coinslot_refunded_units_total": "Base units given back when channels were closed.",
    "coinslot_stopped_total": "Channels that nothing more is sold on, by method and why.",
    "coinslot_frozen_total": "Channels that contradict our record: a person must look. By method.",
    "coinslot_failed_jobs_total": "Settlements and closes that failed and are tried again, by method and kind.",
}


class Metrics:
    """An observer of the gate that counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            match event:
                case Offered(problem=problem):
                    self._counts["coinslot_challenges_total", (("problem", problem),)] += 1
                case Refused(problem=problem):
                    self._counts["coinslot_refusals_total", (("problem", problem),)] += 1
                case Paid(method=method, asset=asset, units=units):
                    labels = (("method", method), ("asset", asset))
                    self._counts["coinslot_payments_total", labels] += 1
                    self._counts["coinslot_paid_units_total", labels] += units
                case Replayed():
                    self._counts["coinslot_replays_total", ()] += 1
                case Resolved(stage=stage):
                    self._counts["coinslot_resolved_total", (("stage", stage),)] += 1
                case _:
                    self._channel(event)

    def metered(self, unit: str, counted: int, units: int) -> None:
        """Count a metered answer: `counted` of the route's own unit, `units` base units."""
        with self._lock:
            self._counts["coinslot_metered_total", (("unit", unit),)] += counted
            self._counts["coinslot_metered_units_total", (("unit", unit),)] += units

    def _channel(self, event: Event) -> None:
        counts = self._counts
        match event:
            case Bought(method=method, asset=asset, units=units):
                counts["coinslot_bought_total", _labels(method=method, asset=asset)] += 1
                counts["coinslot_bought_units_total", _labels(method=method, asset=asset)] += units
            case ChannelFunded(method=method, asset=asset, act=act, units=units):
                counts["coinslot_funded_total", _labels(method=method, asset=asset, act=act)] += 1
                counts["coinslot_funded_units_total", _labels(method=method, asset=asset, act=act)] += units
            case ChannelSettled(method=method, asset=asset, units=units):
                counts["coinslot_settlements_total", _labels(method=method, asset=asset)] += 1
                counts["coinslot_settled_units_total", _labels(method=method, asset=asset)] += units
            case ChannelClosed(method=method, asset=asset, units=units, refunded_units=refunded):
                counts["coinslot_closed_total", _labels(method=method, asset=asset)] += 1
                counts["coinslot_captured_units_total", _labels(method=method, asset=asset)] += units
                counts["coinslot_refunded_units_total", _labels(method=method, asset=asset)] += refunded
            case ChannelStopped(method=method, why=why):
                counts["coinslot_stopped_total", _labels(method=method, why=why)] += 1
            case ChannelFrozen(method=method):
                counts["coinslot_frozen_total", _labels(method=method)] += 1
            case JobFailed(method=method, kind=kind):
                counts["coinslot_failed_jobs_total", _labels(method=method, kind=kind)] += 1
            case _:
                pass

    def text(self) -> str:
        """All counters, sorted."""
        with self._lock:
            rows = sorted(self._counts.items())
        lines: list[str] = []
        for name, help_text in _HELP.items():
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} counter"]
            for (counter, labels), value in rows:
                if counter == name:
                    inside = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
                    lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
        return "\n".join(lines) + "\n"


def _labels(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(labels.items())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
