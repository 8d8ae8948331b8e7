"""Money out of channels, on a running chain: what settles and closes them, who is paid, and what is never forfeited."""

from __future__ import annotations

from typing import Any

import pytest

from coinslot.chains.solana.programs import ED25519_PROGRAM
from coinslot.errors import VerificationFailed
from coinslot.intents.acts import Done, Sendable
from coinslot.intents.session import Stage
from coinslot.ledger import escrow_account
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.parcel import read_parcel
from support.solanapayouts import KINDS, Tills, bought, done, job, made, settle_all
from support.solanatill import COST, DEPOSIT, GRACE_S, PURSE, Buyer, holding, receipt_of
from support.till import problem

# --- the client closes -----------------------------------------------------------------------------


@pytest.mark.spec("SSES-218", "SSES-135", "SSES-134", "SSES-035", "SSES-158", "SSES-038", "SSES-037", "SSES-188")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_close_pays_everybody_in_one_transaction(solana_till: Tills, kind: dict[str, Any]) -> None:
    """At once, whatever the slot: payee, payer, and the escrow is gone. The receipt says so."""
    till = solana_till(**kind)
    buyer = bought(till, 3)
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    told = receipt_of(answer)
    assert (told.extra["spent"], told.extra["refunded"]) == (str(3 * COST), str(DEPOSIT - 3 * COST))
    assert told.extra["acceptedCumulative"] == str(3 * COST)
    assert till.svm.rpc("getTransaction", told.extra["txHash"], {"maxSupportedTransactionVersion": 0}) is not None
    assert (holding(till, till.payee.address), buyer.purse) == (3 * COST, PURSE - 3 * COST)
    record, account = buyer.record, buyer.on_chain
    assert (record.stage, record.settled) == (Stage.CLOSED, 3 * COST)
    assert account is not None
    assert account.status is Status.DISTRIBUTED
    books = till.store.balances().result()
    assert all(sum(accounts.values()) == 0 for accounts in books.values())
    assert books[record.asset].get(escrow_account(record.key), 0) == 0


@pytest.mark.spec("SSES-136", "SSES-218")
@pytest.mark.guard("T23")
@pytest.mark.parametrize("operator", [False, True])
def test_a_channel_of_which_nothing_was_bought_is_closed_too(solana_till: Tills, operator: bool) -> None:
    """Without any voucher: the whole deposit goes back."""
    till = solana_till(operator=operator)
    buyer = till.buyer()
    assert till.answer(buyer.close(0)).status == 204
    assert (holding(till, till.payee.address), buyer.purse) == (0, PURSE)
    parcel, (transaction,) = read_parcel(till.store.jobs_of(buyer.store_key, 1).result()[0].raw or b"")
    assert ED25519_PROGRAM not in {one.program for one in transaction.instructions}
    assert list(parcel.seen) == [buyer.channel]


@pytest.mark.spec("SSES-135", "SSES-134", "SSES-136")
@pytest.mark.guard("T13", "T15", "T23")
def test_only_who_may_speak_for_a_channel_closes_it(solana_till: Tills) -> None:
    """With a good voucher of at least what was bought, or the bound proof."""
    till = solana_till()
    buyer, other = bought(till, 2), till.buyer()
    payload = {"action": "close", "channelId": buyer.channel}
    forged = {**payload, "voucher": {**buyer.voucher(2 * COST).members(), "signature": _other_signature(other)}}
    for wrong in (buyer.close(COST), buyer.close(DEPOSIT + 1), buyer.credential(forged)):
        answer = till.answer(wrong)
        assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")
    assert buyer.record.stage is Stage.OPEN
    till = solana_till(operator=True)
    buyer, other = bought(till), till.buyer()
    stolen = {**payload, "channelId": buyer.channel, "authentication": other.authentication}
    assert till.answer(buyer.credential(stolen)).status == 402
    assert till.answer(buyer.close()).status == 204


def _other_signature(other: Buyer) -> object:
    return other.voucher(2 * COST).members()["signature"]


