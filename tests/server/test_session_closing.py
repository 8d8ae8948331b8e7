"""A client closes its channel: what was bought is taken, the rest goes back, once, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest

from coinslot.drive import Flow, run
from coinslot.intents.acts import Act
from coinslot.intents.session import Stage
from coinslot.server.answer import Answer
from coinslot.server.events import ChannelClosed
from coinslot.server.price import Metering
from coinslot.store.channels import JobKind, JobLease, JobStage, SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.open import open_store
from support.drained import drained
from support.sessiontill import COST, DEPOSIT, HEAD, WORDS, Buyer, SessionTill, receipt_of
from support.strike import struck_at
from support.till import asking, first, offered, problem
from support.toybank import Bank

Wallet = dict[str, Any]
FUNDS = 5_000_000
STRUCK = ["session.closing", "settler.prepared", "settler.sent", "settler.finished"]
# More effects than closing has.
MANY = 60


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


def balanced(till: SessionTill) -> None:
    """Each asset sums to zero, and a closed channel holds nothing in the journal either."""
    for accounts in till.store.balances().result().values():
        assert sum(accounts.values()) == 0
        assert not any(units for name, units in accounts.items() if "channel" in name or "escrow" in name), accounts


@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-185", "TSES-186", "TSES-187", "TSES-188")
def test_a_close_takes_what_was_spent_and_gives_the_rest_back(till: SessionTill) -> None:
    """However much was signed: 204 with the transaction, and the bank shows exactly that."""
    buyer = till.buyer()
    till.serve(buyer.voucher(5 * COST))
    till.serve(buyer.voucher(5 * COST + 1))
    answer = till.answer(buyer.close(6 * COST))
    assert (answer.status, answer.body) == (204, b"")
    receipt = receipt_of(answer)
    (job,) = till.store.jobs_of(buyer.held.key, 5).result()
    assert (receipt.extra["spent"], receipt.extra["txHash"]) == (str(2 * COST), job.reference)
    assert (till.bank.balance("shop"), till.bank.balance("alice")) == (2 * COST, FUNDS - 2 * COST)
    assert (buyer.record.stage, buyer.record.settled) == (Stage.CLOSED, 2 * COST)
    (told,) = [event for event in till.events if isinstance(event, ChannelClosed)]
    assert (told.units, told.refunded_units, told.reference) == (2 * COST, DEPOSIT - 2 * COST, job.reference)
    balanced(till)


@pytest.mark.parametrize("total", [2 * COST, 6 * COST])
def test_the_receipt_of_a_close_names_the_voucher_that_asked_for_it(till: SessionTill, total: int) -> None:
    """Deployed clients hold it against what they signed, also where they had signed more before, and when repeated."""
    buyer = till.buyer()
    till.serve(buyer.voucher(5 * COST))
    till.serve(buyer.voucher(5 * COST + 1))
    for _ in range(2):
        receipt = receipt_of(till.answer(buyer.close(total)))
        assert (receipt.extra["acceptedCumulative"], receipt.extra["spent"]) == (str(total), str(2 * COST))


@pytest.mark.guard("T23")
def test_a_close_with_nothing_bought_frees_the_whole_deposit(till: SessionTill) -> None:
    """Also at zero: the payer's money doesn't stay behind."""
    buyer = till.buyer()
    assert till.answer(buyer.close(0)).status == 204
    assert (till.bank.balance("alice"), till.bank.balance("shop")) == (FUNDS, 0)
    balanced(till)


@pytest.mark.guard("T23")
@pytest.mark.parametrize(("signed", "taken"), [(2 * COST, 2 * COST), (3 * COST, 3 * COST), (6 * COST, 5 * COST)])
def test_v1_takes_what_the_lowest_good_voucher_says(bank: Bank, alice: Wallet, signed: int, taken: int) -> None:
    """A client that closes with a voucher for what it bought pays that, and no more than it ever signed."""
    till = SessionTill(bank, alice, flavour="v1")
    buyer = till.buyer()
    till.serve(buyer.voucher(4 * COST))
    till.serve(buyer.voucher(5 * COST))
    assert buyer.sums == (5 * COST, 2 * COST, 0)
    assert till.answer(buyer.close(signed)).status == 204
    assert (bank.balance("shop"), bank.balance("alice")) == (taken, FUNDS - taken)


@pytest.mark.guard("T23")
@pytest.mark.parametrize("flavour", ["v2", "v1"])
def test_a_close_below_what_was_spent_is_refused(bank: Bank, alice: Wallet, flavour: str) -> None:
    """402 with what is missing; the channel goes on selling."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer = till.buyer()
    till.serve(buyer.voucher(2 * COST))
    answer = till.answer(buyer.close(COST - 1))
    assert (answer.status, problem(answer)["slug"], problem(answer)["requiredTopUp"]) == (
        402, "insufficient-balance", "1",
    )  # fmt: skip
    assert buyer.record.stage is Stage.OPEN
    assert till.serve(buyer.voucher(3 * COST)).status == 200
    assert bank.balance("shop") == 0


