"""Our client and our gate together, with real faults between them and at the bank: one payment, one delivery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from coinslot.client.events import Event, Paid, Paying
from coinslot.errors import PaymentOutcomeUnknown, PaymentRefused
from coinslot.transports.asgi import CoinslotMiddleware
from support.cutting_proxy import CuttingProxy
from support.doors import Door
from support.serving import asgi_server, make_slot
from support.toybank import Bank

MakeDoor = Any


class Api:
    """An application that counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Say hello."""
        self.runs += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})


@contextmanager
def served(bank: Bank, api: Api, **options: Any) -> Iterator[str]:
    """The gate before the application, everything for 0.01."""
    with (
        closing(make_slot(bank, **options)) as slot,
        asgi_server(CoinslotMiddleware(api, slot, {"/**": "0.01"})) as url,
    ):
        yield url


def test_a_request_is_paid_and_answered(door: Door, bank: Bank) -> None:
    """The plain way, with a receipt that names the payment."""
    api = Api()
    with served(bank, api) as url:
        got = door.get(f"{url}/x?y=1")
    assert (got.status, got.body, api.runs) == (200, b"hello", 1)
    assert isinstance(got.payment, Paid)
    assert got.payment.receipt is not None
    assert got.payment.receipt.reference == got.payment.reference
    assert got.payment.warning is None


@pytest.mark.guard("F03", "F11", "F14")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_what_the_line_loses_is_resumed(door: Door, bank: Bank, lost: str) -> None:
    """The answer, or already the question, is lost after paying: resumed, it is answered once, and paid once."""
    api = Api()
    with served(bank, api) as url, closing(CuttingProxy(("127.0.0.1", urlsplit(url).port or 0))) as proxy:
        through = f"http://127.0.0.1:{proxy.port}/x"
        (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"Authorization: Payment")
        with pytest.raises(PaymentOutcomeUnknown) as caught:
            door.send("POST", through, content=b"body")
        assert bank.settled() == (1 if lost == "answer" else 0)
        got = door.send("POST", through, content=b"body", resume=caught.value.resume)
    assert (got.status, got.body, proxy.strikes) == (200, b"hello", 1)
    assert (bank.settled(), api.runs) == (1, 1)


@pytest.mark.guard("F11")
def test_a_slow_bank_is_waited_for(door: Door, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate says 503 while the outcome is not known; the client comes back with the same credential."""
    monkeypatch.setattr("coinslot.server.gate.RETRY_PENDING_S", 0)
    bank.order("stuck")

    class Releasing(list[Event]):
        def append(self, event: Event) -> None:
            if isinstance(event, Paying) and event.again:
                bank.release()
            super().append(event)

    door.events = Releasing()
    api = Api()
    with served(bank, api, patience_s=0.05) as url:
        got = door.get(url)
    assert (got.status, bank.settled(), api.runs) == (200, 1, 1)
    assert any(event.again for event in door.events if isinstance(event, Paying))


def test_a_bank_that_says_no_is_a_refusal(make_door: MakeDoor, bank: Bank) -> None:
    """Not enough money: refused by the gate in its own words, nothing moved, nothing delivered."""
    door = make_door(account="pauper", secret=bank.open("pauper", coin=1))
    api = Api()
    with served(bank, api) as url, pytest.raises(PaymentRefused) as caught:
        door.get(url)
    assert caught.value.problem == "payment-insufficient"
    assert (bank.settled(), api.runs) == (0, 0)
