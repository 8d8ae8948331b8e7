"""What was claimed by a process that died before it had anything to send is given up in the end, and not before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from coinslot.drive import run
from coinslot.intents.session import Stage
from coinslot.method import Seller
from coinslot.server.resolver import ABANDONED_S, SWEEP_EVERY, resolve_round
from coinslot.store.protocol import Query
from coinslot.store.protocol import Stage as PaymentStage
from support.drained import drained
from support.sessiontill import HEAD, SessionTill
from support.strike import struck_at
from support.till import Till, token_of


def later(till: SessionTill | Till, seconds: float, turn: int = 0) -> PaymentStage:
    """A round of the resolver after some time; where the only payment stands then."""
    till.world.at_s += seconds
    sellers: Sequence[Seller] = (till.seller,) if isinstance(till, SessionTill) else till.sellers
    run(resolve_round(till.store, sellers, None, turn), till.world)
    drained(till.store)
    (payment,) = till.store.payments(Query()).result()
    return payment.stage


@pytest.mark.guard("F07")
def test_an_opening_that_was_left_before_anything_was_sent_is_given_up(session_till: SessionTill) -> None:
    """After its time its claim has failed and its channel is closed for good: its payer counts as idle again."""
    till = session_till
    buyer, credential = till.open()
    with struck_at("session.claimed"):
        till.present(credential, HEAD)
    assert later(till, ABANDONED_S - 60) is PaymentStage.CLAIMED
    assert later(till, 120) is PaymentStage.FAILED
    assert buyer.record.stage is Stage.CLOSED


@pytest.mark.guard("F07")
def test_what_is_claimed_and_young_may_still_go_on(session_till: SessionTill) -> None:
    """Until then whoever comes again with the same credential goes on where it stopped."""
    till = session_till
    buyer, credential = till.open()
    with struck_at("session.claimed"):
        till.present(credential, HEAD)
    assert later(till, 200) is PaymentStage.CLAIMED
    assert till.answer(credential, HEAD).status == 204
    assert buyer.record.stage is Stage.OPEN


@pytest.mark.guard("F13")
def test_an_opening_that_its_payer_sent_by_itself_is_not_given_up(session_till: SessionTill) -> None:
    """The bank knows its channel, so the claim waits for its payer."""
    till = session_till
    buyer, credential = till.open()
    with struck_at("session.claimed"):
        till.present(credential, HEAD)
    till.bank.submit(bytes.fromhex(token_of(credential).payload_object()["transaction"]))
    assert later(till, 2 * ABANDONED_S) is PaymentStage.CLAIMED
    assert buyer.record.stage is Stage.OPENING


@pytest.mark.guard("F07")
def test_a_charge_that_was_left_before_anything_was_sent_is_given_up(till: Till) -> None:
    """Its budgets are given back, and nothing was paid; other rounds than each SWEEP_EVERYth don't look for it."""
    credential = till.bought()
    with struck_at("gate.claimed"):
        till.present(credential)
    assert later(till, 2 * ABANDONED_S, turn=1) is PaymentStage.CLAIMED
    assert later(till, 0, turn=SWEEP_EVERY) is PaymentStage.FAILED
    assert till.bank.balance("shop") == 0
