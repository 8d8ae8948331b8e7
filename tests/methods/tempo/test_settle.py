"""Between the broadcast and the receipt: nodes that lag, drop, lie; replays; payments that die."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.abi import encode_address, encode_uint256
from coinslot.chains.evm.rpc import Log, Receipt
from coinslot.core.canonical import encode_object
from coinslot.core.challenge import Challenge
from coinslot.errors import PaymentInsufficient, RpcRefused, RpcUnreachable, VerificationFailed
from coinslot.intents.charge import Pending, Prepared, Refused, Settled
from coinslot.methods.tempo.charge_seller import TempoChargeSeller
from coinslot.methods.tempo.legs import Binding
from coinslot.methods.tempo.memo import attribution_memo
from coinslot.methods.tempo.push import require_paid
from coinslot.methods.tempo.terms import Leg, TempoTerms
from coinslot.methods.tempo.tip20 import TRANSFER_TOPIC, TRANSFER_WITH_MEMO_TOPIC
from coinslot.methods.tempo.tokens import asset
from coinslot.methods.tempo.transaction.build import serialise
from support.rpcfault import FaultyNode, answer, drop, drop_after, edit
from support.temposhop import ALPHA, DOLLAR, PATH, Shop, fresh_address, payload, signed

SYNC = "eth_sendRawTransactionSync"
RECEIPT = "eth_getTransactionReceipt"
BLOCK = "eth_getBlockByNumber"


def prepared(shop: Shop, seller: TempoChargeSeller, **payer: Any) -> Prepared:
    """A payment that is ready to be broadcast."""
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(**payer), challenge)
    return shop.prepare(seller, shop.check(seller, challenge, shown.payload, shown.source))


@pytest.mark.guard("F11")
def test_an_answer_that_is_lost_is_not_a_refusal(shop: Shop, faulty: FaultyNode) -> None:
    """The node took it and fell silent: pending, and settled once the node can be asked again."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    faulty.on(SYNC, drop_after)
    faulty.on(RECEIPT, answer(None))
    with pytest.raises(RpcUnreachable):
        shop.run(seller.broadcast(ready))
    assert isinstance(shop.confirm(seller, ready), Pending)
    faulty.heal()
    outcome = shop.confirm(seller, ready)
    assert isinstance(outcome, Settled)
    assert outcome.reference == ready.reference
    assert shop.held(seller.config.recipient) == DOLLAR // 4


@pytest.mark.guard("F11")
@pytest.mark.parametrize("method", [RECEIPT, BLOCK])
def test_a_node_that_does_not_answer_tells_nothing(shop: Shop, faulty: FaultyNode, method: str) -> None:
    """Not asked is neither paid nor unpaid."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    faulty.on(method, drop)
    with pytest.raises(RpcUnreachable):
        shop.confirm(seller, ready)


@pytest.mark.guard("F09")
def test_the_record_alone_is_enough_to_go_on_after_a_crash(shop: Shop) -> None:
    """Another process, which has the prepared payment and nothing else, sends it again and learns its end."""
    first = shop.seller()
    ready = prepared(shop, first)
    shop.run(first.broadcast(ready))
    second = shop.seller(recipient=first.config.recipient)
    assert isinstance(shop.settle(second, ready), Settled)
    assert isinstance(shop.settle(second, ready), Settled)
    assert shop.held(first.config.recipient) == DOLLAR // 4


def test_settings_may_change_while_a_payment_is_under_way(shop: Shop) -> None:
    """What was bound is what is confirmed, whatever is asked of the next payer."""
    seller = shop.seller()
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    changed = shop.seller(currency=ALPHA)
    assert isinstance(shop.confirm(changed, ready), Settled)


@pytest.mark.guard("T35")
@pytest.mark.parametrize("when", ["before it is checked", "before it is prepared", "before it is broadcast"])
def test_a_payment_that_somebody_else_broadcast_settles_as_ours(shop: Shop, when: str) -> None:
    """Who sent the bytes makes no difference, also if the account is empty by now: it has paid for this challenge."""
    seller, key = shop.seller(), shop.account()
    challenge = shop.challenge(seller, "4.5")
    tx = shop.transaction(shop.payer(key), challenge)
    raw = serialise(tx)

    def broadcast(now: str) -> None:
        if now == when:
            shop.chain.rpc(SYNC, "0x" + raw.hex())

    broadcast("before it is checked")
    checked = shop.check(seller, challenge, payload(raw))
    broadcast("before it is prepared")
    ready = shop.prepare(seller, checked)
    broadcast("before it is broadcast")
    assert isinstance(shop.settle(seller, ready), Settled)
    assert shop.held(seller.config.recipient) == 4_500_000


# --- the chain's word ----------------------------------------------------------------------------


@pytest.mark.guard("T32")
@pytest.mark.spec("TCHG-061", "TCHG-062")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("no events", lambda receipt: {**receipt, "logs": []}),
        ("no memo event", lambda receipt: {**receipt, "logs": [x for x in receipt["logs"] if len(x["topics"]) == 3]}),
        ("another contract", lambda receipt: {**receipt, "logs": [{**x, "address": ALPHA} for x in receipt["logs"]]}),
        (
            "another amount",
            lambda receipt: {**receipt, "logs": [{**x, "data": "0x" + "00" * 31 + "01"} for x in receipt["logs"]]},
        ),
        ("reverted", lambda receipt: {**receipt, "status": "0x0"}),
    ],
)
def test_success_that_moved_nothing_is_no_payment(shop: Shop, faulty: FaultyNode, name: str, change: Any) -> None:
    """Only the token's own events show that money moved."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    faulty.on(RECEIPT, edit(change))
    assert isinstance(shop.confirm(seller, ready), Refused)
    faulty.heal()
    assert isinstance(shop.confirm(seller, ready), Settled)


