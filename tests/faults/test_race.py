"""One credential, fifty copies, two processes, one of them killed in its handler and started again."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from coinslot.store.open import open_store
from coinslot.store.protocol import Query, Stage
from support.lapse import LONG_LEASE_S, lapse, owners
from support.till import UNITS, Till
from support.till_child import log_lines, start
from support.toybank import Bank

COPIES = 25


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store that processes share."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_db"))
    return f"sqlite:///{tmp_path}/payments.db"


@pytest.mark.guard("T01", "F07", "F14")
@pytest.mark.spec("CORE-090", "CORE-095")
def test_fifty_copies_two_processes_a_kill_and_a_restart_are_one_delivery(
    bank: Bank, alice: dict[str, object], tmp_path: Path, store_url: str
) -> None:
    """All copies end with the same whole answer of one handler run; never two runs at once; one settlement."""
    till = Till(bank, alice, open_store(store_url, lease_s=LONG_LEASE_S))
    credential = till.bought()
    log = str(tmp_path / "log")
    common = {
        "job": "copies", "store": store_url, "wallet": alice, "credential": credential, "log": log,
        "lease_s": LONG_LEASE_S, "threads": COPIES,
    }  # fmt: skip
    doomed = start(**common, hang=True)
    deadline = time.monotonic() + 60
    while f"hang {doomed.pid}" not in log_lines(log):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    dead = owners(till.store)
    assert len(dead) == 1
    other = start(**common)
    while till.answer(credential).status == 409 and other.poll() is None and time.monotonic() < deadline - 55:
        time.sleep(0.02)
    assert log_lines(log) == [f"start {doomed.pid}", f"hang {doomed.pid}"]
    doomed.send_signal(signal.SIGKILL)
    doomed.communicate()
    lapse(till.store, dead)
    again = start(**common)
    outputs = [each.communicate(timeout=90)[0] for each in (other, again)]
    assert [each.returncode for each in (other, again)] == [0, 0]

    bodies = [json.loads(output) for output in outputs]
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) == 1
    assert till.answer(credential).body.decode() == bodies[0][0]
    lines = log_lines(log)[2:]
    assert len(lines) == 2, lines
    assert [line.split()[0] for line in lines] == ["start", "end"]
    assert lines[0].split()[1] == lines[1].split()[1]
    assert (bank.settled(), bank.balance("shop")) == (1, UNITS)
    assert till.sums() == {"toy:main/coin": 0}
    (payment,) = till.store.payments(Query()).result()
    assert payment.stage is Stage.DELIVERED
    till.store.close()
