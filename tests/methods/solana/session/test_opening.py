"""Openings through the gate, on a running chain: what is taken, what costs nobody a fee, what is confirmed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.drive import run
from coinslot.errors import ChainError
from coinslot.intents import acts
from coinslot.intents.charge import Pending, Refused
from coinslot.intents.session import Stage
from coinslot.method import Extras
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.distribution import Split, distribution_hash
from coinslot.methods.solana.session.program import TopUp, build_open, build_top_up
from coinslot.methods.solana.session.record import read_record
from coinslot.server.price import Price
from coinslot.store.protocol import Query
from support.solanaopening import key
from support.solanatill import COST, DEPOSIT, PRICE, PURSE, PYUSD, Buyer, SolanaTill, receipt_of, sponsor
from support.svm import SvmChain
from support.till import first, offered, problem

Tills = Callable[..., SolanaTill]
SPLITS = tuple(Split(key(f"recipient {at}").address, 100 + at) for at in range(3))
KINDS: dict[str, dict[str, Any]] = {
    "sponsored": {},
    "paying its own fee": {"sponsored": False},
    "signed for by us": {"operator": True},
    "token 2022": {"mint": PYUSD},
    "with splits": {"splits": SPLITS},
}


@pytest.mark.spec("SSES-117", "SSES-178", "SSES-179", "SSES-021", "SSES-022")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_opening_is_broadcast_confirmed_and_recorded(solana_till: Tills, kind: dict[str, Any]) -> None:
    """All that the document wants to be kept of a channel is on record, and equal to what the chain says."""
    till = solana_till(**kind)
    buyer = till.client(back_dated=5)
    answer = till.answer(buyer.open())
    assert (answer.status, answer.body) == (200, b"")
    record, account = buyer.record, buyer.on_chain
    assert account is not None
    kept = read_record(record.state)
    assert (record.stage, record.deposit, record.spent, record.settled) == (Stage.OPEN, DEPOSIT, 0, 0)
    assert (record.id, record.payer, record.payee) == (buyer.channel, buyer.key.address, till.payee.address)
    assert (record.signer, kept.seeds, kept.rent_payer) == (
        account.seeds.authorized_signer, account.seeds, account.rent_payer,
    )  # fmt: skip
    assert (account.status, account.deposit_units, account.grace_s) == (Status.OPEN, DEPOSIT, 900)
    assert account.distribution_hash == distribution_hash(kept.splits) == distribution_hash(kind.get("splits", ()))
    assert account.rent_payer == (till.payer.address if kind.get("sponsored", True) else buyer.key.address)
    assert (kept.idle_s, kept.challenge_id, kept.operator) == (3_600, buyer.challenge.id, "operator" in kind)
    told = receipt_of(answer)
    assert (told.reference, told.extra["spent"], told.extra["acceptedCumulative"]) == (buyer.channel, "0", "0")
    assert told.extra["idleTimeoutSeconds"] == 3_600


@pytest.mark.spec("SSES-021", "SSES-209")
def test_a_sponsored_payer_needs_no_sol(solana_till: Tills) -> None:
    """Neither for fees nor for rent."""
    till = solana_till()
    before = till.svm.balance(till.payer.address, "SOL")
    buyer = till.buyer()
    assert till.svm.balance(buyer.key.address, "SOL") == 0
    assert till.svm.balance(till.payer.address, "SOL") < before


@pytest.mark.spec("SSES-066", "SSES-067", "SSES-068", "SSES-062", "SSES-070", "SSES-073", "SSES-074", "SSES-082")
def test_a_challenge_for_a_new_channel_carries_the_chains_own_blockhash(solana_till: Tills) -> None:
    """And its slot, the cluster, the token's digits, who pays fees, and the grace period."""
    till = solana_till()
    till.svm.timing(slot_ms=0)
    details = till.client().details
    assert till.svm.rpc("isBlockhashValid", details["recentBlockhash"])["value"]
    assert int(details["recentSlot"]) == till.svm.rpc("getSlot")
    assert (details["network"], details["decimals"], details["gracePeriodSeconds"]) == ("localnet", 6, 900)
    assert (details["feePayer"], details["feePayerKey"]) == (True, till.payer.address)
    assert "channelId" not in details
    assert "idleTimeoutSeconds" not in details


