"""Sessions on a local Solana chain: our client, our door, real transactions."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coinslot.client.events import Closed, Event, Opened, ToppedUp
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import NoPayableOffer, PolicyRefused
from coinslot.intents.acts import Standing
from coinslot.server.price import Price
from coinslot.store.book import Word
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports import asgi
from coinslot.transports.httpx import AsyncClient, session
from coinslot.transports.slot import Slot
from coinslot.transports.sse import HEADERS, Item, asse
from support.solanasession import COST, DOLLAR, client_of, hello, only, owner_of, paying, secret, shop
from support.svm import SvmChain

SERVER_SIGNS = {"voucher_signer": "operator", "suggested_deposit": "0.002"}


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
    with (
        shop(svm, owner, **SERVER_SIGNS) as url,
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


@pytest.mark.spec("SSES-094")
def test_a_channel_whose_server_signs_buys_on_all_paths_of_its_shop(svm: SvmChain) -> None:
    """One opening; every other path is paid by the same proof."""
    payer, book = client_of(svm), MemoryBook()
    with (
        shop(svm, owner_of(svm), **SERVER_SIGNS) as url,
        paying(svm, payer, book, [], purse={"operator_deposit": "0.01"}) as client,
    ):
        assert [client.get(f"{url}/{n}").status_code for n in range(3)] == [200] * 3
    assert only(book).spent_units == 3 * COST


@pytest.mark.guard("T22")
@pytest.mark.parametrize("limit", ["max_per_day", "max_per_day_and_origin", "budget"])
@pytest.mark.parametrize(("most", "deposited", "bought"), [("0.001", 0, 0), ("0.003", 2 * COST, 2)])
def test_where_the_server_signs_a_budget_is_for_what_is_deposited(
    svm: SvmChain, limit: str, most: str, deposited: int, bought: int
) -> None:
    """The server may take all of it: a deposit that the budget doesn't cover is not made, nor is it refilled."""
    payer, book = client_of(svm), MemoryBook()
    policy = {} if limit == "budget" else {limit: most}
    budget = most if limit == "budget" else None
    with (
        shop(svm, owner_of(svm), **SERVER_SIGNS) as url,
        paying(svm, payer, book, [], purse={"operator_deposit": "1"}, **policy) as client,
        session(client, url, max_deposit="0.01", budget=budget) as paid,
    ):
        assert [paid.get().status_code for _ in range(bought)] == [200] * bought
        with pytest.raises(PolicyRefused):
            paid.get()
    assert svm.balance(str(payer.pubkey())) == 5 * DOLLAR - deposited


def test_a_server_that_may_sign_is_believed_up_to_the_deposit(svm: SvmChain) -> None:
    """Metered by it: what it says was spent is written down, and never more than was deposited."""
    payer, book = client_of(svm), MemoryBook()
    with (
        shop(svm, owner_of(svm), **SERVER_SIGNS) as url,
        paying(svm, payer, book, [], purse={"operator_deposit": "1"}) as client,
    ):
        assert client.get(url).status_code == 200
    held = only(book)
    claimed = Word(acknowledged_units=10**9, spent_units=10**9)
    told = book.note(held.key, claimed).result()
    assert (told.spent_units, told.acknowledged_units) == (held.deposit_units, held.deposit_units)


