"""Top-ups that reach the server in two ways, by its watcher and by their payer: entered into the journal once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from coinslot.drive import run
from coinslot.intents.session import Channel, Refused
from coinslot.server.settler import Policy, settle_round
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from support.sessiontill import COST, DEPOSIT, Buyer, SessionTill
from support.till import token_of
from support.toybank import Bank

Wallet = dict[str, Any]


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


def watch(till: SessionTill) -> None:
    """A round of the settler."""
    run(settle_round(till.store, [till.seller], Policy(), till.events.append, 0), till.world)


def conserved(till: SessionTill, buyer: Buyer) -> None:
    """What the journal says the channel holds is what the bank holds of it."""
    accounts = till.store.balances().result().get("toy:main/coin", {})
    assert sum(accounts.values()) == 0
    found = till.bank.channel(buyer.held.channel_id)
    assert found is not None
    held = 0 if found.closed else found.deposit - found.settled
    assert accounts.get(f"channel:{buyer.held.key}", 0) == held


def transaction_of(credential: str) -> bytes:
    """What its payer may send to the chain itself."""
    return bytes.fromhex(str(token_of(credential).payload_object()["transaction"]))


@pytest.mark.guard("F10")
def test_money_that_was_found_is_not_entered_again_when_its_payer_presents_it(till: SessionTill) -> None:
    """In either order, and of two top-ups that the chain shows together: record, journal and bank stay one sum."""
    buyer = till.buyer()
    one, two = buyer.top_up(5_000), buyer.top_up(3_000)
    till.bank.submit(transaction_of(one))
    watch(till)
    assert (buyer.record.deposit, till.answer(one).status) == (DEPOSIT + 5_000, 204)
    conserved(till, buyer)
    till.bank.submit(transaction_of(two))
    three = buyer.top_up(1_000)
    till.bank.submit(transaction_of(three))
    assert till.answer(three).status == 204
    assert buyer.record.deposit == DEPOSIT + 6_000
    watch(till)
    assert buyer.record.deposit == DEPOSIT + 9_000
    for again in (two, three, one):
        assert till.answer(again).status == 204
    conserved(till, buyer)
    till.serve(buyer.voucher(COST))
    assert till.answer(buyer.close(COST)).status == 204
    watch(till)
    conserved(till, buyer)


class Meanwhile:
    """A store that lets something happen once, just before a top-up is recorded, and passes everything on."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.act: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def top_up(self, *given: Any) -> Future[Channel | Refused]:
        """Something happens first."""
        act, self.act = self.act, None
        if act is not None:
            act()
        return self._store.top_up(*given)


@pytest.mark.guard("F10")
def test_what_its_payer_presents_while_it_is_found_is_entered_once(bank: Bank, alice: Wallet) -> None:
    """The watcher has read the record and made its entry, and then the payer's comes first; and the other way round."""
    between = Meanwhile(MemoryStore())
    till = SessionTill(bank, alice, cast("SessionStore", between))
    buyer = till.buyer()
    for first, second in ((watch, till.answer), (till.answer, watch)):
        credential = buyer.top_up(5_000)
        till.bank.submit(transaction_of(credential))
        before = buyer.record.deposit

        def run_(step: Any, credential: str = credential) -> None:
            step(till) if step is watch else step(credential)

        between.act = lambda step=second, run_=run_: run_(step)
        run_(first)
        assert buyer.record.deposit == before + 5_000
        assert till.answer(credential).status == 204
        conserved(till, buyer)