def test_a_reverted_payment_is_refused(shop: Shop) -> None:
    """Broadcast without being simulated, refused by the token, refused by us."""
    seller = shop.seller(simulate=False)
    key = shop.account()
    challenge = shop.challenge(seller)
    tx = shop.transaction(shop.payer(key), challenge)
    other = shop.seller()
    drain = shop.challenge(other, "4.9")
    checked = shop.check(seller, challenge, payload(signed(tx, key)))
    assert isinstance(shop.through(other, drain, shop.pay(shop.payer(key), drain)), Settled)
    ready = shop.prepare(seller, checked)
    outcome = shop.settle(seller, ready)
    assert isinstance(outcome, Refused)
    assert shop.held(seller.config.recipient) == 0


@pytest.mark.guard("T33")
def test_an_answer_about_another_transaction_is_no_answer(shop: Shop, faulty: FaultyNode) -> None:
    """A receipt must carry the hash that was asked for."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    faulty.on(RECEIPT, edit(lambda receipt: {**receipt, "transactionHash": "0x" + "77" * 32}))
    with pytest.raises(RpcUnreachable, match="another transaction"):
        shop.confirm(seller, ready)


@pytest.mark.guard("T33")
@pytest.mark.parametrize("seen", [None, {"number": "0x1", "hash": "0x" + "66" * 32, "timestamp": "0x1"}])
def test_a_receipt_in_a_block_that_is_not_there_settles_nothing(shop: Shop, faulty: FaultyNode, seen: object) -> None:
    """A replica that knows another block, or none, of that number may be behind, or the block is gone."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    faulty.on(BLOCK, answer(seen))
    assert isinstance(shop.confirm(seller, ready), Pending)
    faulty.heal()
    assert isinstance(shop.confirm(seller, ready), Settled)


@pytest.mark.spec("CHG-024")
@pytest.mark.guard("T33")
def test_confirmations_are_counted_in_blocks(shop: Shop) -> None:
    """Pending until so many blocks follow."""
    seller = shop.seller(confirmations=500)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    assert isinstance(shop.confirm(seller, ready), Pending)
    shop.chain.mine(500)
    assert isinstance(shop.confirm(seller, ready), Settled)


def test_a_settled_payment_has_the_chains_time(shop: Shop) -> None:
    """Not ours, and not the node's, but that of the block."""
    seller = shop.seller()
    outcome = shop.settle(seller, prepared(shop, seller))
    assert isinstance(outcome, Settled)
    assert outcome.settled_at_s == int(outcome.settled_at_s)
    assert abs(outcome.settled_at_s - shop.chain.timestamp()) < 5


# --- payments that die ---------------------------------------------------------------------------


@pytest.mark.guard("F13")
def test_a_payment_that_was_never_taken_dies_with_its_validity(shop: Shop) -> None:
    """Pending while it could still appear, and for as long after as a replica may lag; then refused for good."""
    before = shop.chain.snapshot()
    try:
        seller = shop.seller(lag_s=30)
        ready = prepared(shop, seller)
        assert ready.dead_after_s is not None
        assert isinstance(shop.confirm(seller, ready), Pending)
        shop.chain.rpc("evm_setNextBlockTimestamp", int(ready.dead_after_s) + 30)
        shop.chain.mine()
        assert isinstance(shop.confirm(seller, ready), Pending)
        shop.chain.rpc("evm_setNextBlockTimestamp", int(ready.dead_after_s) + 31)
        shop.chain.mine()
        assert isinstance(shop.confirm(seller, ready), Refused)
        with pytest.raises((RpcRefused, RpcUnreachable)):
            shop.run(seller.broadcast(ready))
        assert isinstance(shop.confirm(seller, ready), Refused)
        assert shop.held(seller.config.recipient) == 0
    finally:
        shop.chain.revert(before)


