"""The server's disk is full, or its store is an old backup: nothing told is lost, and nobody is locked out for good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.intents.session import Stage
from coinslot.server.settler import Policy, Report, settle_round
from coinslot.store.open import open_store
from support.mutation import TESTS
from support.sessiontill import COST, HEAD, Buyer, SessionTill
from support.toybank import Bank

BEFORE, AFTER = 2, 3
SETTLING = Policy(settle_units=1, settle_after_s=None, close_idle_after_s=None)


def settle(till: SessionTill) -> Report:
    """One round of the settler."""
    return run(settle_round(till.store, [till.seller], SETTLING), till.world)


def restored(till: SessionTill, folder: Path, *, settled: bool) -> tuple[Buyer, SessionTill]:
    """Some is bought, a backup is made, more is bought (and paid out, or not); then the backup is put back."""
    buyer = till.buyer(10 * COST)
    for number in range(BEFORE):
        assert till.serve(buyer.voucher((number + 1) * COST)).status == 200
    till.store.backup(str(folder / "backup.db")).result()
    for number in range(BEFORE, BEFORE + AFTER):
        assert till.serve(buyer.voucher((number + 1) * COST)).status == 200
    if settled:
        assert settle(till).settled == 1
    till.store.close()
    fresh = SessionTill(till.bank, till.wallet, open_store(f"sqlite:///{folder}/backup.db"))
    buyer.till = fresh
    return buyer, fresh


@pytest.fixture
def till(bank: Bank, alice: dict[str, Any], tmp_path: Path) -> SessionTill:
    """A till on SQLite."""
    return SessionTill(bank, alice, open_store(f"sqlite:///{tmp_path}/payments.db"))


@pytest.mark.guard("F27")
def test_a_restored_server_takes_the_client_s_higher_voucher(till: SessionTill, tmp_path: Path) -> None:
    """It serves on, with what its client signs next; what it forgot was spent is its own loss, and nobody else's."""
    buyer, fresh = restored(till, tmp_path, settled=False)
    assert buyer.sums == (BEFORE * COST, BEFORE * COST, 0)
    total = (BEFORE + AFTER + 1) * COST
    assert fresh.serve(buyer.voucher(total)).status == 200
    assert buyer.sums == (total, (BEFORE + 1) * COST, 0)
    assert fresh.answer(buyer.close(total), HEAD).status == 204
    assert fresh.bank.balance("shop") == (BEFORE + 1) * COST
    fresh.store.close()


@pytest.mark.guard("F27")
def test_a_restored_server_that_knows_less_than_the_chain_sells_nothing(till: SessionTill, tmp_path: Path) -> None:
    """The chain paid out more than any voucher on record: the channel is frozen and named, and its payer is told."""
    buyer, fresh = restored(till, tmp_path, settled=True)
    report = settle(fresh)
    assert report.frozen == (buyer.held.key,)
    assert buyer.record.stage is Stage.CLOSING
    assert fresh.answer(buyer.voucher((BEFORE + AFTER + 1) * COST)).status == 410
    assert fresh.bank.balance("shop") == (BEFORE + AFTER) * COST
    fresh.store.close()


FULL = """
import resource, signal, sys
from coinslot.errors import StoreBroken, StoreBusy
from coinslot.intents.session import Spent
from coinslot.store.channels import Order, Reserved
from coinslot.store.open import open_store
from support.channel_cases import COST, RULES, found, opened, order, raw, voucher
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store("sqlite:///" + sys.argv[1])
key = opened(store, deposit=10**9)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400 * 1024, hard))
told = refused = 0
for amount in range(COST, 500 * COST, COST):
    try:
        assert isinstance(store.accept_and_spend(order("c", amount)).result(), Spent)
        told = amount
    except (StoreBroken, StoreBusy):
        refused += 1
        assert found(store).accepted >= told
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.ping().result()
record = found(store)
assert record.accepted >= told and record.voucher == raw(record.accepted), record
assert isinstance(store.accept_and_spend(order("c", record.accepted + COST)).result(), Spent)
got = store.reserve(Order(key, 0, RULES, voucher("c", record.accepted + 3 * COST)), COST, COST).result()
assert isinstance(got, Reserved), got
store.commit(got.reservation, COST).result()
assert found(store).reserved == 0
print(told, refused)
store.close()
"""


@pytest.mark.guard("F17")
def test_a_channel_outlives_a_full_disk(tmp_path: Path) -> None:
    """I4: every voucher that was acknowledged is on record; with room again the same process sells on."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "payments.db")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, refused = map(int, done.stdout.split())
    assert told > 1000
    assert refused
