"""Opens and top-ups whose end was not learnt are put on record by the resolver, once."""

from __future__ import annotations

from typing import Any

import pytest

from coinslot.drive import run
from coinslot.intents.acts import Act
from coinslot.intents.session import Stage
from coinslot.server.events import Resolved
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.server.resolver import resolve_round
from coinslot.server.settler import Policy, settle_round
from coinslot.store.protocol import Query
from coinslot.store.protocol import Stage as PaymentStage
from support.drained import drained
from support.sessiontill import COST, DEPOSIT, HEAD, Buyer, SessionTill
from support.strike import struck_at


def resolve(till: SessionTill) -> int:
    """One round; how many are still open."""
    pending = run(resolve_round(till.store, (till.seller,), till.events.append), till.world)
    drained(till.store)
    return pending


def held(till: SessionTill, buyer: Buyer) -> int:
    """What the journal says the channel holds."""
    accounts = till.store.balances().result().get("toy:main/coin", {})
    assert sum(accounts.values()) == 0
    return accounts.get(f"channel:{buyer.held.key}", 0)


@pytest.mark.guard("F09", "F10", "F11")
@pytest.mark.parametrize("stop", ["session.broadcast", "funding.noted", "funding.settled"])
def test_an_opening_that_was_left_is_finished(session_till: SessionTill, stop: str) -> None:
    """The process died after the bank took it in: the channel opens, the journal gets one entry, nothing is owed."""
    till = session_till
    buyer, credential = till.open()
    with struck_at(stop):
        till.present(credential, HEAD)
    assert resolve(till) == 0
    if stop != "funding.settled":
        assert [event.stage for event in till.events if isinstance(event, Resolved)] == ["settled"]
        (row,) = till.store.payments(Query()).result()
        assert row.stage is PaymentStage.DELIVERED
    assert (buyer.record.stage, buyer.record.deposit, held(till, buyer)) == (Stage.OPEN, DEPOSIT, DEPOSIT)
    assert till.answer(credential, HEAD).status == 204
    assert till.serve(buyer.voucher(COST)).status == 200
    assert till.bank.channel(buyer.held.channel_id) is not None


@pytest.mark.guard("F10", "F11")
@pytest.mark.parametrize("stop", ["session.broadcast", "funding.noted"])
def test_a_top_up_that_was_left_is_finished(session_till: SessionTill, stop: str) -> None:
    """The deposit is the chain's, and posted once."""
    till = session_till
    buyer = till.buyer()
    with struck_at(stop):
        till.present(buyer.top_up(500), HEAD)
    assert resolve(till) == 0
    assert (buyer.record.deposit, held(till, buyer)) == (DEPOSIT + 500, DEPOSIT + 500)
    run(settle_round(till.store, (till.seller,), Policy()), till.world)
    assert held(till, buyer) == DEPOSIT + 500


@pytest.mark.guard("F11", "F13")
def test_an_opening_is_given_up_only_when_it_is_dead(session_till: SessionTill) -> None:
    """Never taken in: it stays open until the bank's clock is past its time; then its channel is closed for good."""
    till = session_till
    buyer, credential = till.open()
    with struck_at("session.prepared"):
        till.present(credential, HEAD)
    assert resolve(till) == 1
    assert buyer.record.stage is Stage.OPENING
    till.bank.advance(10 * EXPIRES_IN_S)
    assert resolve(till) == 0
    assert (buyer.record.stage, held(till, buyer)) == (Stage.CLOSED, 0)
    (row,) = till.store.payments(Query()).result()
    assert row.stage is PaymentStage.FAILED


@pytest.mark.guard("F11")
def test_giving_up_may_stop_half_way(session_till: SessionTill) -> None:
    """Its channel is closed and its payment not yet failed: the next round ends it."""
    till = session_till
    buyer, credential = till.open()
    with struck_at("session.prepared"):
        till.present(credential, HEAD)
    till.bank.advance(10 * EXPIRES_IN_S)
    with struck_at("funding.given_up"):
        resolve(till)
    assert buyer.record.stage is Stage.CLOSED
    assert resolve(till) == 0
    (row,) = till.store.payments(Query()).result()
    assert row.stage is PaymentStage.FAILED


def test_another_opening_of_the_same_payer_is_not_given_up_with_it(session_till: SessionTill) -> None:
    """Nothing but the payer leads to the channel: while another of its openings is in doubt, neither is closed."""
    till = session_till
    dead, first = till.open()
    with struck_at("session.prepared"):
        till.present(first, HEAD)
    till.bank.advance(10 * EXPIRES_IN_S)
    till.world.at_s += 10 * EXPIRES_IN_S
    alive, second = till.open()
    with struck_at("session.prepared"):
        till.present(second, HEAD)
    resolve(till)
    assert dead.record.stage is alive.record.stage is Stage.OPENING


def test_a_top_up_of_a_channel_that_closes_is_accounted_for_once(session_till: SessionTill) -> None:
    """The record takes no more deposit, the close finds it in escrow: the journal ends empty."""
    till = session_till
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    with struck_at("session.broadcast"):
        till.present(buyer.top_up(500), HEAD)
    till.bank.order("stuck")
    till.answer(buyer.voucher(COST, Act.CLOSE), HEAD)
    assert resolve(till) == 0
    till.bank.release()
    run(settle_round(till.store, (till.seller,), Policy()), till.world)
    assert (buyer.record.stage, held(till, buyer)) == (Stage.CLOSED, 0)
    accounts: dict[str, Any] = till.store.balances().result()["toy:main/coin"]
    assert (accounts["payee:shop"], accounts["payer:alice"]) == (COST, -COST)