def test_a_blockhash_is_given_out_for_some_seconds(solana_till: Tills) -> None:
    """A busy server asks the node once; an old one is not given out."""
    till = solana_till()
    given = till.client().details["recentBlockhash"]
    till.svm.running.advance_slots(3)
    assert till.client().details["recentBlockhash"] == given
    till.world.at_s += 11
    assert till.client().details["recentBlockhash"] != given


@pytest.mark.guard("F11")
def test_without_an_answer_of_the_node_the_last_blockhash_is_given_out(solana_till: Tills) -> None:
    """For half of its life; then the offer is not made."""
    till = solana_till()
    given = till.client().details["recentBlockhash"]
    till.svm.faults.refuse(method="getLatestBlockhash", count=100)
    till.world.at_s += 20
    assert till.challenge().request_object()["methodDetails"]["recentBlockhash"] == given
    till.world.at_s += 20
    with pytest.raises(ChainError):
        run(till.seller.complete(till.seller.offer(Decimal(1), Extras(), acts.Tariff())), till.world)


# --- refusals that cost nobody anything ----------------------------------------------------------


def refused(till: SolanaTill, credential: str, slug: str = "verification-failed") -> dict[str, Any]:
    """The problem, which comes with a fresh challenge; nothing was sent or paid for."""
    before = till.svm.balance(till.payer.address, "SOL")
    answer = till.answer(credential)
    told = problem(answer)
    assert (answer.status, told["slug"]) == (402, slug), told
    assert offered(answer)[0].intent == "session"
    assert till.svm.balance(till.payer.address, "SOL") == before
    return told


def another_call(buyer: Buyer, **changes: Any) -> str:
    """An opening of something else than was asked for, consistent in itself."""
    return buyer.open(call=replace(buyer.call, **changes))


@pytest.mark.spec("SSES-116", "SSES-243", "SSES-245", "SSES-257", "SSES-258", "SSES-287")
@pytest.mark.guard("T31")
def test_what_is_not_the_channel_that_was_asked_for_is_never_sent(solana_till: Tills) -> None:
    """The problem is one of the document's three, with a fresh challenge; the sponsor pays nothing."""
    till = solana_till(splits=SPLITS, min_deposit_units=5_000)
    buyer = till.client()
    refused(till, another_call(buyer, grace_s=60))
    refused(till, another_call(buyer, deposit_units=4_999))
    refused(till, another_call(buyer, splits=SPLITS[:2]))
    refused(till, buyer.open(channelId=key("another").address))
    assert buyer.on_chain is None
    assert till.answer(buyer.open()).status == 200


@pytest.mark.spec("SSES-115", "SSES-243", "SSES-245")
def test_an_opening_with_a_bump_is_a_malformed_credential(solana_till: Tills) -> None:
    """By that name, with a fresh challenge."""
    till = solana_till()
    refused(till, till.client().open(bump=255), "malformed-credential")


@pytest.mark.spec("SSES-222", "SSES-245", "SSES-246", "SSES-247")
def test_an_idle_timeout_that_was_not_offered_is_a_failed_verification(solana_till: Tills) -> None:
    """The fresh challenge says what is offered."""
    till = solana_till(idle_options_s=(30, 600), idle_s=600)
    buyer = till.client(idle=31)
    told = refused(till, buyer.open())
    assert "not one of the advertised options" in told["detail"]
    buyer.idle = 30
    answer = till.answer(buyer.open())
    assert answer.status == 200
    assert receipt_of(answer).extra["idleTimeoutSeconds"] == 30
    assert till.seller.idle_s(buyer.record) == 30.0


@pytest.mark.spec("SSES-182", "SSES-183", "SSES-184")
def test_a_token_that_is_taken_no_more_is_neither_opened_nor_topped_up(solana_till: Tills) -> None:
    """Though the challenge for it is our own, from before; nothing is sent."""
    till = solana_till()
    buyer, late = till.buyer(), till.client()
    opening, more = late.open(), buyer.top_up(COST)
    other = replace(till.seller.config.asset, id=key("another token").address)
    till.seller = replace(till.seller, config=replace(till.seller.config, asset=other))
    till.price = Price(PRICE, (till.seller,), Extras())
    refused(till, opening, "invalid-challenge")
    refused(till, more, "invalid-challenge")
    refused(till, buyer.pay(), "invalid-challenge")
    assert late.on_chain is None
    assert (buyer.record.deposit, buyer.record.spent) == (DEPOSIT, 0)
    assert till.challenge().request_object()["currency"] == other.id


