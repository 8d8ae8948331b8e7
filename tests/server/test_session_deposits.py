"""Opening and topping up at the gate: money moves into a channel once, whatever is lost, repeated or struck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.errors import RailUnavailable
from coinslot.intents.acts import Act
from coinslot.intents.session import Stage
from coinslot.server.answer import Answer
from coinslot.server.events import ChannelFunded
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from coinslot.store.protocol import Query
from coinslot.store.protocol import Stage as PaymentStage
from support.drained import drained
from support.sessiontill import COST, DEPOSIT, HEAD, WORDS, Buyer, SessionTill, receipt_of
from support.strike import struck_at
from support.till import asking, first, offered, problem, rewritten, token_of
from support.toybank import Bank
from support.toyescrow import signed
from support.toysessionseller import ToySessionSeller

Wallet = dict[str, Any]
FUNDS = 5_000_000
# Where an act that moves money may be struck, in order.
STRUCK = ["session.claimed", "session.prepared", "session.broadcast", "funding.noted", "funding.settled"]
UNSENT = STRUCK[:2]
ACTS = [Act.OPEN, Act.TOP_UP, Act.VOUCHER, Act.CLOSE]


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


@pytest.fixture
def disk(bank: Bank, alice: Wallet, disk_store_url: str) -> Iterator[SessionTill]:
    """A till on a store that outlives a process."""
    made = SessionTill(bank, alice, open_store(disk_store_url))
    yield made
    made.store.close()


def books(till: SessionTill) -> dict[str, int]:
    """The journal's sum per asset: zero each."""
    balances = till.store.balances().result()
    return {asset: sum(accounts.values()) for asset, accounts in balances.items()}


def in_channels(till: SessionTill) -> int:
    """What the bank holds for channels that alice opened."""
    return FUNDS - till.bank.balance("alice") - till.bank.balance("shop")


def payments(till: SessionTill) -> list[PaymentStage]:
    """The stages of all payments on record."""
    return [one.stage for one in till.store.payments(Query()).result()]


# --- opening -------------------------------------------------------------------------------------


@pytest.mark.guard("F09", "F10")
@pytest.mark.spec("TSES-094", "TSES-097", "TSES-109", "TSES-192")
def test_an_open_on_head_is_recorded_and_buys_nothing(till: SessionTill) -> None:
    """204, with the transaction in the receipt; channel, journal and payment are on record, and no handler ran."""
    buyer, credential = till.open(first_units=COST)
    answer = till.serve(credential, HEAD)
    assert (answer.status, answer.body) == (204, b"")
    receipt = receipt_of(answer)
    assert (receipt.reference, receipt.extra["acceptedCumulative"]) == (buyer.held.channel_id, str(COST))
    record = buyer.record
    assert (record.stage, record.deposit, record.accepted, record.spent) == (Stage.OPEN, DEPOSIT, COST, 0)
    assert (till.runs, in_channels(till), payments(till)) == (0, DEPOSIT, [PaymentStage.DELIVERED])
    assert set(books(till).values()) == {0}
    (funded,) = [event for event in till.events if isinstance(event, ChannelFunded)]
    assert (funded.act, funded.units, funded.reference) == ("open", DEPOSIT, buyer.held.reference)


def test_an_open_with_content_buys_it_from_the_new_channel(till: SessionTill) -> None:
    """One request opens and pays."""
    buyer, credential = till.open(first_units=2 * COST)
    answer = till.serve(credential)
    assert (answer.status, answer.body) == (200, b"words")
    assert buyer.sums == (2 * COST, COST, 0)
    assert till.serve(buyer.voucher(3 * COST)).body == b"words"


