"""The Django door over wsgiref and uvicorn: decorator and middleware, sync and async views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import override_settings
from django.urls import path, set_script_prefix
from django.utils.decorators import method_decorator
from django.views import View

from coinslot.errors import ConfigError
from coinslot.transports.django import EXPOSED, CoinslotMiddleware, paid
from coinslot.transports.slot import Slot
from support.djangosite import configured
from support.doorcases import EXPOSED as READABLE
from support.doorcases import GET_PATHS, DoorCases, House, Site, exposed
from support.serving import Payer, asgi_server, wsgi_server

Mark = Callable[[Any], Any]
PAGE = {"Origin": "https://page.example"}
CORS = "corsheaders.middleware.CorsMiddleware"
OURS = "coinslot.transports.django.CoinslotMiddleware"
assert configured


def reply(house: House, name: str) -> Mark:
    """A sync view."""

    def view(request: HttpRequest) -> HttpResponse:
        status, content = house.reply(name, getattr(request, "coinslot_receipt", None))
        return HttpResponse(content, status=status)

    return view


def later(view: Mark) -> Mark:
    """The same view, asynchronous."""

    async def answer(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await sync_to_async(view, thread_sensitive=False)(request)
        if response.streaming:
            response = StreamingHttpResponse(_slowly(iter(response)))
        return response

    return answer


async def _slowly(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    step = sync_to_async(lambda: next(pieces, None), thread_sensitive=False)
    while (piece := await step()) is not None:
        yield piece


def views(house: House, mark: Mark, turn: Mark) -> list[Any]:
    """The handlers, each priced by `mark`."""
    found: dict[str, Mark] = {name: reply(house, name) for name in GET_PATHS}
    found["echo"] = lambda request: HttpResponse(request.body)
    found["form"] = lambda request: HttpResponse(request.POST["name"])
    found["stream"] = lambda request: StreamingHttpResponse(house.handshake.chunks())
    found["endless"] = lambda request: StreamingHttpResponse(house.endless())
    return [
        *(path(name, mark(turn(view))) for name, view in found.items()),
        path("free", turn(lambda request: HttpResponse("free"))),
    ]


@contextmanager
def project(urls: list[Any], asynchronous: bool = False, **options: Any) -> Iterator[str]:
    """A project with these urls and settings, over a real server."""
    urlconf = ModuleType("urls")
    vars(urlconf)["urlpatterns"] = urls
    with override_settings(ROOT_URLCONF=urlconf, **{"MIDDLEWARE": []} | options):
        server = asgi_server(ASGIHandler()) if asynchronous else wsgi_server(WSGIHandler())
        with server as url:
            yield url
    set_script_prefix("/")


@pytest.fixture(params=["decorator", "middleware", "async decorator", "async middleware"])
def site(request: pytest.FixtureRequest) -> Site:
    """Django, priced in either way, under WSGI with sync views and under ASGI with async ones."""

    @contextmanager
    def serve(slot: Slot, house: House) -> Iterator[str]:
        asynchronous = request.param.startswith("async")
        turn = later if asynchronous else lambda view: view
        if request.param.endswith("decorator"):
            with project(views(house, paid(slot, "0.01"), turn), asynchronous) as url:
                yield url
        else:
            options = {"MIDDLEWARE": [OURS], "COINSLOT_SLOT": slot}
            options["COINSLOT_ROUTES"] = {"/free": None, "/**": "0.01"}
            with project(views(house, lambda view: view, turn), asynchronous, **options) as url:
                yield url

    return serve


class TestDjango(DoorCases):
    """The cases of all doors."""

    def test_a_form_is_parsed_after_it_was_bound(self, url: str, payer: Payer) -> None:
        """As without a price."""
        answer = payer.send("POST", f"{url}/form", data={"name": "Ann"})
        assert (answer.status_code, answer.text) == (200, "Ann")


@pytest.mark.guard("T25")
def test_hanging_up_is_no_free_pass(url: str, house: House, payer: Payer) -> None:
    """A stream that was left in the middle was delivered, as far as money goes."""
    DoorCases().test_who_hangs_up_on_a_stream_had_the_delivery(url, house, payer)


@pytest.mark.spec("CORE-008", "CORE-013", "CORE-014", "CORE-015", "CORE-016")
def test_authentication_comes_before_the_price(slot: Slot, payer: Payer) -> None:
    """A decorator above ours sends strangers away without a challenge."""

    def members(view: Mark) -> Mark:
        @wraps(view)
        def checked(request: HttpRequest) -> HttpResponse:
            known = request.headers.get("Authorization") == "Bearer alice"
            return view(request) if known else HttpResponse(status=401)

        return checked

    with project([path("paid", members(paid(slot, "0.01")(lambda request: HttpResponse("never"))))]) as url:
        stranger = payer.client.get(f"{url}/paid")
        known = payer.client.get(f"{url}/paid", headers={"Authorization": "Bearer alice"})
    assert stranger.status_code == 401
    assert "www-authenticate" not in stranger.headers
    assert known.status_code == 402


@pytest.mark.parametrize("way", ["decorator", "middleware"])
@pytest.mark.parametrize("own", [None, ["X-Own"]])
def test_cors_first_exposes_what_a_page_must_read(
    slot: Slot, house: House, payer: Payer, way: str, own: list[str] | None
) -> None:
    """On the 402 and on the paid answer; an expose list of one's own must name ours, for it replaces them."""
    options: dict[str, Any] = {"CORS_EXPOSE_HEADERS": [*EXPOSED, *own]} if own else {}
    options |= {"MIDDLEWARE": [CORS, OURS] if way == "middleware" else [CORS], "COINSLOT_SLOT": slot}
    options["COINSLOT_ROUTES"] = {"/paid": "0.01"}
    urls = views(house, paid(slot, "0.01") if way == "decorator" else lambda view: view, lambda view: view)
    with project(urls, **options) as url:
        asked = payer.client.get(f"{url}/paid", headers=PAGE)
        given = payer.get(f"{url}/paid", headers=PAGE)
        preflight = payer.client.options(f"{url}/paid", headers=PAGE | {"Access-Control-Request-Method": "GET"})
    assert (asked.status_code, given.status_code, preflight.status_code) == (402, 200, 200)
    for answer in (asked, given):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert exposed(answer) >= READABLE | {name.lower() for name in own or ()}
    assert house.calls == ["paid"]


