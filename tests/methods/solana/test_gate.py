"""Solana charges through the gate: one payment, one delivery, whatever the node does and whoever asks again."""

from __future__ import annotations

import json
import threading
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import rfc8785

from coinslot.core.canonical import Json, encode_object
from coinslot.core.challenge import Challenge
from coinslot.core.receipt import decode_receipt
from coinslot.drive import Sleep, _perform
from coinslot.methods.solana.charge_payer import SolanaChargePayer
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.resolver import resolve_round
from coinslot.store.protocol import Stage
from support.chargeshop import ChargeTill, presented
from support.rpcfault import FaultyNode, answer, drop, drop_after
from support.solanashop import DOLLAR, SolanaShop, raw_of
from support.till import GET, asking, first, offered, problem, rewritten

QUARTER = DOLLAR // 4


@pytest.mark.spec("SCHG-050", "SCHG-107", "SCHG-108", "SCHG-172")
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_a_payment_buys_one_answer_and_its_replay(solshop: SolanaShop, mode: str) -> None:
    """Admitted once with a receipt that names transaction and challenge; the same credential gets the stored answer."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    shown = solshop.pay(solshop.payer(mode=mode), challenge)
    admission = till.ask(presented(challenge, shown))
    assert isinstance(admission, Admission)
    receipt = decode_receipt(admission.receipt.encode())
    assert (receipt.method, receipt.reference) == ("solana", shown.reference)
    assert receipt.members()["challengeId"] == challenge.id
    assert receipt.members()["status"] == "success"
    till.deliver(admission)
    again = till.ask(presented(challenge, shown))
    assert isinstance(again, Answer)
    assert (again.status, again.body) == (200, b"goods")
    assert first(again, "payment-receipt") == admission.receipt.encode()


@pytest.mark.guard("T06")
def test_a_pulled_transaction_can_not_be_pushed_and_a_pushed_one_not_pulled(solshop: SolanaShop) -> None:
    """One challenge is used by one proof; the transaction is used on both ways."""
    till = ChargeTill(solshop, solshop.seller())
    for mode in ("pull", "push"):
        challenge = till.offered()
        shown = solshop.pay(solshop.payer(), challenge)
        if mode == "push":
            config = {"encoding": "base64"}
            solshop.chain.rpc("sendTransaction", b64encode(raw_of(shown)).decode(), config)
        pulled = presented(challenge, shown)
        pushed = rewritten(pulled, {"type": "signature", "signature": shown.reference})
        one, second = (pulled, pushed) if mode == "pull" else (pushed, pulled)
        assert isinstance(till.ask(one), Admission)
        assert till.refused(second)["slug"] == "challenge-used"


@pytest.mark.spec("SCHG-003", "SCHG-004")
def test_all_json_that_travels_is_canonical_and_unpadded(solshop: SolanaShop) -> None:
    """The request, what the challenge carries besides, the credential and the receipt: RFC 8785, then base64url."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    credential = presented(challenge, solshop.pay(solshop.payer(), challenge))
    admission = till.ask(credential)
    assert isinstance(admission, Admission)
    token = credential.removeprefix("Payment ")
    for text in (challenge.request, str(challenge.opaque), token, admission.receipt.encode()):
        plain = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        assert text == urlsafe_b64encode(plain).decode().rstrip("=")
        assert plain == rfc8785.dumps(json.loads(plain))


@pytest.mark.guard("T06")
@pytest.mark.spec("SCHG-151", "SCHG-152", "SCHG-182")
def test_one_signature_for_many_challenges_at_once_pays_one(solshop: SolanaShop) -> None:
    """Nothing binds it to any of them; requests that race are told that it is used, but one."""
    till = ChargeTill(solshop, solshop.seller(reference=False, allow_plain_push=True))
    challenges = [till.offered() for _ in range(8)]
    shown = solshop.pay(solshop.payer(mode="push"), challenges[0])
    meeting = threading.Barrier(len(challenges))

    def ask(challenge: Challenge) -> str | None:
        meeting.wait(20)
        got = till.ask(presented(challenge, shown))
        return problem(got)["slug"] if isinstance(got, Answer) else None

    with ThreadPoolExecutor(len(challenges)) as pool:
        slugs = list(pool.map(ask, challenges))
    assert sorted(map(str, slugs)) == ["None", *["challenge-used"] * 7]


