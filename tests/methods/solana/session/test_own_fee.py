"""Who pays for topping up, where a server that sponsors may or may not sign for it."""

from __future__ import annotations

import pytest

from coinslot.client.events import Event
from coinslot.store.book_memory import MemoryBook
from coinslot.transports.httpx import session
from support.solanasession import client_of, owner_of, paying, shop
from support.svm import SvmChain

FEES = 10**7


@pytest.mark.parametrize("lamports", [0, FEES])
def test_who_has_sol_pays_for_its_own_top_ups(svm: SvmChain, lamports: int) -> None:
    """Deployed servers sponsor openings only. Without SOL the server is asked to sign, as the document has it."""
    owner, events = owner_of(svm), list[Event]()
    payer = client_of(svm, lamports=lamports)
    with (
        shop(svm, owner, suggested_deposit="0.005") as url,
        paying(svm, payer, MemoryBook(), events) as client,
        session(client, url, max_deposit="0.01") as paid,
    ):
        assert paid.get("/").status_code == 200
        assert svm.balance(str(payer.pubkey()), "SOL") == lamports
        before = svm.balance(str(owner.pubkey()), "SOL")
        paid.top_up("0.001")
        spent = lamports - svm.balance(str(payer.pubkey()), "SOL")
        assert (spent > 0) == (lamports > 0)
        assert (svm.balance(str(owner.pubkey()), "SOL") < before) == (lamports == 0)


def test_a_fee_beyond_the_wallets_limit_is_the_servers(svm: SvmChain) -> None:
    """max_fee holds here, too."""
    payer = client_of(svm, lamports=FEES)
    purse = {"max_fee": "0.000001"}
    with (
        shop(svm, owner_of(svm), suggested_deposit="0.005") as url,
        paying(svm, payer, MemoryBook(), [], purse=purse) as client,
        session(client, url, max_deposit="0.01") as paid,
    ):
        assert paid.get("/").status_code == 200
        paid.top_up("0.001")
    assert svm.balance(str(payer.pubkey()), "SOL") == FEES
