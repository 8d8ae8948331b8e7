"""Vouchers and proofs through the gate: each step of the document's verification with one thing wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.signature import signature_text
from coinslot.core.challenge import Challenge
from coinslot.drive import run
from coinslot.errors import SignerMismatch, VerificationFailed
from coinslot.intents import acts, session
from coinslot.intents.session import Stage
from coinslot.method import Extras
from coinslot.methods.solana.session.bearer import sign_bearer
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.record import read_record
from coinslot.methods.solana.session.voucher import decode_voucher, sign_voucher
from coinslot.server.answer import Answer
from coinslot.server.price import Metering, Price
from coinslot.store.open import open_store
from coinslot.store.sqlite import SqliteStore
from support.solanaopening import key
from support.solanatill import COST, GRACE_S, HEAD, WORDS, Buyer, SolanaTill, receipt_of
from support.till import offered, problem, rewritten, token_of

Tills = Callable[..., SolanaTill]
CENTURY = 4_102_444_800  # what deployed clients write


def refused(till: SolanaTill, credential: str, slug: str = "verification-failed") -> dict[str, Any]:
    """The problem: one of the document's three, with a fresh challenge; nothing ran."""
    runs = till.runs
    answer = till.serve(credential)
    told = problem(answer)
    assert (answer.status, told["slug"], till.runs) == (402, slug, runs), told
    assert offered(answer)
    return told


def presented(till: SolanaTill, buyer: Buyer, payload: dict[str, Any], record: session.Channel | None = None) -> None:
    """What the seller says of a payload and a record, without the gate."""
    terms = till.seller.terms(buyer.request)
    credential = token_of(buyer.credential(payload))
    claimed = acts.Claimed(credential, terms, till.world.at_s + 100)
    shown = till.seller.read(payload, terms)
    till.seller.verify(shown, record or buyer.record, claimed, till.world.at_s)


# --- client-signed ---------------------------------------------------------------------------------


@pytest.mark.spec("SSES-156", "SSES-189", "SSES-192", "SSES-193", "SSES-236", "SSES-237", "SSES-191")
@pytest.mark.guard("T02", "T22")
def test_a_voucher_buys_once_and_is_kept_whole(solana_till: Tills) -> None:
    """The record has the amounts and the signed voucher before anything runs."""
    till = solana_till()
    buyer = till.buyer()
    admission = till.admitted(buyer.pay())
    assert buyer.sums == (COST, COST, 0)
    kept = decode_voucher(buyer.record.voucher)
    assert kept == buyer.voucher(COST)
    kept.verify(buyer.key.address)
    told = admission.receipt.extra
    assert (told["acceptedCumulative"], told["spent"], told["units"]) == (str(COST), str(COST), 1)


@pytest.mark.spec("SSES-013", "SSES-145", "SSES-147", "SSES-148")
@pytest.mark.guard("T13", "T15")
def test_only_the_channels_signer_signs_its_vouchers(solana_till: Tills) -> None:
    """Not somebody else under its name, not somebody else under theirs, not a changed amount."""
    till = solana_till()
    buyer, other = till.buyer(), till.buyer()
    theirs = sign_voucher(other.key, buyer.channel, COST)
    for changes in (
        {"signature": theirs.signature},
        {"signature": theirs.signature, "signer": other.key.address},
        {"cumulative_units": COST + 1},
        {"expires_at": CENTURY},
        {"signature": bytes(64)},
    ):
        expires = changes.pop("expires_at", 0)
        payload = buyer.voucher_payload(COST, **changes)
        if expires:
            payload["voucher"]["voucher"]["expiresAt"] = expires  # not what was signed
        refused(till, buyer.credential(payload))
    assert buyer.sums == (0, 0, 0)
    assert till.serve(buyer.pay()).status == 200