def test_an_async_client_pays_through_channels(svm: SvmChain) -> None:
    """The same flow, under the other driver: three at once take their turns, and each pays once."""
    payer, book = client_of(svm), MemoryBook()
    table = {"rpc_url": svm.rpc_url, "network": "localnet", "private_key": secret(payer)}
    policy = Policy(max_deposit="0.01", prefer_sessions=True)

    async def three(url: str) -> list[int]:
        async with AsyncClient(wallet(solana=table), policy, book=book, trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/{each}") for each in range(3)))
        return [each.status_code for each in answers]

    with shop(svm, owner_of(svm)) as url:
        assert asyncio.run(three(url)) == [200] * 3
    assert (only(book).signed_units, only(book).spent_units) == (3 * COST, 3 * COST)


def test_a_client_with_lamports_tops_up_at_a_shop_that_pays_the_fees(svm: SvmChain) -> None:
    """Whoever pays that fee: the deposit grows, and the next request is bought."""
    payer, book = client_of(svm, lamports=10**9), MemoryBook()
    with shop(svm, owner_of(svm), suggested_deposit="0.001") as url, paying(svm, payer, book, []) as client:
        assert [client.get(url).status_code for _ in range(3)] == [200] * 3
    assert only(book).deposit_units > 2 * COST


@pytest.mark.spec("SSES-227")
def test_a_channel_that_is_gone_is_replaced_by_another(svm: SvmChain, tmp_path: Path) -> None:
    """Closed by another program with our wallet, a day before it would have been idle for too long: its server refuses,
    the chain agrees, and a new one buys this.
    """
    payer, events = client_of(svm), list[Event]()
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    with shop(svm, owner_of(svm)) as url:
        with closing(SqliteBook(new)) as book:
            with paying(svm, payer, book, []) as client:
                assert client.get(url).status_code == 200
            book.close()
            shutil.copy(new, old)
        with (
            closing(SqliteBook(new)) as book,
            paying(svm, payer, book, []) as client,
            session(client, url, max_deposit="0.01") as paid,
        ):
            assert paid.get().status_code == 200
            paid.close()
        with closing(SqliteBook(old)) as book, paying(svm, payer, book, events) as client:
            assert client.get(url).status_code == 200
            standings = {one.standing for one in book.all().result()}
    assert standings == {Standing.CLOSED, Standing.OPEN}
    assert [type(one) for one in events].count(Opened) == 1
    assert svm.balance(str(payer.pubkey())) == 5 * DOLLAR - 2 * COST - 10 * COST


WORDS = 25


async def words(scope: Any, receive: Any, send: Any) -> None:
    """So many words, counted while they are delivered."""
    if scope["type"] == "lifespan":
        await hello(scope, receive, send)
        return

    async def made() -> AsyncIterator[Item]:
        for each in range(WORDS):
            yield f"word {each}"

    await asgi.Stream(asse(asgi.meter(scope), made()), HEADERS)(scope, receive, send)


def by_the_word(slot: Slot) -> Price:
    """A hundred-thousandth of a dollar a word, ten of them ahead at most."""
    return slot.metered("0.00001", unit="word", window=10, patience_s=20)


@pytest.mark.parametrize("settings", [{}, SERVER_SIGNS])
def test_a_stream_is_paid_while_it_comes(svm: SvmChain, settings: dict[str, Any]) -> None:
    """By vouchers that we send while we read, or by those that the server signs: for what came, and no more."""
    payer, book = client_of(svm), MemoryBook()
    with (
        shop(svm, owner_of(svm), words, prices=by_the_word, **settings) as url,
        paying(svm, payer, book, [], purse={"operator_deposit": "1"}, max_window=10) as client,
    ):
        for turn in (1, 2):
            told = client.get(url)
            assert (told.status_code, told.text.count("data: word")) == (200, WORDS)
            assert only(book).spent_units == turn * WORDS * 10
            assert "payment-" not in told.text
    held = only(book)
    limit = held.deposit_units if settings else (2 * WORDS + 10) * 10
    assert held.spent_units <= held.signed_units <= limit


@pytest.mark.guard("T47")
def test_a_channel_whose_server_signs_is_filled_up_to_the_owners_limit(svm: SvmChain, tmp_path: Path) -> None:
    """Where the server would like more to be added less is; beyond the limit nothing is signed, and that is told."""
    owner, payer = owner_of(svm), client_of(svm)
    book, purse = SqliteBook(tmp_path / "book.sqlite"), {"operator_deposit": "0.005"}
    held: list[int] = []
    with shop(svm, owner, **SERVER_SIGNS) as url, paying(svm, payer, book, [], purse=purse) as client:
        for _ in range(5):
            assert client.get(f"{url}/9").status_code == 200
            held.append(only(book).deposit_units)
        with pytest.raises(NoPayableOffer, match="operator_deposit"):
            client.get(f"{url}/9")
    assert held == [2 * COST, 2 * COST, 4 * COST, 4 * COST, 5 * COST]
    assert only(book).signed_units == 5 * COST
    assert svm.balance(str(payer.pubkey())) == 5 * DOLLAR - 5 * COST
    book.close()
