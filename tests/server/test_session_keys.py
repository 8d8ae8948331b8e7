"""Idempotency keys on channels: a request that comes again gets the answer it paid for, and pays nothing more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.server.admission import SessionAdmission
from coinslot.server.price import Metering
from coinslot.store.channels import SessionStore
from coinslot.store.open import open_store
from coinslot.store.protocol import MAX_KEPT_BODY
from support.drained import drained
from support.sessiontill import COST, PATIENCE_S, WORDS, SessionTill, receipt_of
from support.strike import struck_at
from support.till import asking, first, offered, problem
from support.toybank import Bank

Wallet = dict[str, Any]
KEY = "the-first"


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


@pytest.mark.guard("T02", "F14")
@pytest.mark.spec("TSES-136", "TSES-162", "TSES-163")
def test_a_keyed_request_that_comes_again_gets_its_stored_answer(till: SessionTill) -> None:
    """Word for word, with a receipt that says that nothing was taken this time."""
    buyer = till.buyer()
    credential = buyer.voucher(COST)
    one = till.serve(credential, idempotency_key=KEY)
    assert (one.status, receipt_of(one).extra["units"]) == (200, 1)
    for again in (credential, buyer.voucher(2 * COST), buyer.voucher(9 * COST)):
        two = till.again(again, idempotency_key=KEY)
        assert (two.status, two.body, first(two, "content-type")) == (200, b"words", "text/plain")
        assert first(two, "idempotent-replayed") == "true"
        assert receipt_of(two).extra["units"] == 0
    assert (till.runs, buyer.sums) == (1, (COST, COST, 0))


def test_another_key_is_another_request(till: SessionTill) -> None:
    """It pays again, and the answer of the one before is kept as well, whatever voucher asks for it."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST), idempotency_key=KEY, handler=lambda: b"the first")
    assert till.serve(buyer.voucher(2 * COST), idempotency_key="the-second").body == b"words"
    for amount in (1, 2, 3):
        assert till.again(buyer.voucher(amount * COST), idempotency_key=KEY).body == b"the first"
    assert (till.runs, buyer.sums) == (2, (2 * COST, 2 * COST, 0))


@pytest.mark.guard("T02", "F14")
@pytest.mark.spec("TSES-163")
def test_two_keyed_requests_at_once_are_each_charged_once(till: SessionTill) -> None:
    """Both are bought before either is answered, both answers are lost: each comes again with a higher voucher."""
    buyer = till.buyer()
    one = till.admitted(buyer.voucher(COST), idempotency_key="one")
    two = till.admitted(buyer.voucher(2 * COST), idempotency_key="two")
    for admission in (one, two):
        till.deliver(admission)
    for name in ("one", "two", "one"):
        assert till.again(buyer.voucher(9 * COST), idempotency_key=name).body == b"words"
    assert buyer.sums == (2 * COST, 2 * COST, 0)


