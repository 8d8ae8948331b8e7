"""Sessions of the older protocol: our client buys from mppx 0.6.31, mppx 0.11's legacy client from us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Closed, Opened, ToppedUp
from coinslot.errors import PaymentError
from coinslot.intents.acts import Standing
from coinslot.methods.tempo.session.escrow import V1
from coinslot.transports.httpx import session
from support.channelpeers import Buyer, Theirs, payer, theirs
from support.channelshop import COST, WORDS, Booth, booth, escrow_of
from support.devnet import Chain
from support.peers import Peer, PeerError

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop-sessions")]
STRANGE = PrivateKey(bytes([8]) * 32).address


@pytest.fixture(scope="module")
def strange_escrow(devnet: Chain) -> str:
    """The same contract at an address that nobody knows."""
    devnet.rpc("anvil_setCode", STRANGE, str(devnet.rpc("eth_getCode", escrow_of(devnet, V1), "latest")))
    return STRANGE


# --- our client, their server --------------------------------------------------------------------


@pytest.fixture(scope="module")
def their_shop(mppx_legacy: Peer, devnet: Chain) -> Iterator[Theirs]:
    """An mppx 0.6.31 server."""
    with theirs(mppx_legacy, devnet, V1) as server:
        yield server


@pytest.fixture
def buyer(buyer: Buyer) -> Buyer:
    """Ours, looking at the older escrow."""
    buyer.version = V1
    return buyer


def test_our_client_opens_once_and_buys_many_times(their_shop: Theirs, buyer: Buyer) -> None:
    """One opening, then a voucher a request; their receipts agree with our book."""
    their_shop.came()
    with buyer.client() as client:
        answers = [client.get(f"{their_shop.url}/{n}") for n in range(4)]
    assert [one.status_code for one in answers] == [200] * 4
    assert [one for one in their_shop.came() if one[1]] == [("HEAD", "open", 204), *[("GET", "voucher", 200)] * 4]
    assert (buyer.held.signed_units, buyer.held.spent_units) == (4 * COST, 4 * COST)


def test_our_client_tops_up_and_closes(mppx_legacy: Peer, devnet: Chain, buyer: Buyer) -> None:
    """Seven requests on a deposit of five, then more by hand; the owner has seven and the rest is back."""
    with theirs(mppx_legacy, devnet, V1) as shop, buyer.client() as client:
        with session(client, shop.url, max_deposit="0.02") as paid:
            assert [paid.get(f"/{n}").status_code for n in range(7)] == [200] * 7
            paid.top_up("0.001")
            paid.close()
        assert (buyer.count(Opened), buyer.count(Closed)) == (1, 1)
        assert buyer.count(ToppedUp) >= 1
        assert buyer.held.standing is Standing.CLOSED
        assert shop.earned == 7 * COST
        assert buyer.refunded == buyer.deposited - 7 * COST


def test_our_client_follows_a_stream_that_runs_dry(mppx_legacy: Peer, devnet: Chain, buyer: Buyer) -> None:
    """What is signed ahead for a stream isn't paid: closing shows a voucher of exactly what was spent.

    That server has nothing but 204 for a voucher whose request asks for event streams (`accept`), so ours doesn't say.
    """
    with theirs(mppx_legacy, devnet, V1) as shop, buyer.client() as client:
        with session(client, shop.url, max_deposit="0.02") as paid:
            with paid.stream("GET", "/words") as answer:
                lines = [line for line in answer.iter_lines() if line.startswith("data:")]
            assert lines == [f"data: word {n}" for n in range(WORDS)]
            spent = paid.spent_units
            paid.close()
        assert shop.earned == spent


def test_our_client_signs_for_another_escrow_by_option_only(
    mppx_legacy: Peer, devnet: Chain, buyer: Buyer, strange_escrow: str
) -> None:
    """An escrow that nobody knows gets nothing; one that its owner trusts is used like any other."""
    with theirs(mppx_legacy, devnet, V1, escrowContract=strange_escrow) as shop:
        with buyer.client() as client, pytest.raises(PaymentError, match="escrow"):
            client.get(f"{shop.url}/1")
        assert buyer.book.all().result() == []
        with buyer.client(escrows=(strange_escrow,)) as client:
            assert client.get(f"{shop.url}/1").status_code == 200
        assert devnet.balance_of("PathUSD", strange_escrow) > 0


# --- their client, our server --------------------------------------------------------------------


@pytest.fixture(scope="module")
def our_shop(devnet: Chain) -> Iterator[Booth]:
    """Our site, selling by the older protocol."""
    with booth(devnet, deposit="0.01", session_protocols=("v1",)) as open_booth:
        yield open_booth


def test_their_client_opens_once_and_buys_many_times(mppx_channels: Peer, our_shop: Booth) -> None:
    """One opening, then a voucher a request."""
    buyer = payer(mppx_channels, our_shop.chain, "legacy")
    for n in range(1, 5):
        answer = buyer.get(f"{our_shop.url}/{n}")
        assert (answer["status"], answer["receipt"]["spent"]) == (200, str(n * COST))
    assert (buyer.count("open"), buyer.count("voucher")) == (1, 3)
    assert buyer.deposited == 10 * COST


def test_their_client_follows_a_stream_that_runs_dry(mppx_channels: Peer, our_shop: Booth) -> None:
    """Vouchers arrive by POST while it waits."""
    buyer = payer(mppx_channels, our_shop.chain, "legacy")
    told = buyer.order("stream", url=f"{our_shop.url}/words")
    assert told["words"] == [f"word {n}" for n in range(WORDS)]
    assert told["receipts"][-1]["units"] == WORDS


def test_their_client_closes_and_gets_the_rest_back(mppx_channels: Peer, devnet: Chain) -> None:
    """What was bought goes to the owner, the rest to the payer."""
    with booth(devnet, deposit="0.005", session_protocols=("v1",)) as shop:
        buyer = payer(mppx_channels, devnet, "legacy")
        for n in range(3):
            assert buyer.get(f"{shop.url}/{n}")["status"] == 200
        receipt = buyer.order("closeChannel")
        assert receipt["txHash"]
        assert shop.earned(escrow_of(devnet, V1)) == 3 * COST
        assert buyer.refunded == 2 * COST


def test_their_client_picks_the_protocol_it_speaks(mppx_channels: Peer, devnet: Chain) -> None:
    """Where we offer both, each of their clients finds its own."""
    with booth(devnet, deposit="0.005", session_protocols=("v2", "v1")) as shop:
        for kind in ("legacy", "manager", "fetch"):
            buyer = payer(mppx_channels, devnet, kind)
            assert buyer.get(f"{shop.url}/{kind}")["status"] == 200
            assert buyer.deposited == 5 * COST


def test_their_client_signs_for_another_escrow_by_option_only(
    mppx_channels: Peer, devnet: Chain, strange_escrow: str
) -> None:
    """It refuses an escrow that it doesn't know; told to trust it, it pays, and we settle from there."""
    with booth(devnet, session_protocols=("v1",), escrow=strange_escrow) as shop:
        with pytest.raises(PeerError, match="does not match client escrow"):
            payer(mppx_channels, devnet, "legacy").get(f"{shop.url}/1")
        trusting = payer(mppx_channels, devnet, "legacy", allowCustomEscrow=True)
        assert trusting.get(f"{shop.url}/1")["status"] == 200
        trusting.order("closeChannel")
        assert shop.earned(strange_escrow) == COST