@pytest.mark.spec("SSES-243")
def test_a_challenge_that_expired_is_an_invalid_one(solana_till: Tills) -> None:
    """Openings under it come too late."""
    till = solana_till()
    buyer = till.client()
    till.world.at_s += 301
    refused(till, buyer.open(), "invalid-challenge")


@pytest.mark.guard("T26")
def test_junk_asks_the_chain_nothing(solana_till: Tills) -> None:
    """What its own bytes disprove is refused before anybody is asked."""
    till = solana_till()
    buyer = till.client()
    till.challenge()
    till.svm.faults.refuse(count=1_000)
    answer = till.answer(another_call(buyer, grace_s=60))
    assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")


@pytest.mark.guard("T31")
def test_what_the_chain_would_refuse_is_not_signed_by_the_sponsor(solana_till: Tills) -> None:
    """A payer without the money, and a blockhash that is too old."""
    till = solana_till()
    refused(till, till.client(units=DEPOSIT - 1).open())
    buyer = till.client()
    till.svm.running.expire_blockhashes()
    assert "fresh challenge" in refused(till, buyer.open())["detail"]


@pytest.mark.guard("T31")
def test_a_sponsor_bounds_what_a_payer_bids_and_binds(solana_till: Tills) -> None:
    """Fees, compute units, and the rent of channels that a payer may open in a day."""
    till = solana_till(sponsored=False)
    limits = sponsor(till.payer, max_fee_lamports=20_000, payer_daily_lamports=2 * 5_020_000)
    till = solana_till(sponsoring=limits, seed="both")
    buyer = till.client()
    opens = build_open(PROGRAM_ID, buyer.call)
    bids: list[tuple[Instruction, ...]] = [
        (build_unit_limit(100_000), build_unit_price(1_000_000)),
        (build_unit_limit(400_001),),
    ]
    for bid in bids:
        assert "not sponsored" in refused(till, buyer.open(raw=buyer.signed(*bid, opens)))["detail"]
    for _ in range(2):
        again = Buyer(till, buyer.key, till.challenge())
        assert till.answer(again.open()).status == 200
    third = Buyer(till, buyer.key, till.challenge())
    assert "budget" in refused(till, third.open())["detail"]


def test_a_sponsor_without_sol_is_our_own_trouble(solana_till: Tills, svm: SvmChain) -> None:
    """503, and nothing was claimed: the same may come again."""
    till = solana_till()
    empty = sponsor(key("a sponsor who has nothing"))
    till = solana_till(sponsoring=empty)
    buyer = till.client()
    answer = till.answer(buyer.open())
    assert (answer.status, problem(answer)["slug"]) == (503, "payment-rail-unavailable")
    svm.fund(empty.address, 10**9, "SOL")
    assert till.answer(buyer.open()).status == 200


@pytest.mark.spec("SSES-091", "SSES-118")
@pytest.mark.guard("T15")
def test_a_proof_of_somebody_else_opens_nothing(solana_till: Tills) -> None:
    """Though the transaction is good."""
    till = solana_till(operator=True)
    buyer, other = till.client(), till.client()
    theirs = {**buyer.authentication, "payer": other.key.address}
    refused(till, buyer.open(authentication=theirs))
    refused(till, buyer.open(authentication={**buyer.authentication, "challengeId": other.challenge.id}))
    assert buyer.on_chain is None


# --- again, and what the chain says --------------------------------------------------------------


@pytest.mark.guard("T35", "T06", "F07")
def test_an_opening_told_again_opens_nothing_again(solana_till: Tills) -> None:
    """Its receipt is repeated, while the channel is open; the sponsor pays once."""
    till = solana_till()
    buyer = till.buyer()
    before = till.svm.balance(till.payer.address, "SOL")
    answer = till.answer(buyer.open())
    assert (answer.status, till.svm.balance(till.payer.address, "SOL")) == (200, before)


