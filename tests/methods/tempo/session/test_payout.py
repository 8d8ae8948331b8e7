"""Settling and closing on the local chain, many channels at once; and seeing what happened without us."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.errors import ChainError, RpcUnreachable, UsageError, VerificationFailed
from coinslot.intents import session
from coinslot.intents.acts import Done
from coinslot.intents.charge import Pending, Refused
from coinslot.methods.tempo.session import looking, payout
from coinslot.methods.tempo.session.calls import CloseCall, RequestCloseCall, SettleCall, WithdrawCall
from coinslot.methods.tempo.session.escrow import CLOSE_GRACE_S, V1, V2, Version
from coinslot.methods.tempo.transaction.read import read_transaction
from support.rpcfault import FaultyNode, answer, drop, drop_after, edit
from support.tempochannel import PATH
from support.temposeller import Stall, seller_of, stall
from support.temposhop import DOLLAR, Shop

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
SYNC, RECEIPT = "eth_sendRawTransactionSync", "eth_getTransactionReceipt"
FEE = 50_000  # base units: no settlement of ours costs five cents


# --- settling ------------------------------------------------------------------------------------


@VERSIONS
def test_a_voucher_is_settled_for_what_it_says(shop: Shop, version: Version) -> None:
    """The payee gets it, less the fee that it pays itself; the channel stays open, and nothing is left to settle."""
    at = stall(shop, version)
    channel = at.bought(at.open(), 300_000, 120_000)
    before = at.balance(channel.payee)
    (done,) = at.done(at.settling(channel))
    assert isinstance(done, Done)
    assert (done.settled_units, done.refunded_units, done.closed) == (300_000, 0, False)
    assert before + 300_000 - FEE < at.balance(channel.payee) < before + 300_000
    assert abs(done.settled_at_s - shop.chain.timestamp()) < 10
    (seen,) = at.look(channel)
    assert (seen.exists, seen.settled_units, seen.deposit_units, seen.closed) == (True, 300_000, DOLLAR, False)
    assert session.settlement(session.note_settled(channel, seen.settled_units), session.Rules()) is None


@VERSIONS
@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-186", "TSES-187", "TSES-188")
@pytest.mark.parametrize("spent", [0, 120_000, 300_000])
def test_a_close_takes_what_is_owed_and_refunds_the_rest(shop: Shop, version: Version, spent: int) -> None:
    """Also where nothing was bought. v1 takes what its lowest good voucher says, v2 what was spent."""
    at = stall(shop, version)
    channel = at.open()
    if spent:
        channel = at.bought(channel, 300_000, spent)
    taken = spent if version == V2 else channel.accepted
    before = at.balance(at.payer_key)
    (done,) = at.done(at.closing(channel))
    assert isinstance(done, Done)
    assert (done.settled_units, done.refunded_units, done.closed) == (taken, DOLLAR - taken, True)
    assert at.balance(at.payer_key) == before + DOLLAR - taken


@VERSIONS
@pytest.mark.guard("T23")
def test_a_close_after_a_settlement_takes_nothing_twice(shop: Shop, version: Version) -> None:
    """What was settled counts as taken, though less was spent."""
    at = stall(shop, version)
    channel = at.bought(at.open(), 300_000, 120_000)
    (settled,) = at.done(at.settling(channel))
    assert isinstance(settled, Done)
    channel = session.note_settled(channel, settled.settled_units)
    (done,) = at.done(at.closing(channel))
    assert isinstance(done, Done)
    assert (done.settled_units, done.refunded_units) == (300_000, DOLLAR - 300_000)


@VERSIONS
@pytest.mark.guard("T36")
def test_many_channels_are_paid_out_in_one_transaction(shop: Shop, version: Version) -> None:
    """Settled or closed, each with its own end, in a transaction that no other nonce holds up."""
    at = stall(shop, version)
    jobs = [at.settling(at.bought(at.open(), 1000 + number, 500)) for number in range(3)]
    jobs += [at.closing(at.bought(at.open(), 2000, 1500)), at.closing(at.open())]
    sent = at.pay_out(*jobs)
    tx = read_transaction(sent.raw).transaction
    assert (len(tx.calls), tx.nonce_key, tx.fee_token) == (5, 2**256 - 1, PATH)
    assert tx.valid_before == sent.dead_after_s <= shop.chain.timestamp() + 30
    shop.run(at.seller.send(sent.raw))
    ends = [at.paid_out(job, sent) for job in jobs]
    told = [(end.settled_units, end.closed) for end in ends if isinstance(end, Done)]
    last = 1500 if version == V2 else 2000
    assert told == [(1000, False), (1001, False), (1002, False), (last, True), (0, True)]
    assert {end.reference for end in ends if isinstance(end, Done)} == {sent.reference}
    with pytest.raises(UsageError):
        at.pay_out(*jobs[:1] * (max(payout.BATCH.values()) + 1))
    with pytest.raises(UsageError):
        at.pay_out()


@VERSIONS
@pytest.mark.parametrize("closes", [False, True], ids=["settle", "close"])
def test_a_full_batch_fits_into_a_block(shop: Shop, version: Version, closes: bool) -> None:
    """As many as `batch` says."""
    at = stall(shop, version)
    channels = [at.bought(at.open(10_000), 1000, 500) for _ in range(at.seller.batch)]
    jobs = [at.closing(channel) if closes else at.settling(channel) for channel in channels]
    sent = at.pay_out(*jobs)
    assert read_transaction(sent.raw).transaction.gas_limit < 12_000_000
    shop.run(at.seller.send(sent.raw))
    assert all(isinstance(at.paid_out(job, sent), Done) for job in (jobs[0], jobs[-1]))


def test_both_protocols_go_in_one_transaction(shop: Shop) -> None:
    """A channel on record says itself where it lives."""
    old, new = stall(shop, V1), None
    new = Stall(shop, seller_of(shop, old.seller.config.payer.key, V2), old.payer, old.payer_key)
    jobs = [old.settling(old.bought(old.open(), 1000, 10)), new.settling(new.bought(new.open(), 2000, 10))]
    ends = new.done(*jobs)
    assert [end.settled_units for end in ends if isinstance(end, Done)] == [1000, 2000]
    assert old.seller.serves(jobs[0][0])
    assert not new.seller.serves(jobs[0][0])


def test_an_operator_settles_for_the_payee(shop: Shop) -> None:
    """Its key pays the fee, and the payee gets all of it."""
    operator = shop.account(20)
    at = stall(shop, V2, operator=operator.address, session_key=operator)
    assert at.seller.config.recipient != operator.address
    channel = at.bought(at.open(), 300_000, 120_000)
    before, purse = at.balance(channel.payee), at.balance(operator)
    (done,) = at.done(at.settling(channel))
    assert isinstance(done, Done)
    assert at.balance(channel.payee) == before + 300_000
    assert purse - FEE < at.balance(operator) < purse


# --- what goes wrong -----------------------------------------------------------------------------


@VERSIONS
def test_a_channel_that_would_be_refused_does_not_hold_up_the_others(shop: Shop, version: Version) -> None:
    """It is left out, and told so; alone, it makes no transaction."""
    at = stall(shop, version)
    good, bad = at.bought(at.open(), 1000, 500), at.bought(at.open(), 1000, 500)
    closer = at.seller.config.payer.key
    at.act(CloseCall(at.ref(bad), 1000, 1000, bad.voucher), closer)
    jobs = [at.settling(bad), at.settling(good)]
    refused, done = at.done(*jobs)
    assert isinstance(refused, Refused)
    assert isinstance(done, Done)
    with pytest.raises(VerificationFailed, match=bad.id):
        at.pay_out(at.settling(bad))


@VERSIONS
@pytest.mark.guard("T32")
def test_a_batch_that_is_reverted_moved_nothing(shop: Shop, version: Version) -> None:
    """Something changed between the simulation and the block: refused for all, to be planned anew."""
    at = stall(shop, version)
    good, bad = at.bought(at.open(), 1000, 500), at.bought(at.open(), 1000, 500)
    jobs = [at.settling(good), at.settling(bad)]
    sent = at.pay_out(*jobs)
    at.act(SettleCall(at.ref(bad), 1000, bad.voucher), at.seller.config.payer.key)
    shop.run(at.seller.send(sent.raw))
    assert all(isinstance(at.paid_out(job, sent), Refused) for job in jobs)
    assert at.look(good)[0].settled_units == 0


@VERSIONS
@pytest.mark.guard("F09", "F11")
def test_a_lost_answer_is_looked_up_by_its_hash(shop: Shop, faulty: FaultyNode, version: Version) -> None:
    """Pending until the node can be asked; the same bytes sent again pay nothing twice."""
    at = stall(shop, version, rpc_url=faulty.url)
    job = at.settling(at.bought(at.open(), 300_000, 120_000))
    sent = at.pay_out(job)
    faulty.on(SYNC, drop_after)
    faulty.on(RECEIPT, answer(None))
    with pytest.raises(RpcUnreachable):
        shop.run(at.seller.send(sent.raw))
    assert isinstance(at.paid_out(job, sent), Pending)
    faulty.on("eth_getBlockByNumber", drop)
    with pytest.raises(RpcUnreachable):
        at.paid_out(job, sent)
    faulty.heal()
    other = at.on(shop.chain.rpc_url)
    assert isinstance(other.paid_out(job, sent), Done)
    paid = at.balance(job[0].payee)
    shop.run(other.seller.send(sent.raw))
    assert isinstance(other.paid_out(job, sent), Done)
    assert at.balance(job[0].payee) == paid


@pytest.mark.guard("F11", "F12")
def test_a_settlement_is_dead_only_when_the_chain_is_past_it(shop: Shop) -> None:
    """Never sent: refused once its time and the replicas' are over, and it can't be sent then."""
    at = stall(shop, V2, lag_s=5)
    job = at.settling(at.bought(at.open(), 300_000, 120_000))
    sent = at.pay_out(job)
    mark = shop.chain.snapshot()
    try:
        for over_s, end in ((5, Pending), (6, Refused)):
            assert isinstance(at.paid_out(job, sent), Pending)
            shop.chain.rpc("evm_setNextBlockTimestamp", int(sent.dead_after_s) + over_s)
            shop.chain.mine()
            assert isinstance(at.paid_out(job, sent), end)
        with pytest.raises(ChainError):
            shop.run(at.seller.send(sent.raw))
    finally:
        shop.chain.revert(mark)


@VERSIONS
@pytest.mark.guard("T32")
@pytest.mark.parametrize("closes", [False, True], ids=["settle", "close"])
def test_success_without_the_escrows_event_pays_out_nothing(
    shop: Shop, faulty: FaultyNode, version: Version, closes: bool
) -> None:
    """For this channel it is over, and nothing was paid."""
    at = stall(shop, version, rpc_url=faulty.url)
    channel = at.bought(at.open(), 300_000, 300_000)
    job = at.closing(channel) if closes else at.settling(channel)
    sent = at.pay_out(job)
    shop.run(at.seller.send(sent.raw))
    faulty.on(RECEIPT, edit(lambda receipt: receipt | {"logs": []}), 1)
    assert isinstance(at.paid_out(job, sent), Refused)
    assert isinstance(at.paid_out(job, sent), Done)


@pytest.mark.guard("F12", "T33")
def test_a_block_that_is_not_to_be_seen_proves_nothing(shop: Shop, faulty: FaultyNode) -> None:
    """A replica without it, or with another one at its height; and blocks that must follow."""
    at = stall(shop, V2, rpc_url=faulty.url)
    job = at.settling(at.bought(at.open(), 300_000, 300_000))
    sent = at.pay_out(job)
    shop.run(at.seller.send(sent.raw))
    faulty.on("eth_getBlockByNumber", answer(None), 1)
    assert isinstance(at.paid_out(job, sent), Pending)
    faulty.on("eth_getBlockByNumber", edit(lambda block: block | {"hash": "0x" + "99" * 32}), 1)
    assert isinstance(at.paid_out(job, sent), Pending)
    at.seller = replace(at.seller, config=replace(at.seller.config, confirmations=1000))
    assert isinstance(at.paid_out(job, sent), Pending)


def test_an_account_that_can_not_pay_the_fee_says_so(shop: Shop) -> None:
    """Not a refusal: with money in it, or at a lower price of gas, the same job is done."""
    at = stall(shop, V2)
    poor = shop.account(0)
    job = at.settling(at.bought(at.open(), 300_000, 300_000))
    config = at.seller.config
    for payer, why in (
        (replace(config.payer, fee_token="0x20c0000000000000000000000000000000000003"), "holds too little"),
        (replace(config.payer, max_fee_per_gas=1), "session_max_fee_per_gas"),
    ):
        with pytest.raises(ChainError, match=why):
            shop.run(payout.pay_out(config.rpc_url, payer, [job]))
    with pytest.raises(VerificationFailed):  # the escrow lets nobody else settle
        shop.run(payout.pay_out(config.rpc_url, replace(config.payer, key=poor), [job]))


@pytest.mark.guard("T08")
def test_a_record_of_another_channel_settles_nothing(shop: Shop) -> None:
    """The state names the channel that it is kept for."""
    at = stall(shop, V2)
    one, two = at.bought(at.open(), 1000, 10), at.bought(at.open(), 1000, 10)
    with pytest.raises(UsageError, match="another channel"):
        at.pay_out(at.settling(replace(one, state=two.state)))
    with pytest.raises(UsageError):
        at.look(replace(one, state=b"{}"))


# --- looking -------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-122")
def test_a_request_to_close_is_seen(shop: Shop, version: Version) -> None:
    """With its time by the chain's clock; what was sold until then is closed in the grace period."""
    at = stall(shop, version)
    quiet, asked = at.open(), at.bought(at.open(), 300_000, 200_000)
    at.act(RequestCloseCall(at.ref(asked)))
    stamped = shop.chain.timestamp()
    first, second = at.look(quiet, asked)
    assert (first.key, first.closing_at_s, second.key) == (quiet.key, None, asked.key)
    assert second.closing_at_s is not None
    assert abs(second.closing_at_s - stamped) <= 2
    assert at.seller.grace_s == CLOSE_GRACE_S == 900
    stopped = session.request_close(asked, second.closing_at_s)
    assert isinstance(stopped, session.Channel)
    refused = session.purchase(stopped, session.Voucher(asked.id, 400_000, b""), 1, at.rules)
    assert refused == session.Refused(session.Why.CLOSING, stopped)
    (done,) = at.done(at.closing(stopped))
    assert isinstance(done, Done)
    assert done.closed


