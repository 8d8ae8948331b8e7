"""A gate with one metered route, and alice's session there.

with gated(bank, {"per": "event"}, answer) as (gate, api), paying(gate, alice, tmp_path) as paid: ...
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.store.channels import ChannelQuery
from coinslot.transports.httpx import Session, pay, session
from support.patience import within
from support.toybank import Bank
from support.upstream import Gated, Upstream, gate_for

# A thousandth of a coin, in base units.
MILLI = 1_000
EVENTS = "text/event-stream"


def tokens(*words: str, done: bool = True) -> bytes:
    """A stream of events, as language models send it."""
    lines = [f"data: {json.dumps({'word': word})}\n\n" for word in words]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


@contextmanager
def gated(bank: Bank, price: dict[str, Any], answer: Any = None, raw: Any = None) -> Iterator[tuple[Gated, Upstream]]:
    """A gate with one metered route."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True}]
    table = {"amount": "0.001", **price}
    upstream = Upstream(raw=raw) if answer is None else Upstream(answer)
    with upstream as api, gate_for(api, {"POST /chat": table}, bank, accept=accept) as gate:
        yield gate, api


@contextmanager
def paying(
    gate: Gated, alice: dict[str, object], tmp_path: Path, budget: str | None = None, **policy: Any
) -> Iterator[Session]:
    """A session of alice's, with a budget and limits."""
    client = httpx.Client(trust_env=False, timeout=20)
    book = tmp_path / "book.sqlite"
    with (
        pay(client, wallet(toy=alice), Policy(**policy), book=book),
        session(client, gate.url, max_deposit="1", budget=budget) as paid,
    ):
        yield paid


def spent(gate: Gated, *, running: bool = False) -> int:
    """What the server's only channel has spent, once nothing is set aside any more: no answer is under way."""
    until = time.monotonic() + within(20)
    while True:
        (channel,) = gate.gate.slot.store.list_channels(ChannelQuery()).result()
        if running or channel.reserved == 0:
            return channel.spent
        assert time.monotonic() < until, "a window stays set aside"
        time.sleep(0.01)
