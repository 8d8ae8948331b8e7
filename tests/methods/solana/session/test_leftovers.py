"""The rent of channels that a payer opened at its own cost: when it comes back, and that it does, by the chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.cli.main import main
from coinslot.drive import RealWorld, run
from coinslot.errors import NoPayableOffer, UsageError
from coinslot.intents.acts import Left, Standing
from coinslot.services import leaving
from coinslot.store.book import Book
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import session
from support.solanaleaving import GRACE_S, bought, close_account, payer_of, settle
from support.solanasession import DOLLAR, client_of, only, owner_of, paying, secret, shop
from support.svm import SvmChain

SIGNATURE, UNITS = 5_000, 10
WINDOW = 1_501


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """HTTP and clocks."""
    with httpx.Client(trust_env=False) as client:
        yield RealWorld(client)


def closed(svm: SvmChain, pair: Keypair, book: Book, count: int = 1, **settings: Any) -> None:
    """Channels that their server closed within ten minutes of their opening, at the payer's own cost."""
    given = {"fee_payer_key": None, **settings}
    with shop(svm, owner_of(svm), **given) as url, paying(svm, pair, book, []) as client:
        for _ in range(count):
            with session(client, url, max_deposit="0.01") as paid:
                assert paid.get().status_code == 200
                paid.close()


def lamports(svm: SvmChain, pair: Keypair) -> int:
    """What an account holds, by the chain."""
    return svm.balance(str(pair.pubkey()), "SOL")


def fee(count: int) -> int:
    """What freeing so many accounts costs."""
    return SIGNATURE + UNITS * count


def rent(svm: SvmChain, size: int) -> int:
    """What an account of that size must hold."""
    return int(svm.rpc("getMinimumBalanceForRentExemption", size))


def test_the_rent_of_channels_that_were_closed_early_comes_back(svm: SvmChain, world: RealWorld) -> None:
    """Not before their addresses are free; then all at once, for one fee, and once."""
    pair, book = client_of(svm, lamports=10**9), MemoryBook()
    closed(svm, pair, book, count=3)
    payer, before = payer_of(svm, pair, world), lamports(svm, pair)
    found = run(leaving.collect(book, payer), world)
    assert (len(found.ready), len(found.waiting), lamports(svm, pair)) == (0, 3, before)
    svm.running.advance_slots(WINDOW)
    found = run(leaving.collect(book, payer), world)
    assert (len(found.ready), len(found.waiting)) == (3, 0)
    assert lamports(svm, pair) == before + 3 * rent(svm, 256) - fee(3)
    assert run(leaving.collect(book, payer), world) == Left((), (), run(leaving.left(book, payer), world).evidence)
    assert lamports(svm, pair) == before + 3 * rent(svm, 256) - fee(3)


@pytest.mark.guard("F04")
def test_channels_that_no_book_knows_give_their_rent_back(svm: SvmChain, world: RealWorld) -> None:
    """The chain tells whose rent it was; what a sponsor paid is not touched."""
    pair = client_of(svm, lamports=10**9)
    closed(svm, pair, MemoryBook(), count=2)
    closed(svm, pair, MemoryBook(), fee_payer_key=secret(owner_of(svm)))
    svm.running.advance_slots(WINDOW)
    payer, before = payer_of(svm, pair, world), lamports(svm, pair)
    assert len(run(leaving.collect(MemoryBook(), payer), world).ready) == 2
    assert lamports(svm, pair) == before + 2 * rent(svm, 256) - fee(2)


@pytest.mark.guard("F04")
def test_a_node_that_tells_no_programs_accounts_is_asked_by_the_book(svm: SvmChain, world: RealWorld) -> None:
    """As public ones do. What is of another program, or was another's cost, is not asked for."""
    pair, book = client_of(svm, lamports=10**9), MemoryBook()
    closed(svm, pair, book, count=2)
    closed(svm, pair, book, fee_payer_key=secret(owner_of(svm)))
    svm.running.advance_slots(WINDOW)
    svm.faults.refuse(method="getProgramAccounts", count=2)
    payer, before = payer_of(svm, pair, world), lamports(svm, pair)
    assert len(run(leaving.collect(book, payer), world).ready) == 2
    assert run(payer.left(()), world).ready == ()
    assert lamports(svm, pair) == before + 2 * rent(svm, 256) - fee(2)


