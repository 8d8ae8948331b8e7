"""Whoever comes again with what was paid gets what was paid for: never a second bill, never a second delivery."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.core.canonical import base64url_decode, base64url_encode
from coinslot.core.receipt import decode_receipt
from coinslot.drive import Flow
from coinslot.intents.charge import Checked, Recognised
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.events import Paid, Replayed
from coinslot.server.gate import RETRY_IN_FLIGHT_S, RETRY_PENDING_S
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.store.open import open_store
from coinslot.store.protocol import Stage
from support.stepping import interleaved
from support.strike import struck_at
from support.till import GET, UNITS, Till, first, offered, problem, rewritten, token_of, toy_seller
from support.toy import ToySeller
from support.toybank import Bank, hash_of

# --- ways for a payment to come to a stop, each from a fresh credential --------------------------

Stop = Callable[[Till, str], None]


def claimed(till: Till, credential: str) -> None:
    with struck_at("gate.claimed"):
        till.present(credential)


def prepared(till: Till, credential: str) -> None:
    with struck_at("gate.prepared"):
        till.present(credential)


def broadcast(till: Till, credential: str) -> None:
    with struck_at("gate.broadcast"):
        till.present(credential)


def stuck(till: Till, credential: str) -> None:
    till.bank.order("stuck")
    assert till.answer(credential).status == 503


def sent_and_lost(till: Till, credential: str) -> None:
    till.bank.order("drop")
    assert till.answer(credential).status == 503


def settled(till: Till, credential: str) -> None:
    with struck_at("gate.settled"):
        till.present(credential)


def abandoned(till: Till, credential: str) -> None:
    till.gate.abandoned(till.admitted(credential))


def in_flight(till: Till, credential: str) -> None:
    till.admitted(credential)


def delivered(till: Till, credential: str) -> None:
    assert till.serve(credential).status == 200


def delivered_large(till: Till, credential: str) -> None:
    till.serve(credential, handler=lambda: b"x" * (1024 * 1024 + 1))


def reverted(till: Till, credential: str) -> None:
    till.bank.order("revert")
    assert till.answer(credential).status == 402


def failed_and_paid_after_all(till: Till, credential: str) -> None:
    """The bank said that it never took the cheque in, and shows it later."""
    till.bank.order("drop")
    assert till.answer(credential).status == 503
    till.bank.skew(2 * EXPIRES_IN_S)
    assert till.resolve() == 0
    assert till.payment(credential).stage is Stage.FAILED
    till.bank.skew(0)
    found = till.payment(credential).prepared
    assert found is not None
    till.bank.submit(found.raw)


# What stopped it, where it stands then, and what the same credential gets: now, and after the challenge ended.
TABLE: list[tuple[Stop, Stage, int, int]] = [
    (claimed, Stage.CLAIMED, 200, 200),
    (prepared, Stage.PREPARED, 200, 200),
    (broadcast, Stage.PREPARED, 200, 200),
    (stuck, Stage.PREPARED, 503, 503),
    (sent_and_lost, Stage.PREPARED, 200, 200),
    (settled, Stage.SETTLED, 200, 200),
    (abandoned, Stage.SETTLED, 200, 200),
    (in_flight, Stage.SETTLED, 409, 409),
    (delivered, Stage.DELIVERED, 200, 200),
    (delivered_large, Stage.DELIVERED, 409, 409),
    (failed_and_paid_after_all, Stage.FAILED, 200, 200),
    (reverted, Stage.FAILED, 402, 402),
]
STOPS = [pytest.param(*row, id=row[0].__name__) for row in TABLE]


@pytest.mark.guard("T01", "F07", "F10", "F13", "F14")
@pytest.mark.spec("CORE-090", "CORE-095")
@pytest.mark.parametrize("late", [False, True], ids=["in-time", "late"])
@pytest.mark.parametrize(("stop", "stage", "soon", "later"), STOPS)
def test_each_stage_has_its_answer(till: Till, stop: Stop, stage: Stage, soon: int, later: int, late: bool) -> None:
    """Only what was never paid is answered 402; what was is delivered once, or told to wait, also after expiry."""
    credential = till.bought()
    stop(till, credential)
    assert till.payment(credential).stage is stage
    if late:
        till.world.at_s += 10 * EXPIRES_IN_S
    answers = [till.serve(credential) for _ in range(3)]
    assert [each.status for each in answers] == [later if late else soon] * 3
    if answers[0].status == 402:
        assert till.bank.balance("shop") == 0
        return
    assert not any(offered(each) for each in answers)
    if answers[0].status == 200:
        assert {each.body for each in answers} == {b"goods"}
        assert till.payment(credential).stage is Stage.DELIVERED
    assert till.bank.settled() == (0 if stop is stuck else 1)
    assert till.bank.balance("shop") == UNITS * till.bank.settled()
    assert set(till.sums().values()) <= {0}


@pytest.mark.guard("F11")
@pytest.mark.parametrize(("stop", "stage", "soon", "later"), STOPS)
def test_a_method_that_was_taken_out_changes_no_outcome(
    till: Till, stop: Stop, stage: Stage, soon: int, later: int
) -> None:
    """After the seller changed the settings, what was paid is replayed or waits; it is never asked for anew."""
    credential = till.bought()
    stop(till, credential)
    changed = Till(till.bank, _wallet(till), till.store, sellers=[toy_seller(till.bank, "shell")])
    answer = changed.answer(credential)
    assert answer.status == {Stage.DELIVERED: soon}.get(stage, 503)
    assert not offered(answer)


def _wallet(till: Till) -> dict[str, object]:
    wallet = till.payer._wallet  # type: ignore[attr-defined]
    return {"bank": wallet.bank, "account": wallet.account, "secret": wallet.secret}


@pytest.mark.guard("T01")
@pytest.mark.parametrize(("stop", "stage", "soon", "later"), STOPS)
def test_another_proof_on_a_used_challenge_is_refused(
    till: Till, stop: Stop, stage: Stage, soon: int, later: int
) -> None:
    """409 at every stage, and neither the goods nor a bill."""
    credential = till.bought()
    stop(till, credential)
    payload = {**token_of(credential).payload_object(), "more": 1}
    answer = till.answer(rewritten(credential, payload))
    assert (answer.status, problem(answer)["slug"]) == (409, "challenge-used")
    assert not offered(answer)


@pytest.mark.guard("T01")
def test_another_spelling_of_a_proof_is_the_same_proof(till: Till) -> None:
    """Members in another order present the same thing, so they get the same answer and not a second one."""
    credential = till.bought()
    assert till.serve(credential).status == 200
    text = base64url_decode(credential.removeprefix("Payment "))
    again = "Payment " + base64url_encode(text.replace(b'"payload":{', b'"payload": { '))
    assert again != credential
    assert till.serve(again).body == b"goods"
    assert till.bank.settled() == 1


class Coarse(ToySeller):
    """A seller whose proofs are not bound to challenges, as with hashes of plain transfers: the claim must tell."""

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """As the toy's, but one proof for all."""
        checked = yield from super().check(recognised)
        return replace(checked, proof="toy:main/one-proof")


