"""Whole lives of channels on the local chain; its escrows are own test implementations of the published interfaces."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Any

import pytest

from coinslot.chains.evm.abi import encode_call, encode_uint256
from coinslot.chains.evm.rpc import Receipt, eth_call, latest_block, send_raw_sync
from coinslot.chains.evm.signature import PrivateKey
from coinslot.errors import ChannelFinalized, ChannelNotFound, RpcUnreachable, VerificationFailed
from coinslot.methods.tempo.session import history
from coinslot.methods.tempo.session.calls import (
    CloseCall,
    OpenCall,
    RequestCloseCall,
    SessionCall,
    SettleCall,
    WithdrawCall,
    write_call,
)
from coinslot.methods.tempo.session.channel import ChannelRef
from coinslot.methods.tempo.session.escrow import CLOSE_GRACE_S, V1, V2, Escrow, Version
from coinslot.methods.tempo.session.events import ChannelClosed, ChannelOpened, CloseRequestCancelled, events_of
from coinslot.methods.tempo.session.history import channel_of, find_events
from coinslot.methods.tempo.session.payload import OpenPayload, TopUpPayload
from coinslot.methods.tempo.session.reserve import (
    confirm_closed,
    confirm_opened,
    confirm_settled,
    confirm_topped_up,
    read_channel,
    read_states,
    require_usable,
)
from coinslot.methods.tempo.session.terms import SessionTerms, require_parties
from coinslot.methods.tempo.session.transaction import (
    Funding,
    Opening,
    open_transaction,
    read_opening,
    read_top_up,
    top_up_transaction,
)
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.transaction.build import serialise, sign, sign_as_fee_payer
from coinslot.methods.tempo.transaction.fields import EXPIRING_NONCE_KEY, TempoTransaction
from coinslot.methods.tempo.transaction.read import read_transaction
from support.rpcfault import FaultyNode, answer
from support.tempochannel import PATH, asset_of, escrow
from support.temposhop import Shop

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
DEPOSIT = 1_000_000
PRICE = 50_000_000_000


@dataclass(frozen=True)
class Lane:
    """A payer and a payee on one escrow of the chain."""

    shop: Shop
    version: Version
    payer: PrivateKey
    payee: PrivateKey

    @property
    def escrow(self) -> Escrow:
        """The pinned one."""
        return escrow(self.version)

    @property
    def scheme(self) -> VoucherScheme:
        """Its vouchers."""
        return VoucherScheme(self.escrow)

    @property
    def terms(self) -> SessionTerms:
        """What the payee asks."""
        return SessionTerms(self.escrow, asset_of(42431, PATH), self.payee.address, 25)

    @property
    def times(self) -> tuple[float, float]:
        """Now by the chain's clock, and when the challenge expires."""
        now = float(self.shop.chain.timestamp())
        return now, now + 300

    def funding(self, **changes: Any) -> Funding:
        """Short-lived, paid by the payer."""
        base = Funding(self.payer.address, PRICE, int(self.times[0]) + 20, PATH)
        return replace(base, **changes)

    def open_call(self, **changes: Any) -> OpenCall:
        """For the payee."""
        base = OpenCall(self.payee.address, PATH, DEPOSIT, "0x" + secrets.token_hex(32), self.payer.address)
        return replace(base, **changes)

    def send(self, raw: bytes) -> Receipt:
        """Broadcast; whatever becomes of it."""
        told: Receipt = self.shop.run(send_raw_sync(self.shop.chain.rpc_url, raw))
        return told

    def open(self, call: OpenCall | None = None) -> tuple[Opening, Receipt]:
        """The client's open, read by the server as it stands in a credential, and sent."""
        tx, ref = open_transaction(self.escrow, call or self.open_call(), self.funding())
        raw = serialise(sign(tx, self.payer))
        payload = OpenPayload(ref, raw, 0, self.scheme.sign(self.payer, ref.id, 0))
        return read_opening(payload, self.terms, self.scheme, self.times), self.send(raw)

    def opened(self) -> ChannelRef:
        """An open channel."""
        opening, receipt = self.open()
        found = self.shop.run(confirm_opened(self.url, receipt, opening.channel, DEPOSIT))
        require_parties(found, self.terms)
        require_usable(found)
        assert found.signer == self.payer.address
        return opening.channel

    @property
    def url(self) -> str:
        """The node."""
        return self.shop.chain.rpc_url

    def act(self, call: SessionCall, key: PrivateKey) -> Receipt:
        """A call of one side, sent by itself."""
        tx = TempoTransaction(
            chain_id=42431,
            calls=(write_call(self.escrow, call),),
            gas_limit=2_000_000,
            max_fee_per_gas=PRICE,
            nonce_key=EXPIRING_NONCE_KEY,
            valid_before=int(self.times[0]) + 20,
            valid_after=secrets.randbelow(10**9) + 1,
            fee_token=PATH,
        )
        return self.send(serialise(sign(tx, key)))

    def held(self, key: PrivateKey) -> int:
        """Base units."""
        return self.shop.chain.balance_of(PATH, key.address)

    def ask(self, signature: str, *words: bytes) -> bytes:
        """A view of the escrow."""
        told: bytes = self.shop.run(eth_call(self.url, self.escrow.address, encode_call(signature, *words)))
        return told