def test_an_open_whose_voucher_does_not_cover_content_opens_and_asks(till: SessionTill) -> None:
    """402 with the channel in the challenge: the deposit is there, and a voucher is all that is missing."""
    buyer, credential = till.open(first_units=0)
    answer = till.serve(credential)
    assert (answer.status, problem(answer)["slug"]) == (402, "insufficient-balance")
    assert problem(answer)["requiredTopUp"] == str(COST)
    assert offered(answer)[0].request_object()["methodDetails"]["channelId"] == buyer.held.channel_id
    assert (buyer.record.stage, till.runs) == (Stage.OPEN, 0)
    assert till.serve(buyer.voucher(COST, challenge=offered(answer)[0])).status == 200


@pytest.mark.guard("F07", "F14", "T02")
@pytest.mark.spec("TSES-136")
def test_an_open_with_content_that_comes_again_gets_the_same_answer(till: SessionTill) -> None:
    """The first answer was lost: the same credential gets it again, and pays nothing more."""
    buyer, credential = till.open(first_units=3 * COST)
    answers = [till.again(credential) for _ in range(5)]
    assert {(one.status, one.body) for one in answers} == {(200, b"words")}
    assert (till.runs, buyer.sums) == (1, (3 * COST, COST, 0))
    assert (till.bank.submissions(), in_channels(till)) == (1, DEPOSIT)


class Broke(ToySessionSeller):
    """A seller whose purse for fees is empty at first."""

    empty = True

    def prepare(self, funding, challenge):  # type: ignore[no-untyped-def]
        """As a sponsor that can't pay."""
        if self.empty:
            raise RailUnavailable("the account that pays the fees here is empty; nothing was charged")
        return (yield from ToySessionSeller.prepare(self, funding, challenge))


def test_an_open_that_met_our_own_trouble_may_come_again(till: SessionTill) -> None:
    """503 while we can't pay the fee; the same credential opens the channel when we can."""
    plain = till.seller
    till.seller = Broke(plain.bank, plain.identity, plain.grace_s, plain.recipient, plain.currency)
    till.price = replace(till.price, sellers=(till.seller,))
    buyer, credential = till.open(first_units=COST)
    assert till.serve(credential).status == 503
    assert buyer.record.stage is Stage.OPENING
    till.seller.empty = False
    drained(till.store)
    assert till.serve(credential).body == b"words"
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("F01", "F10")
def test_a_voucher_that_overtakes_its_opening_is_told_to_come_again(till: SessionTill) -> None:
    """Its payer saw the channel on the chain before this server had recorded it: 409, not "gone"; later it buys."""
    buyer, credential = till.open()
    with struck_at("session.broadcast"):
        till.present(credential, HEAD)
    assert till.bank.channel(buyer.held.channel_id) is not None
    early = till.serve(buyer.voucher(COST))
    assert (early.status, first(early, "retry-after")) == (409, "1")
    assert till.answer(credential, HEAD).status == 204
    assert till.serve(buyer.voucher(COST)).body == b"words"
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("T02", "T06")
def test_an_old_open_buys_nothing_from_what_was_signed_since(till: SessionTill) -> None:
    """Somebody repeats the opening after other requests were bought: it takes nothing of the balance, and gets what it
    bought then for the same request, and nothing for another."""
    buyer, credential = till.open(first_units=COST)
    till.serve(credential)
    till.serve(buyer.voucher(5 * COST), idempotency_key="another")
    before = buyer.sums
    assert before == (5 * COST, 2 * COST, 0)
    assert first(till.again(credential), "idempotent-replayed") == "true"
    for request in (WORDS, HEAD, replace(WORDS, query="page=7")):
        if request is not WORDS:
            assert till.serve(credential, request).body != b"words"
        assert till.serve(credential, request, idempotency_key="third").body != b"words"
    assert (till.runs, buyer.sums, till.bank.submissions()) == (2, before, 1)


