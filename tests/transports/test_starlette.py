"""The Starlette door over uvicorn: the middleware, the decorator on functions and on methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser, requires
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from coinslot.errors import ConfigError
from coinslot.transports.slot import Slot
from coinslot.transports.starlette import EXPOSED, CoinslotMiddleware, paid
from support.doorcases import EXPOSED as READABLE
from support.doorcases import GET_PATHS, DoorCases, House, Site, exposed
from support.serving import Payer, asgi_server

Mark = Callable[[Any], Any]
PAGE = {"Origin": "https://page.example"}


def routes(house: House, mark: Mark) -> list[Route]:
    """The handlers, each priced by `mark`: sync functions, async functions, and one class."""

    def reply(name: str) -> Mark:
        def endpoint(request: Request) -> Response:
            status, content = house.reply(name, getattr(request.state, "receipt", None))
            return Response(content, status)

        return endpoint

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    class Streams(HTTPEndpoint):
        @mark
        async def get(self, request: Request) -> Response:
            chunks: Iterator[bytes] = house.endless() if request.url.path == "/endless" else house.handshake.chunks()
            return StreamingResponse(chunks)

    return [
        *(Route(f"/{name}", mark(reply(name))) for name in GET_PATHS),
        Route("/echo", mark(echo), methods=["POST"]),
        Route("/stream", Streams),
        Route("/endless", Streams),
        Route("/free", lambda request: PlainTextResponse("free")),
    ]


@pytest.fixture(params=["decorator", "middleware"])
def site(request: pytest.FixtureRequest) -> Site:
    """uvicorn, Starlette, priced in either way."""

    def serve(slot: Slot, house: House) -> AbstractContextManager[str]:
        if request.param == "decorator":
            return asgi_server(Starlette(routes=routes(house, paid(slot, "0.01"))))
        table = {"/free": None, "/**": "0.01"}
        middleware = [Middleware(CoinslotMiddleware, slot=slot, routes=table)]
        return asgi_server(Starlette(routes=routes(house, lambda endpoint: endpoint), middleware=middleware))

    return serve


class TestStarlette(DoorCases):
    """The cases of all doors."""


class _Bearer(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        if conn.headers.get("authorization") != "Bearer alice":
            return None
        return AuthCredentials(["authenticated"]), SimpleUser("alice")


@pytest.mark.spec("CORE-006", "CORE-008", "CORE-013", "CORE-014", "CORE-015", "CORE-016")
def test_authentication_comes_before_the_price(slot: Slot, payer: Payer) -> None:
    """Who is not known is sent away without a challenge; who is known is asked to pay."""

    @requires("authenticated", status_code=401)
    @paid(slot, "0.01")
    async def endpoint(request: Request) -> Response:
        return Response("never without payment")

    middleware = [Middleware(AuthenticationMiddleware, backend=_Bearer())]
    with asgi_server(Starlette(routes=[Route("/paid", endpoint)], middleware=middleware)) as url:
        stranger = payer.client.get(f"{url}/paid")
        known = payer.client.get(f"{url}/paid", headers={"Authorization": "Bearer alice"})
    assert stranger.status_code == 401
    assert "www-authenticate" not in stranger.headers
    assert known.status_code == 402


@pytest.mark.parametrize("way", ["decorator", "middleware"])
@pytest.mark.parametrize("own", [None, ["X-Own"]])
def test_cors_outermost_exposes_what_a_page_must_read(
    slot: Slot, house: House, payer: Payer, way: str, own: list[str] | None
) -> None:
    """On the 402 and on the paid answer; an expose list of one's own must name ours, for it replaces them."""
    options: dict[str, Any] = {"allow_origins": ["*"], "allow_headers": ["Authorization"]}
    cors = Middleware(CORSMiddleware, **options | ({"expose_headers": [*EXPOSED, *own]} if own else {}))
    if way == "decorator":
        app = Starlette(routes=routes(house, paid(slot, "0.01")), middleware=[cors])
    else:
        ours = Middleware(CoinslotMiddleware, slot=slot, routes={"/paid": "0.01"})
        app = Starlette(routes=routes(house, lambda endpoint: endpoint), middleware=[cors, ours])
    with asgi_server(app) as url:
        asked = payer.client.get(f"{url}/paid", headers=PAGE)
        given = payer.get(f"{url}/paid", headers=PAGE)
        preflight = payer.client.options(
            f"{url}/paid",
            headers=PAGE | {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
        )
    assert (asked.status_code, given.status_code, preflight.status_code) == (402, 200, 200)
    for answer in (asked, given):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert exposed(answer) >= READABLE | {name.lower() for name in own or ()}
    assert house.calls == ["paid"]


def test_a_class_is_not_priced_as_a_whole(slot: Slot) -> None:
    """Its methods are; what would not be charged for is refused at start-up."""
    with pytest.raises(ConfigError, match="methods of an HTTPEndpoint"):
        paid(slot, "0.01")(HTTPEndpoint)


def test_an_error_of_the_endpoint_meets_the_handlers_of_the_application(slot: Slot, payer: Payer) -> None:
    """Exception handlers see it as if there was no price, and the payment is given back."""
    seen: list[type[Exception]] = []

    @paid(slot, "0.01")
    def endpoint(request: Request) -> Response:
        if not seen:
            raise KeyError("first")
        return Response("second")

    async def handle(request: Request, error: Exception) -> Response:
        seen.append(type(error))
        return Response("handled", 404)

    app = Starlette(routes=[Route("/paid", endpoint)], exception_handlers={KeyError: handle})
    with asgi_server(app) as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        answers = [payer.client.get(f"{url}/paid", headers={"Authorization": authorization}) for _ in range(2)]
    assert [(one.status_code, one.text) for one in answers] == [(404, "handled"), (200, "second")]
    assert seen == [KeyError]