@pytest.mark.spec("SSES-029", "SSES-006", "SSES-010")
@pytest.mark.guard("T06", "T08")
def test_the_same_channel_is_not_opened_by_another_transaction(solana_till: Tills) -> None:
    """With its salt and slot it is the same; nothing more is deposited. Another salt is another channel."""
    till = solana_till()
    buyer = till.buyer()
    again = buyer.signed(build_unit_limit(199_999), build_open(PROGRAM_ID, buyer.call))
    assert till.answer(buyer.open(raw=again)).status == 200
    assert (buyer.purse, buyer.record.deposit) == (PURSE - DEPOSIT, DEPOSIT)
    other = Buyer(till, buyer.key, buyer.challenge, salt=buyer.salt ^ 1)
    assert till.answer(other.open()).status == 200
    assert (buyer.purse, other.channel == buyer.channel) == (PURSE - 2 * DEPOSIT, False)
    assert till.answer(buyer.close()).status == 204
    assert till.answer(buyer.open(raw=again)).status == 402


@pytest.mark.guard("T35", "F11")
def test_an_opening_whose_answer_was_lost_goes_on_where_it_was(solana_till: Tills) -> None:
    """Though the node did not answer when it was sent, and trying it out again would fail."""
    till = solana_till()
    buyer = till.client()
    till.svm.faults.lose_answer(method="sendTransaction")
    answer = till.answer(buyer.open())
    assert answer.status == 200
    assert buyer.on_chain is not None


@pytest.mark.guard("T35", "F11", "F14")
def test_an_opening_that_landed_unseen_is_recorded_when_it_comes_again(solana_till: Tills) -> None:
    """503 at first; the same credential then finds what happened. F12"""
    till = solana_till()
    buyer = till.client()
    till.svm.faults.refuse(method="getTransaction", count=1_000)
    answer = till.answer(buyer.open())
    assert answer.status == 503
    assert str(buyer.record.stage) == "opening"
    till.svm.faults.clear()
    answer = till.answer(buyer.open())
    assert answer.status == 200
    assert buyer.record.stage is Stage.OPEN


@pytest.mark.guard("F12", "F13")
def test_an_opening_that_never_landed_is_dead_when_the_finalized_chain_says_so(solana_till: Tills) -> None:
    """Not before its blockhash is gone there, and the time by which it had to be there has passed."""
    till = solana_till()
    buyer = till.client()
    till.svm.faults.never_land()
    assert till.answer(buyer.open()).status == 503
    (payment,) = till.store.payments(Query(payer=buyer.key.address)).result()
    prepared = payment.prepared
    assert prepared is not None

    def outcome() -> acts.FundingOutcome:
        return run(till.seller.confirm(prepared), till.world)

    assert isinstance(outcome(), Pending)
    till.svm.running.advance_slots(400)
    assert isinstance(outcome(), Pending)
    till.svm.running.warp_seconds(1_000)
    till.svm.running.advance_slots(400)
    assert outcome() == Refused("it never appeared, and can't any more")


@pytest.mark.spec("SSES-117")
@pytest.mark.guard("T32")
def test_a_channel_that_its_payer_is_closing_already_is_not_sold_on(solana_till: Tills) -> None:
    """The chain shows it closing when we look."""
    till = solana_till()
    buyer = till.client()
    presented = till.seller.read(buyer.open_payload(), till.seller.terms(buyer.request))
    assert presented.voucher is None
    till.svm.faults.refuse(method="getTransaction", count=1_000)
    assert till.answer(buyer.open()).status == 503
    buyer.ask_to_close()
    till.svm.faults.clear()
    answer = till.answer(buyer.open())
    assert answer.status == 402
    assert "closing this channel was asked for" in problem(answer)["detail"]


def test_nothing_is_bought_by_an_opening(solana_till: Tills) -> None:
    """200 and a receipt; the first voucher buys."""
    till = solana_till()
    buyer = till.client()
    answer = till.serve(buyer.open())
    assert (answer.status, till.runs, answer.body) == (200, 0, b"")
    assert first(answer, "payment-receipt") is not None
    assert till.serve(buyer.pay()).body == b"words"
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.spec("SSES-217", "SSES-032", "SSES-033", "SSES-267")
def test_a_top_up_adds_what_the_chain_shows(solana_till: Tills) -> None:
    """Sponsored, by its own payer, and only while the channel is open."""
    for kind in ({}, {"sponsored": False}, {"operator": True}, {"mint": PYUSD}):
        till = solana_till(**kind)
        buyer = till.buyer()
        answer = till.answer(buyer.top_up(2_500))
        assert answer.status == 204, answer.body
        account = buyer.on_chain
        assert account is not None
        assert account.deposit_units == buyer.record.deposit == DEPOSIT + 2_500
        assert buyer.record.accepted == (buyer.record.deposit if "operator" in kind else 0)
        buyer.ask_to_close()
        refused(till, buyer.top_up(2_501))
        till.settle()
        refused(till, buyer.top_up(2_502))
        assert buyer.record.deposit == DEPOSIT + 2_500


