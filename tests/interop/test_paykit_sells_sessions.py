"""Our client pays a solana-pay-kit 0.10 server through channels, whoever signs the vouchers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from solders.keypair import Keypair

from coinslot.client.events import Opened, ToppedUp
from coinslot.client.wallet import wallet
from coinslot.drive import RealWorld, run
from coinslot.errors import NoPayableOffer, PaymentRefused
from coinslot.intents.acts import Standing
from coinslot.services import leaving
from coinslot.store.book_memory import MemoryBook
from coinslot.transports.httpx import session
from support.paykitshop import COST, DEPOSIT, Buyer, mainlike, opened
from support.peers import Peer
from support.solanapeers import DOLLAR, Theirs, seed
from support.svm import SvmChain

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-solana")]


@pytest.fixture(scope="module")
def mainlike_svm() -> Iterator[SvmChain]:
    """A chain whose channel program has mainnet's treasury, the only one that this server knows."""
    with mainlike() as chain:
        yield chain


@pytest.fixture(scope="module", params=["client-USDC", "client-PYUSD", "operator-USDC", "operator-PYUSD"])
def theirs(paykit: Peer, mainlike_svm: SvmChain, request: pytest.FixtureRequest) -> Iterator[Theirs]:
    """Sells in two tokens; vouchers are signed by clients or by the server."""
    signer, token = request.param.split("-")
    with opened(paykit, mainlike_svm, token, voucher_signer=signer) as server:
        yield server


def test_our_client_opens_buys_and_closes(theirs: Theirs) -> None:
    """A channel lives its whole life, at their cost: what was bought is paid, the rest is back."""
    buyer, before, delivered = Buyer(theirs), theirs.received(), theirs.hits("/words/2")
    with buyer.client() as client, session(client, theirs.url, max_deposit="0.01") as paid:
        for number in range(3):
            answer = paid.get(f"/words/{number}")
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"path": f"/words/{number}"}
        assert (buyer.held.spent_units, buyer.count(Opened)) == (3 * COST, 1)
        assert buyer.purse_units == DOLLAR - DEPOSIT
        paid.close()
    assert buyer.held.standing is Standing.CLOSED
    assert buyer.purse_units == DOLLAR - 3 * COST
    assert theirs.received() - before == 3 * COST
    assert theirs.hits("/words/2") - delivered == 1


def test_our_client_tops_up_by_itself_and_by_hand(theirs: Theirs) -> None:
    """Twelve requests on a deposit of ten, then more by hand; the owner has what was bought and the rest is back.

    Their server pays for opening and not for top-ups, where the document has both: our account has some SOL and pays.
    """
    buyer, before = Buyer(theirs, lamports=10**9), theirs.received()
    with buyer.client() as client, session(client, theirs.url, max_deposit="0.03") as paid:
        for number in range(12):
            answer = paid.get(f"/words/{number}")
            assert answer.status_code == 200, answer.text
        assert (buyer.count(Opened), buyer.count(ToppedUp)) == (1, 1)
        held = buyer.purse_units
        paid.top_up("0.001")
        assert held - buyer.purse_units == COST
        paid.close()
    assert buyer.purse_units == DOLLAR - 12 * COST
    assert theirs.received() - before == 12 * COST