@pytest.mark.guard("T06")
@pytest.mark.spec("SCHG-149", "SCHG-150", "SCHG-152", "SCHG-181")
def test_one_transaction_pays_no_two_challenges_even_where_nothing_binds_it(solshop: SolanaShop) -> None:
    """Offers without references of their own have equal terms; the proof is taken once all the same."""
    till = ChargeTill(solshop, solshop.seller(reference=False, allow_plain_push=True))
    one, other = till.offered(), till.offered()
    shown = solshop.pay(solshop.payer(mode="push"), one)
    assert isinstance(till.ask(presented(one, shown)), Admission)
    told = till.refused(presented(other, shown))
    assert (told["slug"], told["status"], told["fresh"]) == ("challenge-used", 409, False)


@pytest.mark.spec("SCHG-174", "SCHG-175", "SCHG-176", "SCHG-177", "SCHG-178")
def test_a_refused_payment_gets_a_problem_and_a_fresh_challenge_and_no_receipt(solshop: SolanaShop) -> None:
    """Nothing was paid, so the client may pay the fresh one."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    good = presented(challenge, solshop.pay(solshop.payer(), challenge))
    for payload, slug in (
        ({"type": "transaction", "transaction": "AAAA"}, "verification-failed"),
        ({"type": "bundle", "transactions": []}, "verification-failed"),
        ({"type": "transaction", "transaction": "?"}, "malformed-credential"),
        ({"type": "teleport"}, "malformed-credential"),
    ):
        told = till.refused(rewritten(good, payload))
        assert (told["slug"], told["status"], told["fresh"]) == (slug, 402, True)
        assert told["detail"]


@pytest.mark.spec("SCHG-110", "SCHG-111")
def test_a_challenge_that_was_not_issued_here_buys_nothing(solshop: SolanaShop) -> None:
    """Neither a made-up one nor one that was changed."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    shown = solshop.pay(solshop.payer(), challenge)
    cheaper = dict(challenge.request_object()) | {"amount": "1"}
    for wrong in (replace(challenge, id="x" * 22), replace(challenge, request=encode_object(cheaper))):
        assert till.refused(presented(wrong, shown))["slug"] == "invalid-challenge"


