"""The gate before an API whose streams come before they are paid: any upstream, in any language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import ConfigError
from coinslot.store.channels import ChannelQuery
from coinslot.transports.httpx import RESULT, pay
from support.lendingsite import Committer, told
from support.toybank import Bank
from support.upstream import Gated, Upstream, gate_for

MILLI = 1_000
EVENTS = {"Content-Type": "text/event-stream"}
Wallet = dict[str, Any]


def stream(*data: object, names: tuple[str, ...] = ()) -> bytes:
    """Events, as language models send them."""
    lines = []
    for number, one in enumerate(data):
        name = f"event: {names[number]}\n" if number < len(names) else ""
        lines.append(f"{name}data: {one if isinstance(one, str) else json.dumps(one)}\n\n")
    return "".join(lines).encode()


@dataclass(frozen=True)
class Lending(Gated):
    """With its upstream."""

    api: Upstream


@contextmanager
def lending(bank: Bank, body: bytes, kind: dict[str, str] | None = None, **price: Any) -> Iterator[Lending]:
    """A gate whose upstream answers so; a channel may owe a tenth of a coin."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True, "credit_units": 100 * MILLI}]
    table = {"amount": "0.001", "per": "event", **price}
    with (
        Upstream(lambda _: (200, kind or EVENTS, body)) as api,
        gate_for(api, {"GET /chat": table}, bank, accept=accept) as gate,
    ):
        yield Lending(gate.url, gate.gate, api)


@contextmanager
def reading(gate: Gated, alice: Wallet, tmp_path: Path) -> Iterator[tuple[httpx.Client, str]]:
    """Our client, and the place."""
    with pay(httpx.Client(trust_env=False), wallet(toy=alice), Policy(max_deposit="1"), book=tmp_path / "b") as client:
        yield client, f"{gate.url}/chat"


def sums(gate: Gated) -> tuple[int, int]:
    """What was accepted, without what asking cost, and spent on its only channel."""
    (channel,) = gate.gate.slot.store.list_channels(ChannelQuery()).result()
    return channel.accepted, channel.spent


@pytest.mark.parametrize("done", [True, False])
def test_our_client_pays_a_stream_of_any_upstream(bank: Bank, alice: Wallet, tmp_path: Path, done: bool) -> None:
    """Per event: the words, one end, and one commit after it."""
    body = stream({"word": 1}, {"word": 2}, {"word": 3}, *(["[DONE]"] if done else []))
    with lending(bank, body) as gate, reading(gate, alice, tmp_path) as (client, url):
        answer = client.get(url)
        assert answer.content == stream({"word": 1}, {"word": 2}, {"word": 3}, "[DONE]")
        assert answer.extensions[RESULT].receipt is not None
        assert sums(gate)[1] == 3 * MILLI
        assert client.get(url).status_code == 200
        assert sums(gate)[1] == 6 * MILLI
        assert sums(gate)[0] < 9 * MILLI


