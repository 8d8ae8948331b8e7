"""The settler inside a slot: watching begins before the first request, and goes on beside the requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from coinslot.errors import ConfigError, StoreError
from coinslot.intents.session import Stage
from coinslot.server.settler import Policy, Report
from coinslot.store.memory import MemoryStore
from coinslot.transports.settling import Settling
from coinslot.transports.slot import Slot
from support.sessiondesk import session_seller
from support.sessiontill import COST, NETWORK, SessionTill
from support.till import SECRET
from support.toybank import Bank

Wallet = dict[str, Any]
KEY = SECRET.hex()
QUICK = 0.02


def until(true: Callable[[], bool]) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def slot(bank: Bank, **options: Any) -> Slot:
    """A slot that sells from channels."""
    toy = {"bank": bank.path, "recipient": "shop", "sessions": True}
    return Slot("api", store="memory:", secret_key=KEY, toy=toy, **options)


@pytest.mark.guard("F26")
def test_a_slot_has_looked_before_its_first_request(bank: Bank) -> None:
    """Nothing is refused at start for want of a watcher; where another process settles, it is left to that one."""
    for settle, looked in ((True, True), (Policy(settle_units=5), True), (False, False)):
        made = slot(bank, settle=settle)
        assert (made.store.watched_ago_s(NETWORK).result() is not None) == looked
        assert (made.settling is not None) == looked
        assert [one.intent for one in made.sellers] == ["charge", "session"]
        made.close()


@pytest.mark.guard("T27")
def test_the_first_look_settles_nothing(bank: Bank, alice: Wallet) -> None:
    """A program that only starts, or checks its settings, moves no money; a payer that leaves is seen all the same."""
    till = SessionTill(bank, alice)
    buyer, leaving = till.buyer(), till.buyer()
    till.serve(buyer.voucher(COST))
    leaving.ask_to_close()
    till.store._watched.clear()  # type: ignore[attr-defined]
    before = bank.submissions()
    made = Slot("api", store=till.store, secret_key=KEY, sellers=[till.seller], settle=Policy(settle_units=1))
    assert leaving.record.stage is Stage.CLOSING
    assert (bank.submissions(), buyer.record.settled) == (before, 0)
    assert till.store.pending_jobs(9).result() == []
    made.close()


def test_a_slot_starts_though_its_bank_is_down(bank: Bank) -> None:
    """It sells nothing from channels until somebody has looked; that is no reason not to start."""
    store = MemoryStore()
    till = SessionTill(bank, _alice(bank), store)
    till.buyer()
    store._watched.clear()
    seller = session_seller(bank)
    bank.order("down", 1)
    made = Settling(store, [seller], Policy())
    made.look()
    assert store.watched_ago_s(NETWORK).result() is None
    made.look()
    assert store.watched_ago_s(NETWORK).result() is not None


def _alice(bank: Bank) -> Wallet:
    return {"bank": bank.path, "account": "alicia", "secret": bank.open("alicia", coin=5_000_000)}


@pytest.mark.guard("T27")
@pytest.mark.parametrize("every_s", [300.0, 301.0, 0.0, -1.0])
def test_an_interval_that_a_payer_could_outrun_is_refused(bank: Bank, every_s: float) -> None:
    """Three looks in the time that a payer has to wait, or no start."""
    seller = session_seller(bank)
    assert seller.grace_s == 900.0
    with pytest.raises(ConfigError, match="at least every 300 s"):
        Settling(MemoryStore(), [seller], Policy(), every_s=every_s)
    Settling(MemoryStore(), [seller], Policy(), every_s=299.0)


@pytest.mark.guard("T27")
def test_the_loop_stops_and_settles_beside_the_requests(bank: Bank, alice: Wallet) -> None:
    """A payer's request to close is acted on by the thread; after stop and join there are no more rounds."""
    till = SessionTill(bank, alice)
    till.world.at_s = time.time()
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    heard: list[tuple[str, Report | StoreError]] = []
    settling = Settling(till.store, [till.seller], Policy(), None, QUICK, lambda *told: heard.append(told))
    settling.ensure()
    settling.ensure()
    buyer.ask_to_close()
    until(lambda: buyer.record.stage is Stage.CLOSED)
    assert bank.balance("shop") == COST
    settling.stop()
    assert settling.join(60)
    assert {name for name, _ in heard} == {NETWORK}


def test_who_finds_a_fresh_look_leaves_the_round_to_the_other(bank: Bank, alice: Wallet) -> None:
    """Many processes on one store do not ask the chain many times as often."""
    till = SessionTill(bank, alice)
    heard: list[str] = []
    settling = Settling(till.store, [till.seller], Policy(), every_s=100.0, report=lambda name, _: heard.append(name))
    till.watch()
    settling.look()
    assert heard == []
    till.store._watched.clear()  # type: ignore[attr-defined]
    settling.look()
    assert heard == [NETWORK]


@pytest.mark.guard("F11")
def test_after_failures_the_pause_grows_and_stays_within_the_grace(bank: Bank, alice: Wallet) -> None:
    """Twice, four times, at most eight times as long; never so long that a payer could withdraw unseen."""
    till = SessionTill(bank, alice)
    till.buyer()
    till.store._watched.clear()  # type: ignore[attr-defined]
    settling = Settling(till.store, [till.seller], Policy(), every_s=10.0)
    loop = settling.networks[NETWORK]
    bank.order("down", 5)
    assert [loop.step(0, till.world) for _ in range(5)] == [20.0, 40.0, 80.0, 80.0, 80.0]
    assert loop.step(0, till.world) is None
    bank.order("down", 1)
    till.store._watched.clear()  # type: ignore[attr-defined]
    assert loop.step(0, till.world) == 20.0
    slow = Settling(till.store, [till.seller], Policy(), every_s=140.0).networks[NETWORK]
    bank.order("down", 1)
    assert slow.step(0, till.world) == 150.0
    till.store.close()
    assert slow.step(0, till.world) == 150.0