@pytest.mark.spec("SCHG-050", "SCHG-051")
@pytest.mark.parametrize("missing", ["challenge", "payload"])
def test_a_credential_without_its_parts_is_malformed(solshop: SolanaShop, missing: str) -> None:
    """Both the echo and the proof are needed."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    shown = solshop.pay(solshop.payer(), challenge)
    members: dict[str, Json] = {"challenge": challenge.echo(), "payload": dict(shown.payload), "source": shown.source}
    whole = encode_object(members)
    del members[missing]
    assert till.refused(f"Payment {encode_object(members)}")["slug"] == "malformed-credential"
    assert isinstance(till.ask(f"Payment {whole}"), Admission)


@pytest.mark.spec("SCHG-005")
@pytest.mark.parametrize("longer", range(3))
def test_a_credential_with_padding_is_read_as_well(solshop: SolanaShop, longer: int) -> None:
    """Whatever its length needs; what we write has none, and too much or too little of it is malformed."""
    till = ChargeTill(solshop, solshop.seller())
    challenge = till.offered()
    shown = solshop.pay(solshop.payer(), challenge)
    members: dict[str, Json] = {"challenge": challenge.echo(), "payload": dict(shown.payload), "source": shown.source}
    members["note"] = "-" * longer  # each three bytes are four characters: all lengths of padding
    token = encode_object(members)
    assert "=" not in token
    assert till.refused(f"Payment {token}{'=' * (-len(token) % 4 + 1)}")["slug"] == "malformed-credential"
    assert isinstance(till.ask(f"Payment {token}{'=' * (-len(token) % 4)}"), Admission)


@pytest.mark.guard("F11")
@pytest.mark.parametrize("sponsored", [False, True])
def test_an_answer_lost_after_the_node_took_it_costs_nobody_a_second_payment(
    solshop: SolanaShop, faulty_svm: FaultyNode, sponsored: bool
) -> None:
    """503 with the signature and no fresh challenge; the same credential is admitted once the node speaks again."""
    seller = solshop.sponsored(rpc_url=faulty_svm.url)[0] if sponsored else solshop.seller(rpc_url=faulty_svm.url)
    till = ChargeTill(solshop, seller)
    challenge = till.offered()
    header = presented(challenge, solshop.pay(solshop.payer(), challenge))
    faulty_svm.on("sendTransaction", drop_after)
    faulty_svm.on("getSignatureStatuses", answer({"context": {"slot": 1}, "value": [None]}))
    told = till.refused(header)
    assert (told["status"], told["slug"], told["fresh"]) == (503, "payment-outcome-unknown", False)
    faulty_svm.heal()
    assert isinstance(till.ask(header), Admission)
    assert solshop.held(seller.config.recipient) == QUARTER + 1


@pytest.mark.guard("F11")
def test_the_resolver_finds_the_end_without_the_client(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """By its signature, from the record."""
    seller = solshop.seller(rpc_url=faulty_svm.url)
    till = ChargeTill(solshop, seller)
    challenge = till.offered()
    faulty_svm.on("sendTransaction", drop_after)
    faulty_svm.on("getTransaction", answer(None))
    till.refused(presented(challenge, solshop.pay(solshop.payer(), challenge)))
    faulty_svm.heal()
    solshop.run(resolve_round(till.store, [seller]))
    payment = till.store.find(challenge.id).result()
    assert payment is not None
    assert payment.stage is Stage.SETTLED


def test_a_node_that_is_away_charges_nothing(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """503, nothing claimed for good, and the same credential pays later."""
    till = ChargeTill(solshop, solshop.seller(rpc_url=faulty_svm.url))
    challenge = till.offered()
    header = presented(challenge, solshop.pay(solshop.payer(), challenge))
    faulty_svm.on("simulateTransaction", drop)
    assert till.refused(header)["status"] == 503
    faulty_svm.heal()
    assert isinstance(till.ask(header), Admission)


@pytest.mark.guard("T30")
@pytest.mark.spec("SCHG-073", "SCHG-195")
def test_a_payer_that_used_up_its_budget_is_not_sponsored(solshop: SolanaShop) -> None:
    """The next payment of the same payer is refused, another payer's is not; nothing is broadcast."""
    seller, sponsor = solshop.sponsored(sponsor_payer_daily="0.000015")
    till, key = ChargeTill(solshop, seller), solshop.account()

    def buy(payer: SolanaChargePayer) -> str:
        challenge = till.offered()
        return presented(challenge, solshop.pay(payer, challenge))

    assert isinstance(till.ask(buy(solshop.payer(key))), Admission)
    purse = solshop.held(sponsor.address, "SOL")
    assert "budget" in till.refused(buy(solshop.payer(key)))["detail"]
    assert solshop.held(sponsor.address, "SOL") == purse
    assert isinstance(till.ask(buy(solshop.payer())), Admission)
    assert solshop.held(seller.config.recipient) == 2 * QUARTER + 1


@pytest.mark.guard("T30")
def test_the_sponsor_itself_has_a_daily_budget(solshop: SolanaShop) -> None:
    """Over all payers."""
    seller, _ = solshop.sponsored(sponsor_daily="0.000015")
    till = ChargeTill(solshop, seller)
    answers = []
    for _ in range(2):
        challenge = till.offered()
        answers.append(till.ask(presented(challenge, solshop.pay(solshop.payer(), challenge))))
    assert [isinstance(each, Admission) for each in answers] == [True, False]


