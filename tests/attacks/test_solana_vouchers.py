"""Vouchers that expire, and vouchers that strangers may not have: payers and passers-by against a seller."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coinslot.core.canonical import decode_object
from coinslot.drive import run
from coinslot.intents.session import Stage
from coinslot.server.answer import Answer
from coinslot.server.price import Metering
from support.solanatill import COST, DEPOSIT, HEAD, PURSE, Buyer, SolanaTill, holding

Tills = Callable[..., SolanaTill]
HOUR = 3600


def snapshot_in(answer: Answer) -> str | None:
    """What an answer tells of a channel besides its receipt."""
    return next((value for name, value in answer.headers if name.lower() == "payment-session-snapshot"), None)


def expiring(buyer: Buyer, total: int, in_s: float) -> str:
    """A credential with a voucher of so much in all that expires."""
    return buyer.credential(buyer.voucher_payload(total, expires_at=int(buyer.till.world.at_s + in_s)))


def pass_time(till: SolanaTill, seconds: int) -> None:
    """On our clock and on the chain's."""
    till.world.at_s += seconds
    till.svm.running.warp_seconds(seconds)
    till.svm.running.advance_slots(1)
    till.watch()


@pytest.mark.guard("T27")
def test_a_voucher_signed_ahead_is_settled_before_it_expires(solana_till: Tills) -> None:
    """Signed a little higher than what was bought, it was left alone until nothing could be collected with it."""
    till = solana_till(idle_s=24 * HOUR)
    buyer = till.buyer()
    for count in range(1, 6):
        assert till.serve(expiring(buyer, count * COST, 2.1 * HOUR)).status == 200
    till.answer(expiring(buyer, 6 * COST, 2.1 * HOUR), HEAD)  # authorized, and nothing bought with it
    for _ in range(5):
        pass_time(till, HOUR // 2)
        till.settle()
    buyer.ask_to_close()
    till.settle()
    pass_time(till, 20)
    till.settle()
    assert buyer.on_chain is not None
    assert buyer.on_chain.settled_units >= 5 * COST


@pytest.mark.guard("T23")
def test_a_close_outlives_a_transaction_that_was_lost(solana_till: Tills) -> None:
    """A close with a voucher that expires in two minutes: dropped once, it would seal the channel for nothing."""
    till = solana_till()
    buyer = till.buyer()
    for count in range(1, 6):
        assert till.serve(buyer.pay(count * COST)).status == 200
    till.answer(buyer.pay(5 * COST + 1), HEAD)  # the one of exactly what was bought is then the lowest
    till.svm.faults.never_land()
    signed = buyer.voucher(5 * COST, expires_at=int(till.world.at_s + 150))
    closing = {"action": "close", "channelId": buyer.channel, "voucher": signed.members()}
    till.answer(buyer.credential(closing))
    till.svm.faults.clear()
    till.svm.running.expire_blockhashes()
    till.svm.running.advance_slots(400)
    for _ in range(4):
        pass_time(till, 300)
        till.settle()
    if buyer.record.stage is not Stage.CLOSED:
        buyer.challenge = till.challenge()
        assert till.answer(buyer.close(5 * COST)).status == 204
    assert holding(till, till.payee.address) == 5 * COST
    assert buyer.purse == PURSE - 5 * COST


@pytest.mark.guard("T05")
def test_what_is_told_of_a_channel_is_told_to_its_signer(solana_till: Tills) -> None:
    """All of an opening stands on the chain: to repeat it proves nothing, and earns no voucher to close with."""
    till = solana_till()
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    stranger = till.challenge()
    told = till.answer(buyer.credential(buyer.open_payload(), stranger))
    snapshot = snapshot_in(told)
    if snapshot is not None:
        stolen = decode_object(snapshot)["highestVoucher"]
        closing = {"action": "close", "channelId": buyer.channel, "voucher": stolen}
        till.answer(buyer.credential(closing, till.challenge()))
    assert buyer.record.stage is Stage.OPEN
    assert snapshot is None


@pytest.mark.guard("T05")
def test_a_top_up_that_is_told_again_shows_no_voucher(solana_till: Tills) -> None:
    """Its bytes are on the chain, too."""
    till = solana_till()
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    credential = buyer.top_up(DEPOSIT)
    assert till.answer(credential).status == 204
    again = till.answer(credential)
    assert again.status == 204
    assert snapshot_in(again) is None


@pytest.mark.guard("T27")
def test_a_stream_does_not_hold_up_a_voucher_until_it_expires(solana_till: Tills) -> None:
    """Its payer asked to close, its window is still held, and the grace is a month: longer than the voucher lives."""
    till = solana_till(grace_s=30 * 24 * HOUR, metering=Metering("word"))
    buyer = till.buyer()
    admission = till.admitted(expiring(buyer, 5 * COST, 2.1 * HOUR))
    assert admission.meter is not None
    assert admission.meter.take(1)
    run(admission.meter.renew(1), till.world)  # the first one is on record as spent, and the next window is held
    buyer.ask_to_close()
    till.settle()
    for _ in range(5):
        pass_time(till, HOUR // 2)
        till.settle()
    assert buyer.on_chain is not None
    assert buyer.on_chain.settled_units == 5 * COST