def test_their_server_does_not_pay_for_top_ups(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """It leaves its signature out, so that an account without SOL can't top up: nothing moved, and what was bought
    stays bought."""
    with opened(paykit, mainlike_svm, suggested_deposit=2 * COST) as theirs:
        buyer = Buyer(theirs)
        with buyer.client() as client:
            assert [client.get(f"{theirs.url}/{number}").status_code for number in range(2)] == [200, 200]
            with pytest.raises(PaymentRefused, match="signature verification"):
                client.get(f"{theirs.url}/3")
        assert buyer.purse_units == DOLLAR - 2 * COST
        assert (buyer.held.spent_units, buyer.held.deposit_units) == (2 * COST, 2 * COST)


def test_our_client_pays_its_own_fees(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """Where the server doesn't sponsor: the fees of opening and topping up, and the rent."""
    with opened(paykit, mainlike_svm, fee_payer=False) as theirs:
        buyer = Buyer(theirs, lamports=10**9)
        with buyer.client() as client, session(client, theirs.url, max_deposit="0.03") as paid:
            assert paid.get("/1").status_code == 200
            paid.top_up("0.001")
            paid.close()
        assert buyer.purse_units == DOLLAR - COST
        assert theirs.received() == COST
        assert mainlike_svm.balance(str(buyer.pair.pubkey()), "SOL") < 10**9


def test_our_client_delegates_and_shares_out(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """Vouchers of another key of ours; their splits are in the opening, and are paid when it is closed."""
    other = str(mainlike_svm.keypair(lamports=0, USDC=1).pubkey())
    with opened(paykit, mainlike_svm, splits=[[other, 2_500]], idle_timeout_options_seconds=[300, 900]) as theirs:
        buyer = Buyer(theirs, voucher_key=f"0x{seed(Keypair())}")
        with buyer.client() as client, session(client, theirs.url, max_deposit="0.03") as paid:
            assert [paid.get(f"/{number}").status_code for number in range(4)] == [200] * 4
            assert buyer.held.signer != buyer.held.payer
            paid.close()
        assert (theirs.received(), theirs.received(other)) == (3 * COST, COST)


def test_our_client_goes_on_with_its_book(theirs: Theirs) -> None:
    """Another client with the same book uses the same channel."""
    buyer = Buyer(theirs)
    for number in range(3):
        with buyer.client() as client:
            assert client.get(f"{theirs.url}/{number}").status_code == 200
    assert (buyer.count(Opened), buyer.held.spent_units) == (1, 3 * COST)


def test_a_client_that_lost_its_book_opens_another_channel(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """Their server tells nobody of a channel that is open: what is left in the first one comes back when it idles."""
    with opened(paykit, mainlike_svm) as theirs:
        buyer = Buyer(theirs)
        with buyer.client() as client:
            assert client.get(f"{theirs.url}/1").status_code == 200
        buyer.book = MemoryBook()
        with buyer.client() as client:
            assert client.get(f"{theirs.url}/2").status_code == 200
        assert buyer.count(Opened) == 2
        assert buyer.held.spent_units == COST


def test_our_client_deposits_nothing_where_a_server_signs_unless_told_to(paykit: Peer, mainlike_svm: SvmChain) -> None:
    """Such a server can take the whole deposit: without operator_deposit its offer is not payable."""
    with opened(paykit, mainlike_svm, voucher_signer="operator") as theirs:
        buyer = Buyer(theirs)
        buyer.purse = {}
        with buyer.client() as client, pytest.raises(NoPayableOffer, match="operator_deposit"):
            client.get(f"{theirs.url}/1")
        assert buyer.purse_units == DOLLAR


def test_an_opening_that_their_server_forgets_is_not_lost(paykit: Peer, svm: SvmChain) -> None:
    """As it is delivered, it can't look at what it opened, and refuses after the deposit has landed: our record has the
    channel, and closing it alone gives everything back."""
    with opened(paykit, svm, mended=False, grace_period_seconds=60) as theirs:
        buyer = Buyer(theirs)
        with buyer.client() as client, pytest.raises(PaymentRefused):
            client.get(f"{theirs.url}/1")
        assert theirs.hits("/1") == 0
        assert buyer.purse_units == DOLLAR - DEPOSIT
        assert (buyer.held.standing, buyer.held.spent_units) == (Standing.OPEN, 0)
    svm.fund(str(buyer.pair.pubkey()), 10**8, "SOL")
    with closing(RealWorld()) as world:
        table = {"rpc_url": svm.rpc_url, "private_key": f"0x{seed(buyer.pair)}"}
        (payer,) = run(wallet(solana=table).session_payers(), world)
        run(leaving.ask_to_close(buyer.book, payer, buyer.held), world)
        svm.running.warp_seconds(120)
        run(leaving.withdraw(buyer.book, payer, buyer.held), world)
    assert buyer.held.standing is Standing.CLOSED
    assert buyer.purse_units == DOLLAR