@pytest.mark.guard("T06", "F15")
def test_an_open_presented_a_hundred_times_at_once_opens_and_sells_once(till: SessionTill) -> None:
    """From many threads: one deposit, one run; who comes meanwhile is told to come again."""
    buyer, credential = till.open(first_units=COST)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: till.serve(credential), range(100)))
    assert {one.status for one in answers} <= {200, 409}
    assert (till.runs, buyer.sums, in_channels(till)) == (1, (COST, COST, 0), DEPOSIT)
    assert till.again(credential).body == b"words"


@pytest.mark.guard("T06")
def test_an_open_under_a_fresh_challenge_is_the_same_open(till: SessionTill) -> None:
    """The challenge expired, or another copy came: the transaction counts once."""
    buyer, credential = till.open(first_units=COST)
    with struck_at("session.broadcast"):
        till.present(credential, HEAD)
    drained(till.store)
    till.world.at_s += EXPIRES_IN_S
    late = till.answer(credential, HEAD)
    assert (late.status, problem(late)["slug"] if late.body else "payment-expired") == (402, "payment-expired")
    payload = token_of(credential).payload_object()
    for _ in range(2):
        fresh = buyer.credential(payload, till.challenge())
        assert till.serve(fresh, HEAD).status == 204
    assert (in_channels(till), buyer.record.stage) == (DEPOSIT, Stage.OPEN)
    assert payments(till) == [PaymentStage.DELIVERED]


@pytest.mark.guard("F07", "F09", "F10", "F11")
@pytest.mark.parametrize(
    ("name", "request_"),
    [(name, request) for name in STRUCK for request in (WORDS, HEAD)] + [("session.spent", WORDS)],
    ids=lambda one: getattr(one, "method", one),
)
def test_an_open_that_was_struck_goes_on_with_the_same_credential(disk: SessionTill, name: str, request_: Any) -> None:
    """At every step: one deposit, one record, one price for one run; journal and bank agree."""
    buyer, credential = disk.open(first_units=COST)
    with struck_at(name):
        disk.present(credential, request_)
    drained(disk.store)
    assert disk.bank.settled() == (name not in UNSENT)
    answer = disk.serve(credential, request_)
    assert answer.status == (204 if request_ is HEAD else 200)
    if answer.body != b"words":
        assert disk.serve(buyer.voucher(buyer.record.spent + 2 * COST)).body == b"words"
    assert (disk.runs, buyer.record.spent, in_channels(disk)) == (1, COST, DEPOSIT)
    assert buyer.record.stage is Stage.OPEN
    assert disk.bank.settled() == 1


@pytest.mark.guard("F11")
@pytest.mark.parametrize("fault", ["lost-answer", "down"])
def test_a_lost_answer_of_the_network_is_no_refusal(till: SessionTill, fault: str) -> None:
    """The transaction is looked up by its hash; where it isn't known, the same credential sends the same bytes."""
    buyer, credential = till.open()
    with struck_at("session.prepared"):
        till.present(credential, HEAD)
    drained(till.store)
    till.bank.order(fault)
    answer = till.answer(credential, HEAD)
    assert answer.status in (204, 503)
    if answer.status == 503:
        till.bank.heal(fault)
        assert till.answer(credential, HEAD).status == 204
    assert (in_channels(till), buyer.record.stage) == (DEPOSIT, Stage.OPEN)


@pytest.mark.guard("F11", "F13")
def test_an_open_whose_end_is_unknown_is_pending_and_never_billed_again(till: SessionTill) -> None:
    """503 with the transaction's hash and without a challenge, until the chain tells."""
    buyer, credential = till.open()
    till.bank.order("stuck")
    answer = till.answer(credential)
    assert (answer.status, offered(answer)) == (503, [])
    assert problem(answer)["reference"] == buyer.held.reference
    assert till.answer(buyer.voucher(COST)).status == 409  # it is no channel yet
    till.bank.release()
    assert till.answer(credential, HEAD).status == 204
    assert (in_channels(till), payments(till)) == (DEPOSIT, [PaymentStage.DELIVERED])


