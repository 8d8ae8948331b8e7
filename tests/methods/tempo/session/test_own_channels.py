"""A payer's channels as the chain has them: looked up, found again, and left without the server's help."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from coinslot.chains.evm.rpc import latest_block
from coinslot.errors import NoPayableOffer, RpcRefused, RpcUnreachable
from coinslot.intents.acts import Held, OnChain, Sendable, Standing
from coinslot.methods.tempo.session import history, ownchannels
from coinslot.methods.tempo.session.calls import CloseCall, SettleCall
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from coinslot.methods.tempo.session.exit import EXIT_GAS
from coinslot.methods.tempo.session.ownchannels import find_channels
from coinslot.methods.tempo.transaction.read import read_transaction
from support.rpcfault import FaultyNode, answer, drop_after, edit
from support.temposession import Lane, lane
from support.temposhop import DOLLAR, Shop, fresh_address

pytestmark = pytest.mark.devnet
VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


def close(one: Lane, held: Held, units: int) -> None:
    """The payee closes with a voucher of so much."""
    assert one.act(CloseCall(one.ref(held), units, units, one.payer.sign(held, units))).succeeded


def sent(one: Lane, made: Sendable) -> OnChain | None:
    """What was signed, sent by the payer itself."""
    one.shop.run(one.payer.send(made.raw))
    return None


@pytest.fixture
def later(shop: Shop) -> Iterator[Any]:
    """Lets the chain's clock run ahead; it goes back afterwards."""
    before = shop.chain.snapshot()

    def run_ahead(seconds: float) -> None:
        shop.chain.rpc("evm_increaseTime", int(seconds))
        shop.chain.mine()

    yield run_ahead
    shop.chain.revert(before)


# --- looking -------------------------------------------------------------------------------------


@VERSIONS
def test_a_channel_that_never_opened_is_not_there(shop: Shop, version: Version) -> None:
    """Signed, and not sent: nothing to lose, and not closed either, since it may still appear."""
    one = lane(shop, version)
    held = one.open().held
    assert one.look(held) == OnChain(held.key, False, 0, 0)


@VERSIONS
def test_a_closed_channel_is_closed_and_says_what_it_paid(shop: Shop, version: Version) -> None:
    """Also where the chain has forgotten it: then its last event tells."""
    one = lane(shop, version)
    held = one.opened()
    close(one, held, 300)
    told = one.look(held)
    assert (told.closed, told.settled_units, told.closing_at_s) == (True, 300, None)
    assert told.exists is (version == V1)
    if version == V2:
        assert told.deposit_units == DOLLAR