@pytest.mark.spec("SSES-251")
def test_a_close_told_again_gets_the_same_receipt(solana_till: Tills) -> None:
    """And nothing more is bought."""
    till = solana_till()
    buyer = bought(till)
    first = receipt_of(till.answer(buyer.close()))
    assert receipt_of(till.answer(buyer.close())).extra["txHash"] == first.extra["txHash"]
    answer = till.serve(buyer.pay())
    assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")


def test_a_close_of_what_was_settled_shows_no_voucher_again(solana_till: Tills) -> None:
    """The program refuses one that adds nothing."""
    till = solana_till()
    buyer = bought(till, 2)
    assert till.settle(settle_all(till)).settled == 1
    account = buyer.on_chain
    assert account is not None
    assert (account.settled_units, buyer.record.settled) == (2 * COST, 2 * COST)
    assert holding(till, till.payee.address) == 0  # the tokens leave the escrow when the channel is distributed
    assert till.answer(buyer.close()).status == 204
    assert (holding(till, till.payee.address), buyer.purse) == (2 * COST, PURSE - 2 * COST)


# --- the payer closes ------------------------------------------------------------------------------


@pytest.mark.spec("SSES-260", "SSES-153")
@pytest.mark.guard("T27", "T28")
@pytest.mark.parametrize("operator", [False, True])
def test_a_forced_close_is_answered_in_time_with_the_latest_voucher(solana_till: Tills, operator: bool) -> None:
    """Within the grace period, so that nothing that was sold is lost."""
    till = solana_till(operator=operator)
    buyer = bought(till, 2)
    buyer.ask_to_close()
    report = till.settle()
    assert report.stopped == 1
    till.world.at_s += 20
    assert report.closed + till.settle().closed == 1
    account = buyer.on_chain
    assert account is not None
    assert account.status is Status.DISTRIBUTED
    assert (holding(till, till.payee.address), buyer.purse) == (2 * COST, PURSE - 2 * COST)


@pytest.mark.guard("T27")
def test_a_settlement_of_a_closing_channel_seals_it(solana_till: Tills) -> None:
    """The program settles open channels only; so what is urgent is secured by the payee's own end."""
    till = solana_till()
    buyer = bought(till)
    buyer.ask_to_close()
    (outcome,) = done(till, job(till, buyer, closes=False))
    assert isinstance(outcome, Done)
    assert (outcome.settled_units, outcome.closed) == (COST, False)
    account = buyer.on_chain
    assert account is not None
    assert (account.status, account.settled_units) == (Status.SEALED, COST)
    (outcome,) = done(till, job(till, buyer, closes=True))
    assert isinstance(outcome, Done)
    assert (outcome.settled_units, outcome.refunded_units, outcome.closed) == (COST, DEPOSIT - COST, True)


def test_after_the_grace_period_what_is_left_is_closed(solana_till: Tills) -> None:
    """Too late for a voucher: sealed by anybody, and distributed; the rent comes back all the same."""
    till = solana_till()
    buyer = bought(till)
    buyer.ask_to_close()
    till.svm.running.warp_seconds(GRACE_S + 1)
    till.svm.running.advance_slots(1)
    (outcome,) = done(till, job(till, buyer, closes=True))
    assert isinstance(outcome, Done)
    assert (outcome.settled_units, outcome.refunded_units) == (0, DEPOSIT)
    assert buyer.purse == PURSE


def test_a_voucher_that_expired_is_not_shown(solana_till: Tills) -> None:
    """The chain would refuse it, and the rest of the deposit would be stuck with it."""
    till = solana_till(voucher_life_s=0)
    buyer = till.buyer()
    voucher = buyer.voucher_payload(COST, expires_at=int(till.world.at_s) + 60)
    assert till.serve(buyer.credential(voucher)).status == 200
    assert isinstance(made(till, job(till, buyer, closes=False)), Sendable)
    till.svm.running.warp_seconds(120)
    till.svm.running.advance_slots(1)
    with pytest.raises(VerificationFailed, match="nothing more is to be settled"):
        made(till, job(till, buyer, closes=False))
    (outcome,) = done(till, job(till, buyer, closes=True))
    assert isinstance(outcome, Done)
    assert (outcome.settled_units, outcome.refunded_units) == (0, DEPOSIT)
