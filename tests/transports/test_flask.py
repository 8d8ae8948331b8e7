"""The Flask door over wsgiref: the decorator and the middleware."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import flask
import pytest
from flask_cors import CORS

from coinslot.transports.flask import EXPOSED, CoinslotMiddleware, paid
from coinslot.transports.slot import Slot
from support.doorcases import EXPOSED as READABLE
from support.doorcases import GET_PATHS, DoorCases, House, Site, exposed
from support.serving import Payer, wsgi_server

Mark = Callable[..., Any]
PAGE = {"Origin": "https://page.example"}


def application(house: House, mark: Mark) -> flask.Flask:
    """The handlers, each priced by `mark`."""
    app = flask.Flask("shop")

    def reply(name: str) -> Mark:
        def view() -> flask.Response:
            receipt = flask.g.get("receipt") or flask.request.environ.get("coinslot.receipt")
            status, content = house.reply(name, receipt)
            return flask.Response(content, status)

        return view

    for name in GET_PATHS:
        app.add_url_rule(f"/{name}", name, mark(reply(name)))
    app.add_url_rule("/echo", "echo", mark(lambda: flask.request.get_data()), methods=["POST"])
    app.add_url_rule("/form", "form", mark(lambda: flask.request.form["name"]), methods=["POST"])
    app.add_url_rule("/stream", "stream", mark(lambda: flask.Response(house.handshake.chunks())))
    app.add_url_rule("/endless", "endless", mark(lambda: flask.Response(house.endless())))
    app.add_url_rule("/free", "free", lambda: "free")
    return app


@pytest.fixture(params=["decorator", "middleware"])
def site(request: pytest.FixtureRequest) -> Site:
    """wsgiref, Flask, priced in either way."""

    def serve(slot: Slot, house: House) -> AbstractContextManager[str]:
        if request.param == "decorator":
            return wsgi_server(application(house, paid(slot, "0.01")))
        app = application(house, lambda view: view)
        app.wsgi_app = CoinslotMiddleware(app.wsgi_app, slot, {"/free": None, "/**": "0.01"})  # type: ignore[method-assign]
        return wsgi_server(app)

    return serve


class TestFlask(DoorCases):
    """The cases of all doors."""

    def test_a_form_is_parsed_after_it_was_bound(self, url: str, payer: Payer) -> None:
        """Both encodings, as without a price."""
        for form in ({"data": {"name": "Ann"}}, {"data": {"name": "Ann"}, "files": {"f": b"1"}}):
            files: Any = form
            asked = payer.client.build_request("POST", f"{url}/form", **files)
            body, kind = asked.read(), {"Content-Type": asked.headers["content-type"]}
            answer = payer.send("POST", f"{url}/form", content=body, headers=kind)
            assert (answer.status_code, answer.text) == (200, "Ann")


@pytest.mark.spec("CORE-008", "CORE-009", "CORE-013", "CORE-014", "CORE-015", "CORE-016")
def test_authentication_comes_before_the_price(slot: Slot, payer: Payer) -> None:
    """A decorator above ours sends strangers, and who may not buy here, away without a challenge."""

    def members(view: Mark) -> Mark:
        @wraps(view)
        def checked(*args: Any) -> Any:
            if flask.request.authorization is None:
                flask.abort(401)
            if flask.request.authorization.token != "alice":
                flask.abort(403)
            return view(*args)

        return checked

    app = flask.Flask("shop")
    app.add_url_rule("/paid", "paid", members(paid(slot, "0.01")(lambda: "never without payment")))
    with wsgi_server(app) as url:
        stranger = payer.client.get(f"{url}/paid")
        known, banned = (
            payer.client.get(f"{url}/paid", headers={"Authorization": f"Bearer {who}"}) for who in ("alice", "mallory")
        )
    assert (stranger.status_code, banned.status_code, known.status_code) == (401, 403, 402)
    for refused in (stranger, banned):
        assert "www-authenticate" not in refused.headers


@pytest.mark.parametrize("way", ["decorator", "middleware"])
@pytest.mark.parametrize("own", [None, ["X-Own"]])
def test_cors_exposes_what_a_page_must_read(
    slot: Slot, house: House, payer: Payer, way: str, own: list[str] | None
) -> None:
    """On the 402 and on the paid answer, under an expose list of one's own that names ours; a preflight is free."""
    app = application(house, paid(slot, "0.01") if way == "decorator" else lambda view: view)
    if way == "middleware":
        app.wsgi_app = CoinslotMiddleware(app.wsgi_app, slot, {"/paid": "0.01"})  # type: ignore[method-assign]
    options: dict[str, Any] = {"expose_headers": [*EXPOSED, *own]} if own else {}
    CORS(app, **options)
    with wsgi_server(app) as url:
        asked = payer.client.get(f"{url}/paid", headers=PAGE)
        given = payer.get(f"{url}/paid", headers=PAGE)
        preflight = payer.client.options(f"{url}/paid", headers=PAGE | {"Access-Control-Request-Method": "GET"})
    assert (asked.status_code, given.status_code, preflight.status_code) == (402, 200, 200)
    assert preflight.headers["access-control-allow-origin"]
    for answer in (asked, given):
        assert exposed(answer) >= READABLE
    assert exposed(given) >= {name.lower() for name in own or ()}
    if way == "decorator":
        assert asked.headers["access-control-allow-origin"]
    assert house.calls == ["paid"]


def test_a_form_that_was_read_before_is_not_sold_unbound(slot: Slot, payer: Payer) -> None:
    """Its bytes are gone, so they can't be bound: an error of the application, never a body that may be swapped."""
    app = flask.Flask("shop")
    app.before_request(lambda: flask.request.form.get("name") and None)
    app.add_url_rule("/form", "form", paid(slot, "0.01")(lambda: "sold"), methods=["POST"])
    with wsgi_server(app) as url:
        answer = payer.client.post(f"{url}/form", data={"name": "Ann"})
    assert answer.status_code == 500


def test_an_error_of_the_view_meets_the_handlers_of_the_application(slot: Slot, payer: Payer) -> None:
    """`abort` and error handlers work as without a price, and the payment is given back."""
    app = flask.Flask("shop")
    calls = []

    @app.get("/paid")
    @paid(slot, "0.01")
    def view() -> str:
        calls.append(1)
        if len(calls) == 1:
            flask.abort(404)
        return "second"

    app.register_error_handler(404, lambda error: ("handled", 404))
    with wsgi_server(app) as url:
        authorization = payer.credential(payer.client.get(f"{url}/paid"))
        answers = [payer.client.get(f"{url}/paid", headers={"Authorization": authorization}) for _ in range(2)]
    assert [(one.status_code, one.text) for one in answers] == [(404, "handled"), (200, "second")]