def test_a_forgotten_channel_is_looked_for_as_far_back_as_its_opening(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, from the newest on; not beyond the time at which it was signed."""
    one = lane(shop, V2)
    held = one.opened()
    close(one, held, 7)
    never = one.open().held
    shop.chain.mine(12)
    for module in (history, ownchannels):
        monkeypatch.setattr(module, "BLOCKS_AT_ONCE", 3)
    assert one.look(held).closed
    assert one.look(replace(held, opened_at_s=time.time() + 7200)) == OnChain(held.key, False, 0, 0)
    assert not one.look(never).closed
    monkeypatch.setattr(ownchannels, "MAX_PARTS", 1)
    assert not one.look(replace(held, opened_at_s=0.0)).closed


@pytest.mark.guard("T08")
def test_a_node_that_tells_of_another_channel_is_not_believed(shop: Shop, faulty: FaultyNode) -> None:
    """v1 states name their parties, which the id commits to."""
    one = lane(shop, V1)
    held = one.opened()
    payee = one.payee.address[2:]
    lying = replace(one.payer.config.wallet, rpc_url=faulty.url)
    payer = replace(one.payer, config=replace(one.payer.config, wallet=lying))
    faulty.on("eth_call", edit(lambda told: str(told).replace(payee, fresh_address()[2:])))
    with pytest.raises(RpcUnreachable, match="id is not that of its terms"):
        shop.run(payer.look(held))


# --- finding -------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.guard("F04")
def test_what_a_lost_store_forgot_is_found_on_the_chain(shop: Shop, version: Version) -> None:
    """Open ones, closing ones and closed ones; enough to sign, close and withdraw; nobody else's."""
    one = lane(shop, version)
    since_s = float(shop.chain.timestamp())
    opened, closing, closed = (one.opened() for _ in range(3))
    lane(shop, version).opened()
    assert one.act(SettleCall(one.ref(opened), 200, one.payer.sign(opened, 200))).succeeded
    sent(one, shop.run(one.payer.request_close(closing)))
    close(one, closed, 50)
    found: list[Held] = list(shop.run(one.payer.find(since_s)))
    assert [each.key for each in found] == [opened.key, closing.key, closed.key]
    assert [each.standing for each in found] == [Standing.OPEN, Standing.CLOSING, Standing.CLOSED]
    assert [each.settled_units for each in found] == [200, 0, 50]
    assert [each.signed_units for each in found] == [200, 0, 50]
    assert [each.deposit_units for each in found[:2]] == [DOLLAR, DOLLAR]
    assert found[1].closing_at_s == one.look(closing).closing_at_s
    for each, known in zip(found, (opened, closing, closed), strict=True):
        same = ("state", "payer", "payee", "signer", "asset", "network", "method", "channel_id")
        assert [getattr(each, name) for name in same] == [getattr(known, name) for name in same]
        assert one.payer.fits(each, one.terms())
    assert one.act(SettleCall(one.ref(opened), 250, one.payer.sign(found[0], 250))).succeeded


def test_only_what_was_opened_since_then_is_found(shop: Shop, later: Any) -> None:
    """By the chain's clock; nothing in the future."""
    one = lane(shop, V2)
    one.opened()
    later(100)
    since_s = float(shop.run(latest_block(one.url)).timestamp_s)
    held = one.opened()
    assert [each.key for each in shop.run(one.payer.find(since_s))] == [held.key]
    assert len(shop.run(one.payer.find(since_s - 3600))) == 2
    assert shop.run(one.payer.find(since_s + 10**6)) == ()


def test_many_channels_are_asked_for_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that a node takes; in order."""
    one = lane(shop, V2)
    since_s = float(shop.chain.timestamp())
    opened = [one.opened() for _ in range(3)]
    monkeypatch.setattr(ownchannels, "MAX_BATCH", 2)
    monkeypatch.setattr(history, "BLOCKS_AT_ONCE", 2)
    assert [each.key for each in shop.run(one.payer.find(since_s))] == [each.key for each in opened]


@pytest.mark.guard("T08")
def test_a_found_channel_must_be_true_to_its_id(shop: Shop, faulty: FaultyNode) -> None:
    """A node that changes an event makes no channel of ours."""
    for version in (V1, V2):
        one = lane(shop, version)
        since_s = float(shop.chain.timestamp())
        salt = one.open_salt(one.opened())
        faulty.heal()
        faulty.on("eth_getLogs", edit(partial(_with_other_salt, salt)))
        with pytest.raises(RpcUnreachable):
            shop.run(find_channels(faulty.url, [one.escrow], one.payer.account, since_s))


def _with_other_salt(salt: str, told: Any) -> Any:
    return [log | {"data": log["data"].replace(salt[2:], "ab" * 32)} for log in told]


# --- leaving -------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.spec("TSES-189")
def test_without_a_server_the_deposit_comes_back(shop: Shop, later: Any, version: Version) -> None:
    """Asked for, waited for, withdrawn: all but what the payee had settled."""
    one = lane(shop, version)
    held = one.opened()
    assert one.act(SettleCall(one.ref(held), 400, one.payer.sign(held, 400))).succeeded
    with pytest.raises(NoPayableOffer, match="ask first"):
        shop.run(one.payer.withdraw(held))
    asking = shop.run(one.payer.request_close(held))
    assert one.look(held).closing_at_s is None
    sent(one, asking)
    told = one.look(held)
    assert told.closing_at_s == pytest.approx(shop.chain.timestamp(), abs=30)
    with pytest.raises(NoPayableOffer, match="may still settle"):
        shop.run(one.payer.withdraw(held))
    later(one.payer.withdraw_after_s(held))
    before = one.balance(one.payer.account)
    made = shop.run(one.payer.withdraw(held))
    assert made.dead_after_s <= shop.chain.timestamp() + 30
    sent(one, made)
    back = one.balance(one.payer.account) - before
    assert DOLLAR - 400 - 100_000 < back < DOLLAR - 400  # less the fee
    assert one.look(held).closed
    for act in (one.payer.request_close, one.payer.withdraw):
        with pytest.raises(NoPayableOffer, match="closed"):
            shop.run(act(held))


@VERSIONS
def test_leaving_takes_a_fraction_of_the_gas_that_it_may(shop: Shop, later: Any, version: Version) -> None:
    """Measured: the limit has room for an account that holds nothing yet."""
    one = lane(shop, version)
    held = one.opened()
    used = []
    for step in (one.payer.request_close, one.payer.withdraw):
        made = shop.run(step(held))
        sent(one, made)
        receipt = shop.chain.rpc("eth_getTransactionReceipt", made.reference)
        assert isinstance(receipt, dict)
        used.append(int(receipt["gasUsed"], 16))
        later(one.payer.withdraw_after_s(held))
    assert max(used) + 300_000 < EXIT_GAS, used


def test_asking_twice_is_two_transactions_and_one_request(shop: Shop) -> None:
    """In the same second, too; the first time counts."""
    one = lane(shop, V2)
    held = one.opened()
    first, second = (shop.run(one.payer.request_close(held)) for _ in range(2))
    assert first.reference != second.reference
    sent(one, first)
    at_s = one.look(held).closing_at_s
    shop.chain.mine(3)
    sent(one, second)
    assert one.look(held).closing_at_s == at_s


def test_whoever_can_not_pay_the_fee_is_told(shop: Shop, faulty: FaultyNode) -> None:
    """Before anything is signed: all is in the channel, and the price of gas went up."""
    one = lane(shop, V2, key=shop.account(1), rpc_url=faulty.url)
    held = one.opened(DOLLAR * 93 // 100)
    faulty.on("eth_gasPrice", answer(hex(90_000_000_000)))
    with pytest.raises(NoPayableOffer, match="network fee"):
        shop.run(one.payer.request_close(held))


@pytest.mark.guard("F11")
def test_a_lost_answer_is_no_refusal(shop: Shop, faulty: FaultyNode) -> None:
    """The node took it and the connection broke: sending again, or looking, tells."""
    one = lane(shop, V2)
    held = one.opened()
    made = shop.run(one.payer.request_close(held))
    lying = replace(one.payer.config.wallet, rpc_url=faulty.url)
    payer = replace(one.payer, config=replace(one.payer.config, wallet=lying))
    faulty.on("eth_sendRawTransactionSync", drop_after)
    with pytest.raises(RpcUnreachable):
        shop.run(payer.send(made.raw))
    faulty.heal()
    shop.run(payer.send(made.raw))
    assert one.look(held).closing_at_s is not None


def test_what_the_chain_reverts_is_refused(shop: Shop) -> None:
    """It was executed and moved nothing: that is known."""
    one = lane(shop, V2)
    held = one.opened()
    stale = shop.run(one.payer.request_close(held))
    close(one, held, 5)
    with pytest.raises(RpcRefused, match="reverted"):
        shop.run(one.payer.send(stale.raw))
    assert read_transaction(stale.raw).sender == one.payer.account


def test_a_node_that_is_no_help_is_not_taken_for_a_closed_channel(shop: Shop, faulty: FaultyNode) -> None:
    """An answer that can't be read says nothing about the channel."""
    one = lane(shop, V2, rpc_url=faulty.url)
    held = one.opened()
    faulty.on("eth_call", answer("0x"))
    with pytest.raises(RpcUnreachable):
        one.look(held)
    with pytest.raises(RpcUnreachable):
        shop.run(one.payer.request_close(held))
