"""A payer whose own channel makes a payout fail on the chain, though it succeeds whenever it is tried out before.

Some accounts can be changed by their owner at any moment (a token account closed, a policy set), and batches are paid
out whole or not at all: for the price of a dust deposit it would hold up everybody who is in a batch with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from coinslot.drive import Flow, call, run
from coinslot.intents import acts
from coinslot.intents.session import Channel, Close
from coinslot.server.settler import RETRIES_PER_GRACE, RETRY_S, Policy, settle_round
from coinslot.store.channels import JobStage
from support.drained import drained
from support.sessiontill import COST, SessionTill
from support.toychannel import TRANSACTION_S
from support.toysessionseller import ToySessionSeller

# What the attacker bought: less than anybody.
DUST = COST + 1


class Toggled(ToySessionSeller):
    """A seller whose payouts fail on the chain, or never appear there, if the attacker's channel is among them."""

    fault = "revert"

    def pay_out(self, jobs: Sequence[tuple[Channel, Close, bool]]) -> Flow[acts.Sendable]:
        """Tried out and found good; then the attacker is quick."""
        made = yield from ToySessionSeller.pay_out(self, jobs)
        if any(channel.accepted == DUST for channel, _, _ in jobs):
            yield from call(self.bank.order, self.fault, 1)
        return made


def seller_of(till: SessionTill, fault: str) -> ToySessionSeller:
    """The till's seller, and the attacker's chain."""
    own = till.seller
    made = Toggled(own.bank, own.identity, own.grace_s, own.recipient, own.currency)
    object.__setattr__(made, "fault", fault)
    return made


@pytest.mark.guard("T27")
@pytest.mark.parametrize("fault", ["revert", "drop"])
def test_a_payout_that_failed_holds_up_nobody_again(session_till: SessionTill, fault: str) -> None:
    """What failed together is tried again one by one, long before a payer may take its deposit back."""
    till = session_till
    honest = [till.buyer(deposit=4 * COST) for _ in range(2)]
    attacker = till.buyer(deposit=4 * COST)
    for buyer in (*honest, attacker):
        till.serve(buyer.voucher(DUST if buyer is attacker else COST))
    seller = seller_of(till, fault)
    for _ in range(3):
        run(settle_round(till.store, (seller,), Policy(settle_units=1), till.events.append), till.world)
        drained(till.store)
        till.bank.heal("drop")
        passing = (RETRY_S if fault == "revert" else TRANSACTION_S) + 60
        till.world.at_s += passing
        till.bank.advance(passing)
    stages = [till.store.jobs_of(buyer.held.key, 1).result()[0].stage for buyer in honest]
    assert stages == [JobStage.DONE] * 2
    assert till.bank.balance("shop") == 2 * COST


@pytest.mark.guard("T27")
def test_a_payer_that_takes_its_deposit_back_meets_many_tries(session_till: SessionTill) -> None:
    """Each failure makes the next wait longer, but not while a payer's time to withdraw runs: it would win a race that
    it can make us lose a few times.
    """
    till = session_till
    attacker = till.buyer(deposit=4 * COST)
    till.serve(attacker.voucher(DUST))
    attacker.ask_to_close()
    seller = seller_of(till, "revert")
    began = till.world.at_s
    while till.world.at_s < began + seller.grace_s:
        run(settle_round(till.store, (seller,), Policy(settle_units=1), till.events.append), till.world)
        drained(till.store)
        till.world.at_s += seller.grace_s / 30
        till.bank.advance(int(seller.grace_s / 30))
    tries = len(till.store.jobs_of(attacker.held.key, 99).result())
    assert tries >= RETRIES_PER_GRACE
