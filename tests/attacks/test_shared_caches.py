"""An application that tells shared caches to keep what was paid for, in words that outdo Cache-Control."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from coinslot.transports.django import paid
from coinslot.transports.slot import Slot
from support.djangosite import configured
from support.serving import Payer, wsgi_server
from support.toybank import Bank
from support.upstream import Call, Gated, Reply, Upstream, gate_for

assert configured

# What content networks and proxies obey before Cache-Control (RFC 9213 section 2.2, and what came before it).
TELLING = [
    "CDN-Cache-Control",
    "Cloudflare-CDN-Cache-Control",
    "Netlify-CDN-Cache-Control",
    "Surrogate-Control",
    "Edge-Control",
    "X-Accel-Expires",
]


@pytest.fixture
def keeping() -> Iterator[Upstream]:
    """An API whose author wants every answer kept near its readers."""

    def answer(_: Call) -> Reply:
        public = {"Cache-Control": 'public, private="set-cookie", max-age=60, s-maxage=60'}
        return 200, public | dict.fromkeys(TELLING, "max-age=60"), b"the report"

    with Upstream(answer) as running:
        yield running


@pytest.fixture
def gated(keeping: Upstream, bank: Bank) -> Iterator[Gated]:
    """A gate with a priced and a free route."""
    with gate_for(keeping, {"GET /paid": "0.01"}, bank, free=["GET /free"]) as running:
        yield running


@pytest.mark.guard("T39")
def test_no_shared_cache_is_told_to_keep_what_was_paid_for(gated: Gated, alice: dict[str, object]) -> None:
    """The first time, and where a stored answer comes again; it would be served to whoever asks next."""
    credential = Payer(alice).credential(httpx.get(gated.url + "/paid"))
    for _ in range(2):
        answer = httpx.get(gated.url + "/paid", headers={"Authorization": credential})
        assert (answer.status_code, answer.content) == (200, b"the report")
        assert answer.headers["cache-control"] == "private, max-age=60"
        assert not [name for name in TELLING if name in answer.headers]


@pytest.mark.guard("T39")
@pytest.mark.spec("CORE-047")
def test_nor_by_a_view_of_a_project(bank: Bank, alice: dict[str, object]) -> None:
    """Django's answers lose the same headers, and one that is no delivery its receipt."""
    slot = Slot("shop.example", store="memory:", toy={"bank": bank.path, "recipient": "shop"})
    replies = [
        HttpResponse(b"gone", status=404, headers={"Payment-Receipt": "ours"}),
        HttpResponse(b"the report", headers=dict.fromkeys(TELLING, "max-age=60")),
    ]
    view = paid(slot, "0.01")(lambda _: replies.pop(0))
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("paid", view)]
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]), wsgi_server(WSGIHandler()) as url:
        credential = Payer(alice).credential(httpx.get(url + "/paid"))
        first, second = (httpx.get(url + "/paid", headers={"Authorization": credential}) for _ in range(2))
    slot.close()
    assert (first.status_code, second.status_code) == (404, 200)
    assert "payment-receipt" not in first.headers
    assert "payment-receipt" in second.headers
    assert not [name for name in TELLING if name in second.headers]


def test_what_is_free_may_be_kept(gated: Gated) -> None:
    """It is none of our business."""
    answer = httpx.get(gated.url + "/free")
    assert all(name in answer.headers for name in TELLING)
