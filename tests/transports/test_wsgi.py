"""The WSGI door over wsgiref, around an application without a framework."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

import pytest

from coinslot.transports.slot import Slot
from coinslot.transports.wsgi import CoinslotMiddleware
from support.doorcases import GET_PATHS, DoorCases, House, Site
from support.serving import Payer, raw_request, status_of, wsgi_server

ROUTES = {"/free": None, "GET /**": "0.01", "POST /echo": "0.01"}


def application(house: House) -> Any:
    """Handlers in plain WSGI."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/")
        if name in ("stream", "endless"):
            start_response("200 OK", [])
            return house.handshake.chunks() if name == "stream" else house.endless()
        if name in GET_PATHS:
            status, content = house.reply(name, environ.get("coinslot.receipt"))
        elif name == "free":
            status, content = 200, b"free"
        else:
            status, content = 200, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response(f"{status} {HTTPStatus(status).phrase}", [("Content-Length", str(len(content)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else content]

    return app


@pytest.fixture
def site() -> Site:
    """wsgiref, the middleware, the handlers."""

    def serve(slot: Slot, house: House) -> AbstractContextManager[str]:
        return wsgi_server(CoinslotMiddleware(application(house), slot, ROUTES))

    return serve


class TestWsgi(DoorCases):
    """The cases of all doors."""


@pytest.mark.guard("T25")
def test_hanging_up_is_no_free_pass(url: str, house: House, payer: Payer) -> None:
    """A stream that was left in the middle was delivered, as far as money goes."""
    DoorCases().test_who_hangs_up_on_a_stream_had_the_delivery(url, house, payer)


def test_an_answer_that_is_closed_unread_gives_the_payment_back(slot: Slot, payer: Payer) -> None:
    """A layer outside may throw an answer away before it reads it."""
    calls = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        calls.append(1)
        return iter([b"paid"])

    door = CoinslotMiddleware(app, slot, {"/paid": "0.01"})

    def careless(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = door(environ, start_response)
        if "HTTP_AUTHORIZATION" not in environ or calls != [1]:
            return answer
        answer.close()  # type: ignore[attr-defined]  # WSGI asks for it where it is there
        start_response("502 Bad Gateway", [])
        return [b""]

    with wsgi_server(careless) as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        answers = [payer.client.get(f"{url}/paid", headers={"Authorization": authorization}) for _ in range(2)]
    assert [(one.status_code, one.content) for one in answers] == [(502, b""), (200, b"paid")]


def test_the_old_write_callable_works(slot: Slot, payer: Payer) -> None:
    """What is written before the answer is returned comes first, with the receipt."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"written, ")
        return [b"", b"returned"]

    with wsgi_server(CoinslotMiddleware(app, slot, {"/paid": "0.01"})) as url:
        answer = payer.get(f"{url}/paid")
    assert answer.content == b"written, returned"
    assert answer.headers["payment-receipt"]


def test_a_body_without_an_end_is_not_sold_unbound(slot: Slot) -> None:
    """The handler could read what we could not: a chunked body from a server that does not mark its end."""
    with wsgi_server(CoinslotMiddleware(lambda *_: [b"never"], slot, {"/paid": "0.01"})) as url:
        head = b"POST /paid HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        assert status_of(raw_request(url, head)) == 413
