"""What the gate says of its service: from its configuration, wrong settings refused by name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from coinslot.errors import ConfigError
from coinslot.services.config import from_table
from coinslot.services.gate import GateService
from support.toybank import Bank
from support.upstream import Upstream, gate_for

PRICES: dict[str, Any] = {"GET /paid/*": "0.01"}
ABOUT: dict[str, Any] = {
    "title": "Fish",
    "api_version": "3.2",
    "categories": ["data"],
    "docs": {"homepage": "https://fish.example/"},
}


def test_the_gate_publishes_what_its_configuration_says(bank: Bank) -> None:
    """Name, version of the API, categories and links."""
    with Upstream() as api, gate_for(api, PRICES, bank, **ABOUT) as gated:
        document = httpx.get(f"{gated.url}/openapi.json").json()
    assert document["info"] == {"title": "Fish", "version": "3.2"}
    assert document["x-service-info"] == {"categories": ["data"], "docs": {"homepage": "https://fish.example/"}}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"categories": ["Fish & Chips"]}, "categories"),
        ({"docs": {"homepage": "here"}}, "docs: homepage"),
        ({"docs": {"blog": "https://fish.example/"}}, "docs: 'blog'"),
        ({"api_version": ""}, "version"),
    ],
)
def test_a_wrong_self_description_stops_the_start(bank: Bank, wrong: dict[str, Any], named: str) -> None:
    """Before anything is served."""
    table = {
        "upstream": "http://127.0.0.1:9",
        "prices": PRICES,
        "store": "memory:",
        "accept": [{"method": "toy", "bank": bank.path, "recipient": "shop"}],
        **wrong,
    }
    with pytest.raises(ConfigError, match=named):
        GateService(from_table(table, "test"))
