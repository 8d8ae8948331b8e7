"""The FastAPI door over uvicorn: the decorator, the dependency and what `install` adds."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from coinslot.errors import ConfigError
from coinslot.transports.fastapi import EXPOSED, CoinslotMiddleware, Receipt, install, paid, price
from coinslot.transports.slot import Slot
from support.doorcases import EXPOSED as READABLE
from support.doorcases import GET_PATHS, DoorCases, House, Site, exposed
from support.serving import Payer, asgi_server, make_slot
from support.toybank import Bank

Mark = Callable[[Any], Any]
PAGE = {"Origin": "https://page.example"}


class Order(BaseModel):
    """A body that FastAPI validates."""

    name: str
    count: int


def application(house: House, mark: Mark, dependencies: list[Any]) -> FastAPI:
    """The handlers, each priced by `mark` or by a dependency."""
    app = FastAPI()

    def reply(name: str) -> Mark:
        def endpoint(request: Request) -> Response:
            status, content = house.reply(name, getattr(request.state, "receipt", None))
            return Response(content, status)

        return endpoint

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    for name in GET_PATHS:
        app.add_api_route(f"/{name}", mark(reply(name)), methods=["GET", "HEAD"], dependencies=dependencies)
    app.add_api_route("/echo", mark(echo), methods=["POST"], dependencies=dependencies)

    @app.get("/stream", dependencies=dependencies)
    @mark
    def stream() -> StreamingResponse:
        return StreamingResponse(house.handshake.chunks())

    @app.get("/endless", dependencies=dependencies)
    @mark
    async def endless() -> StreamingResponse:
        return StreamingResponse(house.endless())

    @app.get("/free")
    async def free() -> Response:
        return Response("free")

    return app


@pytest.fixture(params=["decorator", "dependency", "middleware"])
def site(request: pytest.FixtureRequest) -> Site:
    """uvicorn, FastAPI, priced in each way."""

    def serve(slot: Slot, house: House) -> AbstractContextManager[str]:
        if request.param == "decorator":
            app = application(house, paid(slot, "0.01"), [])
            install(app, slot)
        elif request.param == "dependency":
            app = application(house, lambda endpoint: endpoint, [Depends(price(slot, "0.01"))])
            install(app, slot)
        else:
            app = application(house, lambda endpoint: endpoint, [])
            app.add_middleware(CoinslotMiddleware, slot=slot, routes={"/free": None, "/**": "0.01"})
        return asgi_server(app)

    return serve


class TestFastAPI(DoorCases):
    """The cases of all doors."""


def test_parameters_dependencies_and_models_work_under_the_decorator(slot: Slot, payer: Payer) -> None:
    """As without it: path, query, body, Depends, the response model; what is not good is refused before the price."""
    app = FastAPI()
    install(app, slot)

    def twice(count: int = 1) -> int:
        return 2 * count

    @app.post("/orders/{number}", status_code=201)
    @paid(slot, "0.01", description="one order")
    def order(number: int, order: Order, doubled: Annotated[int, Depends(twice)]) -> Order:
        return Order(name=order.name, count=number + doubled + order.count)

    with asgi_server(app) as url:
        bad = payer.client.post(f"{url}/orders/7?count=2", json={"name": "Ann"})
        good = payer.send("POST", f"{url}/orders/7?count=2", json={"name": "Ann", "count": 100})
        schema = payer.client.get(f"{url}/openapi.json").json()
    assert bad.status_code == 422
    assert (good.status_code, good.json()) == (201, {"name": "Ann", "count": 111})
    assert good.headers["payment-receipt"]
    parameters = schema["paths"]["/orders/{number}"]["post"]["parameters"]
    assert [one["name"] for one in parameters] == ["number", "count"]


def test_the_dependency_gives_the_receipt(slot: Slot, payer: Payer) -> None:
    """Typed, where the handler asks for it."""
    app = FastAPI()
    install(app, slot)

    @app.get("/paid")
    async def endpoint(receipt: Annotated[Receipt, Depends(price(slot, "0.01"))]) -> dict[str, str]:
        return {"reference": receipt.reference}

    with asgi_server(app) as url:
        answer = payer.get(f"{url}/paid")
    assert answer.json()["reference"].startswith("0x")


@pytest.mark.spec("CORE-008", "CORE-013", "CORE-014", "CORE-015", "CORE-016")
@pytest.mark.parametrize("way", ["decorator", "dependency"])
def test_authentication_comes_before_the_price(slot: Slot, payer: Payer, way: str) -> None:
    """Who is not known is sent away without our challenge; Bearer and Payment then travel in one request."""
    app = FastAPI()
    install(app, slot)
    bearer = HTTPBearer(auto_error=False)

    def member(found: Annotated[Any, Depends(bearer)]) -> str:
        if found is None or found.credentials != "alice":
            raise HTTPException(401)
        return "alice"

    if way == "decorator":

        @app.get("/paid")
        @paid(slot, "0.01")
        async def decorated(who: Annotated[str, Depends(member)]) -> str:
            return who
    else:

        @app.get("/paid", dependencies=[Depends(member), Depends(price(slot, "0.01"))])
        async def depending() -> str:
            return "alice"

    with asgi_server(app) as url:
        stranger = payer.client.get(f"{url}/paid")
        known = payer.client.get(f"{url}/paid", headers={"Authorization": "Bearer alice"})
    assert stranger.status_code == 401
    assert "payment" not in stranger.headers.get("www-authenticate", "").lower()
    assert known.status_code == 402


def test_bearer_authentication_and_payment_in_one_request(bank: Bank, payer: Payer) -> None:
    """The alternate header leaves Authorization to FastAPI's own security."""
    slot = make_slot(bank, alternate_header=True)
    app = FastAPI()
    install(app, slot)

    @app.get("/paid")
    @paid(slot, "0.01")
    async def endpoint(token: Annotated[Any, Depends(HTTPBearer())]) -> str:
        return str(token.credentials)

    with asgi_server(app) as url:
        answer = payer.get(f"{url}/paid", headers={"Authorization": "Bearer alice"})
        stranger = payer.client.get(f"{url}/paid")
    assert (answer.status_code, answer.json()) == (200, "alice")
    assert stranger.status_code == 401
    slot.close()