@pytest.fixture
def lanes(shop: Shop) -> Any:
    """Makes one."""
    return lambda version: Lane(shop, version, shop.account(20), shop.account(20))


@VERSIONS
@pytest.mark.spec("TSES-009", "TSES-011", "TSES-094", "TSES-095", "TSES-096")
def test_the_channel_that_we_computed_is_the_one_that_opens(lanes: Any, version: Version) -> None:
    """Before anything is sent, the client knows the id under which the chain will know its channel."""
    lane = lanes(version)
    opening, receipt = lane.open()
    found = lane.shop.run(confirm_opened(lane.url, receipt, opening.channel, DEPOSIT))
    require_parties(found, lane.terms)
    assert (found.state.deposit_units, found.state.settled_units, found.signer) == (DEPOSIT, 0, lane.payer.address)
    assert lane.shop.run(read_channel(lane.url, opening.channel)) == found
    assert lane.shop.run(read_states(lane.url, lane.escrow, [opening.channel.id])) == (found.state,)


@VERSIONS
@pytest.mark.spec("TSES-087", "TSES-090")
def test_the_escrow_hashes_vouchers_as_we_do(lanes: Any, version: Version) -> None:
    """Its domain and its digest."""
    lane = lanes(version)
    channel_id = "0x" + secrets.token_hex(32)
    assert lane.ask("domainSeparator()") == lane.scheme.domain
    view = f"getVoucherDigest(bytes32,uint{version.amount_bits})"
    digest = lane.ask(view, bytes.fromhex(channel_id[2:]), encode_uint256(777))
    assert digest == lane.scheme.digest(channel_id, 777)


@VERSIONS
def test_a_sponsored_open_is_the_same_channel(lanes: Any, version: Version) -> None:
    """Whoever pays the fee, and in which token, changes neither the id nor the vouchers."""
    lane = lanes(version)
    sponsor = lane.shop.account(20)
    tx, ref = open_transaction(lane.escrow, lane.open_call(), lane.funding(sponsored=True))
    handed = read_transaction(serialise(sign(tx, lane.payer)))
    before = lane.held(lane.payer)
    final = sign_as_fee_payer(handed.transaction, sponsor, sender=handed.sender, fee_token=PATH)
    receipt = lane.send(serialise(final))
    found = lane.shop.run(confirm_opened(lane.url, receipt, ref, DEPOSIT))
    require_parties(found, lane.terms)
    assert lane.held(lane.payer) == before - DEPOSIT


@VERSIONS
@pytest.mark.spec("TSES-110", "TSES-111", "TSES-112", "TSES-113")
def test_a_channel_is_topped_up(lanes: Any, version: Version) -> None:
    """Read by the server, sent, confirmed."""
    lane = lanes(version)
    ref = lane.opened()
    tx = top_up_transaction(ref, PATH, 500, lane.funding(valid_after=1))
    raw = serialise(sign(tx, lane.payer))
    read_top_up(TopUpPayload(ref, raw, 500), lane.terms, lane.payer.address, lane.times)
    found = lane.shop.run(confirm_topped_up(lane.url, lane.send(raw), ref, 500))
    assert found.state.deposit_units == DEPOSIT + 500