@pytest.mark.parametrize("known", [True, False])
def test_what_could_not_be_paid_out_then_is_paid_out_later(svm: SvmChain, world: RealWorld, known: bool) -> None:
    """We left while the payee had no token account, so that its share stayed where it was; now it has one again."""
    pair, owner = client_of(svm, lamports=10**9), owner_of(svm)
    book = bought(svm, pair, owner=owner, fee_payer_key=None)
    held, payer = only(book), payer_of(svm, pair, world)
    settle(svm, pair, owner, held)
    close_account(svm, owner)
    run(leaving.ask_to_close(book, payer, held), world)
    svm.running.warp_seconds(GRACE_S + 1)
    run(leaving.withdraw(book, payer, held), world)
    assert only(book).standing is Standing.CLOSED
    before = lamports(svm, pair)
    assert run(leaving.collect(book, payer), world).ready == ()
    svm.fund(str(owner.pubkey()), 1, "USDC")
    svm.running.advance_slots(WINDOW)
    run(leaving.collect(book if known else MemoryBook(), payer), world)
    assert svm.balance(str(owner.pubkey())) == 3_000 + 1
    # and the escrow's, by which the treasury's account was made
    assert lamports(svm, pair) == before + rent(svm, 256) - SIGNATURE - 200


def test_who_has_no_sol_is_told_so(svm: SvmChain, world: RealWorld) -> None:
    """Nothing is lost by that; what was found elsewhere is a mistake."""
    pair, book = client_of(svm, lamports=10**9), MemoryBook()
    closed(svm, pair, book)
    svm.running.advance_slots(WINDOW)
    payer = payer_of(svm, pair, world)
    svm.rpc("surfnet_setAccount", str(pair.pubkey()), {"lamports": 893_000})
    with pytest.raises(NoPayableOffer, match="holds 893000 lamports"):
        run(leaving.collect(book, payer), world)
    with pytest.raises(UsageError):
        run(payer.collect(Left(("x",))), world)


def test_the_command_line_tells_of_rent_and_brings_it_back(
    svm: SvmChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """`sync` moves nothing and says what there is; `withdraw --all` fetches it."""
    pair, place = client_of(svm, lamports=10**9), tmp_path / "book.sqlite"
    book = SqliteBook(place)
    closed(svm, pair, book, count=2)
    book.close()
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COINSLOT_PRIVATE_KEY", secret(pair))
    more = ["--book", str(place), "--method", "solana", "--rpc-url", svm.rpc_url, "--network", "localnet"]

    def told(*words: str) -> str:
        capfdbinary.readouterr()
        assert main(["channels", *words, *more]) == 0
        return capfdbinary.readouterr().err.decode()

    before = lamports(svm, pair)
    assert "2 channels that ended hold rent of yours. Ten minutes after" in told("sync")
    assert "2 channels that ended hold rent of yours. Ten minutes after" in told("withdraw", "--all")
    svm.running.advance_slots(WINDOW)
    assert "2 channels that ended hold rent of yours: `coinslot channels withdraw --all`" in told("sync")
    capfdbinary.readouterr()
    assert main(["channels", "sync", "--json", *more]) == 0
    shown = json.loads(capfdbinary.readouterr().out)["rent"]
    assert (len(shown["ready"]), shown["waiting"], lamports(svm, pair)) == (2, [], before)
    assert "Rent of 2 channels came back." in told("withdraw", "--all")
    assert lamports(svm, pair) == before + 2 * rent(svm, 256) - fee(2)
    assert "rent" not in told("sync").lower()
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR - 2_000