@pytest.mark.parametrize("way", ["decorator", "dependency"])
def test_without_install_nothing_is_served(slot: Slot, bank: Bank, payer: Payer, way: str) -> None:
    """Neither free nor for money: the application says what is missing. Another slot's install does not count."""
    other = make_slot(bank)
    for installed in (None, other):
        app = FastAPI()
        caught: list[Exception] = []
        if installed is not None:
            install(app, installed)

        async def endpoint() -> str:
            raise AssertionError("served")

        if way == "decorator":
            app.get("/paid")(paid(slot, "0.01")(endpoint))
        else:
            app.get("/paid", dependencies=[Depends(price(slot, "0.01"))])(endpoint)

        async def notice(request: Request, error: Exception, caught: list[Exception] = caught) -> Response:
            caught.append(error)
            return Response("broken", 500)

        app.add_exception_handler(ConfigError, notice)
        with asgi_server(app) as url:
            assert payer.client.get(f"{url}/paid").text == "broken"
        assert "install(app, slot)" in str(caught[0])
    other.close()


@pytest.mark.parametrize("outermost", [True, False])
@pytest.mark.parametrize("own", [None, ["X-Own"]])
def test_cors_exposes_what_a_page_must_read(
    slot: Slot, house: House, payer: Payer, outermost: bool, own: list[str] | None
) -> None:
    """Whether CORS is added before `install` or after it, with an expose list of one's own that names ours."""
    app = application(house, paid(slot, "0.01"), [])
    settings: dict[str, Any] = {"allow_origins": ["https://page.example"]}
    if own:
        settings["expose_headers"] = [*EXPOSED, *own]
    if outermost:
        install(app, slot)
    app.add_middleware(CORSMiddleware, **settings)
    if not outermost:
        install(app, slot)
    with asgi_server(app) as url:
        asked = payer.client.get(f"{url}/paid", headers=PAGE)
        given = payer.get(f"{url}/paid", headers=PAGE)
        preflight = payer.client.options(f"{url}/paid", headers=PAGE | {"Access-Control-Request-Method": "GET"})
    assert (asked.status_code, given.status_code, preflight.status_code) == (402, 200, 200)
    for answer in (asked, given):
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert exposed(answer) >= READABLE | {name.lower() for name in own or ()}


def test_a_mounted_application_charges_through_its_parent(slot: Slot, payer: Payer) -> None:
    """One `install` is enough, and its 402 is no error of the mounted application."""
    child, app = FastAPI(), FastAPI()
    install(app, slot)
    app.mount("/v1", child)

    @child.get("/paid")
    @paid(slot, "0.01")
    async def endpoint() -> str:
        return "paid"

    with asgi_server(app) as url:
        assert payer.get(f"{url}/v1/paid").json() == "paid"


def test_a_generator_is_not_decorated(slot: Slot) -> None:
    """It would be called before it runs; a dependency charges for it."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="generator"):
        paid(slot, "0.01")(numbers)


def test_two_prices_on_one_request_are_an_error(slot: Slot, payer: Payer) -> None:
    """The second would be a second payment; the first is given back."""
    app = FastAPI()
    install(app, slot)

    @app.get("/paid", dependencies=[Depends(price(slot, "0.01")), Depends(price(slot, "0.02"))])
    async def endpoint() -> str:
        return "never"

    with asgi_server(app) as url:
        answer = payer.get(f"{url}/paid")
    assert answer.status_code == 500
    assert "payment-receipt" not in answer.headers