@pytest.mark.guard("T13", "T16")
def test_a_second_spelling_of_a_signature_is_none(solana_till: Tills) -> None:
    """S with the order of the group added: some libraries take it, the chain does not."""
    till = solana_till()
    buyer = till.buyer()
    good = buyer.voucher(COST).signature
    order = 2**252 + 27_742_317_777_372_353_535_851_937_790_883_648_493
    second = good[:32] + (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")
    refused(till, buyer.credential(buyer.voucher_payload(COST, signature=second)))
    assert till.serve(buyer.credential(buyer.voucher_payload(COST, signature=good))).status == 200


@pytest.mark.spec("SSES-013", "SSES-148")
@pytest.mark.guard("T15")
def test_a_delegated_key_signs_and_the_payers_own_does_not(solana_till: Tills) -> None:
    """The channel was opened for it."""
    till = solana_till()
    delegate = key("a session key")
    buyer = till.buyer(signer=delegate)
    assert till.serve(buyer.pay()).status == 200
    buyer.signer = buyer.key
    own = buyer.voucher_payload(2 * COST)
    own["voucher"] = sign_voucher(buyer.key, buyer.channel, 2 * COST).members()
    buyer.signer = delegate
    refused(till, buyer.credential(own))


@pytest.mark.spec("SSES-139", "SSES-149", "SSES-144")
@pytest.mark.guard("T07", "T08")
def test_a_voucher_of_another_channel_buys_nothing(solana_till: Tills) -> None:
    """Signed by the same key for another of its channels, or for one that nobody knows."""
    till = solana_till()
    buyer = till.buyer()
    again = Buyer(till, buyer.key, till.challenge())
    assert till.answer(again.open()).status == 200
    payload = buyer.voucher_payload(COST)
    payload["voucher"] = again.voucher(COST).members()
    refused(till, buyer.credential(payload), "malformed-credential")
    never = Buyer(till, buyer.key, till.challenge())
    told = refused(till, never.credential(never.voucher_payload(COST)))
    assert told["channelId"] == never.channel


@pytest.mark.spec("SSES-150", "SSES-202", "SSES-201")
@pytest.mark.guard("T02")
def test_an_equal_or_lower_voucher_is_refused_and_changes_nothing(solana_till: Tills) -> None:
    """Unless it is the same request under the same key, which gets the stored answer."""
    till = solana_till()
    buyer = till.buyer()
    first = buyer.pay()
    answer = till.serve(first, idempotency_key="k")
    again = _again(till, first, "k")
    assert (again.status, again.body, till.runs) == (200, answer.body, 1)
    assert till.serve(buyer.pay()).status == 200
    for total in (2 * COST, COST, 0):
        refused(till, buyer.credential(buyer.voucher_payload(total)))
    assert buyer.sums == (2 * COST, 2 * COST, 0)
    assert till.serve(buyer.pay(4 * COST)).status == 200
    for total in (4 * COST, 3 * COST):  # not even from what is available
        refused(till, buyer.credential(buyer.voucher_payload(total)))
    assert buyer.sums == (4 * COST, 3 * COST, 0)


def _again(till: SolanaTill, credential: str, name: str) -> Answer:
    """Once the answer before it is kept, which nobody waits for."""
    while True:
        answer = till.serve(credential, idempotency_key=name)
        if answer.status != 409:
            return answer


@pytest.mark.spec("SSES-190", "SSES-200", "SSES-203", "SSES-205", "SSES-252")
def test_a_key_is_charged_once(solana_till: Tills) -> None:
    """Whichever of both sides signs the vouchers."""
    for operator in (False, True):
        till = solana_till(operator=operator)
        buyer = till.buyer()
        credential = buyer.pay()
        for _ in range(3):
            assert _again(till, credential, "the key").status == 200
        assert (till.runs, buyer.record.spent) == (1, COST)


@pytest.mark.spec("SSES-151", "SSES-244")
def test_a_voucher_adds_what_the_request_costs(solana_till: Tills) -> None:
    """Not much more; a client whose voucher was lost on the way signs a little more than that."""
    till = solana_till()
    buyer = till.buyer()
    told = refused(till, buyer.pay(5 * COST))
    assert "more than this request costs" in told["detail"]
    assert buyer.sums == (0, 0, 0)
    assert till.serve(buyer.pay(COST + 1)).status == 200


@pytest.mark.spec("SSES-154")
@pytest.mark.guard("T22")
def test_a_voucher_above_the_deposit_is_refused(solana_till: Tills) -> None:
    """The missing amount stands in the problem."""
    till = solana_till()
    buyer = till.buyer(deposit=COST)
    assert till.serve(buyer.pay()).status == 200
    told = refused(till, buyer.pay())
    assert told["channelId"] == buyer.channel
    assert till.serve(buyer.top_up(COST)).status == 204
    assert till.serve(buyer.credential(buyer.voucher_payload(2 * COST))).status == 200


@pytest.mark.spec("SSES-155", "SSES-292")
@pytest.mark.guard("T10")
def test_a_voucher_must_still_be_good_when_it_is_settled(solana_till: Tills) -> None:
    """Clocks may differ by what is configured; 0 and the far future are fine."""
    till = solana_till(voucher_life_s=600, clock_skew_s=30)
    buyer = till.buyer()
    at_s = int(till.world.at_s)
    refused(till, buyer.credential(buyer.voucher_payload(COST, expires_at=at_s + 569)))
    refused(till, buyer.credential(buyer.voucher_payload(COST, expires_at=1)))
    assert till.serve(buyer.credential(buyer.voucher_payload(COST, expires_at=at_s + 572))).status == 200
    assert till.serve(buyer.credential(buyer.voucher_payload(2 * COST, expires_at=CENTURY))).status == 200


def test_a_voucher_adds_at_least_the_least_step(solana_till: Tills) -> None:
    """Where one is asked for."""
    till = solana_till(min_delta_units=2 * COST)
    buyer = till.buyer()
    refused(till, buyer.pay(COST))
    assert till.serve(buyer.pay(2 * COST)).status == 200


@pytest.mark.spec("SSES-122")
def test_a_voucher_buys_nothing_on_a_channel_that_the_server_signs_for(solana_till: Tills) -> None:
    """Not even one that the server signed, under a challenge for clients that sign."""
    till = solana_till(operator=True, seed="one shop")
    assert till.operator is not None
    buyer = till.buyer()
    till.serve(buyer.pay())
    ours = decode_voucher(buyer.record.voucher)
    payload = {"action": "voucher", "channelId": buyer.channel, "voucher": ours.members()}
    refused(till, buyer.credential(payload), "malformed-credential")
    theirs = solana_till(seed="one shop", store=till.store)
    assert theirs.payee.address == till.payee.address
    for total in (COST, 2 * COST):
        payload["voucher"] = sign_voucher(till.operator, buyer.channel, total).members()
        refused(theirs, buyer.credential(payload, theirs.challenge()))
    assert buyer.record.spent == COST


@pytest.mark.spec("SSES-152", "SSES-153", "SSES-199", "SSES-251", "SSES-259", "SSES-260", "SSES-261")
@pytest.mark.guard("T27")
def test_a_channel_whose_payer_asked_to_close_sells_nothing(solana_till: Tills) -> None:
    """From the next look at the chain on; whoever signs."""
    for operator in (False, True):
        till = solana_till(operator=operator)
        buyer = till.buyer()
        assert till.serve(buyer.pay()).status == 200
        buyer.ask_to_close()
        till.look()
        assert buyer.record.stage is Stage.CLOSING
        told = refused(till, buyer.pay())
        assert told["channelId"] == buyer.channel


@pytest.mark.guard("T27", "F26")
def test_nothing_is_sold_while_nobody_looks(solana_till: Tills) -> None:
    """A payer could be closing, unseen."""
    till = solana_till()
    buyer = till.buyer()
    till.world.at_s += GRACE_S / 3 + 6
    assert till.serve(buyer.pay()).status in (402, 503)
    assert buyer.record.spent == 0


@pytest.mark.spec("SSES-195", "SSES-196", "SSES-197", "SSES-198")
def test_requests_that_race_are_charged_one_after_the_other(solana_till: Tills) -> None:
    """Each voucher buys once, each use of a proof is charged."""
    for operator in (False, True):
        till = solana_till(operator=operator)
        buyer = till.buyer()
        ways = [buyer.pay() for _ in range(4)]
        ways *= 2
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(till.present, ways))
        bought = [one for one in answers if not isinstance(one, Answer)]
        assert buyer.record.spent == COST * len(bought)
        assert len(bought) == (8 if operator else len({one.receipt.extra["spent"] for one in bought}))