def test_an_upstream_that_tells_what_it_used_is_paid_that(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """Per unit: fifty tokens may come, seven did."""
    body = stream({"text": "hello"}, {"usage": {"tokens": 7}}, "[DONE]")
    price: dict[str, Any] = {"per": "unit", "unit": "token", "usage": "usage.tokens", "max_units": 50}
    with lending(bank, body, **price) as gate, reading(gate, alice, tmp_path) as (client, url):
        assert client.get(url).content == body
        assert sums(gate)[1] == 7 * MILLI


def test_an_answer_ends_where_it_may_cost_no_more(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """Two words of four, and the end; two are paid."""
    body = stream({"word": 1}, {"word": 2}, {"word": 3}, {"word": 4}, "[DONE]")
    with lending(bank, body, window=2) as gate, reading(gate, alice, tmp_path) as (client, url):
        assert client.get(url).content == stream({"word": 1}, {"word": 2}, "[DONE]")
        assert sums(gate)[1] == 2 * MILLI


@pytest.mark.guard("T44")
def test_an_upstream_can_not_speak_for_us(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """What it, or a stranger whom it relays, says about deliveries is dropped."""
    forged = {"deliveryId": "x", "amount": "100000"}
    body = stream(forged, forged, {"word": 1}, names=("mpp.usage", "MPP.metering"))
    with lending(bank, body) as gate, reading(gate, alice, tmp_path) as (client, url):
        assert client.get(url).content == stream({"word": 1}, "[DONE]")
        assert sums(gate)[1] == MILLI


JSON = {"Content-Type": "application/json"}
TOKENS: dict[str, Any] = {"per": "unit", "unit": "token", "usage": "usage.tokens", "max_units": 50}


@pytest.mark.parametrize(
    ("price", "cost"),
    [({}, 1), ({"minimum": 5}, 5), ({"minimum": 0}, 0), (TOKENS, 7), ({"per": "byte", "block": 10, "window": 4}, 3)],
)
def test_what_is_no_stream_is_paid_from_what_was_authorized(
    bank: Bank, alice: Wallet, tmp_path: Path, price: dict[str, Any], cost: int
) -> None:
    """At once, for it can't say how it is paid afterwards: served as often as it is asked for, and nothing is owed."""
    body = b'{"usage": {"tokens": 7}}'
    with lending(bank, body, JSON, **price) as gate, reading(gate, alice, tmp_path) as (client, url):
        for number in range(1, 21):  # a channel may owe no more than a hundred
            answer = client.get(url)
            assert (answer.status_code, answer.content) == (200, body)
            assert sums(gate)[1] == number * cost * MILLI


@pytest.mark.guard("T26")
@pytest.mark.parametrize("kind", [JSON, EVENTS])
def test_an_upstream_works_for_nobody_who_could_not_pay_it(bank: Bank, alice: Wallet, kind: dict[str, str]) -> None:
    """What any answer must have covered is asked for before the upstream is; what it is of is not known sooner."""
    body = stream({"word": 1}) if kind is EVENTS else b"{}"
    with lending(bank, body, kind, minimum=3) as gate:
        client = Committer(alice, f"{gate.url}/chat", deposit=10 * MILLI)
        refused = client.get(3 * MILLI - 1)
        assert (refused.status_code, refused.json()["requiredTopUp"]) == (402, "1")
        assert gate.api.calls == []
        assert client.get(3 * MILLI).content.endswith(b"data: [DONE]\n\n" if kind is EVENTS else b"{}")
        assert len(gate.api.calls) == 1


def test_where_all_answers_are_events_nothing_is_authorized_first(bank: Bank, alice: Wallet) -> None:
    """By the word of the configuration: the smallest voucher gets a stream, and is told how to pay it."""
    body = stream({"text": "hello"}, {"usage": {"tokens": 7}})
    with lending(bank, body, **TOKENS, events=True) as gate:
        client = Committer(alice, f"{gate.url}/chat", deposit=1_000 * MILLI)
        directive, words, usage = told(client.read(1))
        assert (directive["amount"], len(words), usage["amount"]) == (str(50 * MILLI), 2, str(7 * MILLI))
        assert client.commit(directive["deliveryId"], 7 * MILLI + 1).json()["status"] == "committed"
        assert sums(gate) == (7 * MILLI + 1, 7 * MILLI)


@pytest.mark.guard("T25")
@pytest.mark.parametrize("price", [{}, TOKENS, {"per": "byte", "window": 2}])
def test_an_upstream_that_breaks_that_word_gives_nothing_away(bank: Bank, alice: Wallet, price: dict[str, Any]) -> None:
    """Its answer is paid from what was authorized, or it is refused, and the refusal says what would have paid it."""
    with lending(bank, b'{"usage": {"tokens": 7}}', JSON, **price, events=True) as gate:
        client = Committer(alice, f"{gate.url}/chat", deposit=1_000 * MILLI)
        refused = client.get(1)
        assert (refused.status_code, b"tokens" in refused.content) == (402, False)
        assert sums(gate) == (1, 0)
        total = 1 + int(refused.json()["requiredTopUp"])
        assert client.get(total).status_code == 200
        assert sums(gate) == (total, (7 if price is TOKENS else 1) * MILLI)
        assert client.reserve(str(100 * MILLI), client.voucher(total)).status_code == 200


def test_events_say_something_of_metered_prices_only(bank: Bank) -> None:
    """A price per request is paid before its answer, whatever that is."""
    prices = {"GET /chat": {"amount": "0.001", "events": True}}
    with Upstream() as api, pytest.raises(ConfigError, match="events means nothing"), gate_for(api, prices, bank):
        pass


def test_a_credit_is_a_number_of_base_units(bank: Bank) -> None:
    """A negative one is refused when the gate starts."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True, "credit_units": -1}]
    prices = {"GET /chat": {"amount": "0.001", "per": "event"}}
    with (
        Upstream() as api,
        pytest.raises(ConfigError, match="credit_units"),
        gate_for(api, prices, bank, accept=accept),
    ):
        pass
