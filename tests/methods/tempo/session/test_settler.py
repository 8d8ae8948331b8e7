"""The settler on the local chain, both protocols: what was bought arrives, who leaves is seen, all of it once."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import RealWorld, Rpc
from coinslot.intents import acts, session
from coinslot.intents.session import Stage, Voucher
from coinslot.methods.tempo.session.calls import RequestCloseCall
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from coinslot.server import funding
from coinslot.server.settler import CLOSE_PATIENCE_S, Policy, Report, settle_round
from coinslot.store.channels import JobStage, Opened, Order
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Claim
from support.rpcfault import FaultyNode, drop_after
from support.temposeller import Stall, stall
from support.temposhop import Shop

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
SYNC = "eth_sendRawTransactionSync"
DEPOSIT, COST = 1_000_000, 25_000
NOW = Policy(settle_units=1)


def opened(at: Stall, store: MemoryStore) -> session.Channel:
    """A channel whose opening went the way of a payment."""
    challenge, move = at.move(DEPOSIT)
    checked = at.check(challenge, move.payload, source=move.source)
    assert checked.channel is not None
    claim = Claim(session.under(challenge, checked.proof), checked.proof, checked.payer, "", secrets.token_hex(8))
    got = store.open_channel(claim, checked.channel, at.rules).result()
    assert isinstance(got, Opened)
    prepared = at.prepare(checked, challenge)
    store.prepare(got.lease, prepared).result()
    outcome = at.settle(prepared)
    assert isinstance(outcome, acts.Funded)
    recorded = at.shop.run(funding.record(store, got.lease, prepared, outcome, at.seller))
    assert isinstance(recorded, session.Channel)
    return recorded


def buy(at: Stall, store: MemoryStore, channel: session.Channel, total: int, cost: int = COST) -> object:
    """What a voucher buys."""
    raw = at.payer.payload(at.held(channel), acts.Act.VOUCHER, total, at.payer.sign(at.held(channel), total))
    voucher = at.seller.read(raw, at.seller.terms(at.challenge().request_object())).voucher
    assert isinstance(voucher, Voucher)
    return store.accept_and_spend(Order(channel.key, cost, at.rules, voucher, 1)).result()


def settle(at: Stall, store: MemoryStore, policy: Policy = NOW) -> Report:
    """One round."""
    report: Report = at.shop.run(settle_round(store, [at.seller], policy))
    return report


def found(store: MemoryStore, channel: session.Channel) -> session.Channel:
    """As recorded now."""
    record = store.find_channel(channel.key).result()
    assert record is not None
    return record


def escrow(store: MemoryStore, channel: session.Channel) -> int:
    """What the journal says the channel holds."""
    accounts = store.balances().result()[channel.asset]
    assert sum(accounts.values()) == 0
    return accounts.get(f"channel:{channel.key}", 0)


@VERSIONS
def test_many_channels_are_settled_in_one_transaction(shop: Shop, version: Version) -> None:
    """The payee gets what was signed; record, journal and chain agree; a second round has nothing to do."""
    at, store = stall(shop, version), MemoryStore()
    channels = [opened(at, store) for _ in range(3)]
    for channel in channels:
        buy(at, store, channel, COST + 1)
    report = settle(at, store)
    assert (report.planned, report.settled, report.failed, report.pending) == (3, 3, 0, 0)
    assert report.unsettled == {channels[0].asset: 3 * COST}
    jobs = [store.jobs_of(channel.key, 9).result()[0] for channel in channels]
    assert len({job.reference for job in jobs}) == 1
    for channel, state in zip(channels, at.look(*channels), strict=True):
        assert (found(store, channel).settled, state.settled_units) == (COST + 1, COST + 1)
        assert escrow(store, channel) == DEPOSIT - COST - 1
    assert settle(at, store).planned == 0
    assert store.watched_ago_s(at.seller.network).result() is not None


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-122", "TSES-186", "TSES-187", "TSES-217")
@VERSIONS
def test_a_payer_that_asks_the_chain_to_close_is_seen(shop: Shop, version: Version) -> None:
    """Nothing more is sold, what was bought is captured, the rest goes back at once."""
    at, store = stall(shop, version), MemoryStore()
    channel = opened(at, store)
    buy(at, store, channel, 4 * COST)
    before = at.balance(at.payer_key)
    at.act(RequestCloseCall(at.ref(channel)))
    report = settle(at, store)
    assert report.stopped == 1
    refused = buy(at, store, channel, 5 * COST)
    assert isinstance(refused, session.Refused)
    assert found(store, channel).stage in {Stage.CLOSING, Stage.CLOSED}
    if version == V1:  # its payer could still have come with a voucher of what was bought
        report = _later(at, store)
    assert (report.closed, found(store, channel).stage) == (1, Stage.CLOSED)
    taken = COST if version == V2 else 4 * COST
    assert found(store, channel).settled == taken
    assert at.balance(at.payer_key) >= before + DEPOSIT - taken - 10_000  # less the fee of asking
    assert escrow(store, channel) == 0


class Ahead(RealWorld):
    """The same world, after the wait for a voucher of what was bought."""

    def __init__(self, world: RealWorld) -> None:
        super().__init__()
        self._world = world

    def rpc(self, effect: Rpc) -> object:
        """By the same connection."""
        return self._world.rpc(effect)

    def now(self) -> float:
        """Later."""
        return self._world.now() + CLOSE_PATIENCE_S + 1


def _later(at: Stall, store: MemoryStore) -> Report:
    return settle(replace(at, shop=replace(at.shop, world=Ahead(at.shop.world))), store)


@pytest.mark.guard("F11")
@VERSIONS
def test_a_settlement_whose_answer_was_lost_is_paid_once(shop: Shop, version: Version) -> None:
    """The node took it in and said nothing: asked by its hash, and never made anew."""
    at, store = stall(shop, version), MemoryStore()
    channel = opened(at, store)
    buy(at, store, channel, COST)
    node = FaultyNode(shop.chain.rpc_url)
    try:
        node.on(SYNC, drop_after)
        settle(at.on(node.url), store)
        for _ in range(3):
            settle(at.on(node.url), store)
    finally:
        node.close()
    (job,) = store.jobs_of(channel.key, 9).result()
    assert (job.stage, found(store, channel).settled) == (JobStage.DONE, COST)
    assert escrow(store, channel) == DEPOSIT - COST


@VERSIONS
def test_a_settler_that_cannot_pay_the_fee_says_so(shop: Shop, version: Version) -> None:
    """It still watches, and tells; the job waits."""
    key = PrivateKey(secrets.token_bytes(32))
    at, store = stall(shop, version, session_key=key, recipient=key.address), MemoryStore()
    channel = opened(at, store)
    buy(at, store, channel, COST)
    report = settle(at, store)
    assert (report.planned, report.settled, report.failed, report.silent) == (1, 0, 0, ())
    assert "can't pay the fee" in report.trouble[at.seller.network]
    assert store.watched_ago_s(at.seller.network).result() is not None
    shop.chain.fund(key.address, 5_000_000)
    assert settle(at, store).settled == 1