@pytest.mark.guard("F12")
def test_the_receipt_is_asked_for_again_after_the_clock(shop: Shop, faulty: FaultyNode) -> None:
    """A receipt that shows up between two questions is not missed, however late the clock is."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller)
    shop.run(seller.broadcast(ready))
    faulty.on(RECEIPT, answer(None), times=1)
    late = hex(int(time.time()) + 10_000)
    faulty.on(BLOCK, edit(lambda block: {**block, "timestamp": late}), times=1)
    assert isinstance(shop.confirm(seller, ready), Settled)
    assert faulty.calls[-4:] == [RECEIPT, BLOCK, RECEIPT, BLOCK]


def test_a_pushed_payment_is_never_declared_dead(shop: Shop, faulty: FaultyNode) -> None:
    """It was on the chain when it was checked; a node that forgot it must remember first."""
    seller = shop.seller(rpc_url=faulty.url)
    ready = prepared(shop, seller, mode="push")
    assert (ready.raw, ready.dead_after_s) == (b"", None)
    faulty.on(RECEIPT, answer(None))
    shop.run(seller.broadcast(ready))
    assert isinstance(shop.confirm(seller, ready), Pending)
    faulty.heal()
    assert isinstance(shop.confirm(seller, ready), Settled)


# --- one transaction, one proof ------------------------------------------------------------------


@pytest.mark.guard("T06")
def test_pull_and_push_of_one_transaction_are_one_proof(shop: Shop) -> None:
    """Whichever way it comes first, and however its hash is spelled, the other way collides in the store."""
    seller = shop.seller()
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(), challenge)
    pulled = shop.check(seller, challenge, shown.payload)
    assert isinstance(shop.settle(seller, shop.prepare(seller, pulled)), Settled)
    reference = str(shown.reference)
    for spelling in (reference, "0x" + reference[2:].upper()):
        pushed = shop.check(seller, challenge, {"type": "hash", "hash": spelling})
        assert pushed.proof == pulled.proof
    assert pulled.proof == f"eip155:42431/tx/{reference}"


@pytest.mark.guard("T06")
def test_a_sponsored_transaction_is_the_proof_that_the_chain_shows(shop: Shop) -> None:
    """The same bytes twice are one proof, and the proof names the hash that everybody can see and push."""
    sponsor = shop.account()
    seller = shop.seller(fee_payer_key=sponsor.secret().hex())
    challenge = shop.challenge(seller)
    shown = shop.pay(shop.payer(), challenge)
    first, again = (shop.check(seller, challenge, shown.payload) for _ in range(2))
    assert first.proof == again.proof
    outcome = shop.settle(seller, shop.prepare(seller, first))
    assert isinstance(outcome, Settled)
    unsponsoring = shop.seller(recipient=seller.config.recipient)
    as_push = replace(challenge, request=_without_fee_payer(challenge))
    pushed = shop.check(unsponsoring, as_push, {"type": "hash", "hash": outcome.reference})
    assert pushed.proof == first.proof


def _without_fee_payer(challenge: Challenge) -> str:
    request = challenge.request_object()
    details = {name: value for name, value in request["methodDetails"].items() if name == "chainId"}
    return encode_object({**request, "methodDetails": details})


@pytest.mark.guard("T32")
def test_a_transfer_told_of_twice_is_counted_once() -> None:
    """A token tells of a transfer with a memo by two events; they pay one leg and not two."""
    payer, shop_, challenge = fresh_address(), fresh_address(), Challenge("i" * 43, "r", "tempo", "charge", "e30")
    bound = attribution_memo("r", "i" * 43)
    terms = TempoTerms(
        asset(42431, PATH, None), 20, (), 42431, (Leg(shop_, 10), Leg(shop_, 10)), False, frozenset({"push"})
    )
    topics = (encode_address(payer), encode_address(shop_))
    plain = Log(PATH, (TRANSFER_TOPIC, *topics), encode_uint256(10))
    with_memo = Log(PATH, (TRANSFER_WITH_MEMO_TOPIC, *topics, bound), encode_uint256(10))
    once = Receipt("0x" + "11" * 32, True, 1, "0x" + "22" * 32, payer, (plain, with_memo))
    with pytest.raises((VerificationFailed, PaymentInsufficient)):
        require_paid(once, payer, terms, Binding(challenge))
    twice = replace(once, logs=(plain, with_memo, plain))
    require_paid(twice, payer, terms, Binding(challenge))
    three = replace(terms, legs=(*terms.legs, Leg(shop_, 10)))
    with pytest.raises((VerificationFailed, PaymentInsufficient)):
        require_paid(twice, payer, three, Binding(challenge))
    require_paid(replace(once, logs=(plain, with_memo, plain, plain)), payer, three, Binding(challenge))


@pytest.mark.guard("T32")
def test_somebody_elses_transfer_in_the_same_transaction_is_not_the_payers() -> None:
    """Events count only where the money came from the account that pays."""
    payer, other, shop_ = fresh_address(), fresh_address(), fresh_address()
    challenge = Challenge("i" * 43, "r", "tempo", "charge", "e30")
    terms = TempoTerms(asset(42431, PATH, None), 10, (), 42431, (Leg(shop_, 10),), False, frozenset({"push"}))
    topics = (encode_address(other), encode_address(shop_), attribution_memo("r", "i" * 43))
    log = Log(PATH, (TRANSFER_WITH_MEMO_TOPIC, *topics), encode_uint256(10))
    receipt = Receipt("0x" + "11" * 32, True, 1, "0x" + "22" * 32, payer, (log,))
    with pytest.raises(VerificationFailed, match="no transfer"):
        require_paid(receipt, payer, terms, Binding(challenge))
    require_paid(replace(receipt, sender=other), other, terms, Binding(challenge))