@pytest.mark.guard("T01", "T06")
@pytest.mark.spec("CORE-090")
def test_one_proof_pays_one_challenge(bank: Bank, alice: dict[str, object]) -> None:
    """The same proof under another challenge is refused with 409, before anything moves."""
    till = Till(bank, alice, sellers=[Coarse(bank, "main", "shop", "coin")])
    one, two = till.bought(), till.bought()
    assert till.serve(one).status == 200
    answer = till.answer(two)
    assert (answer.status, problem(answer)["slug"]) == (409, "challenge-used")
    assert bank.settled() == 1


def test_a_stored_answer_is_the_one_that_was_given(till: Till) -> None:
    """Status, headers, body and receipt, byte for byte; only a mark that it is a replay is added."""
    credential = till.bought()
    given = till.serve(credential, handler=lambda: b"\x00\xffgoods")
    again = till.answer(credential)
    assert (again.status, again.body) == (given.status, given.body)
    assert set(again.headers) - set(given.headers) == {("idempotent-replayed", "true")}
    assert set(given.headers) <= set(again.headers)
    receipt = decode_receipt(first(again, "payment-receipt") or "")
    assert receipt.reference == hash_of(till.payment(credential).prepared.raw)  # type: ignore[union-attr]
    assert [type(each) for each in till.events[-2:]] == [Paid, Replayed]


