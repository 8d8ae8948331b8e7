"""Sessions on a local Solana chain: our client, our door, real transactions."""

from __future__ import annotations

from pathlib import Path

import pytest

from coinslot.client.events import Closed, Event, Opened, ToppedUp
from coinslot.intents.acts import Standing
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import session
from support.solanasession import COST, DOLLAR, client_of, only, owner_of, paying, shop
from support.svm import SvmChain


@pytest.mark.parametrize("sponsored", [True, False])
def test_a_channel_is_opened_used_topped_up_and_closed(svm: SvmChain, tmp_path: Path, sponsored: bool) -> None:
    """What was bought is paid on the chain, and the rest comes back; nothing more was ever signed."""
    owner, events = owner_of(svm), list[Event]()
    payer = client_of(svm, lamports=0 if sponsored else 10**9)
    book = SqliteBook(tmp_path / "book.sqlite")
    before = svm.balance(str(owner.pubkey()))
    with shop(svm, owner, **({} if sponsored else {"fee_payer_key": None})) as url:
        with paying(svm, payer, book, events, max_deposit="0.002") as client:
            assert [client.get(f"{url}/{n}").status_code for n in range(2)] == [200, 200]
            assert only(book).signed_units == 2 * COST
        with paying(svm, payer, book, events) as client, session(client, f"{url}/9", max_deposit="0.01") as paid:
            assert [paid.get().status_code for _ in range(3)] == [200] * 3
            held = only(book)
            assert (held.signed_units, held.spent_units) == (5 * COST, 5 * COST)
            paid.close()
    assert only(book).standing is Standing.CLOSED
    kinds = [type(one) for one in events]
    assert [kinds.count(kind) for kind in (Opened, ToppedUp, Closed)] == [1, 2, 1]
    assert svm.balance(str(owner.pubkey())) - before == 5 * COST
    assert svm.balance(str(payer.pubkey())) == 5 * DOLLAR - 5 * COST
    book.close()


def test_a_channel_whose_server_signs_is_used_refilled_and_closed(svm: SvmChain, tmp_path: Path) -> None:
    """One proof for every request, under the challenge of the opening; the deposit is all that was ever authorized."""
    owner, payer, events = owner_of(svm), client_of(svm), list[Event]()
    book, purse = SqliteBook(tmp_path / "book.sqlite"), {"operator_deposit": "0.004"}
    before = svm.balance(str(owner.pubkey()))
    with shop(svm, owner, voucher_signer="operator", suggested_deposit="0.002") as url:
        with (
            paying(svm, payer, book, events, purse=purse) as client,
            session(client, f"{url}/9", max_deposit="0.01") as paid,
        ):
            assert [paid.get().status_code for _ in range(2)] == [200] * 2
            held = only(book)
            assert (held.deposit_units, held.signed_units, held.spent_units) == (2 * COST, 2 * COST, 2 * COST)
            assert paid.get().status_code == 200
            assert only(book).deposit_units == only(book).signed_units == 4 * COST
            assert only(book).spent_units == 3 * COST
            paid.close()
    assert only(book).standing is Standing.CLOSED
    kinds = [type(one) for one in events]
    assert [kinds.count(kind) for kind in (Opened, ToppedUp, Closed)] == [1, 1, 1]
    assert svm.balance(str(owner.pubkey())) - before == 3 * COST
    assert svm.balance(str(payer.pubkey())) == 5 * DOLLAR - 3 * COST
    book.close()