# --- operator-signed -------------------------------------------------------------------------------


@pytest.mark.spec("SSES-093", "SSES-094", "SSES-095", "SSES-096", "SSES-187")
def test_a_proof_is_used_again_and_again_and_we_sign_what_was_spent(solana_till: Tills) -> None:
    """Each use is charged; the voucher on record is ours, for exactly that."""
    till = solana_till(operator=True)
    buyer = till.buyer()
    assert till.operator is not None
    for times in range(1, 4):
        answer = till.serve(buyer.pay())
        assert answer.status == 200
        kept = decode_voucher(buyer.record.voucher)
        assert (kept.cumulative_units, kept.signer) == (times * COST, till.operator.address)
        kept.verify(till.operator.address)
        assert receipt_of(answer).extra["acceptedCumulative"] == str(times * COST)


@pytest.mark.spec("SSES-093", "SSES-094", "SSES-095")
@pytest.mark.guard("T13", "T15")
def test_a_proof_that_was_not_bound_buys_nothing(solana_till: Tills) -> None:
    """Another key's, for another challenge, for another channel, or good but not the one of the opening."""
    till = solana_till(operator=True)
    buyer, other = till.buyer(), till.buyer()
    elsewhere = sign_bearer(buyer.key, buyer.channel, other.challenge.id)
    for proof in (
        other.authentication,
        {**buyer.authentication, "signature": other.authentication["signature"]},
        {**buyer.authentication, "challengeId": other.challenge.id},
        elsewhere.members(),
        sign_bearer(other.key, buyer.channel, buyer.challenge.id).members(),
    ):
        payload = {"action": "use", "channelId": buyer.channel, "authentication": proof}
        refused(till, buyer.credential(payload))
        refused(till, buyer.credential(payload, other.challenge))
    assert buyer.record.spent == 0


