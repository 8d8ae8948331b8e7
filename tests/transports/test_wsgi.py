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
from support.serving import wsgi_server

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