@pytest.mark.spec("TSES-083")
def test_only_its_signer_closes_a_channel(till: SessionTill) -> None:
    """A stranger's signature, or a total above the deposit, closes nothing."""
    buyer, other = till.buyer(), till.buyer()
    stranger = Buyer(till, buyer.held, buyer.challenge)
    payload = dict(till.payer.payload(other.held, Act.CLOSE, COST, till.payer.sign(other.held, COST)))
    own = till.payer.payload(buyer.held, Act.CLOSE, 0, till.payer.sign(buyer.held, 0))
    for bad in ({**own, "signature": payload["signature"]}, {**payload, "channelId": buyer.held.channel_id}):
        assert till.answer(stranger.credential(bad)).status == 402
    assert problem(till.answer(buyer.close(DEPOSIT + 1)))["slug"] == "amount-exceeds-deposit"
    assert (buyer.record.stage, till.bank.balance("shop")) == (Stage.OPEN, 0)


def test_a_close_that_comes_again_gets_its_receipt(till: SessionTill) -> None:
    """The answer was lost: the same credential is told of the same transaction, and nothing is sent again."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    credential = buyer.close(COST)
    one = receipt_of(till.answer(credential))
    sent = till.bank.submissions()
    for request in (WORDS, HEAD):
        two = receipt_of(till.answer(credential, request))
        assert (two.extra["txHash"], two.extra["spent"]) == (one.extra["txHash"], str(COST))
    assert (till.bank.submissions(), till.bank.balance("shop")) == (sent, COST)
    assert till.serve(buyer.voucher(2 * COST)).status == 410


@pytest.mark.guard("F15")
def test_twenty_closes_at_once_are_one(till: SessionTill) -> None:
    """Who comes while another works on it is told to come again."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    credential = buyer.close(COST)
    with ThreadPoolExecutor(8) as pool:
        statuses = {one.status for one in pool.map(till.answer, [credential] * 20)}
    assert 204 in statuses
    assert statuses <= {204, 409}
    assert (till.bank.balance("shop"), till.bank.submissions()) == (COST, 2)
    assert len(till.store.jobs_of(buyer.held.key, 5).result()) == 1
    balanced(till)


@pytest.mark.guard("T23", "F08")
def test_a_channel_is_not_closed_under_a_running_stream(bank: Bank, alice: Wallet) -> None:
    """409 while a window is set aside; when the stream has ended, what it took is in the capture."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4))
    buyer = till.buyer()
    admission = till.admitted(buyer.voucher(8 * COST))
    assert admission.meter is not None
    assert admission.meter.take(3)
    answer = till.answer(buyer.close(8 * COST))
    assert (answer.status, offered(answer)) == (409, [])
    assert first(answer, "retry-after") is not None
    run(admission.meter.finish(), till.world)
    assert till.answer(buyer.close(8 * COST)).status == 204
    assert (bank.balance("shop"), buyer.record.spent) == (3 * COST, 3 * COST)


def between(flow: Flow[Any], n: int, act: Callable[[], object]) -> Flow[Any]:
    """The flow, with something done after its n-th effect and before it goes on."""
    answer: object = None
    failure: BaseException | None = None
    count = 0
    try:
        while True:
            effect = flow.throw(failure) if failure is not None else flow.send(answer)
            answer, failure = None, None
            count += 1
            try:
                answer = yield effect
            except Exception as error:
                failure = error
            if count == n:
                act()
    except StopIteration as end:
        return end.value


@pytest.mark.guard("T23", "F15")
@pytest.mark.parametrize("flavour", ["v2", "v1"])
def test_what_is_bought_while_a_close_begins_is_taken_too(bank: Bank, alice: Wallet, flavour: str) -> None:
    """Another request buys between any two steps of a close: the channel never closes for less than was delivered."""
    till = SessionTill(bank, alice, flavour=flavour)
    for n in range(1, MANY):
        buyer = till.buyer()
        till.serve(buyer.voucher(COST))
        before = bank.balance("shop")
        sold: list[Answer] = []
        flow = till.gate.admit(asking(WORDS, buyer.close(3 * COST)), till.price)
        other = buyer.voucher(2 * COST)

        def serve(credential: str = other, answers: list[Answer] = sold) -> None:
            answers.append(till.serve(credential))

        answer = run(between(flow, n, serve), till.world)
        assert isinstance(answer, Answer)
        assert answer.status in (204, 410, 402), n
        if answer.status == 204:
            record = buyer.record
            assert record.stage is Stage.CLOSED
            assert bank.balance("shop") - before == record.settled >= record.spent, f"effect {n}"
            assert record.spent == (1 + any(one.body == b"words" for one in sold)) * COST
        if not sold:
            break
    assert 5 < n < MANY - 1


class Meanwhile:
    """A store that lets something happen once, before a job is taken, and passes everything on."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.act: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def take_job(self, job_id: int) -> Future[JobLease | None]:
        """Something happens first."""
        act, self.act = self.act, None
        if act is not None:
            act()
        return self._store.take_job(job_id)