@pytest.mark.parametrize("fault", ["refuse", "revert"])
def test_an_open_that_the_network_refuses_is_not_paid(till: SessionTill, fault: str) -> None:
    """402: nothing was deposited, and that channel never opens. A new opening does."""
    buyer, credential = till.open()
    till.bank.order(fault)
    answer = till.answer(credential, HEAD)
    assert (answer.status, in_channels(till)) == (402, 0)
    assert buyer.record.stage is Stage.CLOSED
    assert till.answer(credential, HEAD).status == 410
    assert till.bank.submissions() == (fault == "revert")
    assert till.buyer().record.stage is Stage.OPEN


def test_an_open_that_never_appeared_is_refused_once_it_is_dead(till: SessionTill) -> None:
    """Dropped by the network: pending until its time is over, then 402, and the channel is closed."""
    buyer, credential = till.open()
    till.bank.order("drop", times=100)
    assert till.answer(credential, HEAD).status == 503
    till.bank.advance(EXPIRES_IN_S + 1)
    assert till.answer(credential, HEAD).status == 402
    assert (buyer.record.stage, in_channels(till)) == (Stage.CLOSED, 0)


@pytest.mark.guard("T03", "T15")
@pytest.mark.spec("TSES-098", "TSES-099", "TSES-100", "TSES-103", "TSES-106")
def test_an_open_on_other_terms_is_refused_before_anything_moves(bank: Bank, alice: Wallet) -> None:
    """Another payee, another asset, too little, another's transaction."""
    till = SessionTill(bank, alice)
    elsewhere = SessionTill(bank, alice, recipient="other")
    shells = SessionTill(bank, alice, currency="shell")
    challenge = till.challenge()
    for foreign in (elsewhere, shells):
        _, credential = foreign.open()
        payload = token_of(credential).payload_object()
        buyer = Buyer(till, foreign.open()[0].held, challenge)
        assert till.answer(buyer.credential(payload), HEAD).status == 402
    _, small = till.open(deposit=COST - 1)
    answer = till.serve(small)
    assert (answer.status, problem(answer)["slug"]) == (402, "payment-insufficient")
    buyer, one = till.open(first_units=5)
    _, two = till.open(first_units=5)
    mixed = {**token_of(one).payload_object(), "transaction": token_of(two).payload_object()["transaction"]}
    assert till.answer(buyer.credential(mixed), HEAD).status == 402
    assert (bank.submissions(), payments(till)) == (0, [])


@pytest.mark.guard("T08")
def test_another_transaction_for_the_same_channel_opens_nothing(till: SessionTill) -> None:
    """A channel's id is recorded once for ever: while the first is under way, open, or closed for good."""
    buyer, credential = till.open(first_units=COST)
    payload = token_of(credential).payload_object()
    members = json.loads(bytes.fromhex(payload["transaction"]))
    del members["signature"]
    other = signed(str(till.wallet["secret"]), {**members, "deposit": 2 * DEPOSIT})
    second = buyer.credential({**payload, "transaction": other.hex()})
    with struck_at("session.claimed"):
        till.present(credential, HEAD)
    drained(till.store)
    answer = till.answer(second, HEAD)
    assert (answer.status, problem(answer)["slug"] if answer.body else "challenge-used") == (409, "challenge-used")
    assert till.bank.submissions() == 0
    assert till.answer(credential, HEAD).status == 204
    assert till.answer(second, HEAD).status == 204  # the channel is open, and stays as it is
    assert (buyer.record.deposit, in_channels(till)) == (DEPOSIT, DEPOSIT)
    assert till.answer(buyer.close(COST)).status == 204
    assert till.answer(second).status == 410
    assert (till.bank.submissions(), buyer.record.stage) == (2, Stage.CLOSED)


# --- topping up ----------------------------------------------------------------------------------