@pytest.mark.spec("SSES-209")
@pytest.mark.guard("T31")
def test_who_can_pays_the_fee_of_its_own_top_up(solana_till: Tills) -> None:
    """Where we offer to pay it too: then we sign nothing, and nothing is drawn from the sponsor's budget."""
    till = solana_till()
    buyer = till.buyer()
    till.svm.fund(buyer.key.address, 10**8, "SOL")
    ours = till.svm.balance(till.payer.address, "SOL")
    call = TopUp(buyer.channel, buyer.key.address, till.mint, till.token_program, 700)
    raw = buyer.signed(build_top_up(PROGRAM_ID, call), blockhash=till.svm.blockhash(), payer=buyer.key.address)
    payload = {"action": "topUp", "channelId": buyer.channel, "additionalAmount": "700"}
    answer = till.answer(buyer.credential({**payload, "transaction": base64.b64encode(raw).decode()}))
    assert (answer.status, buyer.record.deposit) == (204, DEPOSIT + 700)
    assert till.svm.balance(till.payer.address, "SOL") == ours


@pytest.mark.guard("T31")
@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({}, COST),
        ({"suggested_deposit_units": 50_000}, 5_000),
        ({"min_deposit_units": 10 * DEPOSIT, "suggested_deposit_units": 50_000}, DEPOSIT),
        ({"min_top_up_units": 3, "suggested_deposit_units": 50_000}, 3),
    ],
)
def test_a_top_up_that_is_not_worth_its_fee_is_not_sponsored(
    solana_till: Tills, given: dict[str, Any], least: int
) -> None:
    """By the price of a unit, a tenth of what is to be deposited, or a setting; the refusal says the figure."""
    till = solana_till(**given)
    buyer = till.buyer(deposit=10 * DEPOSIT)
    answer = till.answer(buyer.top_up(least - 1))
    told = problem(answer)
    assert (answer.status, told["type"].rpartition("/")[2]) == (402, "verification-failed")
    assert f"({least} base units)" in told["detail"]
    assert till.answer(buyer.top_up(least)).status == 204


@pytest.mark.guard("T06")
def test_a_top_up_counts_once(solana_till: Tills) -> None:
    """However often it is presented."""
    till = solana_till()
    buyer = till.buyer()
    credential = buyer.top_up(2_500)
    for _ in range(3):
        assert till.answer(credential).status == 204
    assert buyer.record.deposit == DEPOSIT + 2_500


def test_junk_is_told_by_name(solana_till: Tills) -> None:
    """A transaction of somebody's imagination."""
    till = solana_till()
    buyer = till.client()
    told = refused(till, buyer.open(transaction=base64.b64encode(b"junk").decode()))
    assert "transaction" in told["detail"]
    assert run(till.seller.look([]), till.world) == ()


@pytest.mark.guard("F12")
def test_an_opening_stays_known_when_its_channel_is_gone(svm: SvmChain, solana_till: Tills) -> None:
    """Its account is freed after the close; before it can be, a node without it is behind. Nothing is sold on it."""
    till = solana_till()
    buyer = till.buyer()
    (opened,) = till.store.payments(Query(limit=9)).result()
    assert opened.prepared is not None
    gone = svm.rpc("getAccountInfo", buyer.channel, {"encoding": "base64"})["value"]
    svm.rpc("surfnet_setAccount", buyer.channel, {"lamports": 0, "data": "", "owner": "1" * 32})
    with pytest.raises(ChainError):
        run(till.seller.confirm(opened.prepared), till.world)
    data = base64.b64decode(gone["data"][0]).hex()
    svm.rpc("surfnet_setAccount", buyer.channel, {"lamports": gone["lamports"], "data": data, "owner": gone["owner"]})
    assert till.answer(buyer.close()).status == 204
    svm.running.advance_slots(1_501)
    assert run(till.seller.tidy(), till.world) == 1
    outcome = run(till.seller.confirm(opened.prepared), till.world)
    assert isinstance(outcome, acts.Funded)
    assert (outcome.state.exists, outcome.state.closed, outcome.added_units) == (False, True, DEPOSIT)
