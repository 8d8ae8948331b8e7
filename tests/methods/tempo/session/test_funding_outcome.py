"""What became of an opening or a top-up: the chain's word, and nobody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.errors import (
    LedgerError,
    RpcUnreachable,
)
from coinslot.intents.acts import Funded
from coinslot.intents.charge import Pending, Prepared, Refused
from coinslot.methods.tempo.session import reserve
from coinslot.methods.tempo.session.calls import CloseCall
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from support.rpcfault import FaultyNode, answer, drop, drop_after, edit
from support.tempofunding import BLOCK, RECEIPT, SYNC, VERSIONS
from support.temposeller import Stall, stall
from support.temposhop import DOLLAR, Shop

pytestmark = pytest.mark.devnet


def ready(at: Stall) -> Prepared:
    """An open that can be sent."""
    challenge, move = at.move()
    return at.prepare(at.check(challenge, move.payload), challenge)


@VERSIONS
@pytest.mark.guard("F09", "F11")
def test_an_answer_that_is_lost_is_not_a_refusal(shop: Shop, faulty: FaultyNode, version: Version) -> None:
    """The node took it and fell silent: pending; and another process with the record alone learns the end."""
    at = stall(shop, version, rpc_url=faulty.url)
    prepared = ready(at)
    faulty.on(SYNC, drop_after)
    faulty.on(RECEIPT, answer(None))
    with pytest.raises(RpcUnreachable):
        shop.run(at.seller.broadcast(prepared))
    assert isinstance(at.confirm(prepared), Pending)
    faulty.heal()
    other = at.on(shop.chain.rpc_url)
    outcome = other.settle(prepared)
    assert isinstance(outcome, Funded)
    assert outcome == other.settle(prepared)


@pytest.mark.guard("F11")
@pytest.mark.parametrize("method", [RECEIPT, BLOCK, "eth_call"])
def test_a_node_that_does_not_answer_tells_nothing(
    shop: Shop, faulty: FaultyNode, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not asked is neither open nor not open."""
    monkeypatch.setattr(reserve, "READ_WAIT_S", 0.3)
    at = stall(shop, V2, rpc_url=faulty.url)
    prepared = ready(at)
    shop.run(at.seller.broadcast(prepared))
    faulty.on(method, drop)
    with pytest.raises(RpcUnreachable):
        at.confirm(prepared)


@pytest.mark.guard("F12")
def test_a_replica_that_lags_is_waited_for(shop: Shop, faulty: FaultyNode) -> None:
    """It has the receipt and not yet the block, or not yet the state."""
    at = stall(shop, V2, rpc_url=faulty.url)
    prepared = ready(at)
    shop.run(at.seller.broadcast(prepared))
    faulty.on(BLOCK, answer(None), 1)
    assert isinstance(at.confirm(prepared), Pending)
    faulty.on("eth_call", drop, 2)
    assert isinstance(at.confirm(prepared), Funded)


@pytest.mark.guard("F11", "F12")
def test_an_open_is_dead_only_when_the_chain_is_past_it(shop: Shop) -> None:
    """The chain's clock decides, with room for replicas; the receipt is asked for after it."""
    at = stall(shop, V2, lag_s=5)
    prepared = ready(at)
    assert isinstance(at.confirm(prepared), Pending)
    assert prepared.dead_after_s is not None
    mark = shop.chain.snapshot()
    try:
        for over_s, end in ((5, Pending), (6, Refused)):
            shop.chain.rpc("evm_setNextBlockTimestamp", int(prepared.dead_after_s) + over_s)
            shop.chain.mine()
            assert isinstance(at.confirm(prepared), end)
    finally:
        shop.chain.revert(mark)


