"""Applications whose streams say "done" before the server has said what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from coinslot.transports.sse import Event
from support.lendingsite import lending
from support.toybank import Bank
from support.upstream import Upstream, gate_for

WORDS = 10
UNITS = WORDS + 1
# What asking costs: a voucher for one unit, and the least step.
ASKED = 2


def items() -> Iterator[str | Event]:
    """Ten words and a last one, of the name that ends streams."""
    for number in range(WORDS):
        yield f"word {number}"
    yield Event("bye", event="done")


@contextmanager
def at_our_door(bank: Bank) -> Iterator[str]:
    """An application behind the middleware."""
    with lending(bank, items) as site:
        yield site.stream


@contextmanager
def behind_the_gate(bank: Bank) -> Iterator[str]:
    """An upstream of any language, its price that of the door."""
    accept = [{"method": "toy", "bank": bank.path, "recipient": "shop", "sessions": True, "credit_units": 300}]
    body = b"".join(b"data: word %d\n\n" % number for number in range(WORDS)) + b"event: done\ndata: bye\n\n"
    table = {"amount": "0.000001", "per": "event", "window": 100}
    with (
        Upstream(lambda _: (200, {"Content-Type": "text/event-stream"}, body)) as api,
        gate_for(api, {"GET /words": table}, bank, accept=accept) as gate,
    ):
        yield f"{gate.url}/words"


@pytest.mark.guard("T24")
@pytest.mark.parametrize("site", [at_our_door, behind_the_gate])
def test_what_clients_take_for_the_end_comes_after_the_usage(
    bank: Bank, alice: dict[str, Any], tmp_path: Path, site: Any
) -> None:
    """Before it, the client would sign for all that the stream may cost; nothing is lost of the event itself."""
    book = SqliteBook(tmp_path / "channels.sqlite")
    plain = httpx.Client(trust_env=False, timeout=20)
    with site(bank) as url, pay(plain, wallet(toy=alice), Policy(max_deposit="0.5"), book=book) as client:
        answer = client.get(url)
        (held,) = book.all().result()
    book.close()
    assert answer.text.endswith("data: word 9\n\nevent: done\ndata: bye\n\ndata: [DONE]\n\n")
    assert held.signed_units == UNITS + ASKED
    assert held.spent_units == UNITS