@VERSIONS
@pytest.mark.spec("TSES-022", "TSES-026")
def test_what_we_verified_is_paid_out(lanes: Any, version: Version) -> None:
    """A voucher that we take settles; another's signature does not."""
    lane = lanes(version)
    ref = lane.opened()
    voucher = lane.scheme.sign(lane.payer, ref.id, 300_000)
    lane.scheme.verify(ref.id, 300_000, voucher, lane.payer.address)
    before = lane.held(lane.payee)
    settled = lane.act(SettleCall(ref, 300_000, voucher), lane.payee)
    assert lane.shop.run(confirm_settled(lane.url, settled, ref, 300_000)).state.settled_units == 300_000
    assert before < lane.held(lane.payee) <= before + 300_000
    forged = lane.act(SettleCall(ref, 400_000, lane.scheme.sign(lane.payee, ref.id, 400_000)), lane.payee)
    with pytest.raises(VerificationFailed, match="reverted"):
        lane.shop.run(confirm_settled(lane.url, forged, ref, 400_000))


@VERSIONS
@pytest.mark.spec("TSES-186", "TSES-188")
def test_a_close_pays_the_payee_and_refunds_the_rest(lanes: Any, version: Version) -> None:
    """v2 takes what was spent, v1 what the voucher says; then the channel is gone."""
    lane = lanes(version)
    ref = lane.opened()
    capture = 300_000 if version == V1 else 123_456
    before = lane.held(lane.payer)
    voucher = lane.scheme.sign(lane.payer, ref.id, 300_000)
    receipt = lane.act(CloseCall(ref, 300_000, capture, voucher), lane.payee)
    closed = lane.shop.run(confirm_closed(lane.url, receipt, ref))
    assert closed.refunded_units == DEPOSIT - capture
    assert lane.held(lane.payer) == before + DEPOSIT - capture
    with pytest.raises((ChannelNotFound, ChannelFinalized)):
        require_usable(lane.shop.run(read_channel(lane.url, ref)))


def test_a_v2_channel_without_use_is_closed_with_everything_refunded(lanes: Any) -> None:
    """Nothing spent, nothing captured."""
    lane = lanes(V2)
    ref = lane.opened()
    before = lane.held(lane.payer)
    receipt = lane.act(CloseCall(ref, 0, 0, lane.scheme.sign(lane.payer, ref.id, 0)), lane.payee)
    assert lane.shop.run(confirm_closed(lane.url, receipt, ref)).refunded_units == DEPOSIT
    assert lane.held(lane.payer) == before + DEPOSIT


@VERSIONS
@pytest.mark.spec("TSES-020", "TSES-102")
def test_a_payer_asks_to_close_and_takes_it_back(lanes: Any, version: Version) -> None:
    """Until then nothing more is bought on it; a top-up cancels the request."""
    lane = lanes(version)
    ref = lane.opened()
    assert lane.act(RequestCloseCall(ref), lane.payer).succeeded
    asked = lane.shop.run(read_channel(lane.url, ref))
    assert asked.state.withdrawable_at == asked.state.close_requested_at + CLOSE_GRACE_S
    with pytest.raises(ChannelFinalized, match="asked"):
        require_usable(asked)
    tx = top_up_transaction(ref, PATH, 1, lane.funding())
    receipt = lane.send(serialise(sign(tx, lane.payer)))
    assert len(events_of(lane.escrow, receipt.logs, CloseRequestCancelled, ref.id)) == 1
    require_usable(lane.shop.run(confirm_topped_up(lane.url, receipt, ref, 1)))


@VERSIONS
def test_nobody_withdraws_before_the_grace_period_is_over(lanes: Any, version: Version) -> None:
    """The payee has a quarter of an hour to settle."""
    lane = lanes(version)
    ref = lane.opened()
    assert not lane.act(WithdrawCall(ref), lane.payer).succeeded
    assert lane.act(RequestCloseCall(ref), lane.payer).succeeded
    assert not lane.act(WithdrawCall(ref), lane.payer).succeeded
    assert lane.shop.run(read_channel(lane.url, ref)).state.deposit_units == DEPOSIT


