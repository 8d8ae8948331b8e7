"""SIGKILL at every failpoint of the settler: another one goes on, and what was bought is paid out once."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.intents.session import Stage
from coinslot.server.settler import Policy, Report, settle_round
from coinslot.store.channels import JobStage
from coinslot.store.open import open_store
from support.failpoints import under
from support.lapse import LONG_LEASE_S, lapse
from support.patience import within
from support.sessiontill import COST, DEPOSIT, Buyer, SessionTill
from support.settler_child import start
from support.toybank import Bank

Wallet = dict[str, Any]
SETTLING = ["settler.planned", "settler.prepared", "settler.sent", "settler.finished"]
AHEAD_S = 100.0


@pytest.fixture
def open_till(bank: Bank, alice: Wallet, disk_store_url: str) -> Iterator[Callable[..., SessionTill]]:
    """Tills on one store that outlives a process."""
    tills: list[SessionTill] = []

    def made(**table: Any) -> SessionTill:
        till = SessionTill(bank, alice, open_store(disk_store_url, lease_s=LONG_LEASE_S), **table)
        till.world.at_s = time.time()
        tills.append(till)
        return till

    yield made
    for till in tills:
        till.store.close()


def child(till: SessionTill, url: str, **job: Any) -> subprocess.Popen[str]:
    """A settler on the same store and bank."""
    given = {"job": "settle", "store": url, "bank": till.bank.path, "lease_s": LONG_LEASE_S, **job}
    return start(**given, flavour=till.seller.flavour)


def killed(process: subprocess.Popen[str]) -> None:
    """It came to its failpoint, and died there."""
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"the failpoint was not passed: {out}"


def settle(till: SessionTill) -> Report:
    """One round of this process."""
    return run(settle_round(till.store, [till.seller], Policy(settle_units=1)), till.world)


def until(till: SessionTill, true: Callable[[], bool]) -> None:
    """Rounds until that is so: the dead one's leases lapse meanwhile."""
    deadline = time.monotonic() + within(30)
    while not true():
        assert time.monotonic() < deadline
        lapse(till.store)
        settle(till)
        time.sleep(0.05)


def check(till: SessionTill, *buyers: Buyer) -> None:
    """What the journal says each channel holds is what the bank holds of it; all sums to zero."""
    accounts = till.store.balances().result()["toy:main/coin"]
    assert sum(accounts.values()) == 0
    assert accounts.get("payee:shop", 0) == till.bank.balance("shop")
    for buyer in buyers:
        found = till.bank.channel(buyer.held.channel_id)
        assert found is not None
        held = 0 if found.closed else found.deposit - found.settled
        assert accounts.get(f"channel:{buyer.held.key}", 0) == held


def test_every_failpoint_of_the_settler_has_a_story_here() -> None:
    """A new one needs one."""
    told = {*SETTLING, "settler.stopped", "settler.replanned", "settler.found", "settler.closed"}
    assert set(under("settler.")) == told


@pytest.mark.guard("F09", "F10", "F11")
@pytest.mark.parametrize("strike", SETTLING)
def test_two_settlements_in_one_transaction(
    open_till: Callable[..., SessionTill], disk_store_url: str, strike: str
) -> None:
    """Killed anywhere, both are paid out once, by one transaction, on record and in the journal."""
    till = open_till()
    buyers = [till.buyer(), till.buyer()]
    for buyer in buyers:
        till.serve(buyer.voucher(COST))
    before = till.bank.settled()
    killed(child(till, disk_store_url, strike=strike))
    sent = [till.store.jobs_of(buyer.held.key, 9).result() for buyer in buyers]
    assert till.bank.settled() - before == (strike in {"settler.sent", "settler.finished"})
    until(till, lambda: all(buyer.record.settled == COST for buyer in buyers))
    settle(till)
    for buyer, known in zip(buyers, sent, strict=True):
        jobs = till.store.jobs_of(buyer.held.key, 9).result()
        assert [job.stage for job in jobs] == [JobStage.DONE]
        if known and known[0].reference is not None:
            assert jobs[0].reference == known[0].reference
    assert (till.bank.settled() - before, till.bank.balance("shop")) == (1, 2 * COST)
    check(till, *buyers)