@pytest.mark.guard("T06")
@pytest.mark.spec("TSES-110", "TSES-113", "TSES-115", "TSES-116")
@pytest.mark.parametrize("request_", [WORDS, HEAD], ids=["get", "head"])
def test_a_top_up_adds_to_the_deposit_and_buys_nothing(till: SessionTill, request_: Any) -> None:
    """204 without content under any method; vouchers above the old deposit are good then."""
    buyer = till.buyer(deposit=COST)
    refused = till.serve(buyer.voucher(2 * COST))
    assert problem(refused)["slug"] == "amount-exceeds-deposit"
    credential = buyer.top_up(2 * COST)
    answer = till.serve(credential, request_)
    assert (answer.status, answer.body, till.runs) == (204, b"", 0)
    assert buyer.record.deposit == in_channels(till) == 3 * COST
    assert till.serve(buyer.voucher(2 * COST)).status == 200
    assert set(books(till).values()) == {0}


@pytest.mark.guard("T06")
def test_a_top_up_that_comes_again_adds_once(till: SessionTill) -> None:
    """The same credential, and the same transaction under a fresh challenge."""
    buyer = till.buyer()
    credential = buyer.top_up(COST)
    fresh = buyer.credential(token_of(credential).payload_object(), till.challenge())
    for one in (credential, credential, fresh):
        answer = till.serve(one)
        assert answer.status == 204
        assert first(answer, "payment-receipt") is not None
    assert buyer.record.deposit == in_channels(till) == DEPOSIT + COST
    assert till.bank.submissions() == 2


@pytest.mark.guard("F07", "F09", "F10", "F11")
@pytest.mark.parametrize("name", STRUCK)
def test_a_top_up_that_was_struck_goes_on_with_the_same_credential(disk: SessionTill, name: str) -> None:
    """At every step: the deposit grows once."""
    buyer = disk.buyer()
    credential = buyer.top_up(COST)
    with struck_at(name):
        disk.present(credential)
    drained(disk.store)
    assert disk.answer(credential).status == 204
    assert disk.answer(credential).status == 204
    assert buyer.record.deposit == in_channels(disk) == DEPOSIT + COST
    assert set(books(disk).values()) == {0}
    assert payments(disk) == [PaymentStage.DELIVERED] * 2


@pytest.mark.guard("F15", "T22")
@pytest.mark.spec("TSES-003")
def test_a_top_up_and_vouchers_at_once_lose_nothing(till: SessionTill) -> None:
    """Deposit and spending change at the same time: both are counted."""
    buyer = till.buyer()
    ups = [buyer.top_up(COST) for _ in range(5)]
    vouchers = [buyer.voucher(n * COST) for n in range(1, 6)]
    with ThreadPoolExecutor(8) as pool:
        raised = pool.map(lambda one: till.serve(one, HEAD), ups)
        bought = list(pool.map(till.serve, vouchers))
        assert {one.status for one in raised} == {204}
    record = buyer.record
    assert (record.deposit, record.accepted) == (DEPOSIT + 5 * COST, 5 * COST)
    assert record.spent == till.runs * COST == sum(one.body == b"words" for one in bought) * COST


def test_a_top_up_takes_a_request_to_close_back(till: SessionTill) -> None:
    """The chain shows the request gone, and so does the record: it sells again."""
    buyer = till.buyer()
    buyer.ask_to_close()
    till.store.mark_closing(buyer.held.key, 1.0).result()
    assert till.serve(buyer.voucher(COST)).status == 410
    assert till.answer(buyer.top_up(COST)).status == 204
    assert till.serve(buyer.voucher(COST)).status == 200


@pytest.mark.spec("TSES-111", "TSES-114")
def test_a_top_up_of_an_unknown_or_closed_channel_is_gone(till: SessionTill) -> None:
    """410, and nothing is sent."""
    unknown, _ = till.open()
    buyer = till.buyer()
    more = buyer.top_up(COST)
    till.store.mark_closing(buyer.held.key, 1.0).result()
    till.store.mark_closed(buyer.held.key, 0).result()
    before = till.bank.submissions()
    for credential in (unknown.top_up(COST), more):
        assert till.answer(credential).status == 410
    assert till.bank.submissions() == before