@pytest.mark.spec("SSES-249")
@pytest.mark.guard("T13", "T15")
def test_what_stands_on_the_ledger_buys_nothing(solana_till: Tills) -> None:
    """The opening's signatures, its bytes, the channel's id, and the credential that opened it."""
    till = solana_till(operator=True)
    buyer = till.client()
    opening = buyer.open()
    assert till.answer(opening).status == 200
    raw = str(buyer.open_payload()["transaction"])
    signed = read_transaction(base64.b64decode(token_of(opening).payload_object()["transaction"]))
    public = [signature_text(one) for one in signed.signatures]
    good = dict(buyer.authentication)
    proofs: list[Any] = [{**good, "signature": one} for one in (*public, buyer.channel, raw)]
    proofs += [None, buyer.channel, public[-1], raw, {"type": "transaction", "transaction": raw}]
    for proof in proofs:
        payload = {"action": "use", "channelId": buyer.channel, "authentication": proof}
        answer = till.serve(buyer.credential({name: one for name, one in payload.items() if one is not None}))
        assert (answer.status, problem(answer)["slug"]) in {(402, "verification-failed"), (402, "malformed-credential")}
    again = till.serve(opening)
    assert (again.body, buyer.record.spent, till.runs) == (b"", 0, 0)
    assert till.serve(buyer.pay()).body == b"words"


@pytest.mark.spec("SSES-094")
def test_a_channel_is_used_under_the_challenge_that_opened_it(solana_till: Tills) -> None:
    """A fresh one will not do; but the old one may have expired."""
    till = solana_till(operator=True)
    buyer = till.buyer()
    fresh: Challenge = till.challenge()
    use = {"action": "use", "channelId": buyer.channel, "authentication": buyer.authentication}
    refused(till, buyer.credential(use, fresh))
    till.world.at_s += 400
    till.watch()
    assert till.serve(buyer.pay()).status == 200


@pytest.mark.spec("SSES-094", "SSES-095")
@pytest.mark.guard("T03")
def test_a_proof_buys_on_every_path_at_that_paths_price(solana_till: Tills) -> None:
    """Under the challenge of the opening, which is for another path, and asked less."""
    till = solana_till(operator=True)
    buyer = till.buyer()
    books = replace(WORDS, path="/paid/books")
    assert till.serve(buyer.pay(), books).status == 200
    assert buyer.record.spent == COST
    till.price = Price("0.003", (till.seller,), Extras())
    assert till.serve(buyer.pay(), books).status == 200
    assert till.serve(buyer.pay(), WORDS).status == 200
    assert buyer.record.spent == 7 * COST


@pytest.mark.guard("T03")
def test_only_a_proof_comes_under_a_challenge_of_elsewhere(solana_till: Tills) -> None:
    """A voucher, an opening, a top-up and a close belong to the path and price of their challenge."""
    till = solana_till()
    buyer, other = till.buyer(), till.client()
    pay, opening, more = buyer.pay(), other.open(), buyer.top_up(COST)
    dearer, before = Price("0.003", (till.seller,), Extras()), till.price
    for path, price in ((replace(WORDS, path="/paid/books"), before), (WORDS, dearer)):
        till.price = price
        assert till.answer(pay, path).status == 402
        assert till.answer(opening, path).status == 402
        assert till.answer(more, path).status in {402, 410}
        assert till.answer(buyer.close(), path).status == 402
    assert (buyer.record.stage, buyer.sums) == (Stage.OPEN, (0, 0, 0))
    till.price = before
    assert till.serve(pay).status == 200