@VERSIONS
@pytest.mark.guard("F12")
def test_a_channel_that_is_gone_is_told_by_its_closing(shop: Shop, version: Version) -> None:
    """Closed by us or withdrawn from; the v2 reserve has forgotten it, its event has not."""
    at = stall(shop, version)
    closed, withdrawn = at.bought(at.open(), 300_000, 200_000), at.bought(at.open(), 300_000, 200_000)
    taken = 200_000 if version == V2 else 300_000
    mark = shop.chain.snapshot()
    try:
        at.done(at.closing(closed))
        at.act(RequestCloseCall(at.ref(withdrawn)))
        shop.chain.rpc("evm_increaseTime", 1000)
        shop.chain.mine()
        at.act(WithdrawCall(at.ref(withdrawn)))
        seen = at.look(closed, withdrawn)
        assert [(one.exists, one.closed, one.settled_units) for one in seen] == [(True, True, taken), (True, True, 0)]
        assert [one.deposit_units for one in seen] == [DOLLAR, DOLLAR]
    finally:
        shop.chain.revert(mark)


@VERSIONS
@pytest.mark.guard("F12")
def test_a_node_that_knows_nothing_closes_nothing(shop: Shop, faulty: FaultyNode, version: Version) -> None:
    """A replica that is behind answers as the reserve does about a closed channel; without the event it is not."""
    at = stall(shop, version)
    channel = at.open()
    empty = answer("0x" + f"{32:064x}{1:064x}" + "00" * 32 * (8 if version == V1 else 3))
    faulty.on("eth_call", empty)
    (seen,) = at.on(faulty.url).look(channel)
    assert (seen.exists, seen.closed) == (False, False)
    faulty.on("eth_getLogs", edit(lambda logs: {"no": "list"}))
    if version == V2:
        with pytest.raises(RpcUnreachable):
            at.on(faulty.url).look(channel)
    challenge, move = at.move()
    begun = at.check(challenge, move.payload).channel
    assert begun is not None
    (unsent,) = at.look(begun)
    assert (unsent.exists, unsent.closed) == (False, False)


def test_the_past_is_searched_only_so_far(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closing that is too long ago is not found, and not made up."""
    at = stall(shop, V2)
    channel = at.bought(at.open(), 300_000, 200_000)
    at.done(at.closing(channel))
    shop.chain.mine(9)
    monkeypatch.setattr(looking, "BLOCKS_AT_ONCE", 2)
    (seen,) = at.look(channel)
    assert (seen.exists, seen.closed) == (False, False)
    monkeypatch.setattr(looking, "MAX_LOOK_BACK", 20)
    (seen,) = at.look(channel)
    assert (seen.exists, seen.closed, seen.settled_units) == (True, True, 200_000)


def test_many_channels_are_one_question(shop: Shop, faulty: FaultyNode) -> None:
    """Not one each, and in order beyond the size of a question."""
    at = stall(shop, V2)
    one, two = at.open(), at.bought(at.open(), 5, 5)
    at.done(at.settling(two))
    seen = at.on(faulty.url).look(*[one, two] * 60)
    assert [each.settled_units for each in seen] == [0, 5] * 60
    assert faulty.calls.count("eth_call") == 2