def test_an_answer_too_large_to_keep_is_replayed_as_its_receipt(till: Till) -> None:
    """409 with the receipt in the body and not in a header: an error carries no Payment-Receipt."""
    credential = till.bought()
    given = till.serve(credential, handler=lambda: b"x" * (1024 * 1024 + 1))
    again = till.answer(credential)
    members = problem(again)
    assert (again.status, members["slug"]) == (409, "already-delivered")
    assert first(again, "payment-receipt") is None
    assert members["receipt"] == decode_receipt(first(given, "payment-receipt") or "").members()
    assert members["reference"] == members["receipt"]["reference"]


@pytest.mark.spec("CORE-061")
def test_in_flight_says_when_to_come_back(till: Till) -> None:
    """409 with Retry-After while a handler runs under the payment."""
    credential = till.bought()
    admission = till.admitted(credential)
    answer = till.answer(credential)
    assert (answer.status, problem(answer)["slug"]) == (409, "payment-in-flight")
    assert first(answer, "retry-after") == str(RETRY_IN_FLIGHT_S)
    till.deliver(admission)
    assert till.answer(credential).status == 200


@pytest.mark.spec("CORE-061")
@pytest.mark.guard("F11")
def test_an_unknown_end_says_when_to_come_back_and_what_to_look_up(till: Till) -> None:
    """503 with Retry-After and the transaction's hash, and the words not to pay again."""
    credential = till.bought()
    till.bank.order("stuck")
    for _ in range(2):
        answer = till.answer(credential)
        members = problem(answer)
        assert (answer.status, members["slug"]) == (503, "payment-outcome-unknown")
        assert first(answer, "retry-after") == str(RETRY_PENDING_S)
        assert members["reference"] == till.payment(credential).prepared.reference  # type: ignore[union-attr]
        assert "do not pay again" in members["detail"]
    till.bank.release()
    assert till.serve(credential).status == 200


@pytest.mark.guard("F11")
@pytest.mark.parametrize("call", [1, 2, 3, 4], ids=["verify", "simulate", "submit", "look-up"])
def test_a_bank_that_goes_silent_at_any_call_is_never_unpaid(till: Till, call: int) -> None:
    """Whether it falls silent before or after it was sent: 503, then the goods for the one payment, never a bill."""
    credential = till.bought()
    bank = till.sellers[0].bank  # type: ignore[attr-defined]
    real, calls = bank._strikes, []

    def strikes(db: object, name: str) -> bool:
        if name == "down":
            calls.append(name)
        return len(calls) >= call if name == "down" else real(db, name)

    bank._strikes = strikes
    answer = till.answer(credential)
    assert answer.status == 503, answer
    sent = call > 2
    assert problem(answer)["slug"] == ("payment-outcome-unknown" if sent else "payment-rail-unavailable")
    assert not offered(answer)
    del bank._strikes
    assert till.serve(credential).status == 200
    assert till.bank.settled() == 1


@pytest.mark.guard("F13")
def test_a_failed_payment_is_looked_up_and_never_sent_again(till: Till) -> None:
    """Its payer was told to pay anew; sending the old cheque as well would take the price twice."""
    credential = till.bought()
    till.bank.order("drop")
    till.answer(credential)
    till.bank.skew(2 * EXPIRES_IN_S)
    till.resolve()
    assert till.payment(credential).stage is Stage.FAILED
    till.bank.skew(0)
    sent = till.bank.submissions()
    answer = till.answer(credential)
    assert answer.status == 503
    assert not offered(answer)
    assert till.bank.submissions() == sent
    assert till.bank.settled() == 0