@VERSIONS
@pytest.mark.guard("T32")
def test_a_success_that_opened_nothing_is_refused(shop: Shop, faulty: FaultyNode, version: Version) -> None:
    """The event must be there; a reverted transaction can never open it any more."""
    at = stall(shop, version, rpc_url=faulty.url)
    prepared = ready(at)
    shop.run(at.seller.broadcast(prepared))
    faulty.on(RECEIPT, edit(lambda receipt: receipt | {"logs": []}), 1)
    assert isinstance(at.confirm(prepared), Refused)
    faulty.on(RECEIPT, edit(lambda receipt: receipt | {"status": "0x0"}), 1)
    assert isinstance(at.confirm(prepared), Refused)
    assert isinstance(at.confirm(prepared), Funded)


@pytest.mark.guard("T33")
def test_confirmations_are_counted(shop: Shop) -> None:
    """As many blocks as the settings ask."""
    at = stall(shop, V2, confirmations=50)
    prepared = ready(at)
    assert isinstance(at.settle(prepared), Pending)
    shop.chain.mine(50)
    assert isinstance(at.confirm(prepared), Funded)


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-102")
def test_a_channel_whose_payer_closes_it_at_once_is_not_sold(shop: Shop, faulty: FaultyNode) -> None:
    """In the very block in which it was opened: the deposit stays the payer's."""
    at = stall(shop, V2, rpc_url=faulty.url)
    prepared = ready(at)
    shop.run(at.seller.broadcast(prepared))
    faulty.on("eth_call", answer("0x" + f"{0:064x}{DOLLAR:064x}{1_800_000_000:064x}"), 1)
    outcome = at.confirm(prepared)
    assert isinstance(outcome, Refused)
    assert "asked the chain to close" in outcome.reason


@pytest.mark.spec("TSES-098", "TSES-099", "TSES-130")
@pytest.mark.guard("T15")
@pytest.mark.parametrize("word", [3, 4, 5], ids=["payee", "token", "signer"])
def test_a_node_that_names_other_parties_is_not_believed(shop: Shop, faulty: FaultyNode, word: int) -> None:
    """The id stands for them, so the chain can't say otherwise: not known, which is not "not open"."""
    at = stall(shop, V1, rpc_url=faulty.url)
    prepared = ready(at)
    shop.run(at.seller.broadcast(prepared))
    at_byte = 2 + 64 * word + 24
    faulty.on("eth_call", edit(lambda told: told[:at_byte] + "99" * 20 + told[at_byte + 40 :]))
    with pytest.raises(RpcUnreachable, match=r"another channel|different sides"):
        at.confirm(prepared)


def test_a_top_up_that_meets_its_channels_close_is_refused(shop: Shop, faulty: FaultyNode) -> None:
    """In one block: the escrow has paid both sides out, and nothing was added that could be sold."""
    at = stall(shop, V2, rpc_url=faulty.url)
    channel = at.open()
    challenge = at.challenge()
    move = shop.run(at.payer.top_up(challenge, at.held(channel), 5000))
    prepared = at.prepare(at.check(challenge, move.payload, channel), challenge)
    shop.run(at.seller.broadcast(prepared))
    at.act(CloseCall(at.ref(channel), 0, 0, channel.voucher), at.seller.config.payer.key)
    faulty.on("eth_call", answer("0x" + "00" * 96))
    with pytest.raises(RpcUnreachable):  # a node that tells of no close is not believed
        at.confirm(prepared)
    told = shop.chain.rpc("eth_getLogs", {"address": at.seller.config.escrow.address, "fromBlock": "0x0"})
    faulty.on("eth_getLogs", answer(told))
    outcome = at.confirm(prepared)
    assert isinstance(outcome, Refused)
    assert "closed" in outcome.reason


def test_a_record_of_something_else_is_an_error(shop: Shop) -> None:
    """Bytes on record that we never prepared."""
    at = stall(shop, V2)
    prepared = ready(at)
    assert isinstance(at.settle(prepared), Funded)
    for raw in (b"\x76\xc0", read_paid(shop, at)):
        with pytest.raises(LedgerError):
            at.confirm(replace(prepared, raw=raw))


def read_paid(shop: Shop, at: Stall) -> bytes:
    """A plain payment's bytes."""
    challenge = shop.challenge(shop.seller())
    return bytes.fromhex(shop.pay(shop.payer(at.payer_key), challenge).payload["signature"][2:])
