"""Applications below a mount point, or behind a prefix: no spelling of it is a way around the price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from coinslot.transports import asgi, wsgi
from coinslot.transports.slot import Slot
from support.serving import asgi_server, raw_request, status_of, wsgi_server
from support.toybank import Bank

SECRET = "worth a cent"
INSIDE, OUTSIDE = {"GET /paid": "0.01"}, {"GET /shop/paid": "0.01"}
PATHS = [
    "/shop/paid", "/shop//paid", "//shop/paid", "/shop/paid/", "/shop/paid//", "/shop/./paid", "/shop/x/../paid",
    "/shop/shop/paid", "/paid", "/shop/%70aid", "/shop%2Fpaid", "/%73hop/paid", "/SHOP/paid", "/shop/paid%00",
    "/shop/paid%0a", "/shop/paid;x", "/shop", "/shop/", "/v1", "/v1/paid", "/v1//paid", "/v1/v1/paid", "/v1/shop/paid",
]  # fmt: skip
# By which proxies tell of a prefix that they took away, or of the path that was asked for.
HEADERS = ["", "X-Forwarded-Prefix: /shop\r\n", "X-Original-URL: /shop/paid\r\n"]


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(SECRET)


def _starlette() -> Starlette:
    return Starlette(routes=[Route("/paid", _page)])


def _fastapi(slot: Slot | None = None) -> FastAPI:
    app = FastAPI()
    app.get("/paid")(lambda: SECRET)
    if slot is not None:
        app.add_middleware(asgi.CoinslotMiddleware, slot=slot, routes=INSIDE)
    return app


def _mounting(app: Any) -> FastAPI:
    main = FastAPI()
    main.mount("/shop", app)
    return main


def _flask() -> Any:
    app = flask.Flask("shop")
    app.add_url_rule("/paid", "paid", lambda: SECRET)
    return app.wsgi_app


def _dispatching(app: Any) -> Any:
    return DispatcherMiddleware(flask.Flask("main"), {"/shop": app})


# How an application is put together, the root path that its server is told of (None: WSGI), and the priced path.
SHOPS: dict[str, tuple[Callable[[Slot], Any], str | None, str]] = {
    "starlette, inside": (
        lambda slot: Starlette(routes=[Mount("/shop", asgi.CoinslotMiddleware(_starlette(), slot, INSIDE))]),
        "", "/shop/paid",
    ),
    "starlette, outside": (
        lambda slot: asgi.CoinslotMiddleware(Starlette(routes=[Mount("/shop", _starlette())]), slot, OUTSIDE),
        "", "/shop/paid",
    ),
    "fastapi, inside": (lambda slot: _mounting(_fastapi(slot)), "", "/shop/paid"),
    "fastapi, outside": (lambda slot: asgi.CoinslotMiddleware(_mounting(_fastapi()), slot, OUTSIDE), "", "/shop/paid"),
    "prefix, inside": (_fastapi, "/v1", "/paid"),
    "prefix, outside": (lambda slot: asgi.CoinslotMiddleware(_fastapi(), slot, INSIDE), "/v1", "/paid"),
    "prefix and mount": (
        lambda slot: asgi.CoinslotMiddleware(_mounting(_fastapi()), slot, OUTSIDE), "/v1/", "/shop/paid",
    ),
    "wsgi, inside": (
        lambda slot: _dispatching(wsgi.CoinslotMiddleware(_flask(), slot, INSIDE)), None, "/shop/paid",
    ),
    "wsgi, outside": (
        lambda slot: wsgi.CoinslotMiddleware(_dispatching(_flask()), slot, OUTSIDE), None, "/shop/paid",
    ),
    "proxy fix, inside": (
        lambda slot: wsgi.CoinslotMiddleware(ProxyFix(_flask(), x_prefix=1), slot, INSIDE), None, "/paid",
    ),
    "proxy fix, outside": (
        lambda slot: ProxyFix(wsgi.CoinslotMiddleware(_flask(), slot, INSIDE), x_prefix=1), None, "/paid",
    ),
}  # fmt: skip


@pytest.fixture
def slot(bank: Bank) -> Iterator[Slot]:
    """A slot of the toy method."""
    made = Slot("shop.example", store="memory:", toy={"bank": bank.path, "recipient": "shop"})
    yield made
    made.close()


@pytest.mark.parametrize("shop", SHOPS)
def test_no_spelling_of_a_mount_point_is_free(slot: Slot, shop: str) -> None:
    """Whatever is asked for, under whichever method, by whatever a proxy may have said: the page is never shown."""
    make, root, priced = SHOPS[shop]
    app = make(slot)
    with wsgi_server(app) if root is None else asgi_server(app, root_path=root) as url:
        for path in PATHS:
            for method in ("GET", "HEAD", "POST", "OPTIONS"):
                for header in HEADERS:
                    line = f"{method} {path} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n{header}\r\n"
                    answer = raw_request(url, line.encode())
                    assert SECRET.encode() not in answer, (line, answer)
                    if method == "HEAD":
                        assert status_of(answer) != 200, line
                    if (method, path) == ("GET", priced):
                        assert status_of(answer) == 402, answer
