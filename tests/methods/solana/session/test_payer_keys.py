"""An Idempotency-Key on the next channel of its payer, whichever side signs the vouchers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coinslot.server.answer import Answer
from support.solanaopening import key
from support.solanatill import COST, DEPOSIT, Buyer, SolanaTill, receipt_of

Tills = Callable[..., SolanaTill]
KEY = "the first"


def again(till: SolanaTill, credential: str) -> Answer:
    """Once the answer before it is kept, which nobody waits for."""
    while True:
        answer = till.serve(credential, idempotency_key=KEY)
        if answer.status != 409:
            return answer


def next_of(till: SolanaTill, old: Buyer) -> Buyer:
    """Another channel of the same payer, open."""
    buyer = Buyer(till, old.key, till.challenge(), DEPOSIT, signer=old.signer)
    answer = till.answer(buyer.open())
    assert answer.status == 200, answer.body
    return buyer


def bought_and_closed(till: SolanaTill) -> Buyer:
    """A request was paid under a key, and its channel closed."""
    buyer = till.buyer()
    assert till.serve(buyer.pay(), idempotency_key=KEY).status == 200
    again(till, buyer.pay())  # kept
    till.store.mark_closed(buyer.store_key, buyer.record.spent).result()
    return buyer


@pytest.mark.guard("T02", "F14")
@pytest.mark.spec("SSES-201", "SSES-205")
@pytest.mark.parametrize("operator", [False, True], ids=["payer signs", "server signs"])
def test_what_a_closed_channel_paid_is_not_bought_again(operator: bool, solana_till: Tills) -> None:
    """By a voucher of the next channel, or by the proof of who pays it: the stored answer, and nothing is taken."""
    till = solana_till(operator=operator)
    new = next_of(till, bought_and_closed(till))
    before = new.record
    for _ in range(2):
        answer = again(till, new.pay())
        assert (answer.status, dict(answer.headers)["idempotent-replayed"]) == (200, "true")
        assert receipt_of(answer).extra["spent"] == "0"
    assert (till.runs, new.record) == (1, before)


@pytest.mark.guard("T05")
@pytest.mark.parametrize("operator", [False, True], ids=["payer signs", "server signs"])
def test_another_payer_buys_under_the_same_key(operator: bool, solana_till: Tills) -> None:
    """The server that signs for both is no reason to know them as one."""
    till = solana_till(operator=operator)
    bought_and_closed(till)
    other = till.buyer()
    assert again(till, other.pay()).status == 200
    assert (till.runs, other.record.spent) == (2, COST)


@pytest.mark.guard("T05")
def test_whom_a_payer_lets_sign_elsewhere_buys_under_the_same_key(solana_till: Tills) -> None:
    """A delegated signer may be somebody else: what the payer itself was answered is not its own."""
    till = solana_till()
    old = bought_and_closed(till)
    delegated = Buyer(till, old.key, till.challenge(), DEPOSIT, signer=key("delegated"))
    assert till.answer(delegated.open()).status == 200
    assert again(till, delegated.pay()).status == 200
    assert (till.runs, delegated.record.spent) == (2, COST)
