"""An API behind the gate that looks at less, or at more, than the method of a request."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.toybank import Bank
from support.upstream import Gated, Upstream, gate_for

GOODS = b"the report"
ASKS = {"origin": "https://shop.example", "access-control-request-method": "GET"}


@pytest.fixture
def careless() -> Iterator[Upstream]:
    """An API that answers every method alike, as a script behind a web server does."""
    permits = {"Access-Control-Allow-Origin": "*", "X-Report": "too"}
    with Upstream(answer=lambda call: (200, permits, GOODS)) as running:
        yield running


@pytest.fixture
def gated(careless: Upstream, bank: Bank) -> Iterator[Gated]:
    """A gate with a dear way in, a free and a cheap one, to the same path."""
    prices = {"GET /paid/*": "0.01", "PUT /paid/*": "4"}
    with gate_for(careless, prices, bank, free=["POST /paid/*", "OPTIONS /open"]) as running:
        yield running


@pytest.mark.guard("T42")
def test_a_preflight_brings_permissions_and_no_goods(gated: Gated) -> None:
    """Also from an API that takes it for an ordinary request."""
    answer = httpx.options(gated.url + "/paid/x", headers=ASKS)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-report" not in answer.headers
    assert answer.content == b""


@pytest.mark.guard("T42")
@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_method_in_a_header_is_no_way_to_a_lower_price(
    careless: Upstream, gated: Gated, name: str, method: str
) -> None:
    """A free or a cheap request that says it means the dear one is refused, and asked for no money."""
    answer = httpx.request(method, gated.url + "/paid/x", headers={name: "put"})
    assert (answer.status_code, careless.calls) == (400, [])


def test_a_header_that_says_the_same_method_or_an_unpriced_one_passes(careless: Upstream, gated: Gated) -> None:
    """It changes no price."""
    assert httpx.post(gated.url + "/paid/x", headers={"x-http-method-override": "POST"}).content == GOODS
    assert httpx.get(gated.url + "/paid/x", headers={"x-http-method-override": "GET"}).status_code == 402
    assert len(careless.calls) == 1
