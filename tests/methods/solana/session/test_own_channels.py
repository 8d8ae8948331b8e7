"""A payer's channels on a local chain: seen, found again, left without any server, and lost records made good."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.chains.solana.instruction import writable_signer
from coinslot.chains.solana.message import read_transaction, verify_signatures
from coinslot.chains.solana.programs import TOKEN_PROGRAM
from coinslot.chains.solana.tokens import read_token_account
from coinslot.client import closing as ends
from coinslot.client.events import Event, Opened, Recovered
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld, run
from coinslot.errors import NoPayableOffer, PaymentOutcomeUnknown, RpcRefused
from coinslot.intents.acts import Held, Standing
from coinslot.methods.solana.session.channel import escrow_account
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.program import read_request_close, read_withdraw_payer
from coinslot.methods.solana.tokens import USDC
from coinslot.services import leaving
from coinslot.store.book_memory import MemoryBook
from coinslot.store.book_sqlite import SqliteBook
from support.cutting_proxy import CuttingProxy
from support.solanaleaving import GRACE_S, bought, close_account, payer_of, settle
from support.solanasession import COST, DOLLAR, asked, client_of, only, owner_of, paying, shop
from support.svm import SvmChain

DEPOSIT = 10 * COST


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """HTTP and clocks."""
    with httpx.Client(trust_env=False) as client:
        yield RealWorld(client)


def stored(svm: SvmChain, address: str) -> tuple[str, bytes]:
    """The owner and the data of an account."""
    value = svm.rpc("getAccountInfo", address, {"encoding": "base64"})["value"]
    return value["owner"], base64.b64decode(value["data"][0])


# --- leaving ---------------------------------------------------------------------------------------


def test_a_payer_leaves_without_its_server(svm: SvmChain, world: RealWorld) -> None:
    """Ask, wait for the channel's own grace period by the chain's clock, and take the rest: what was never settled."""
    pair = client_of(svm, lamports=10**9)
    book = bought(svm, pair)
    payer = payer_of(svm, pair, world)
    seen = run(leaving.ask_to_close(book, payer, only(book)), world)
    assert (seen.held.standing, seen.state.closed) == (Standing.CLOSING, False)
    assert payer.withdraw_after_s(seen.held) >= GRACE_S
    assert run(leaving.withdraw(book, payer, only(book)), world) is None
    svm.running.warp_seconds(GRACE_S + 1)
    done = run(leaving.withdraw(book, payer, only(book)), world)
    assert done is not None
    assert (done.held.standing, done.state.settled_units) == (Standing.CLOSED, 0)
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR
    assert run(payer.look(only(book)), world).closed


@pytest.mark.spec("SSES-034", "SSES-042")
def test_leaving_is_signed_by_the_payer(svm: SvmChain, world: RealWorld) -> None:
    """It stands among the signers where the program wants it, and nobody else does."""
    pair = client_of(svm, lamports=10**9)
    book = bought(svm, pair)
    payer, own = payer_of(svm, pair, world), str(pair.pubkey())
    asked = read_transaction(run(payer.request_close(only(book)), world).raw)
    call = read_request_close(CHANNEL_PROGRAM, asked.instructions[-1])
    assert (call.payer, asked.signers, asked.instructions[-1].accounts[0]) == (own, (own,), writable_signer(own))
    verify_signatures(asked)
    run(leaving.ask_to_close(book, payer, only(book)), world)
    svm.running.warp_seconds(GRACE_S + 1)
    taken = read_transaction(run(payer.withdraw(only(book)), world).raw)
    back = next(each for each in taken.instructions if each.program == CHANNEL_PROGRAM and each.data[:1] == b"\x08")
    assert read_withdraw_payer(CHANNEL_PROGRAM, back).payer == own
    assert (taken.signers, back.accounts[0]) == ((own,), writable_signer(own))
    verify_signatures(taken)


@pytest.mark.guard("T28")
def test_a_share_that_would_be_lost_is_left_where_it_is(svm: SvmChain, world: RealWorld) -> None:
    """The payee's token account is gone: our rest comes back, and what is the payee's stays in the escrow."""
    pair, owner = client_of(svm, lamports=10**9), owner_of(svm)
    book = bought(svm, pair, owner=owner, fee_payer_key=None)
    held, payer = only(book), payer_of(svm, pair, world)
    settle(svm, pair, owner, held)
    close_account(svm, owner)
    run(leaving.ask_to_close(book, payer, held), world)
    svm.running.warp_seconds(GRACE_S + 1)
    run(leaving.withdraw(book, payer, held), world)
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR - 3 * COST
    escrow = escrow_account(held.channel_id, USDC, TOKEN_PROGRAM)
    assert read_token_account(*stored(svm, escrow)).amount_units == 3 * COST


def test_a_payer_gets_its_rent_back_where_it_paid_it(svm: SvmChain, world: RealWorld) -> None:
    """Nobody's share is lost by that, since everybody's token account is there: the escrow is closed at once."""
    pair = client_of(svm, lamports=10**9)
    book = bought(svm, pair, fee_payer_key=None)
    payer, before = payer_of(svm, pair, world), svm.balance(str(pair.pubkey()), "SOL")
    run(leaving.ask_to_close(book, payer, only(book)), world)
    svm.running.warp_seconds(GRACE_S + 1)
    svm.running.advance_slots(1600)
    run(leaving.withdraw(book, payer, only(book)), world)
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR
    assert svm.balance(str(pair.pubkey()), "SOL") > before + 2_000_000
    assert run(payer.look(only(book)), world).closed


@pytest.mark.spec("SSES-230")
def test_a_payer_without_sol_is_told_what_it_needs(svm: SvmChain, world: RealWorld) -> None:
    """Leaving alone costs a network fee; the amount and the account are named, and nothing is written down."""
    pair = client_of(svm)
    book = bought(svm, pair)
    with pytest.raises(NoPayableOffer, match=rf"{pair.pubkey()} holds 0 lamports, and \d+ are needed"):
        run(leaving.ask_to_close(book, payer_of(svm, pair, world), only(book)), world)
    assert only(book).standing is Standing.OPEN


def test_closing_is_asked_for_once(svm: SvmChain, world: RealWorld) -> None:
    """What the chain would refuse is not signed; sending the same again does no harm; what it refuses is told."""
    pair = client_of(svm, lamports=10**9)
    payer, book = payer_of(svm, pair, world), bought(svm, pair)
    first = run(payer.request_close(only(book)), world)
    svm.running.advance_slots(1)
    second = run(payer.request_close(only(book)), world)
    for _ in range(2):
        run(payer.send(first.raw), world)
    with pytest.raises(RpcRefused, match="would refuse it: program error 2"):
        run(payer.send(second.raw), world)
    with pytest.raises(NoPayableOffer, match="already"):
        run(payer.request_close(only(book)), world)


# --- lost and old records ----------------------------------------------------------------------------


@pytest.mark.guard("F05")
def test_an_old_backup_catches_up_by_its_own_signature(svm: SvmChain, tmp_path: Path) -> None:
    """The server sends our highest voucher back; the next one is above it, and the request is bought once."""
    pair, events = client_of(svm), list[Event]()
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    with shop(svm, owner_of(svm)) as url:
        for path, requests in ((new, 1), (new, 2), (old, 1)):
            if requests == 2:
                shutil.copy(new, old)
            with closing(SqliteBook(path)) as book, paying(svm, pair, book, events) as client:
                assert [client.get(url).status_code for _ in range(requests)] == [200] * requests
        with closing(SqliteBook(old)) as book:
            held = only(book)
    assert (held.signed_units, held.spent_units) == (4 * COST, 4 * COST)
    assert [one.signed_units for one in events if isinstance(one, Recovered)] == [3 * COST]


@pytest.mark.guard("F04")
@pytest.mark.guard("F05")
@pytest.mark.parametrize("before", [1, 3])
def test_a_lost_book_finds_its_channels_on_the_chain(svm: SvmChain, world: RealWorld, before: int) -> None:
    """By their payer; splits come from the opening. The server then proves the rest, and the channel is used on."""
    pair, book, events = client_of(svm), MemoryBook(), list[Event]()
    other = owner_of(svm)
    splits = [{"recipient": str(other.pubkey()), "bps": 2_500}]
    with shop(svm, owner_of(svm), session_splits=splits) as url:
        with paying(svm, pair, MemoryBook(), []) as client:
            assert [client.get(url).status_code for _ in range(before)] == [200] * before
        (found,) = run(leaving.find(book, payer_of(svm, pair, world), 0.0), world)
        assert (found.deposit_units, found.signed_units, found.standing) == (DEPOSIT, 0, Standing.OPEN)
        with paying(svm, pair, book, events) as client:
            assert client.get(url).status_code == 200
    assert (only(book).key, only(book).signed_units) == (found.key, (before + 1) * COST)
    assert only(book).origin == url
    assert not [one for one in events if isinstance(one, Opened)]


def test_what_was_settled_is_known_after_the_account_is_freed(svm: SvmChain, world: RealWorld) -> None:
    """Closed, paid out and deallocated: the transactions of the channel say what was taken."""
    pair, book, owner = client_of(svm), MemoryBook(), owner_of(svm)
    with shop(svm, owner) as url, paying(svm, pair, book, []) as client:
        assert client.get(url).status_code == 200
        held = only(book)
        svm.running.advance_slots(1600)
        door = client._transport
        door.manage(ends.close(door.purse, url, held.key), client.build_request("HEAD", url))  # type: ignore[attr-defined]
    state = run(payer_of(svm, pair, world).look(held), world)
    assert (state.exists, state.closed, state.settled_units, state.deposit_units) == (False, True, COST, DEPOSIT)


# --- an opening whose end is not known -----------------------------------------------------------------


@pytest.mark.guard("F13")
def test_an_opening_that_never_landed_is_lost_when_its_blockhash_is(svm: SvmChain, world: RealWorld) -> None:
    """Not while the chain may still take it; then at once, and another channel is opened."""
    pair, owner, book = client_of(svm), owner_of(svm), MemoryBook()
    payer = payer_of(svm, pair, world)
    with shop(svm, owner) as url:
        challenge = asked(url)
        move = run(payer.open(challenge, payer.terms(challenge), DEPOSIT, 0), world)
        opening = encode_credential(challenge, move.payload, move.source).encode()
        book.begin(replace(move.held, opening=opening, origin=url)).result()  # and never sent
        assert not run(payer.look(only(book)), world).dead
        svm.running.advance_slots(600)
        assert run(payer.look(only(book)), world).dead
    with shop(svm, owner) as url, paying(svm, pair, book, []) as client:
        assert client.get(url).status_code == 200
    standings = sorted((one.standing for one in book.all().result()), key=str)
    assert standings == [Standing.LOST, Standing.OPEN]
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR - DEPOSIT


@pytest.mark.guard("F03")
def test_a_lost_answer_presents_the_same_opening_again(svm: SvmChain) -> None:
    """Word for word: one channel, one deposit, and the request that follows is bought from it."""
    pair, book = client_of(svm), MemoryBook()
    with shop(svm, owner_of(svm)) as url:
        host, port = url.removeprefix("http://").split(":")
        proxy = CuttingProxy((host, int(port)))
        try:
            proxy.lose_answer(b"Authorization: Payment")
            with paying(svm, pair, book, []) as client:
                there = f"http://127.0.0.1:{proxy.port}/"
                with pytest.raises(PaymentOutcomeUnknown):
                    client.get(there)
                opening = only(book).opening
                assert opening
                assert only(book).standing is Standing.OPENING
                assert client.get(there).status_code == 200
        finally:
            proxy.close()
    assert only(book).standing is Standing.OPEN
    assert only(book).signed_units == COST
    assert svm.balance(str(pair.pubkey())) == 5 * DOLLAR - DEPOSIT


# --- what a request signs, it signs once ---------------------------------------------------------------


def test_a_request_that_fails_on_its_way_counts_once(svm: SvmChain) -> None:
    """The voucher is written down before it leaves; the same one is presented again, and a later receipt agrees."""
    pair, book = client_of(svm), MemoryBook()
    with shop(svm, owner_of(svm)) as url:
        host, port = url.removeprefix("http://").split(":")
        proxy = CuttingProxy((host, int(port)))
        there = f"http://127.0.0.1:{proxy.port}/"
        with closing(proxy), paying(svm, pair, book, []) as client:
            assert client.get(there).status_code == 200
            for lose in (proxy.lose_question, proxy.lose_answer):
                lose(b"Authorization: Payment")
                with pytest.raises(PaymentOutcomeUnknown) as caught:
                    client.get(there)
                before = only(book)
                assert caught.value.reference == before.channel_id
                assert client.get(there).status_code == 200
                after = only(book)
                assert after.signed_units - before.signed_units <= COST
    assert only(book).signed_units <= 5 * COST
    assert only(book).spent_units <= only(book).signed_units


def test_a_record_of_another_channel_is_no_record(svm: SvmChain, world: RealWorld) -> None:
    """The id is derived from the recorded parts each time. T08"""
    pair = client_of(svm)
    book = bought(svm, pair, requests=1)
    held: Held = only(book)
    other = replace(held, channel_id=str(Keypair().pubkey()))
    with pytest.raises(Exception, match="another channel"):
        payer_of(svm, pair, world).sign(other, 1)
    assert held.opened_at_s <= time.time()


def test_a_crowd_of_recipients_does_not_keep_a_payer_in(svm: SvmChain, world: RealWorld) -> None:
    """They can't be named beside our withdrawal, and what is ours comes back all the same."""
    pair, crowd = client_of(svm, lamports=10**9), [str(Keypair().pubkey()) for _ in range(15)]
    splits = [{"recipient": each, "bps": 100} for each in crowd]
    owner = owner_of(svm)
    book = bought(svm, pair, owner=owner, fee_payer_key=None, session_splits=splits)
    held, payer = only(book), payer_of(svm, pair, world)
    settle(svm, pair, owner, held)
    for each in crowd:
        svm.fund(each, 1, "USDC")
    run(leaving.ask_to_close(book, payer, held), world)
    svm.running.warp_seconds(GRACE_S + 1)
    done = run(leaving.withdraw(book, payer, held), world)
    assert done is not None
    assert (done.held.standing, svm.balance(str(pair.pubkey()))) == (Standing.CLOSED, 5 * DOLLAR - 3 * COST)