@pytest.mark.guard("T08")
def test_a_voucher_of_a_closed_channel_is_worth_nothing_on_the_next(lanes: Any) -> None:
    """The same terms and salt again: v2 makes another channel of it, on which the old voucher settles nothing."""
    lane = lanes(V2)
    call = lane.open_call()
    opening, _ = lane.open(call)
    old = lane.scheme.sign(lane.payer, opening.channel.id, 500_000)
    assert lane.act(CloseCall(opening.channel, 500_000, 0, old), lane.payee).succeeded
    tx, again = open_transaction(lane.escrow, call, lane.funding(valid_after=7))
    assert lane.send(serialise(sign(tx, lane.payer))).succeeded
    assert again.id != opening.channel.id
    with pytest.raises(ChannelNotFound):
        lane.shop.run(read_channel(lane.url, opening.channel))
    assert not lane.act(SettleCall(again, 500_000, old), lane.payee).succeeded
    assert lane.shop.run(read_channel(lane.url, again)).state.settled_units == 0


@VERSIONS
def test_a_payer_finds_its_channels_on_the_chain(lanes: Any, version: Version) -> None:
    """With nothing but its address: what was opened and closed, and how to speak of it."""
    lane = lanes(version)
    first, second = lane.opened(), lane.opened()
    lanes(version).opened()
    lane.act(CloseCall(first, 5, 5, lane.scheme.sign(lane.payer, first.id, 5)), lane.payee)
    blocks = (0, lane.shop.run(latest_block(lane.url)).number)
    events = lane.shop.run(find_events(lane.url, lane.escrow, blocks, payer=lane.payer.address))
    opened = [channel_of(lane.escrow, event) for event in events if isinstance(event, ChannelOpened)]
    assert opened == [first, second]
    assert [event.channel_id for event in events if isinstance(event, ChannelClosed)] == [first.id]
    about = lane.shop.run(find_events(lane.url, lane.escrow, blocks, channel_id=second.id, payee=lane.payee.address))
    assert [type(event) for event in about] == [ChannelOpened]


def test_long_histories_are_asked_for_in_parts(lanes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost or told twice between two parts."""
    lane = lanes(V2)
    refs = [lane.opened() for _ in range(3)]
    monkeypatch.setattr(history, "BLOCKS_AT_ONCE", 2)
    last = lane.shop.run(latest_block(lane.url)).number
    events = lane.shop.run(find_events(lane.url, lane.escrow, (last - 9, last), payer=lane.payer.address))
    assert [event.channel_id for event in events] == [ref.id for ref in refs]


@pytest.mark.guard("T08")
def test_a_node_that_lies_about_the_past_is_not_believed(lanes: Any, faulty: FaultyNode) -> None:
    """Events of others, events whose id is not that of their terms, and answers of another shape."""
    lane, other = lanes(V2), lanes(V2)
    other.opened()
    lane.opened()
    blocks = (0, lane.shop.run(latest_block(lane.url)).number)
    unfiltered = lane.shop.chain.rpc(
        "eth_getLogs", {"address": lane.escrow.address, "fromBlock": "0x0", "toBlock": "latest"}
    )
    faulty.on("eth_getLogs", answer(unfiltered), 1)
    (event,) = lane.shop.run(find_events(faulty.url, lane.escrow, blocks, payer=lane.payer.address))
    assert isinstance(event, ChannelOpened)
    with pytest.raises(RpcUnreachable, match="descriptor"):
        channel_of(lane.escrow, replace(event, salt="0x" + "00" * 32))
    shapes: list[Any] = [None, {}, ["x"], [{"address": lane.escrow.address, "topics": "0x", "data": "0x"}]]
    for junk in shapes:
        faulty.on("eth_getLogs", answer(junk), 1)
        with pytest.raises(RpcUnreachable):
            lane.shop.run(find_events(faulty.url, lane.escrow, blocks, payer=lane.payer.address))