def test_a_pushed_payment_that_was_given_up_is_honoured(bank: Bank, alice: dict[str, object]) -> None:
    """Its payer had paid before it came; that our claim was dropped does not unpay it."""
    till = Till(bank, {**alice, "push": True})
    one = till.bought()
    with struck_at("gate.claimed"):
        till.present(one, idempotency_key="k")
    pull = Till(bank, alice, till.store)
    assert pull.serve(pull.bought(), idempotency_key="k").status == 200
    assert till.payment(one).stage is Stage.FAILED
    assert till.serve(one).status == 200


@pytest.fixture(params=["memory:", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path}/payments.db"


@pytest.fixture
def shared(bank: Bank, alice: dict[str, object], store_url: str) -> Iterator[Till]:
    made = Till(bank, alice, open_store(store_url))
    yield made
    made.store.close()


@pytest.mark.guard("T01", "F14")
@pytest.mark.spec("CORE-095")
def test_fifty_copies_at_once_are_one_payment_and_one_delivery(shared: Till) -> None:
    """Threads race with one credential: one handler run, one settlement; the others replay or wait."""
    credential = shared.bought()
    runs: list[int] = []
    begin = threading.Barrier(10)

    def handler() -> bytes:
        runs.append(1)
        return b"goods"

    def copy(_: int) -> int:
        begin.wait()
        return shared.serve(credential, handler=handler).status

    with ThreadPoolExecutor(10) as pool:
        statuses = [status for _ in range(5) for status in pool.map(copy, range(10))]
    assert len(runs) == 1
    assert set(statuses) <= {200, 409}
    assert shared.bank.settled() == 1
    assert shared.answer(credential).body == b"goods"


@pytest.mark.guard("T01")
def test_a_restart_forgets_nothing(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Another handle on the same file, long after expiry, gives the stored answer, and goes on working."""
    url = f"sqlite:///{tmp_path}/payments.db"
    before = Till(bank, alice, open_store(url))
    credential, open_one = before.bought(), before.bought()
    given = before.serve(credential)
    stuck(before, open_one)
    before.store.close()
    after = Till(bank, alice, open_store(url))
    after.world.at_s += 10 * EXPIRES_IN_S
    again = after.answer(credential)
    assert (again.status, again.body) == (200, b"goods")
    assert set(given.headers) <= set(again.headers)
    assert after.answer(open_one).status == 503
    bank.release()
    assert after.serve(open_one).status == 200
    assert after.serve(after.bought()).status == 200
    assert bank.settled() == 3
    assert set(after.sums().values()) == {0}
    after.store.close()


@pytest.mark.guard("F13")
def test_a_payment_that_failed_while_we_looked_is_not_sent(shared: Till) -> None:
    """Between the look-up and the lease a resolver may give it up: what counts is what stands under the lease."""
    credential = shared.bought()
    prepared(shared, credential)

    def give_up() -> None:
        shared.bank.skew(2 * EXPIRES_IN_S)
        shared.resolve()
        assert shared.payment(credential).stage is Stage.FAILED
        shared.bank.skew(0)

    got = interleaved(shared, credential, before_take=give_up)
    assert isinstance(got, Answer)
    assert got.status == 503
    assert shared.bank.submissions() == 0


def test_a_payment_that_was_settled_while_we_looked_is_delivered(shared: Till) -> None:
    """The other request settled it and died: this one delivers, and does not settle again."""
    credential = shared.bought()
    prepared(shared, credential)
    got = interleaved(shared, credential, before_take=lambda: settled(shared, credential))
    assert isinstance(got, Admission)
    assert shared.bank.submissions() == 1


def test_paid_twice_by_two_challenges_is_two_deliveries(till: Till) -> None:
    """Two payments are two purchases; single use never swallows one."""
    assert [till.serve(till.bought()).status for _ in range(2)] == [200, 200]
    assert till.bank.balance("shop") == 2 * UNITS
    assert isinstance(till.present(till.bought(), GET), Admission)
