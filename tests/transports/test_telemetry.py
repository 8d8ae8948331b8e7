"""structlog and OpenTelemetry see what happens at the gate, and nothing secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coinslot.core.credential import decode_credential
from coinslot.errors import MissingDependency
from coinslot.server.events import Resolved
from coinslot.transports.slot import Slot
from coinslot.transports.starlette import paid
from coinslot.transports.telemetry import count_events, log_events, observers, trace
from support.serving import Payer, asgi_server
from support.toybank import Bank

SECRET_KEY = "the canary of the challenge secret, 64 characters of it 0123456789"


class Watched:
    """A slot under every hook."""

    def __init__(self, bank: Bank) -> None:
        self.logs: list[dict[str, Any]] = []
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        meter = MeterProvider([self.reader], shutdown_on_exit=False).get_meter("test")
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        logger = structlog.wrap_logger(None, processors=[self._keep], wrapper_class=structlog.BoundLogger)
        self.observe = observers(log_events(logger), count_events(meter))
        self.slot = Slot(
            "shop.example",
            store="memory:",
            secret_key=SECRET_KEY,
            observe=self.observe,
            toy={"bank": bank.path, "recipient": "shop"},
        )
        trace(self.slot, tracers.get_tracer("test"), meter)

    def _keep(self, logger: object, name: str, event: Any) -> Any:
        self.logs.append({"level": name, **event})
        raise structlog.DropEvent

    @contextmanager
    def served(self) -> Iterator[str]:
        """A shop with one handler, which fails when asked to."""

        @paid(self.slot, "0.01")
        def endpoint(request: Request) -> Response:
            if "fail" in request.query_params:
                raise RuntimeError("the handler failed")
            return Response("paid")

        with asgi_server(Starlette(routes=[Route("/paid", endpoint)])) as url:
            yield url
        self.slot.close()

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """By name: labels, and the value or the count."""
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        data = self.reader.get_metrics_data()
        for scope in data.resource_metrics[0].scope_metrics if data else ():
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = getattr(point, "value", None) or getattr(point, "count", None)
                    found.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
        return found


def test_each_event_is_logged_counted_and_timed(bank: Bank, payer: Payer) -> None:
    """An offer, a payment, its replay, a refusal: one line and one count each, under labels of the program."""
    watched = Watched(bank)
    with watched.served() as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        for _ in range(2):
            payer.client.get(f"{url}/paid", headers={"Authorization": authorization})
        twice = [("Authorization", authorization)] * 2
        assert payer.client.get(f"{url}/paid", headers=twice).status_code == 400
    watched.observe(Resolved("id", "0xabc", "settled"))
    names = [one["event"] for one in watched.logs]
    assert names == [f"coinslot.{one}" for one in ("offered", "paid", "replayed", "refused", "resolved")]
    assert watched.logs[1]["path"] == "/paid"
    assert watched.logs[1]["units"] == 10_000
    assert watched.logs[3]["level"] == "warning"
    asset = {"method": "toy", "asset": watched.logs[1]["asset"]}
    metrics = watched.metrics()
    timed = {labels["outcome"]: count for labels, count in metrics.pop("coinslot.gate.duration")}
    assert timed == {"402": 1, "admitted": 1, "200": 1, "400": 1}
    assert metrics == {
        "coinslot.challenges": [({"problem": "payment-required"}, 1)],
        "coinslot.payments": [(asset, 1)],
        "coinslot.units": [(asset, 10_000)],
        "coinslot.replays": [({}, 1)],
        "coinslot.refusals": [({"problem": "bad-request", "status": 400}, 1)],
        "coinslot.resolved": [({"stage": "settled"}, 1)],
    }
    spans = [dict(span.attributes or {}) for span in watched.spans.get_finished_spans()]
    assert [one["coinslot.outcome"] for one in spans] == ["402", "admitted", "200", "400"]
    assert spans[1]["coinslot.reference"] == watched.logs[1]["reference"]


@pytest.mark.guard("T38")
def test_nothing_secret_leaves_by_the_hooks(bank: Bank, payer: Payer) -> None:
    """Neither token, nor signature, nor the challenge secret, on good ways and bad ones."""
    watched = Watched(bank)
    canaries = [SECRET_KEY, "Bearer canary", "canary-in-the-body"]
    with watched.served() as url:
        for query in ("", "?fail=1"):
            authorization = payer.credential(payer.client.get(f"{url}/paid{query}"))
            canaries.append(authorization.removeprefix("Payment "))
            canaries.append(json.loads(decode_credential(canaries[-1]).payload)["signature"])
            for sent in (authorization, authorization[:-9], f"{authorization}AAAA", "Bearer canary"):
                payer.client.get(f"{url}/paid{query}", headers={"Authorization": sent})
            payer.client.request(
                "GET", f"{url}/paid{query}", headers={"Authorization": authorization}, content=b"canary-in-the-body"
            )
    spans = [span.to_json() for span in watched.spans.get_finished_spans()]
    assert len(spans) >= 8
    told = repr(watched.logs) + repr(watched.metrics()) + "".join(spans)
    assert [one for one in canaries if one in told or one[:-9] in told] == []


def test_a_missing_library_is_named_at_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    import sys

    monkeypatch.setitem(sys.modules, "structlog", None)
    with pytest.raises(MissingDependency, match=r"coinslot\[telemetry\]"):
        log_events()