@pytest.mark.guard("T05")
def test_a_signature_seen_on_the_chain_buys_nothing_for_an_observer(solshop: SolanaShop) -> None:
    """With its own challenge and its own name, or the payer's; the payer is still served."""
    till = ChargeTill(solshop, solshop.seller())
    mine, theirs = till.offered(), till.offered()
    shown = solshop.pay(solshop.payer(mode="push"), mine)
    for source in (shown.source, solshop.account(0).address):
        assert till.refused(presented(theirs, replace(shown, source=source)))["slug"] == "verification-failed"
    assert isinstance(till.ask(presented(mine, shown)), Admission)


@pytest.mark.spec("CORE-011")
@pytest.mark.guard("T28")
def test_an_offer_that_nobody_could_pay_is_not_made(solshop: SolanaShop) -> None:
    """The recipient closed its token account: 503, and no challenge to pay into nothing."""
    seller = solshop.seller()
    till = ChargeTill(solshop, seller)
    solshop.wipe(solshop.ata(seller.config.recipient))
    got = till.ask()
    assert isinstance(got, Answer)
    assert (got.status, offered(got)) == (503, [])


def test_two_equal_payments_of_one_payer_on_one_blockhash_are_two(solshop: SolanaShop) -> None:
    """Offers that were made in the same moment carry the same blockhash and different references."""
    till, key = ChargeTill(solshop, solshop.seller()), solshop.account()
    challenges = [till.offered() for _ in range(2)]
    details = [each.request_object()["methodDetails"]["recentBlockhash"] for each in challenges]
    assert details[0] == details[1]
    payer = solshop.payer(key)
    for challenge in challenges:
        assert isinstance(till.ask(presented(challenge, solshop.pay(payer, challenge))), Admission)
    assert solshop.held(key.address) == 5 * DOLLAR - 2 * QUARTER


def test_confirmations_wait_for_nobody(solshop: SolanaShop) -> None:
    """A payment that is not confirmed yet holds no lock: another one is served in full meanwhile.

    Each waits in its own flow; the first is stopped in the middle of its wait, and the second runs to its end.
    """
    till = ChargeTill(solshop, solshop.seller(), patience_s=30.0)
    slow, quick = till.offered(), till.offered()
    slow_header = presented(slow, solshop.pay(solshop.payer(), slow))
    quick_header = presented(quick, solshop.pay(solshop.payer(), quick))
    solshop.chain.timing(confirm_ms=60_000)
    flow = till.gate.admit(asking(GET, slow_header), till.price)
    effect = next(flow)
    while not isinstance(effect, Sleep):
        effect = _step(flow, effect, solshop)
    solshop.chain.timing(confirm_ms=0)
    assert isinstance(till.ask(quick_header), Admission)
    while not isinstance(effect, Admission):
        effect = _step(flow, effect, solshop)


def _step(flow: Any, effect: Any, shop: SolanaShop) -> Any:
    """The next effect of a flow, or what it returns."""
    try:
        told, failure = _perform(effect, shop.world), None
    except Exception as error:  # the flow decides what a failed effect means
        told, failure = None, error
    try:
        return flow.throw(failure) if failure is not None else flow.send(told)
    except StopIteration as end:
        return end.value


def test_prices_of_one_route_may_be_asked_in_several_tokens(solshop: SolanaShop) -> None:
    """Each offer is a challenge of its own, and each is paid by who has that."""
    recipient = solshop.payee()
    solshop.chain.fund(recipient, 1, "PYUSD")
    till = ChargeTill(
        solshop, solshop.seller(recipient=recipient), solshop.seller(recipient=recipient, currency="PYUSD")
    )
    got = till.ask()
    assert isinstance(got, Answer)
    _, pyusd = offered(got)
    shown = solshop.pay(solshop.payer(solshop.account(token="PYUSD")), pyusd)
    assert isinstance(till.ask(presented(pyusd, shown)), Admission)
    assert solshop.held(recipient, "PYUSD") == QUARTER + 1
    assert Decimal("0.25") == Decimal(QUARTER) / DOLLAR
