"""Many requests for the money of one channel at once: what it covers is sold, and not one request more."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from support.session_child import packed, start
from support.sessiontill import COST, HEAD, Buyer, SessionTill
from support.till import problem
from support.toybank import Bank

Wallet = dict[str, Any]
CLIENTS = 40
WINNERS = 10
# Covers ten requests, and leaves room for vouchers that each say a little more than the one before.
DEPOSIT = WINNERS * COST + COST - 1


def ready(till: SessionTill) -> Buyer:
    """A client that has authorized ten requests."""
    buyer = till.buyer(DEPOSIT)
    assert till.serve(buyer.voucher(WINNERS * COST), HEAD).status == 204
    return buyer


@pytest.mark.guard("T22", "T02", "F15")
@pytest.mark.spec("TSES-004", "TSES-142", "TSES-184")
def test_forty_requests_race_for_a_deposit_that_covers_ten(
    bank: Bank, alice: Wallet, session_store: SessionStore
) -> None:
    """Exactly ten win; the others are told what is missing."""
    till = SessionTill(bank, alice, session_store)
    buyer = ready(till)
    totals = count(WINNERS * COST + 1)

    def client(_: int) -> bool:
        while True:
            answer = till.serve(buyer.voucher(next(totals)))
            if answer.status == 200:
                assert answer.body == b"words"
                return True
            slug = problem(answer)["slug"]
            if slug == "insufficient-balance":
                return False
            if slug == "too-many-vouchers":  # a second later
                till.world.at_s += 1.0
                continue
            assert slug == "delta-too-small"  # a higher one was first: sign again

    with ThreadPoolExecutor(CLIENTS) as pool:
        won = sum(pool.map(client, range(CLIENTS)))
    assert (won, till.runs, buyer.record.spent) == (WINNERS, WINNERS, WINNERS * COST)
    assert buyer.record.accepted <= DEPOSIT


@pytest.mark.guard("T22", "T02", "F15")
@pytest.mark.spec("TSES-004", "TSES-142")
def test_forty_requests_race_in_two_processes(bank: Bank, alice: Wallet, disk_store_url: str) -> None:
    """Two servers on one store, twenty clients each: exactly ten win in all."""
    till = SessionTill(bank, alice, open_store(disk_store_url))
    buyer = ready(till)
    children = [
        start(
            job="race", store=disk_store_url, wallet=alice, buyer=packed(buyer), first=WINNERS * COST + n,
            threads=CLIENTS // 2,
        )
        for n in (1, 2)
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == "ready"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    won = [int(json.loads(child.communicate(timeout=60)[0])) for child in children]
    assert sum(won) == WINNERS
    assert buyer.record.spent == WINNERS * COST
    till.store.close()


@pytest.mark.guard("T02", "F15")
def test_one_voucher_at_two_servers_buys_once(bank: Bank, alice: Wallet, disk_store_url: str) -> None:
    """Two handles on one store, many threads: one run."""
    tills = [SessionTill(bank, alice, open_store(disk_store_url)) for _ in range(2)]
    buyer = tills[0].buyer()
    credential = buyer.voucher(COST)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: tills[n % 2].serve(credential), range(60)))
    assert {one.status for one in answers} == {200}
    assert sum(till.runs for till in tills) == sum(one.body == b"words" for one in answers) == 1
    assert buyer.sums == (COST, COST, 0)
    for till in tills:
        till.store.close()
