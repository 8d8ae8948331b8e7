"""What a settlement and a close pay, to whom, and what is never forfeited: lost accounts, frozen ones, faults."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.ed25519 import read_ed25519
from coinslot.chains.solana.message import MAX_BYTES, read_transaction
from coinslot.chains.solana.programs import ED25519_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet.channels.solana.program import PROGRAM_ID, TREASURY_OWNER
from coinslot.drive import run
from coinslot.errors import ChainError, LedgerError, UsageError, VerificationFailed
from coinslot.intents.acts import Done, Sendable
from coinslot.intents.charge import DailyLimits, Pending, Refused
from coinslot.intents.session import Stage
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.parcel import read_parcel
from coinslot.methods.solana.session.payout import BATCH, REFUND_WAIT_S
from coinslot.methods.solana.session.program import WithdrawPayer, build_withdraw_payer, read_settle
from coinslot.methods.solana.session.sponsoring import Refunds
from coinslot.methods.solana.session.voucher import decode_voucher
from coinslot.server.settler import Policy
from support.solanaopening import key
from support.solanapayouts import Tills, bought, done, job, lose_account, made, settle_all
from support.solanatill import COST, DEPOSIT, PURSE, USDC, Buyer, holding, send
from support.strike import struck_at

# --- splits, and accounts that are missing ---------------------------------------------------------


@pytest.mark.spec("SSES-038", "SSES-036")
@pytest.mark.guard("T28")
@pytest.mark.parametrize("count", [1, 3, 8])
def test_shares_reach_accounts_that_were_missing(solana_till: Tills, count: int) -> None:
    """In as many transactions as it takes, none above 1232 bytes; what rounding leaves goes to the treasury."""
    splits = tuple(Split(key(f"somebody {at}").address, 1_111) for at in range(count))
    till = solana_till(splits=splits)
    buyer = bought(till)
    close = job(till, buyer, closes=True)
    parcel, transactions = read_parcel(made(till, close).raw)
    assert all(len(one) <= MAX_BYTES for one in parcel.transactions)
    assert len({one.blockhash for one in transactions}) == 1
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    assert [holding(till, one.recipient) for one in splits] == [COST * 1_111 // 10_000] * count
    share = COST * (10_000 - 1_111 * count) // 10_000
    assert (holding(till, till.payee.address), buyer.purse) == (share, PURSE - COST)
    assert holding(till, TREASURY_OWNER) == COST - share - count * (COST * 1_111 // 10_000)


@pytest.mark.guard("T28", "T31")
@pytest.mark.parametrize("times", [0, 2])
def test_who_closed_its_token_account_is_refunded_when_it_is_back(solana_till: Tills, times: int) -> None:
    """The payee does not wait for that, and nobody gets a new account at our cost, nor the treasury the refund."""
    till = solana_till()
    buyer = bought(till, times)
    lose_account(till, buyer.key.address)
    before = till.svm.balance(till.payer.address, "SOL")
    till.answer(buyer.close(times * COST))
    account = buyer.on_chain
    assert account is not None
    assert (account.status, account.settled_units) == (Status.SEALED, times * COST)
    assert holding(till, till.payee.address) == times * COST
    assert before - till.svm.balance(till.payer.address, "SOL") < 2 * 2_039_280 + 100_000  # the payee's, the treasury's
    with pytest.raises(VerificationFailed, match=r"the payer's token account .* is missing"):
        made(till, job(till, buyer, closes=True))
    till.svm.fund(buyer.key.address, 5, "USDC")  # whoever sends it something makes it anew
    till.world.at_s += 4_000
    assert till.settle().closed == 1
    assert (buyer.purse, holding(till, TREASURY_OWNER)) == (DEPOSIT - times * COST + 5, 0)
    assert (buyer.record.stage, buyer.record.settled) == (Stage.CLOSED, times * COST)


@pytest.mark.guard("T28", "T31")
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_payer_that_leaves_without_an_account_is_waited_for_a_day(solana_till: Tills, comes_back: bool) -> None:
    """The channel can't be paid out in parts. It is sealed in time, and nobody makes an account for it at once; when
    its payer has its refund the payee is paid, and else after a day, by an account that is made.
    """
    till = solana_till()
    buyer = bought(till)
    lose_account(till, buyer.key.address)
    buyer.ask_to_close()
    before = till.svm.balance(till.payer.address, "SOL")
    till.settle()
    till.world.at_s += 20
    assert till.settle().closed == 0
    assert before - till.svm.balance(till.payer.address, "SOL") < 2 * 2_039_280 + 100_000  # the payee's, the treasury's
    account = buyer.on_chain
    assert account is not None
    assert (account.status, account.settled_units) == (Status.SEALED, COST)
    with pytest.raises(VerificationFailed, match=r"the payer's token account .* is missing"):
        made(till, job(till, buyer, closes=True))
    if comes_back:
        till.svm.fund(buyer.key.address, 5, "USDC")
        take = WithdrawPayer(buyer.channel, buyer.key.address, till.mint, till.token_program)
        raw = buyer.signed(
            build_withdraw_payer(PROGRAM_ID, take), blockhash=till.svm.blockhash(), payer=buyer.key.address
        )
        send(till.svm, raw)
        till.world.at_s += 4_000
    else:
        till.svm.running.warp_seconds(REFUND_WAIT_S + 1)
        till.svm.running.advance_slots(1)
        till.world.at_s += REFUND_WAIT_S + 60
    till.watch()
    report = till.settle()
    assert report.closed == 1, report
    assert holding(till, till.payee.address) == COST
    assert buyer.purse == DEPOSIT - COST + (5 if comes_back else 0)


@pytest.mark.guard("T28")
def test_a_refund_alone_waits_for_its_payer(solana_till: Tills) -> None:
    """Nothing is owed to the payee, and nobody makes an account for it, however long it takes."""
    till = solana_till()
    other = till.buyer()
    lose_account(till, other.key.address)
    other.ask_to_close()
    (outcome,) = done(till, job(till, other, closes=True))
    assert isinstance(outcome, Refused)
    till.svm.running.warp_seconds(2 * REFUND_WAIT_S)
    till.svm.running.advance_slots(1)
    with pytest.raises(VerificationFailed, match=r"the payer's token account .* is missing"):
        made(till, job(till, other, closes=True))


@pytest.mark.guard("T28")
def test_who_gave_its_token_account_away_holds_nobody_up(solana_till: Tills) -> None:
    """Nothing could ever be refunded into it; what was earned is paid out."""
    till = solana_till()
    buyer = bought(till)
    place = derive_ata(buyer.key.address, USDC, TOKEN_PROGRAM)
    told: Any = till.svm.rpc("getAccountInfo", place, {"encoding": "base64"})
    data = base64.b64decode(told["value"]["data"][0])
    given = data[:32] + address_bytes(key("somebody else").address) + data[64:]
    till.svm.rpc("surfnet_setAccount", place, {"data": given.hex()})
    assert till.answer(buyer.close()).status == 204
    assert holding(till, till.payee.address) == COST


@pytest.mark.guard("T31")
@pytest.mark.parametrize("sponsored", [True, False])
def test_new_accounts_for_refunds_are_not_given_without_end(solana_till: Tills, sponsored: bool) -> None:
    """A payer could close its account before each close, and keep the rent of the new one: so openings draw on that."""
    refunds = Refunds(key("who closes").address, 2_039_280, DailyLimits(2 * 2_039_280, 10**9))
    till = solana_till(sponsored=sponsored, refunds=refunds)
    first = till.buyer()
    for at in range(2):
        again = Buyer(till, first.key, till.challenge())
        answer = till.answer(again.open())
        assert (answer.status, b"budget" in answer.body) == ((200, False) if at == 0 else (402, True))
    assert till.buyer().record.deposit == DEPOSIT  # another payer


@pytest.mark.guard("T28")
@pytest.mark.parametrize("whose", ["payee", "payer", "recipient"])
def test_who_is_frozen_is_not_forfeited(solana_till: Tills, whose: str) -> None:
    """What is owed is secured on the chain, the rest waits and is told, and is paid out when it can be."""
    somebody = key("somebody")
    till = solana_till(splits=(Split(somebody.address, 1_000),))
    buyer = bought(till)
    who = {"payee": till.payee.address, "payer": buyer.key.address, "recipient": somebody.address}[whose]
    held = PURSE - DEPOSIT if whose == "payer" else 0
    till.svm.rpc("surfnet_setTokenAccount", who, USDC, {"amount": held, "state": "frozen"})
    till.answer(buyer.close())
    account = buyer.on_chain
    assert account is not None
    assert (account.status, account.settled_units) == (Status.SEALED, COST)
    with pytest.raises(VerificationFailed, match=rf"the {whose}'s token account .* is frozen"):
        made(till, job(till, buyer, closes=True))
    till.svm.rpc("surfnet_setTokenAccount", who, USDC, {"amount": held, "state": "initialized"})
    till.world.at_s += 4_000
    assert till.settle().closed == 1
    assert holding(till, TREASURY_OWNER) == 0
    assert (holding(till, till.payee.address), holding(till, somebody.address)) == (900, 100)
    assert buyer.purse == PURSE - COST


@pytest.mark.guard("T28", "T29")
def test_a_frozen_escrow_is_told(solana_till: Tills) -> None:
    """An issuer can freeze it; nothing is tried that would fail."""
    till = solana_till()
    buyer = bought(till)
    till.svm.rpc("surfnet_setTokenAccount", buyer.channel, USDC, {"amount": DEPOSIT, "state": "frozen"})
    sent = made(till, job(till, buyer, closes=True))
    _, (transaction,) = read_parcel(sent.raw)
    assert [one.program for one in transaction.instructions][-2:] == [ED25519_PROGRAM, PROGRAM_ID]
    run(till.seller.send(sent.raw), till.world)
    with pytest.raises(VerificationFailed, match=r"the escrow's token account .* is frozen"):
        made(till, job(till, buyer, closes=True))


# --- the settler -----------------------------------------------------------------------------------


@pytest.mark.spec("SSES-030", "SSES-158", "SSES-164", "SSES-188")
@pytest.mark.parametrize("operator", [False, True])
def test_channels_are_settled_together(solana_till: Tills, operator: bool) -> None:
    """Each voucher stands right before its own settlement, in the layout of 162 bytes."""
    till = solana_till(operator=operator)
    buyers = [bought(till) for _ in range(BATCH)]
    sent = made(till, *(job(till, one, closes=False) for one in buyers))
    _, (transaction,) = read_parcel(sent.raw)
    calls = [one for one in transaction.instructions if one.program in (ED25519_PROGRAM, PROGRAM_ID)]
    for before, after, buyer in zip(calls[::2], calls[1::2], buyers, strict=True):
        assert len(before.data) == 162
        signed = read_ed25519(before)
        assert signed.message == decode_voucher(buyer.record.voucher).message
        assert read_settle(PROGRAM_ID, after).channel == buyer.channel
    report = till.settle(settle_all(till))
    assert (report.planned, report.settled, report.failed) == (BATCH, BATCH, 0)
    assert [one.sums for one in buyers] == [(DEPOSIT if operator else COST, COST, COST)] * BATCH
    assert till.serve(buyers[0].pay()).status == 200  # and it goes on


def test_one_bad_channel_does_not_hold_up_the_others(solana_till: Tills) -> None:
    """It is left out, and told."""
    till = solana_till()
    good, bad = bought(till), bought(till)
    jobs = (job(till, good, closes=False), job(till, bad, closes=False))
    assert all(isinstance(one, Done) for one in done(till, jobs[1]))
    outcomes = done(till, *jobs)
    assert isinstance(outcomes[0], Done)
    assert outcomes[1] == Refused("the chain would have refused it: it was left out")


def test_closes_that_do_not_fit_into_one_transaction_go_into_several(solana_till: Tills) -> None:
    """In one parcel, in order."""
    till = solana_till()
    jobs = tuple(job(till, bought(till), closes=True) for _ in range(3))
    sent = made(till, *jobs)
    assert len(read_parcel(sent.raw)[0].transactions) > 1
    outcomes = done(till, *jobs)
    assert all(isinstance(one, Done) and one.closed and one.refunded_units == DEPOSIT - COST for one in outcomes)
    assert holding(till, till.payee.address) == 3 * COST
    with pytest.raises(UsageError):
        made(till)
    with pytest.raises(UsageError):
        made(till, *jobs, *jobs)


@pytest.mark.spec("SSES-224", "SSES-225", "SSES-226", "SSES-228", "SSES-229", "SSES-288", "SSES-291")
def test_an_idle_channel_is_closed_when_it_was_agreed_and_not_before(solana_till: Tills) -> None:
    """Use of it counts; refused requests do not."""
    till = solana_till(idle_options_s=(60, 600), idle_s=600)
    brief, long = bought(till, idle=60), bought(till)
    till.world.at_s += 50
    till.watch()
    assert till.serve(brief.pay()).status == 200
    till.world.at_s += 50
    till.watch()
    till.serve(brief.credential(brief.voucher_payload(1)))
    assert till.settle().stopped == 0
    till.world.at_s += 15
    report = till.settle(Policy(close_idle_after_s=None))
    assert report.stopped == 1
    assert brief.record.stage is Stage.CLOSING
    till.watch()
    assert till.serve(brief.pay()).status == 402
    till.world.at_s += 11
    assert till.settle().closed == 1
    assert (brief.record.stage, long.record.stage) == (Stage.CLOSED, Stage.OPEN)
    assert holding(till, till.payee.address) == 2 * COST


@pytest.mark.spec("SSES-224", "SSES-226")
def test_a_top_up_is_use_of_a_channel(solana_till: Tills) -> None:
    """Its idle time begins anew."""
    till = solana_till(idle_s=60)
    buyer = bought(till)
    till.world.at_s += 50
    till.watch()
    assert till.serve(buyer.top_up(COST)).status == 204
    till.world.at_s += 50
    assert till.settle().stopped == 0
    till.world.at_s += 11
    assert till.settle().stopped == 1


@pytest.mark.spec("SSES-229")
def test_an_idle_channel_of_ours_to_sign_is_closed_for_what_was_spent(solana_till: Tills) -> None:
    """Not for the deposit."""
    till = solana_till(operator=True, idle_s=60)
    buyer = bought(till, 2)
    till.world.at_s += 61
    till.settle()
    till.world.at_s += 11
    assert till.settle().closed == 1
    assert (holding(till, till.payee.address), buyer.purse) == (2 * COST, PURSE - 2 * COST)


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.guard("F09", "F11", "F12", "F13")
def test_a_close_that_never_landed_is_made_anew_when_it_is_dead(solana_till: Tills) -> None:
    """Not before; then the same job sends other bytes."""
    till = solana_till()
    buyer = bought(till)
    till.svm.faults.never_land()
    assert till.answer(buyer.close()).status == 503
    (sent,) = till.store.jobs_of(buyer.store_key, 5).result()
    till.svm.faults.never_land(count=1)
    assert till.settle().pending == 1
    till.svm.running.expire_blockhashes()
    till.svm.running.warp_seconds(1_000)
    till.svm.running.advance_slots(400)
    till.world.at_s += 1_000
    till.watch()
    till.settle()
    till.settle()
    (again,) = till.store.jobs_of(buyer.store_key, 5).result()
    assert again.id == sent.id
    assert again.reference != sent.reference
    assert (buyer.record.stage, buyer.purse) == (Stage.CLOSED, PURSE - COST)


@pytest.mark.guard("F11", "F09")
def test_a_close_whose_answer_was_lost_is_known_by_the_chain(solana_till: Tills) -> None:
    """The node hung up after it had sent it."""
    till = solana_till()
    buyer = bought(till)
    till.svm.faults.lose_answer()
    assert till.answer(buyer.close()).status == 204
    assert buyer.purse == PURSE - COST


@pytest.mark.guard("F09", "F11")
def test_a_close_in_several_transactions_that_was_cut_short_goes_on(solana_till: Tills) -> None:
    """The first of them landed, the server died: the same parcel is sent again, and nobody is paid twice."""
    splits = tuple(Split(key(f"somebody {at}").address, 1_000) for at in range(8))
    till = solana_till(splits=splits)
    buyer = bought(till)
    with struck_at("solana.sent"):
        till.answer(buyer.close())
    (sent,) = till.store.jobs_of(buyer.store_key, 5).result()
    assert len(read_parcel(sent.raw or b"")[0].transactions) > 1
    assert buyer.record.stage is Stage.CLOSING
    till.world.at_s += 60
    till.watch()
    assert till.settle().closed == 1
    assert [holding(till, one.recipient) for one in splits] == [COST // 10] * 8
    assert (holding(till, till.payee.address), buyer.purse) == (COST // 5, PURSE - COST)


@pytest.mark.guard("F11")
def test_an_account_of_ours_without_sol_is_told_and_nothing_is_lost(solana_till: Tills) -> None:
    """Settling waits until it can pay."""
    till = solana_till()
    buyer = bought(till)
    empty = {"lamports": 0, "data": "", "owner": "11111111111111111111111111111111"}
    till.svm.rpc("surfnet_setAccount", till.payer.address, empty)
    with pytest.raises(ChainError, match="can't pay the fee"):
        made(till, job(till, buyer, closes=True))
    report = till.settle(settle_all(till))
    assert "can't pay" in next(iter(report.trouble.values()))
    till.svm.fund(till.payer.address, 10**9, "SOL")
    assert till.settle(settle_all(till)).settled == 1


@pytest.mark.guard("T32", "F12")
def test_a_node_that_is_behind_confirms_nothing(solana_till: Tills) -> None:
    """The transaction is there, its effect is not: no news."""
    till = solana_till()
    buyer = bought(till)
    close = job(till, buyer, closes=True)
    told: Any = till.svm.rpc("getAccountInfo", buyer.channel, {"encoding": "base64"})
    sent = made(till, close)
    run(till.seller.send(sent.raw), till.world)
    before = base64.b64decode(told["value"]["data"][0])
    till.svm.rpc("surfnet_setAccount", buyer.channel, {"data": before.hex()})
    with pytest.raises(ChainError):
        run(till.seller.paid_out(*close, sent), till.world)


def test_what_is_on_record_is_ours_or_nothing(solana_till: Tills) -> None:
    """Bytes that are no parcel are a conflict and no answer."""
    till = solana_till()
    buyer = bought(till)
    for raw in (b"", b"{}", b'{"channels":{},"transactions":["AA=="]}'):
        with pytest.raises(LedgerError):
            run(till.seller.paid_out(*job(till, buyer, closes=True), Sendable("x", raw, 0.0)), till.world)
    sent = made(till, job(till, buyer, closes=True))
    assert isinstance(run(till.seller.paid_out(*job(till, buyer, closes=True), sent), till.world), Pending)
    assert read_transaction(read_parcel(sent.raw)[0].transactions[0]).payer == till.payer.address


def test_a_seller_serves_channels_of_its_own_recipient_and_token(solana_till: Tills) -> None:
    """On any program, with any splits; of nobody else."""
    till, other = solana_till(), solana_till()
    buyer = till.buyer()
    assert till.seller.serves(buyer.record)
    assert not other.seller.serves(buyer.record)