@pytest.mark.spec("TSES-069")
def test_a_top_up_under_an_unknown_or_expired_challenge_is_told_so(till: SessionTill) -> None:
    """Its own problem, with a fresh challenge to present the same under."""
    buyer = till.buyer()
    credential = buyer.top_up(COST)
    unknown = till.answer(rewritten(credential, id="x" * len(buyer.challenge.id)))
    till.world.at_s += EXPIRES_IN_S
    expired = till.answer(credential)
    for answer in (unknown, expired):
        assert (answer.status, problem(answer)["slug"]) == (402, "challenge-not-found")
    assert buyer.record.deposit == DEPOSIT
    fresh = buyer.credential(token_of(credential).payload_object(), offered(expired)[0])
    assert till.bank.settled() == 1
    assert till.answer(fresh).status in (204, 402)  # the transaction itself may be dead by now


def test_a_top_up_that_says_more_than_it_adds_is_refused(till: SessionTill) -> None:
    """The transaction counts, and payload and transaction must agree."""
    buyer = till.buyer()
    payload = token_of(buyer.top_up(COST)).payload_object()
    lying = {**payload, "additionalDeposit": str(2 * COST)}
    assert till.answer(buyer.credential(lying)).status == 402
    assert (buyer.record.deposit, till.bank.submissions()) == (DEPOSIT, 1)


# --- one proof, one act --------------------------------------------------------------------------


def _proofs(buyer: Buyer, opening: str) -> dict[Act, dict[str, Any]]:
    credentials = {
        Act.OPEN: opening,
        Act.TOP_UP: buyer.top_up(COST),
        Act.VOUCHER: buyer.voucher(2 * COST),
        Act.CLOSE: buyer.close(2 * COST),
    }
    return {act: token_of(one).payload_object() for act, one in credentials.items()}


@pytest.mark.guard("T06")
@pytest.mark.parametrize("used", ACTS)
@pytest.mark.parametrize("again", ACTS)
def test_a_proof_that_was_used_buys_nothing_under_any_act(
    bank: Bank, alice: Wallet, session_till: SessionTill, used: Act, again: Act
) -> None:
    """What one act was proven with moves no money and runs nothing when it comes again, under its own name or another.

    A signed total may also close (its signature is the same): then what was spent is taken, no more.
    """
    till = session_till
    buyer, opening = till.open(first_units=COST)
    assert till.serve(opening).body == b"words"
    proofs = _proofs(buyer, opening)
    if used is not Act.OPEN:
        assert till.serve(buyer.credential(proofs[used])).status in (200, 204)
    spent, deposit, runs = buyer.record.spent, buyer.record.deposit, till.runs
    funded = len(till.store.payments(Query()).result())
    for request in (WORDS, HEAD):
        for challenge in (buyer.challenge, till.challenge()):
            till.serve(buyer.credential({**proofs[used], "action": str(again)}, challenge), request)
    record = buyer.record
    assert (record.spent, record.deposit, till.runs) == (spent, deposit, runs)
    assert len(till.store.payments(Query()).result()) == funded
    assert bank.total() == FUNDS
    assert record.settled in (0, spent)


def test_an_answer_of_the_gate_is_an_answer(till: SessionTill) -> None:
    """Whatever is presented instead of a proof: a problem, never an exception."""
    buyer = till.buyer()
    for payload in ({}, {"action": "open"}, {"action": "topUp", "channelId": 7}, {"action": "close", "channelId": ""}):
        got = run(till.gate.admit(asking(WORDS, buyer.credential(payload)), till.price), till.world)
        assert isinstance(got, Answer)
        assert got.status == 402