@pytest.mark.guard("T03", "T15")
def test_a_proof_of_another_till_buys_nothing_here(solana_till: Tills, tmp_path: Path) -> None:
    """Of the same store and secret, whose seller is paid elsewhere."""
    store = open_store(f"sqlite:///{tmp_path}/payments.db")
    till = solana_till(store=store, operator=True, seed="one")
    buyer = till.buyer()
    other = solana_till(store=store, operator=True, seed="two")
    refused(other, buyer.pay(), "invalid-challenge")
    assert buyer.record.spent == 0


@pytest.mark.spec("SSES-215", "SSES-216")
def test_a_channel_without_its_binding_is_of_no_use(solana_till: Tills) -> None:
    """What stands on the chain does not make up for it."""
    till = solana_till(operator=True)
    buyer = till.buyer()
    kept = read_record(buyer.record.state)
    use = {"action": "use", "channelId": buyer.channel, "authentication": buyer.authentication}
    presented(till, buyer, use)
    for lost in (replace(kept, proof=None), replace(kept, challenge_id=None), replace(kept, operator=False)):
        with pytest.raises((SignerMismatch, VerificationFailed)):
            presented(till, buyer, use, replace(buyer.record, state=lost.encode()))


@pytest.mark.spec("SSES-251", "SSES-096")
@pytest.mark.guard("T22")
def test_a_proof_outlives_an_empty_channel_and_not_a_closed_one(solana_till: Tills) -> None:
    """A top-up brings it back; closing ends it."""
    till = solana_till(operator=True)
    buyer = till.buyer(deposit=COST)
    assert till.serve(buyer.pay()).status == 200
    told = refused(till, buyer.pay())
    assert told["requiredTopUp"] == str(COST)
    assert till.serve(buyer.top_up(2 * COST)).status == 204
    assert till.serve(buyer.pay()).status == 200
    assert till.serve(buyer.close()).status == 204
    refused(till, buyer.pay())  # though the deposit would have covered it
    assert buyer.record.spent == 2 * COST


@pytest.mark.spec("SSES-250")
@pytest.mark.guard("T38")
def test_nothing_in_the_database_can_be_presented(solana_till: Tills, tmp_path: Path) -> None:
    """Of the proof there is a hash; the keys of the seller are in no repr."""
    store = open_store(f"sqlite:///{tmp_path}/payments.db")
    assert isinstance(store, SqliteStore)
    till = solana_till(operator=True, store=store)
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    raw = sign_bearer(buyer.key, buyer.channel, buyer.challenge.id).signature
    till.close()
    data = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert buyer.channel.encode() in data
    for spelt in (raw, raw.hex().encode(), base64.b64encode(raw), str(buyer.authentication["signature"]).encode()):
        assert spelt not in data
    assert till.operator is not None
    for secret in (till.operator.secret(), till.payee.secret(), till.payer.secret()):
        assert secret not in data
        assert secret.hex() not in repr(till.seller)


# --- going on with a channel -----------------------------------------------------------------------


@pytest.mark.spec("SSES-080", "SSES-214", "SSES-223", "SSES-179")
def test_who_runs_dry_is_told_to_go_on_with_its_channel(solana_till: Tills) -> None:
    """The fresh challenge names it and its idle time, and nothing of a new channel; vouchers under both count up."""
    till = solana_till(idle_options_s=(60, 600), idle_s=600)
    buyer = till.buyer(deposit=COST, idle=60)
    assert till.serve(buyer.pay()).status == 200
    answer = till.answer(buyer.credential(buyer.voucher_payload(COST)))
    fresh = offered(answer)[0]
    details = fresh.request_object()["methodDetails"]
    assert (details["channelId"], details["idleTimeoutSeconds"]) == (buyer.channel, 60)
    assert not {"recentBlockhash", "recentSlot", "idleTimeoutOptionsSeconds"} & set(details)
    opened_under = buyer.challenge
    buyer.challenge = fresh
    assert till.serve(buyer.top_up(2 * COST)).status == 204
    assert till.serve(buyer.pay(2 * COST)).status == 200
    buyer.challenge = opened_under
    refused(till, buyer.credential(buyer.voucher_payload(2 * COST)))
    assert till.serve(buyer.pay(3 * COST)).status == 200


