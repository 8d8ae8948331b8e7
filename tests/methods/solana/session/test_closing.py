"""Money out of channels, on a running chain: what settles and closes them, who is paid, and what is never forfeited."""

from __future__ import annotations

import base64
from collections.abc import Callable
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
from coinslot.intents import session
from coinslot.intents.acts import Done, JobOutcome, Sendable
from coinslot.intents.charge import DailyLimits, Pending, Refused
from coinslot.intents.session import Stage
from coinslot.ledger import escrow_account
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.parcel import read_parcel
from coinslot.methods.solana.session.payout import BATCH, REFUND_WAIT_S
from coinslot.methods.solana.session.program import WithdrawPayer, build_withdraw_payer, read_settle
from coinslot.methods.solana.session.sponsoring import Refunds
from coinslot.methods.solana.session.voucher import decode_voucher
from coinslot.server.settler import Policy
from support.solanaopening import key
from support.solanatill import COST, DEPOSIT, GRACE_S, PURSE, PYUSD, USDC, Buyer, SolanaTill, holding, receipt_of, send
from support.strike import struck_at
from support.till import problem

Tills = Callable[..., SolanaTill]
KINDS: dict[str, dict[str, Any]] = {
    "sponsored": {},
    "paying its own fee": {"sponsored": False},
    "signed for by us": {"operator": True},
    "token 2022": {"mint": PYUSD},
}


def bought(till: SolanaTill, times: int = 1, **changes: Any) -> Buyer:
    """A client that bought so often."""
    buyer = till.buyer(**changes)
    for _ in range(times):
        assert till.serve(buyer.pay()).status == 200
    return buyer


def settle_all(till: SolanaTill) -> Policy:
    """Settle whatever is owed, at once."""
    return Policy(settle_units=1)


Job = tuple[session.Channel, session.Close, bool]


def job(till: SolanaTill, buyer: Buyer, *, closes: bool) -> Job:
    """What a settler would plan now."""
    rules = till.seller.rules(till.seller.terms(buyer.request))
    record = buyer.record
    wanted = session.close(record, None, rules) if closes else session.settlement(record, rules)
    assert isinstance(wanted, session.Close)
    return record, wanted, closes


def made(till: SolanaTill, *jobs: Job) -> Sendable:
    """Signed, nothing sent."""
    return run(till.seller.pay_out(jobs), till.world)


def done(till: SolanaTill, *jobs: Job) -> list[JobOutcome]:
    """Sent, and what became of each."""
    sent = made(till, *jobs)
    run(till.seller.send(sent.raw), till.world)
    return [run(till.seller.paid_out(*one, sent), till.world) for one in jobs]


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


def lose_account(till: SolanaTill, owner: str) -> None:
    """The owner's token account is no more."""
    nothing = {"lamports": 0, "data": "", "owner": "11111111111111111111111111111111"}
    till.svm.rpc("surfnet_setAccount", derive_ata(owner, USDC, TOKEN_PROGRAM), nothing)


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
        till.world.at_s += REFUND_WAIT_S + 1
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


@pytest.mark.spec("SSES-224", "SSES-226", "SSES-228", "SSES-229", "SSES-288")
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


# --- what the chain says ---------------------------------------------------------------------------


@pytest.mark.spec("SSES-152", "SSES-213", "SSES-282", "SSES-281", "SSES-016")
@pytest.mark.guard("T27", "F12")
def test_channels_are_seen_as_the_chain_has_them(solana_till: Tills) -> None:
    """Open, closing, closed, and gone; deposits from the channel's account, never from what its escrow holds."""
    till = solana_till()
    buyers = [bought(till) for _ in range(3)]
    till.svm.fund(buyers[0].channel, 77, "USDC")  # anybody may
    buyers[1].ask_to_close()
    assert till.answer(buyers[2].close()).status == 204
    never = till.client()
    records = [one.record for one in buyers]
    seen = run(till.seller.look(records), till.world)
    assert [(one.exists, one.closed, one.deposit_units) for one in seen] == [
        (True, False, DEPOSIT), (True, False, DEPOSIT), (True, True, DEPOSIT),
    ]  # fmt: skip
    assert seen[0].closing_at_s is None
    assert seen[1].closing_at_s is not None
    assert seen[2].settled_units == COST
    assert never.on_chain is None


