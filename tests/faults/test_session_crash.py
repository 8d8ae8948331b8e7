"""SIGKILL at every failpoint of the session path: another server goes on with the same credential; nothing is paid,
sold or paid out twice, and the books agree with the bank.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coinslot.intents.session import Stage
from coinslot.server.answer import Answer
from coinslot.store.open import open_store
from support.lapse import LONG_LEASE_S, lapse
from support.session_child import start
from support.sessiontill import COST, DEPOSIT, Buyer, SessionTill
from support.toybank import Bank

FUNDS = 5_000_000
FUNDING = ["session.claimed", "session.prepared", "session.broadcast", "funding.noted", "funding.settled"]
BUYING = ["session.spent", "gate.delivered"]
PAYING_OUT = ["session.closing", "settler.prepared", "settler.sent", "settler.finished"]
CASES = [
    *[("open", name) for name in [*FUNDING, *BUYING]],
    *[("topUp", name) for name in FUNDING],
    *[("voucher", name) for name in ["session.verified", *BUYING]],
    *[("close", name) for name in PAYING_OUT],
]
# On a slower store, one of each kind.
SAMPLE = [("open", "session.broadcast"), ("voucher", "session.spent"), ("close", "settler.sent")]


def until_served(till: SessionTill, serve: Callable[[], Answer]) -> Answer:
    """Come again while the dead server's lease holds; whoever waits is told so, and never billed."""
    deadline = time.monotonic() + 30
    answer = serve()
    while answer.status in (409, 503) and time.monotonic() < deadline:
        time.sleep(0.05)
        lapse(till.store)
        answer = serve()
    return answer


def goes_on(bank: Bank, alice: dict[str, Any], url: str, act: str, name: str) -> None:
    """One act, killed at a failpoint and presented again."""
    till = SessionTill(bank, alice, open_store(url, lease_s=LONG_LEASE_S))
    key = "the-key" if act == "voucher" else None
    if act == "open":
        buyer, credential = till.open(first_units=COST)
    else:
        buyer = till.buyer()
        if act == "close":
            till.serve(buyer.voucher(COST))
        signs: dict[str, Callable[[int], str]] = {
            "topUp": buyer.top_up, "voucher": buyer.voucher, "close": buyer.close,
        }  # fmt: skip
        credential = signs[act](COST)
    child = start(
        job="present", store=url, wallet=alice, credential=credential, lease_s=LONG_LEASE_S, strike=name, key=key
    )
    out, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, f"{name} was not passed: {out}"
    headers: dict[str, Any] = {"idempotency_key": key} if key else {}
    answer = until_served(till, lambda: till.serve(credential, **headers))
    _check(till, buyer, act, answer)
    till.store.close()


def _check(till: SessionTill, buyer: Buyer, act: str, answer: Answer) -> None:
    record, bank = buyer.record, till.bank
    if act == "open" and not answer.body:  # opened, and killed before anything was bought: the next voucher buys it
        assert (answer.status, record.spent) == (200, 0)
        answer = till.serve(buyer.voucher(COST + 1))
        record = buyer.record
    if act in ("open", "voucher"):
        assert (answer.status, answer.body, record.spent) == (200, b"words", COST)
        assert (record.deposit, bank.balance("alice"), record.stage) == (DEPOSIT, FUNDS - DEPOSIT, Stage.OPEN)
    elif act == "topUp":
        assert (answer.status, record.deposit, bank.balance("alice")) == (204, DEPOSIT + COST, FUNDS - DEPOSIT - COST)
    else:
        assert (answer.status, record.stage, record.settled) == (204, Stage.CLOSED, COST)
        assert (bank.balance("shop"), bank.balance("alice")) == (COST, FUNDS - COST)
    assert bank.total() == FUNDS
    for accounts in till.store.balances().result().values():
        assert sum(accounts.values()) == 0


@pytest.mark.guard("F07", "F09", "F10", "F11", "T02", "T06")
@pytest.mark.parametrize(("act", "name"), CASES, ids="-".join)
def test_killed_at_a_failpoint_a_session_goes_on(
    bank: Bank, alice: dict[str, Any], tmp_path: Path, act: str, name: str
) -> None:
    """On SQLite, at each of them."""
    goes_on(bank, alice, f"sqlite:///{tmp_path}/payments.db", act, name)


@pytest.mark.postgres
@pytest.mark.guard("F07", "F09", "F10", "F11")
@pytest.mark.parametrize(("act", "name"), SAMPLE, ids="-".join)
def test_killed_at_a_failpoint_a_session_goes_on_at_postgresql(
    bank: Bank, alice: dict[str, Any], postgres_db: str, act: str, name: str
) -> None:
    """A sample."""
    goes_on(bank, alice, postgres_db, act, name)