@pytest.mark.guard("T03", "T07")
@pytest.mark.parametrize(
    "changes",
    [
        {"grace_s": 60},
        {"operator": True},
        {"mint": "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"},
        {"seed": "another"},
    ],
    ids=["grace", "signer", "token", "payee"],
)
def test_a_channel_of_other_terms_pays_only_terms_that_it_fits(
    solana_till: Tills, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Another signer, token, or payee; another grace period is the business of new channels."""
    store = open_store(f"sqlite:///{tmp_path}/payments.db")
    till = solana_till(store=store, seed="both")
    buyer = till.buyer()
    other = solana_till(store=store, **({"seed": "both"} | changes))
    fits = "grace_s" in changes
    assert other.seller.takes(buyer.record, other.seller.terms(other.challenge().request_object())) is fits


@pytest.mark.guard("T07")
def test_a_channel_of_another_program_or_other_splits_does_not_fit(solana_till: Tills) -> None:
    """What is signed for it could not be collected as these terms say."""
    till = solana_till()
    buyer = till.buyer()
    kept = read_record(buyer.record.state)
    terms = till.seller.terms(buyer.request)
    assert till.seller.takes(buyer.record, terms)
    for other in (replace(kept, program=key("a program").address), replace(kept, splits=(Split(kept.rent_payer, 5),))):
        assert not till.seller.takes(replace(buyer.record, state=other.encode()), terms)


def test_an_altered_challenge_is_none_of_ours(solana_till: Tills) -> None:
    """A lower price, say."""
    till = solana_till()
    buyer = till.buyer()
    credential = buyer.pay()
    assert problem(till.serve(rewritten(credential, realm="elsewhere")))["slug"] == "invalid-challenge"


@pytest.mark.spec("SSES-002", "SSES-001")
def test_a_session_is_no_charge(solana_till: Tills) -> None:
    """Its challenge says session; a proof presented as a charge buys nothing."""
    till = solana_till(operator=True)
    buyer = till.buyer()
    assert buyer.challenge.intent == "session"
    answer = till.answer(rewritten(buyer.pay(), intent="charge"))
    assert answer.status in (400, 402)
    assert buyer.record.spent == 0


@pytest.mark.spec("SSES-242")
def test_a_head_says_how_the_channel_stands_and_buys_nothing(solana_till: Tills) -> None:
    """For vouchers and top-ups without content."""
    till = solana_till()
    buyer = till.buyer()
    answer = till.serve(buyer.pay(), HEAD)
    assert (answer.status, till.runs) == (204, 0)
    assert buyer.sums == (COST, 0, 0)


# --- metered ---------------------------------------------------------------------------------------


@pytest.mark.spec("SSES-185", "SSES-186", "SSES-187", "SSES-252")
@pytest.mark.parametrize("operator", [False, True])
def test_a_metered_answer_takes_what_it_delivered(solana_till: Tills, operator: bool) -> None:
    """Capacity is set aside before anything is sent; the voucher says what was delivered and no more."""
    till = solana_till(operator=operator, metering=Metering("word", window=5))
    buyer = till.buyer()
    admission = till.admitted(buyer.pay(5 * COST))
    meter = admission.meter
    assert meter is not None
    assert buyer.record.reserved == 5 * COST
    if operator:
        assert decode_voucher(buyer.record.voucher or buyer.voucher(0).encode()).cumulative_units == 0
    assert all(meter.take() for _ in range(3))
    assert not meter.take(3)  # two are left of what was set aside
    receipt = run(meter.finish(), till.world)
    assert (buyer.record.spent, buyer.record.reserved, buyer.record.units) == (3 * COST, 0, 3)
    assert receipt.extra["spent"] == str(3 * COST)
    if operator:
        assert decode_voucher(buyer.record.voucher).cumulative_units == 3 * COST
        assert receipt.extra["acceptedCumulative"] == str(3 * COST)


@pytest.mark.spec("SSES-186", "SSES-187")
@pytest.mark.parametrize("operator", [False, True])
def test_an_answer_that_failed_frees_what_was_set_aside(solana_till: Tills, operator: bool) -> None:
    """And advances no voucher of ours."""
    till = solana_till(operator=operator, metering=Metering("word", window=5))
    buyer = till.buyer()
    meter = till.admitted(buyer.pay(5 * COST)).meter
    assert meter is not None
    meter.forget()
    for _ in range(1_000):
        if not buyer.record.reserved:
            break
    assert (buyer.record.spent, buyer.record.reserved) == (0, 0)
    if operator:
        raw = buyer.record.voucher
        assert not raw or decode_voucher(raw).cumulative_units == 0
