"""Our client buys from mppx 0.11's sessions: requests, streams, top-ups, closes, lost books; the chain is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Closed, Opened, Recovered, ToppedUp
from coinslot.errors import PaymentError
from coinslot.intents.acts import Standing
from coinslot.methods.tempo.session.record import read_record
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import session
from support.channelpeers import Buyer, Theirs, theirs
from support.channelshop import COST, DOLLAR, WORDS, account, secret
from support.devnet import Chain
from support.peers import Peer

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-sessions")]


@pytest.fixture(scope="module")
def shop(mppx_channels: Peer, devnet: Chain) -> Iterator[Theirs]:
    """One that lives through this module."""
    with theirs(mppx_channels, devnet) as server:
        yield server


def test_our_client_opens_once_and_buys_many_times(shop: Theirs, buyer: Buyer) -> None:
    """One opening, then a voucher a request; their receipts agree with our book."""
    shop.came()
    with buyer.client() as client:
        answers = [client.get(f"{shop.url}/{n}") for n in range(4)]
    assert [one.status_code for one in answers] == [200] * 4
    vouchers = [("GET", "voucher", 200)] * 4
    assert [one for one in shop.came() if one[1]] == [("HEAD", "proof", 204), ("HEAD", "open", 204), *vouchers]
    assert (buyer.count(Opened), buyer.count(ToppedUp)) == (1, 0)
    assert (buyer.held.signed_units, buyer.held.spent_units) == (4 * COST, 4 * COST)


def test_our_client_pays_for_posts_with_bodies(shop: Theirs, buyer: Buyer) -> None:
    """Also where the opening carries the body."""
    with buyer.client() as client:
        answers = [client.post(f"{shop.url}/post", content=b"a question") for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert buyer.held.spent_units == 2 * COST


def test_our_client_tops_up_and_closes(mppx_channels: Peer, devnet: Chain, buyer: Buyer) -> None:
    """Seven requests on a deposit of five, then more by hand; the owner has seven and the rest is back."""
    with theirs(mppx_channels, devnet) as shop, buyer.client() as client:
        with session(client, shop.url, max_deposit="0.02") as paid:
            assert [paid.get(f"/{n}").status_code for n in range(7)] == [200] * 7
            assert buyer.count(ToppedUp) >= 1
            before = buyer.deposited
            paid.top_up("0.001")
            assert buyer.deposited == before + COST
            paid.close()
        assert buyer.count(Closed) == 1
        assert buyer.held.standing is Standing.CLOSED
        assert shop.earned == 7 * COST
        assert buyer.refunded == buyer.deposited - 7 * COST


@pytest.mark.spec("TSES-180", "TSES-183")
def test_our_client_follows_a_stream_that_runs_dry(shop: Theirs, buyer: Buyer) -> None:
    """Their stream pauses for vouchers, above the deposit for a top-up first; no payment events are read."""
    shop.came()
    with buyer.client() as client, session(client, shop.url, max_deposit="0.02") as paid:
        with paid.stream("GET", "/words", headers={"accept": "text/event-stream"}) as answer:
            lines = [line for line in answer.iter_lines() if line.startswith("data:")]
        assert lines == [f"data: word {n}" for n in range(WORDS)]
        assert paid.spent_units == WORDS * COST
        beside = [one[1] for one in shop.came() if one[1] not in (None, "proof") and one[2] == 204]
        assert beside[0] == "open"
        assert "voucher" in beside[1:]
        assert beside.index("topUp") < len(beside) - 1 - beside[::-1].index("voucher")
        assert paid.get("/after").status_code == 200
        assert buyer.held.spent_units == (WORDS + 1) * COST


def test_a_lost_book_finds_its_channel_again(shop: Theirs, devnet: Chain, tmp_path: Path) -> None:
    """Their snapshot carries our own signature: the second book goes on where the first one was."""
    key = account(devnet)
    buyers = [Buyer(devnet, SqliteBook(tmp_path / f"{n}.sqlite"), key) for n in range(2)]
    for one in buyers:
        with one.client() as client:
            assert client.get(f"{shop.url}/{id(one)}").status_code == 200
    assert buyers[1].held.channel_id == buyers[0].held.channel_id
    assert (buyers[1].count(Recovered), buyers[1].count(Opened)) == (1, 0)
    assert buyers[1].held.signed_units == 2 * COST
    for one in buyers:
        one.book.close()


def test_an_old_backup_of_a_book_catches_up(shop: Theirs, buyer: Buyer, tmp_path: Path) -> None:
    """It signs nothing twice for less: it goes on above what their snapshot shows of our signature."""
    with buyer.client() as client:
        assert client.get(f"{shop.url}/1").status_code == 200
        backup = SqliteBook(tmp_path / "backup.sqlite")
        backup.adopt(buyer.held).result()
        assert [client.get(f"{shop.url}/{n}").status_code for n in range(2)] == [200, 200]
    late = Buyer(shop.chain, backup, buyer.key)
    with late.client() as client:
        assert client.get(f"{shop.url}/4").status_code == 200
    assert late.held.signed_units == late.held.spent_units == 4 * COST
    backup.close()


def test_our_client_is_sponsored(mppx_channels: Peer, devnet: Chain, tmp_path: Path) -> None:
    """Their server pays the fees: our account spends what it bought and nothing more."""
    key, book = account(devnet, 1), SqliteBook(tmp_path / "sponsored.sqlite")
    buyer = Buyer(devnet, book, key)
    with theirs(mppx_channels, devnet, feePayerKey=secret(account(devnet))) as shop, buyer.client() as client:
        with session(client, shop.url, max_deposit="0.02") as paid:
            assert [paid.get(f"/{n}").status_code for n in range(7)] == [200] * 7
            paid.close()
        assert shop.earned == 7 * COST
    assert devnet.balance_of("PathUSD", key.address) == DOLLAR - 7 * COST
    book.close()


def test_another_escrow_is_signed_for_by_option_only(mppx_channels: Peer, devnet: Chain, buyer: Buyer) -> None:
    """An escrow that nobody knows gets nothing."""
    strange = PrivateKey(bytes([9]) * 32).address
    with theirs(mppx_channels, devnet, escrowContract=strange) as shop:
        with buyer.client() as client, pytest.raises(PaymentError, match="escrow"):
            client.get(f"{shop.url}/1")
        assert buyer.book.all().result() == []
        with buyer.client(escrows=(strange,)) as client, pytest.raises(PaymentError):
            client.get(f"{shop.url}/1")
        (held,) = buyer.book.all().result()
        assert read_record(held.state).ref.escrow.address == strange.lower()
    assert buyer.deposited == 0
