"""SIGKILL at every failpoint of gate and store: the same credential then buys what it paid for, once, for one price."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from coinslot.store.open import open_store
from coinslot.store.protocol import Stage
from support.failpoints import under
from support.lapse import LONG_LEASE_S, lapse
from support.till import UNITS, Till
from support.till_child import log_lines, start
from support.toybank import Bank

STRUCK = under("gate.", "store.", apart=("store.channel.", "store.delivery."))
# Until here nothing may have left the process.
UNSENT = {"gate.claimed", "gate.prepared", "store.claim", "store.prepare"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a store that outlives a process."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_db"))
    return f"sqlite:///{tmp_path}/payments.db"


@pytest.mark.guard("T01", "F07", "F09", "F10", "F11")
@pytest.mark.spec("CORE-090", "CORE-095")
@pytest.mark.parametrize("name", STRUCK)
def test_killed_at_a_failpoint_it_is_paid_and_delivered_once(
    bank: Bank, alice: dict[str, object], tmp_path: Path, store_url: str, name: str
) -> None:
    """Never 402 once it was sent; one settlement, one whole answer that stays the same, and a balanced journal."""
    till = Till(bank, alice, open_store(store_url, lease_s=LONG_LEASE_S))
    credential = till.bought()
    log = str(tmp_path / "log")
    child = start(
        job="present", store=store_url, wallet=alice, credential=credential, log=log, lease_s=LONG_LEASE_S, strike=name
    )
    out, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, f"{name} was not passed: {out}"
    assert bank.settled() == (name not in UNSENT)

    statuses = []
    deadline = time.monotonic() + 30
    answer = till.serve(credential, handler=lambda: b"goods of the second")
    while answer.status != 200 and time.monotonic() < deadline:
        statuses.append(answer.status)
        time.sleep(0.05)
        lapse(till.store)
        answer = till.serve(credential, handler=lambda: b"goods of the second")
    assert set(statuses) <= {409}
    assert answer.status == 200
    again = till.answer(credential)
    assert (again.status, again.body) == (200, answer.body)
    recorded = name in ("gate.delivered", "store.deliver")
    assert answer.body.startswith(b"goods of the second") != recorded
    assert (bank.settled(), bank.balance("shop")) == (1, UNITS)
    assert till.sums() == {"toy:main/coin": 0}
    assert len(till.store.entries(None, 10).result()) == 1
    assert till.payment(credential).stage is Stage.DELIVERED
    assert log_lines(log).count(f"start {child.pid}") == recorded
    till.store.close()


@pytest.mark.guard("F09", "F11")
def test_after_a_kill_the_resolver_of_another_process_settles_it(
    bank: Bank, alice: dict[str, object], tmp_path: Path
) -> None:
    """Nobody comes back with the credential: the payment is still put on record, by its hash."""
    url = f"sqlite:///{tmp_path}/payments.db"
    till = Till(bank, alice, open_store(url, lease_s=LONG_LEASE_S))
    credential = till.bought()
    child = start(
        job="present", store=url, wallet=alice, credential=credential, log=str(tmp_path / "log"), lease_s=LONG_LEASE_S,
        strike="gate.broadcast",
    )  # fmt: skip
    child.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while till.payment(credential).stage is not Stage.SETTLED and time.monotonic() < deadline:
        lapse(till.store)
        till.resolve()
        time.sleep(0.05)
    assert till.payment(credential).stage is Stage.SETTLED
    assert till.serve(credential).status == 200
    assert bank.submissions() == 1
    till.store.close()
