"""Counters of one process in the Prometheus text format. Labels come from closed lists, never from a request."""

from __future__ import annotations

import threading
from collections import Counter

from coinslot.server.events import Event, Offered, Paid, Refused, Replayed, Resolved

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP = {
    "coinslot_challenges_total": "402 answers, by the problem that led to them.",
    "coinslot_refusals_total": "Answers that ask nobody to pay, by problem.",
    "coinslot_payments_total": "Payments settled and recorded, by method and asset.",
    "coinslot_paid_units_total": "Base units settled, by method and asset.",
    "coinslot_replays_total": "Stored answers given again.",
    "coinslot_resolved_total": "Payments whose end the resolver learnt, by stage.",
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


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
