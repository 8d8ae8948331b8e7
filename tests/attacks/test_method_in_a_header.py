"""Layers behind us that take a request's method from a header, whatever the request was (a common recipe)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest
from asgiref.wsgi import WsgiToAsgi
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from coinslot.transports import asgi, wsgi
from coinslot.transports.slot import Slot
from support.djangosite import configured
from support.serving import asgi_server, wsgi_server
from support.toybank import Bank
from support.upstream import Call, Reply, Upstream, gate_for

assert configured

ASKS = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
TABLE = {"POST /orders": "0.01", "GET /orders": None}
# Hyphens, and what programs that speak CGI or WSGI take for them.
NAMES = ["X-HTTP-Method-Override", "X_HTTP_METHOD_OVERRIDE", "X-HTTP_Method-Override"]


def _meant(environ: dict[str, Any]) -> str:
    return str(environ.get("HTTP_X_HTTP_METHOD_OVERRIDE") or environ["REQUEST_METHOD"]).upper()


def _orders(done: list[str]) -> Callable[[dict[str, Any], Any], list[bytes]]:
    """An application that does what the header says."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        done.append(_meant(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    return app


def _mounted(app: Any) -> Any:
    bridge: Any = WsgiToAsgi
    return bridge(app)


@contextmanager
def behind_wsgi(slot: Slot, done: list[str]) -> Iterator[str]:
    """Behind the WSGI middleware."""
    with wsgi_server(wsgi.CoinslotMiddleware(_orders(done), slot, TABLE)) as url:
        yield url


@contextmanager
def behind_asgi(slot: Slot, done: list[str]) -> Iterator[str]:
    """A WSGI application mounted in an asynchronous one."""
    with asgi_server(asgi.CoinslotMiddleware(_mounted(_orders(done)), slot, TABLE), http="httptools") as url:
        yield url


@contextmanager
def behind_django(slot: Slot, done: list[str]) -> Iterator[str]:
    """A view of a project."""

    def view(request: HttpRequest) -> HttpResponse:
        done.append(_meant(request.META))
        return HttpResponse(b"done")

    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("orders", view)]
    ours = ["coinslot.transports.django.CoinslotMiddleware"]
    options = {"ROOT_URLCONF": urls, "MIDDLEWARE": ours, "COINSLOT_SLOT": slot, "COINSLOT_ROUTES": TABLE}
    with override_settings(**options), wsgi_server(WSGIHandler()) as url:
        yield url


@contextmanager
def behind_the_gate(slot: Slot, done: list[str], bank: Bank) -> Iterator[str]:
    """An API behind `coinslot gate`."""

    def answer(call: Call) -> Reply:
        said = {name.upper().replace("-", "_"): value for name, value in call.headers}
        done.append(said.get("X_HTTP_METHOD_OVERRIDE", call.method).upper())
        return 200, {}, b"done"

    with (
        Upstream(answer) as api,
        gate_for(api, {"POST /orders": "0.01"}, bank, free=["GET /orders", "OPTIONS /orders"]) as gate,
    ):
        yield gate.url


@pytest.fixture
def slot(bank: Bank) -> Iterator[Slot]:
    """A slot of the toy method."""
    made = Slot("shop.example", store="memory:", toy={"bank": bank.path, "recipient": "shop"})
    yield made
    made.close()


@pytest.mark.guard("T42")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("door", ["wsgi", "asgi", "django", "gate"])
def test_nothing_is_ordered_unpaid(bank: Bank, slot: Slot, door: str, method: str, name: str, asks: bool) -> None:
    """Neither by a free method nor by a browser's question: without content it is answered, but done all the same."""
    done: list[str] = []
    shops: dict[str, Any] = {"wsgi": behind_wsgi, "asgi": behind_asgi, "django": behind_django}
    with behind_the_gate(slot, done, bank) if door == "gate" else shops[door](slot, done) as url:
        answer = httpx.request(method, url + "/orders", headers={name: "POST", **(ASKS if asks else {})})
        assert answer.status_code in {400, 402}
        assert done == []


@pytest.mark.parametrize("door", ["wsgi", "asgi", "django", "gate"])
def test_a_browsers_question_is_answered(bank: Bank, slot: Slot, door: str) -> None:
    """Without a header that means another method it passes."""
    done: list[str] = []
    shops: dict[str, Any] = {"wsgi": behind_wsgi, "asgi": behind_asgi, "django": behind_django}
    with behind_the_gate(slot, done, bank) if door == "gate" else shops[door](slot, done) as url:
        answer = httpx.options(url + "/orders", headers=ASKS)
        assert (answer.status_code, answer.content, done) == (200, b"", ["OPTIONS"])


@pytest.mark.guard("T44")
@pytest.mark.parametrize("name", ["X_Forwarded_For", "x_forwarded-for", "X_Forwarded_Proto", "Accept_Payment"])
def test_no_underscore_speaks_for_us_upstream(bank: Bank, name: str) -> None:
    """What the gate says of a client can't be said by that client to an API that takes both signs for one."""
    with Upstream() as api, gate_for(api, {"GET /paid": "0.01"}, bank, free=["GET /open"]) as gate:
        assert httpx.get(gate.url + "/open", headers={name: "10.0.0.1"}).status_code == 200
        assert not api.calls[0].all(name)