@pytest.mark.spec("SSES-152", "SSES-213", "SSES-281", "SSES-282")
@pytest.mark.guard("T07", "T08", "T28", "F12")
def test_what_is_not_our_channel_is_a_fault_and_no_news(solana_till: Tills) -> None:
    """Another owner, another shape, another channel's data, another version: nobody is told that it is closed."""
    till = solana_till()
    buyer, other = bought(till), till.buyer(deposit=DEPOSIT + 1)
    told: Any = till.svm.rpc("getAccountInfo", buyer.channel, {"encoding": "base64"})
    theirs: Any = till.svm.rpc("getAccountInfo", other.channel, {"encoding": "base64"})
    mine = base64.b64decode(told["value"]["data"][0])
    for change in (
        {"owner": TOKEN_PROGRAM},
        {"data": mine[:-1].hex()},
        {"data": base64.b64decode(theirs["value"]["data"][0]).hex()},
        {"data": (b"\x02" + mine[1:]).hex()},
        {"data": (mine[:1] + b"\x02" + mine[2:]).hex()},
        {"data": (mine[:52] + b"\x01\0\0\0" + mine[56:]).hex()},
        {"data": bytes(256).hex()},
    ):
        till.svm.rpc("surfnet_setAccount", buyer.channel, change)
        with pytest.raises(ChainError):
            run(till.seller.look([buyer.record]), till.world)
        till.svm.rpc("surfnet_setAccount", buyer.channel, {"owner": PROGRAM_ID, "data": mine.hex()})
    assert run(till.seller.look([buyer.record]), till.world)[0].exists


@pytest.mark.guard("F12")
def test_a_gift_to_a_channel_that_is_gone_does_not_bring_it_back(solana_till: Tills) -> None:
    """Lamports at its address are no channel."""
    till = solana_till()
    buyer = bought(till)
    assert till.answer(buyer.close()).status == 204
    till.svm.running.advance_slots(1_501)
    assert run(till.seller.tidy(), till.world) == 1
    assert buyer.on_chain is None
    till.svm.fund(buyer.channel, 10**7, "SOL")
    assert not run(till.seller.look([buyer.record]), till.world)[0].exists


@pytest.mark.spec("SSES-043", "SSES-044")
def test_the_rent_of_drained_channels_comes_back(solana_till: Tills) -> None:
    """When their addresses can't be opened any more, many at once; others are left alone."""
    till = solana_till()
    before = till.svm.balance(till.payer.address, "SOL")
    closed = [bought(till) for _ in range(3)]
    going = bought(till)
    for buyer in closed:
        assert till.answer(buyer.close()).status == 204
    assert run(till.seller.tidy(), till.world) == 0
    till.svm.running.advance_slots(1_501)
    till.world.at_s += 11
    late = bought(till)
    assert till.answer(late.close()).status == 204
    report = till.settle(turn=0)
    assert report.tidied == 3
    assert [one.on_chain for one in closed] == [None] * 3
    assert going.on_chain is not None
    assert late.on_chain is not None
    spent = before - till.svm.balance(till.payer.address, "SOL")
    # the payee's and the treasury's token accounts were made; two channels are still out
    assert spent < 4 * 2_100_000 + 2 * 5_000_000


@pytest.mark.guard("T28", "T31")
def test_the_rent_of_a_channel_that_its_payer_abandoned_comes_back(solana_till: Tills) -> None:
    """It was opened at our cost and closed at once, and nobody but us would ever free its rent."""
    till = solana_till()
    buyer, going = till.client(), bought(till)
    till.svm.faults.refuse(method="getTransaction", count=1_000)
    assert till.answer(buyer.open()).status == 503
    buyer.ask_to_close()
    till.svm.faults.clear()
    assert till.answer(buyer.open()).status == 402
    assert run(till.seller.tidy(), till.world) == 0  # its payer could still be owed to, or owe: the grace period runs
    till.svm.running.warp_seconds(GRACE_S + 1)
    till.svm.running.advance_slots(1)
    assert run(till.seller.tidy(), till.world) == 1
    account = buyer.on_chain
    assert account is not None
    assert (account.status, buyer.purse) == (Status.DISTRIBUTED, PURSE)
    till.svm.running.advance_slots(1_501)
    assert run(till.seller.tidy(), till.world) == 1
    assert buyer.on_chain is None
    assert going.on_chain is not None


def test_a_channel_closed_after_the_window_is_gone_at_once(solana_till: Tills) -> None:
    """Its account is freed by the distribution itself; what was paid is known by what we sent."""
    till = solana_till()
    buyer = bought(till)
    till.svm.running.advance_slots(1_501)
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    assert buyer.on_chain is None
    assert (buyer.record.settled, buyer.purse) == (COST, PURSE - COST)
    assert receipt_of(answer).extra["refunded"] == str(DEPOSIT - COST)


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


@pytest.mark.spec("SSES-182", "SSES-183")
def test_a_seller_serves_channels_of_its_own_recipient_and_token(solana_till: Tills) -> None:
    """On any program, with any splits; of nobody else."""
    till, other = solana_till(), solana_till()
    buyer = till.buyer()
    assert till.seller.serves(buyer.record)
    assert not other.seller.serves(buyer.record)
