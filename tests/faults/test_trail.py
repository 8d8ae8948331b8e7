"""What the simulator found once, told again in a few steps: a journal of a channel without gaps and doubles."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from coinslot import drive
from coinslot.drive import run
from coinslot.errors import StoreBroken
from coinslot.intents.session import Refused, Spent, Stage
from coinslot.server.resolver import resolve_round
from coinslot.server.settler import Policy, settle_round
from coinslot.store.channels import Order, Repeated, Reserved
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Lease
from coinslot.store.sqlite import SqliteStore
from support.channel_cases import RULES, found, opened, voucher
from support.sessiontill import COST, HEAD, Buyer, SessionTill
from support.store_cases import claim
from support.strike import struck_at
from support.toybank import Bank

SETTLING = Policy(settle_units=1, settle_after_s=None, close_idle_after_s=None)


def resolve(till: SessionTill) -> None:
    """One round of the resolver."""
    run(resolve_round(till.store, [till.seller]), till.world)


def settle(till: SessionTill) -> None:
    """One round of the settler."""
    run(settle_round(till.store, [till.seller], SETTLING), till.world)


def check(till: SessionTill, buyer: Buyer) -> None:
    """Closed; no escrow left in the journal, and the shop has there what the bank says."""
    assert buyer.record.stage is Stage.CLOSED
    (accounts,) = till.store.balances().result().values()
    assert {units for name, units in accounts.items() if name.startswith("channel:")} == {0}
    assert accounts["payee:shop"] == till.bank.balance("shop") == buyer.record.settled


def left_open(till: SessionTill, failpoint: str) -> Buyer:
    """A channel whose opening died at a failpoint, and that sold something since."""
    buyer, credential = till.open(10 * COST)
    with struck_at(failpoint):
        till.answer(credential, HEAD)
    assert till.serve(buyer.voucher(COST)).status == 200
    return buyer


@pytest.mark.guard("F10")
@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_an_opening_recorded_after_the_close(bank: Bank, alice: dict[str, Any], flavour: str) -> None:
    """The server died after it noted the deposit; the channel was closed before anybody finished the opening."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer = left_open(till, "funding.noted")
    assert till.answer(buyer.close(COST), HEAD).status == 204
    resolve(till)
    check(till, buyer)


@pytest.mark.guard("F10")
@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_an_opening_recorded_while_the_close_is_under_way(bank: Bank, alice: dict[str, Any], flavour: str) -> None:
    """The close is on the chain and not on record when the opening is finished: its payout is posted all the same."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer = left_open(till, "funding.noted")
    with struck_at("settler.sent"):
        till.answer(buyer.close(COST), HEAD)
    resolve(till)
    settle(till)
    check(till, buyer)


@pytest.mark.guard("F10")
def test_a_top_up_recorded_after_the_close(bank: Bank, alice: dict[str, Any]) -> None:
    """The server died after it noted a top-up; the close gives back what was added, once."""
    till = SessionTill(bank, alice)
    buyer = till.buyer(10 * COST)
    with struck_at("funding.noted"):
        till.answer(buyer.top_up(5 * COST), HEAD)
    assert till.serve(buyer.voucher(COST)).status == 200
    assert till.answer(buyer.close(COST), HEAD).status == 204
    resolve(till)
    check(till, buyer)


@pytest.mark.guard("F08")
def test_a_stream_that_is_run_again_takes_a_higher_voucher() -> None:
    """Its first run was billed and gave no answer: under the same key it goes on with what is signed now."""
    store = MemoryStore()
    key = opened(store)
    first = store.reserve(Order(key, 0, RULES, voucher("c", 30), 0, "k", "h"), 30, 30).result()
    assert isinstance(first, Reserved)
    assert first.reservation is not None
    store.commit(first.reservation, 30).result()
    store.keep_answer(key, "k", None).result()
    dry = store.reserve(Order(key, 0, RULES, voucher("c", 30), 0, "k", "h"), 30, 30).result()
    assert isinstance(dry, Refused)
    again = store.reserve(Order(key, 0, RULES, voucher("c", 60), 0, "k", "h"), 30, 30).result()
    assert isinstance(again, Reserved)
    assert (again.channel.accepted, again.channel.spent, again.channel.reserved) == (60, 30, 30)


@pytest.mark.guard("F17", "F19")
def test_what_a_failed_commit_granted_all_the_same_is_given_back(tmp_path: Path) -> None:
    """Told that its outcome is unknown, who asked holds nothing: lease, window and key are free at once, not after the
    process has ended."""
    store = SqliteStore(str(tmp_path / "payments.db"), lease_s=60)
    key = opened(store, deposit=10 * COST)

    def lie(name: str) -> None:
        if name in {"store.claim", "store.channel.reserve", "store.channel.spend"}:
            raise StoreBroken("the commit failed")

    keyed = Order(key, COST, RULES, voucher("c", COST), 1, "k", "h")
    drive.arm_failpoints(lie)
    try:
        asked: list[Future[Any]] = [store.claim(claim("a")), store.accept_and_spend(keyed)]
        asked.append(store.reserve(Order(key, 0, RULES, voucher("c", 5 * COST)), COST, 2 * COST))
        assert [type(each.exception()) for each in asked] == [StoreBroken] * 3
    finally:
        drive.arm_failpoints(None)
    store.ping().result()
    record = found(store)
    assert (record.accepted, record.spent, record.reserved) == (5 * COST, COST, 0)
    assert isinstance(store.take("id-a").result(), Lease)
    store.close()


@pytest.mark.guard("F07", "F17", "F19")
def test_a_request_run_again_under_a_failed_commit_is_free(tmp_path: Path) -> None:
    """Paid and not delivered, it was to run once more, and the commit of that failed although it is on the disk: who
    comes next runs it. Others of this process that are being answered stay theirs."""
    store = SqliteStore(str(tmp_path / "payments.db"), lease_s=60)
    key = opened(store, deposit=10 * COST)
    lost, runs = (
        Order(key, COST, RULES, voucher("c", n * COST), 1, name, "h") for n, name in ((1, "lost"), (2, "runs"))
    )
    assert isinstance(store.accept_and_spend(lost).result(), Spent)
    assert isinstance(store.accept_and_spend(runs).result(), Spent)
    store.keep_answer(key, "lost", None).result()

    def lie(name: str) -> None:
        if name == "store.channel.spend":
            raise StoreBroken("the commit failed")

    drive.arm_failpoints(lie)
    try:
        assert isinstance(store.accept_and_spend(lost).exception(), StoreBroken)
    finally:
        drive.arm_failpoints(None)
    store.ping().result()
    assert isinstance(store.accept_and_spend(lost).result(), Spent)
    assert store.accept_and_spend(runs).result() == Repeated(found(store), None)
    assert found(store).spent == 2 * COST
    store.close()