@pytest.mark.guard("T27", "F09", "F10")
@pytest.mark.parametrize("flavour", ["v1", "v2"])
@pytest.mark.parametrize("strike", ["settler.stopped", *SETTLING])
def test_a_close_that_a_payer_asked_for(
    open_till: Callable[..., SessionTill], disk_store_url: str, strike: str, flavour: str
) -> None:
    """Whoever goes on closes it, once; the payer gets the rest."""
    till = open_till(flavour=flavour)
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    buyer.ask_to_close()
    killed(child(till, disk_store_url, strike=strike, ahead_s=AHEAD_S))
    assert buyer.record.stage is not Stage.OPEN
    till.world.at_s += AHEAD_S
    until(till, lambda: buyer.record.stage is Stage.CLOSED)
    assert (till.bank.balance("shop"), buyer.record.settled) == (COST, COST)
    assert till.bank.balance("alice") == 5_000_000 - COST
    check(till, buyer)


@pytest.mark.guard("F13")
def test_a_settlement_that_died_unseen(open_till: Callable[..., SessionTill], disk_store_url: str) -> None:
    """Killed after the dead transaction was given up: the next settler makes another for the same job."""
    till = open_till()
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.bank.order("drop", 9)
    settle(till)
    till.bank.advance(AHEAD_S)
    killed(child(till, disk_store_url, strike="settler.replanned", ahead_s=AHEAD_S))
    assert till.store.jobs_of(buyer.held.key, 9).result()[0].stage is JobStage.PLANNED
    till.bank.heal("drop")
    until(till, lambda: buyer.record.settled == COST)
    assert till.bank.balance("shop") == COST
    check(till, buyer)


@pytest.mark.guard("F10")
def test_a_deposit_that_was_found(open_till: Callable[..., SessionTill], disk_store_url: str) -> None:
    """On record and posted in one step: the next round posts nothing more."""
    till = open_till()
    buyer = till.buyer()
    move = run(till.payer.top_up(buyer.challenge, buyer.held, 500), till.world)
    till.bank.submit(bytes.fromhex(str(move.payload["transaction"])))
    killed(child(till, disk_store_url, strike="settler.found"))
    assert buyer.record.deposit == DEPOSIT + 500
    settle(till)
    check(till, buyer)


@pytest.mark.guard("F10")
def test_a_channel_that_its_payer_withdrew(open_till: Callable[..., SessionTill], disk_store_url: str) -> None:
    """Closed on record in the same step as its entry."""
    till = open_till(flavour="v1")
    buyer = till.buyer()
    buyer.ask_to_close()
    till.bank.advance(till.seller.grace_s + 1)
    sent = run(till.payer.withdraw(buyer.held), till.world)
    run(till.payer.send(sent.raw), till.world)
    killed(child(till, disk_store_url, strike="settler.closed"))
    assert buyer.record.stage is Stage.CLOSED
    settle(till)
    check(till, buyer)


@pytest.mark.guard("F08")
def test_a_window_that_a_dead_process_held(open_till: Callable[..., SessionTill], disk_store_url: str) -> None:
    """While it lives nobody touches its window; when it is dead the window is spent whole, once."""
    till = open_till()
    buyer = till.buyer()
    till.serve(buyer.voucher(5 * COST))
    process = child(till, disk_store_url, job="hold", key=buyer.held.key, units=3 * COST)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert run(settle_round(till.store, [till.seller], Policy(None, None, None)), till.world).billed == 0
    process.kill()
    process.communicate()
    billed = 0
    deadline = time.monotonic() + within(30)
    while not billed and time.monotonic() < deadline:
        lapse(till.store)
        billed += run(settle_round(till.store, [till.seller], Policy(None, None, None)), till.world).billed
        time.sleep(0.05)
    assert billed == 1
    assert (buyer.record.spent, buyer.record.reserved) == (4 * COST, 0)


@pytest.mark.guard("F09")
def test_a_job_that_another_settler_holds_is_left_to_it(
    open_till: Callable[..., SessionTill], disk_store_url: str
) -> None:
    """It lives and has recorded its bytes: our rounds do nothing. It dies: those very bytes are sent, once."""
    till = open_till()
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    process = child(till, disk_store_url, strike="settler.prepared", hang=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reached\n"
    (job,) = till.store.jobs_of(buyer.held.key, 9).result()
    for _ in range(3):
        report = settle(till)
        assert (report.planned, report.settled, report.pending) == (0, 0, 0)
    process.kill()
    process.communicate()
    until(till, lambda: buyer.record.settled == COST)
    (done,) = till.store.jobs_of(buyer.held.key, 9).result()
    assert (done.reference, done.stage) == (job.reference, JobStage.DONE)
    assert till.bank.balance("shop") == COST
    check(till, buyer)