def test_a_key_of_another_request_is_refused(till: SessionTill) -> None:
    """422 without a challenge: it is not a matter of payment, and nothing is taken."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST), idempotency_key=KEY)
    others = [replace(WORDS, query="page=2"), replace(WORDS, method="POST", body=b"more")]
    for request in others:
        answer = till.serve(buyer.voucher(2 * COST), request, idempotency_key=KEY)
        assert (answer.status, problem(answer)["slug"], offered(answer)) == (422, "idempotency-key-reused", [])
    assert (till.runs, buyer.sums) == (1, (COST, COST, 0))


@pytest.mark.guard("T02", "F15")
def test_one_key_many_times_at_once_runs_once(till: SessionTill) -> None:
    """Whatever vouchers come with it: one pays; the others wait (409) or get the answer."""
    buyer = till.buyer()
    credentials = [buyer.voucher(COST + n) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: till.serve(one, idempotency_key=KEY), credentials))
    assert {one.status for one in answers} <= {200, 409}
    assert (till.runs, buyer.record.spent) == (1, COST)
    assert till.again(credentials[0], idempotency_key=KEY).body == b"words"


@pytest.mark.guard("F07")
def test_while_it_is_answered_a_copy_is_told_to_wait(till: SessionTill) -> None:
    """409, and the answer once there is one; where the handler failed, it runs again without a second charge."""
    buyer = till.buyer()
    credential = buyer.voucher(COST)
    admission = till.admitted(credential, idempotency_key=KEY)
    waiting = till.answer(credential, idempotency_key=KEY)
    assert (waiting.status, first(waiting, "retry-after")) == (409, "1")
    till.gate.abandoned(admission)
    assert till.again(credential, idempotency_key=KEY).body == b"words"
    assert till.again(credential, idempotency_key=KEY).body == b"words"
    assert till.runs == 1
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("F07")
def test_a_keyed_request_whose_server_died_runs_again_without_a_second_charge(
    bank: Bank, alice: Wallet, disk_store_url: str
) -> None:
    """Paid, and the process is gone before its answer was kept: another process serves it."""
    dead = SessionTill(bank, alice, open_store(disk_store_url))
    buyer = dead.buyer()
    credential = buyer.voucher(COST)
    dead.admitted(credential, idempotency_key=KEY)
    dead.store.close()  # its heart stops with it
    alive = SessionTill(bank, alice, open_store(disk_store_url))
    assert alive.again(credential, idempotency_key=KEY).body == b"words"
    assert alive.again(credential, idempotency_key=KEY).body == b"words"
    record = alive.store.find_channel(buyer.held.key).result()
    assert record is not None
    assert (alive.runs, record.spent, record.accepted) == (1, COST, COST)
    alive.store.close()


def test_an_answer_too_large_to_keep_is_told_so(till: SessionTill) -> None:
    """409 with the receipt in the problem, no content, no charge."""
    buyer = till.buyer()
    credential = buyer.voucher(COST)
    till.serve(credential, idempotency_key=KEY, handler=lambda: b"x" * (MAX_KEPT_BODY + 1))
    deadline = time.monotonic() + PATIENCE_S
    while problem(again := till.serve(credential, idempotency_key=KEY))["slug"] == "payment-in-flight":
        assert time.monotonic() < deadline
    assert (again.status, problem(again)["slug"]) == (409, "already-delivered")
    assert (till.runs, buyer.sums) == (1, (COST, COST, 0))


def test_a_keyed_stream_that_ended_is_not_charged_again(bank: Bank, alice: Wallet) -> None:
    """What the meter took is spent once; the repeat gets the stored answer."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4))
    buyer = till.buyer()
    credential = buyer.voucher(6 * COST)
    admission = till.admitted(credential, idempotency_key=KEY)
    assert admission.meter is not None
    assert admission.meter.take(3)
    till.deliver(admission)
    again = till.again(credential, idempotency_key=KEY)
    assert again.body == b"words"
    assert (buyer.record.spent, buyer.record.reserved) == (3 * COST, 0)


@pytest.mark.guard("F07")
def test_an_observer_that_fails_costs_nobody_a_request(bank: Bank, alice: Wallet) -> None:
    """Its error comes out as the server's own; the same request is served for one price as soon as it is mended."""
    till = SessionTill(bank, alice)
    buyer = till.buyer()
    credential = buyer.voucher(COST)

    def broken(_: object) -> None:
        raise LookupError("the observer")

    gate = replace(till.gate, observe=broken)
    with pytest.raises(LookupError, match="observer"):
        run(gate.admit(asking(WORDS, credential, idempotency_key=KEY), till.price), till.world)
    drained(till.store)
    assert till.serve(credential, idempotency_key=KEY).body == b"words"
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("F08")
def test_a_stream_whose_record_was_struck_is_charged_once(bank: Bank, alice: Wallet) -> None:
    """What was taken is committed; whoever comes again under the key pays no second price for it."""
    till = SessionTill(bank, alice, metering=Metering("word", window=4))
    buyer = till.buyer()
    credential = buyer.voucher(6 * COST)
    admission = till.admitted(credential, idempotency_key=KEY)
    assert admission.meter is not None
    assert admission.meter.take(3)
    with struck_at("meter.finished"):
        till.deliver(admission)
    till.gate.abandoned(admission)
    drained(till.store)
    assert (buyer.record.spent, buyer.record.reserved) == (3 * COST, 0)


@pytest.mark.guard("T02")
def test_a_new_key_makes_no_new_purchase_of_an_old_voucher(till: SessionTill) -> None:
    """What a voucher bought is bought; another key on it is no other request."""
    buyer = till.buyer()
    credential = buyer.voucher(5 * COST)
    for n in range(5):
        till.serve(credential, idempotency_key=f"key {n}")
    assert (till.runs, buyer.sums) == (1, (5 * COST, COST, 0))


@pytest.mark.guard("T41")
def test_a_key_that_can_not_be_kept_is_refused(till: SessionTill) -> None:
    """Empty, too long, or unprintable: 400, and nothing is taken."""
    buyer = till.buyer()
    for key in ("", "k" * 256, "a\x00b"):
        assert till.answer(buyer.voucher(COST), idempotency_key=key).status == 400
    assert buyer.sums == (0, 0, 0)


def test_a_keyed_request_that_was_refused_may_come_again(till: SessionTill) -> None:
    """402 keeps no mark: the same key buys once the voucher is good."""
    buyer = till.buyer()
    assert till.serve(buyer.voucher(COST - 1), idempotency_key=KEY).status == 402
    assert till.serve(buyer.voucher(COST), idempotency_key=KEY).body == b"words"
    assert isinstance(till.admitted(buyer.voucher(2 * COST), idempotency_key="next"), SessionAdmission)
    assert buyer.sums == (2 * COST, 2 * COST, 0)
