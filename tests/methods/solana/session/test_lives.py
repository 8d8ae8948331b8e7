"""Lives of channels, drawn at random: whatever a client does in whatever order, nobody gains and nobody loses."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinslot.intents.session import Stage
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.distribution import Split
from coinslot.server.settler import Policy
from support.solanaopening import key
from support.solanatill import COST, PURSE, Buyer, SolanaTill, holding
from support.svm import SvmChain

SPLITS = (Split(key("a first").address, 1_234), Split(key("a second").address, 77))
ACTS = ["buy", "buy", "buy", "too much", "again", "top up", "settle", "ask to close", "close"]


def act(till: SolanaTill, buyer: Buyer, what: str) -> None:
    """One step; whatever it is answered."""
    match what:
        case "buy":
            if till.serve(buyer.pay()).status != 200:
                buyer.total = buyer.record.accepted
        case "too much":
            till.serve(buyer.pay(buyer.total + 9 * COST))
            buyer.total = buyer.record.accepted
        case "again":
            till.serve(buyer.pay(buyer.total))
        case "top up":
            till.serve(buyer.top_up(COST + buyer.deposit))
            buyer.deposit += 1  # another transaction the next time
        case "settle":
            till.settle(Policy(settle_units=1))
        case "ask to close":
            account = buyer.on_chain
            if account is not None and account.status is Status.OPEN:
                buyer.ask_to_close()
        case "close":
            till.serve(buyer.close())


@pytest.mark.guard("T02", "T22", "T23", "T27", "F10")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ACTS), max_size=9), st.booleans(), st.sampled_from([(), SPLITS]))
def test_no_life_of_a_channel_makes_or_loses_money(
    shared_svm: SvmChain, steps: list[str], operator: bool, splits: tuple[Split, ...]
) -> None:
    """The payee gets what was bought (a last voucher may say a little more), the payer the rest, the books agree."""
    before = sum(shared_svm.balance(one.recipient, "USDC") for one in SPLITS)
    till = SolanaTill(shared_svm, operator=operator, splits=splits)
    try:
        buyer = till.buyer(deposit=3 * COST)
        sold = 0
        for step in steps:
            act(till, buyer, step)
            record, account = buyer.record, buyer.on_chain
            assert account is not None
            assert record.spent == till.runs * COST
            assert record.spent <= record.accepted <= record.deposit == account.deposit_units or step == "top up"
            assert account.settled_units <= record.accepted
            if record.stage is not Stage.OPEN:
                sold = sold or till.runs
                assert till.runs == sold
        till.serve(buyer.close())
        till.world.at_s += 4_000
        till.watch()
        till.settle()
        till.world.at_s += 20
        till.settle()
        record = buyer.record
        shares = sum(shared_svm.balance(one.recipient, "USDC") for one in SPLITS) - before
        earned = holding(till, till.payee.address) + shares
        assert record.stage is Stage.CLOSED
        assert record.spent - len(splits) - 1 <= earned <= record.settled
        assert record.settled == PURSE - buyer.purse
        assert record.spent <= record.settled <= record.accepted
        assert record.settled == record.spent or not operator
        for accounts in till.store.balances().result().values():
            assert sum(accounts.values()) == 0
    finally:
        till.close()
