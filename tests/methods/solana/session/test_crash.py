"""SIGKILL at every failpoint of a Solana session: another server goes on with the same credential; nothing is paid,
sold or paid out twice, and the books agree with the chain.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from coinslot.intents.session import Stage
from coinslot.methods.solana.session.channel import Status
from coinslot.store.open import open_store
from support.lapse import LONG_LEASE_S, lapse
from support.solana_child import start
from support.solanatill import COST, DEPOSIT, PURSE, Buyer, SolanaTill, holding
from support.svm import SvmChain

SEED = "a shop that dies"
FUNDING = ["session.claimed", "session.prepared", "session.broadcast", "funding.noted", "funding.settled"]
BUYING = ["session.verified", "session.spent", "gate.delivered"]
PAYING_OUT = ["session.closing", "settler.prepared", "solana.sent", "settler.sent", "settler.finished"]
CASES = [
    *[("open", name) for name in FUNDING],
    *[("topUp", name) for name in ("session.prepared", "session.broadcast", "funding.noted")],
    *[("buy", name) for name in BUYING],
    *[("close", name) for name in PAYING_OUT],
]


def present(till: SolanaTill, credential: str, key: str | None) -> int:
    """Come again while the dead server's lease holds; whoever waits is told so, and never billed."""
    headers: dict[str, Any] = {} if key is None else {"idempotency_key": key}
    deadline = time.monotonic() + 30
    status = till.serve(credential, **headers).status
    while status in (409, 503) and time.monotonic() < deadline:
        time.sleep(0.05)
        till.world.at_s = time.time()
        till.watch()
        lapse(till.store)
        status = till.serve(credential, **headers).status
    return status


def credential_of(buyer: Buyer, act: str) -> str:
    """What is presented twice."""
    if act == "open":
        return buyer.open()
    if act == "topUp":
        return buyer.top_up(COST)
    return buyer.pay() if act == "buy" else buyer.close()


def check(till: SolanaTill, buyer: Buyer, act: str, status: int) -> None:
    """Once, and only once."""
    record, account = buyer.record, buyer.on_chain
    assert account is not None
    if act == "close":
        assert (status, record.stage, record.settled, account.status) == (204, Stage.CLOSED, COST, Status.DISTRIBUTED)
        assert (holding(till, till.payee.address), buyer.purse) == (COST, PURSE - COST)
    elif act == "topUp":
        assert (status, record.deposit, account.deposit_units) == (204, DEPOSIT + COST, DEPOSIT + COST)
        assert buyer.purse == PURSE - DEPOSIT - COST
    elif act == "buy":
        assert (status, record.spent, record.stage) == (200, COST, Stage.OPEN)
    else:
        assert (status, record.stage, record.deposit, account.deposit_units) == (200, Stage.OPEN, DEPOSIT, DEPOSIT)
        assert buyer.purse == PURSE - DEPOSIT
    for accounts in till.store.balances().result().values():
        assert sum(accounts.values()) == 0


@pytest.mark.guard("F07", "F09", "F10", "F11", "T02", "T06", "T35")
@pytest.mark.parametrize(("act", "name"), CASES, ids="-".join)
def test_killed_at_a_failpoint_a_session_goes_on(svm: SvmChain, tmp_path: Path, act: str, name: str) -> None:
    """On SQLite; with the server as signer of vouchers in every other case."""
    store = f"sqlite:///{tmp_path}/payments.db"
    operator = len(act + name) % 2 == 0
    till = SolanaTill(svm, open_store(store, lease_s=LONG_LEASE_S), seed=SEED, operator=operator)
    try:
        buyer = till.client() if act == "open" else till.buyer()
        if act == "close":
            assert till.serve(buyer.pay()).status == 200
        credential = credential_of(buyer, act)
        key = "the key" if act == "buy" else None
        child = start(
            rpc_url=svm.rpc_url, store=store, lease_s=LONG_LEASE_S, seed=SEED, operator=operator,
            credential=credential, strike=name, key=key,
        )  # fmt: skip
        out, _ = child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL, f"{name} was not passed: {out}"
        till.world.at_s = time.time()
        till.watch()
        check(till, buyer, act, present(till, credential, key))
    finally:
        till.close()