@pytest.mark.guard("F09")
@pytest.mark.parametrize("name", ["settler.prepared", "settler.sent"])
def test_what_another_server_sent_is_not_given_up(bank: Bank, alice: Wallet, name: str) -> None:
    """It recorded or sent the close, and died, after this one had read the job: one job, one transaction, done."""
    between = Meanwhile(MemoryStore())
    till = SessionTill(bank, alice, cast("SessionStore", between))
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    credential = buyer.close(2 * COST)

    def die() -> None:
        with struck_at(name):
            till.present(credential)

    between.act = die
    assert till.answer(credential).status == 204
    assert (buyer.record.stage, buyer.record.settled) == (Stage.CLOSED, COST)
    (job,) = till.store.jobs_of(buyer.held.key, 5).result()
    assert job.stage is JobStage.DONE
    assert till.bank.settled() == 2
    balanced(till)


@pytest.mark.guard("F07", "F09", "F10", "F11")
@pytest.mark.parametrize("name", STRUCK)
def test_a_close_that_was_struck_goes_on_with_the_same_credential(disk: SessionTill, name: str) -> None:
    """At every step: paid out once, refunded once, one job; the journal agrees."""
    buyer = disk.buyer()
    disk.serve(buyer.voucher(COST))
    credential = buyer.close(2 * COST)
    with struck_at(name):
        disk.present(credential)
    drained(disk.store)
    assert disk.serve(buyer.voucher(3 * COST)).status == 410
    answer = disk.answer(credential)
    assert answer.status == 204
    assert receipt_of(answer).extra["txHash"]
    assert (disk.bank.balance("shop"), disk.bank.balance("alice")) == (COST, FUNDS - COST)
    (job,) = disk.store.jobs_of(buyer.held.key, 5).result()
    assert (job.kind, job.stage) == (JobKind.CLOSE, JobStage.DONE)
    assert disk.bank.settled() == 2
    balanced(disk)


@pytest.mark.guard("F11")
@pytest.mark.parametrize("fault", ["stuck", "lost-answer", "drop"])
def test_a_close_whose_end_is_unknown_is_pending(till: SessionTill, fault: str) -> None:
    """503 without a challenge; nothing is sold meanwhile; the same credential learns the end."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    credential = buyer.close(COST)
    till.bank.order(fault)
    answer = till.answer(credential)
    if fault == "lost-answer":
        assert answer.status == 204
    else:
        assert (answer.status, offered(answer)) == (503, [])
        assert till.serve(buyer.voucher(2 * COST)).status == 410
        till.bank.release()
        assert till.answer(credential).status == 204
    assert (till.bank.balance("shop"), till.bank.balance("alice")) == (COST, FUNDS - COST)
    balanced(till)


def test_a_close_that_the_network_refuses_can_be_asked_for_again(till: SessionTill) -> None:
    """The job failed for good; the channel sells nothing, and a later close is a new job."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.bank.order("revert")
    assert till.answer(buyer.close(COST)).status != 204
    assert till.serve(buyer.voucher(2 * COST)).status == 410
    assert till.answer(buyer.close(COST)).status == 204
    stages = [job.stage for job in till.store.jobs_of(buyer.held.key, 5).result()]
    assert stages == [JobStage.DONE, JobStage.FAILED]
    assert till.bank.balance("shop") == COST


@pytest.mark.guard("T27")
def test_a_close_after_the_payer_asked_the_chain_is_served(till: SessionTill) -> None:
    """Both ways at once end in one close."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    buyer.ask_to_close()
    till.store.mark_closing(buyer.held.key, 1.0).result()
    assert till.answer(buyer.close(COST)).status == 204
    assert till.bank.balance("shop") == COST
