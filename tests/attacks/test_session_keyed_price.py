"""A key under which a cheap request failed is no voucher for a dear one."""

from __future__ import annotations

from typing import Any

import pytest

from coinslot.server.answer import Answer
from coinslot.server.request import Incoming
from support.sessiontill import COST, SessionTill
from support.till import offered
from support.toybank import Bank

CHEAP = Incoming("GET", "/paid/picture", headers={"x-size": ("small",)})
DEAR = Incoming("GET", "/paid/picture", headers={"x-size": ("large",)})


def price_of(request: Incoming) -> str:
    """By a header, which the identity of a request does not hold."""
    return "0.001" if request.one("x-size") == "small" else "0.005"


@pytest.mark.guard("T03")
def test_a_key_that_paid_a_cheap_request_brings_no_dear_one(bank: Bank, alice: dict[str, Any]) -> None:
    """A client makes the first run fail by hanging up; under the key it may run again, at its own price only."""
    till = SessionTill(bank, alice, price=price_of)
    cheap = next(one for one in offered(_asked(till, CHEAP)) if one.intent == "session")
    dear = next(one for one in offered(_asked(till, DEAR)) if one.intent == "session")
    buyer, opening = till.open(challenge=cheap)
    assert _sent(till, opening, Incoming("HEAD", CHEAP.path, headers=CHEAP.headers)).status == 204
    key = {"idempotency_key": "mine"}
    assert _sent(till, buyer.voucher(COST), CHEAP, status=500, **key).status == 500
    stolen = _sent(till, buyer.voucher(COST, challenge=dear), DEAR, **key)
    assert stolen.body != b"words", "a dear answer for the price of a cheap one"
    assert _sent(till, buyer.voucher(COST), CHEAP, **key).body == b"words", "the same again is paid for"
    assert buyer.record.spent == COST


def _asked(till: SessionTill, request: Incoming) -> Answer:
    return till.answer(None, request)


def _sent(till: SessionTill, credential: str, request: Incoming, **options: Any) -> Answer:
    return till.again(credential, request, **options)