class _Sync(View):  # type: ignore[misc]  # Django has no types
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("sync")


class _Async(View):  # type: ignore[misc]  # Django has no types
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("async")


@pytest.mark.parametrize(("kind", "asynchronous"), [(_Sync, False), (_Async, True), (_Sync, True), (_Async, False)])
def test_class_based_views(slot: Slot, payer: Payer, kind: type[View], asynchronous: bool) -> None:
    """On `dispatch` or around `as_view()`, sync or async, under either server."""
    decorated = method_decorator(paid(slot, "0.01"), name="dispatch")(type("Decorated", (kind,), {}))
    urls = [path("inside", decorated.as_view()), path("around", paid(slot, "0.01")(kind.as_view()))]
    with project(urls, asynchronous) as url:
        for name in ("inside", "around"):
            assert payer.client.get(f"{url}/{name}").status_code == 402
            answer = payer.get(f"{url}/{name}")
            assert (answer.status_code, answer.text) == (200, kind.__name__[1:].lower())
            assert answer.headers["payment-receipt"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_template_that_fails_gives_the_payment_back(slot: Slot, payer: Payer, asynchronous: bool) -> None:
    """It is rendered under the admission; the same credential works when it renders."""
    asked: list[int] = []

    def fragile() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("the template failed")
        return "rendered"

    def view(request: HttpRequest) -> TemplateResponse:
        template = engines["django"].from_string("{{ fragile }}")
        return TemplateResponse(request, template, {"fragile": fragile})

    turn = later if asynchronous else lambda view: view
    with project([path("paid", paid(slot, "0.01")(turn(view)))], asynchronous) as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        answers = [payer.client.get(f"{url}/paid", headers={"Authorization": authorization}) for _ in range(2)]
    assert [one.status_code for one in answers] == [500, 200]
    assert answers[1].text == "rendered"


def test_several_ways_to_pay_are_several_headers(bank: Any, payer: Payer) -> None:
    """Django keeps one value a header; a 402 needs one field for each challenge."""
    slot = Slot(
        "shop.example",
        store="memory:",
        toy=[{"bank": bank.path, "recipient": "shop", "currency": one} for one in ("coin", "shell")],
    )
    with project([path("paid", paid(slot, "0.01")(lambda request: HttpResponse("paid")))]) as url:
        answer = payer.client.get(f"{url}/paid")
        assert len(answer.headers.get_list("www-authenticate")) == 2
        assert payer.get(f"{url}/paid").status_code == 200
    slot.close()


def test_a_form_that_was_read_before_is_not_sold_unbound(slot: Slot, payer: Payer) -> None:
    """Its bytes are gone, so they can't be bound: an error of the project, never a body that may be swapped."""
    decorated: Mark = paid(slot, "0.01")(lambda request: HttpResponse("sold"))

    def view(request: HttpRequest) -> HttpResponse:
        sold: HttpResponse = decorated(request) if request.POST else HttpResponse("no form")
        return sold

    with project([path("form", view)]) as url:
        answer = payer.client.post(f"{url}/form", data={"name": "Ann"}, files={"file": b"1"})
    assert answer.status_code == 500


@pytest.mark.parametrize("missing", ["COINSLOT_SLOT", "COINSLOT_ROUTES"])
def test_missing_settings_stop_the_project(slot: Slot, missing: str) -> None:
    """At start-up, naming both."""
    options: dict[str, Any] = {"COINSLOT_SLOT": slot, "COINSLOT_ROUTES": {"/paid": "0.01"}, missing: None}
    with override_settings(**options), pytest.raises(ConfigError, match="COINSLOT_SLOT to a Slot"):
        CoinslotMiddleware(lambda request: HttpResponse())
