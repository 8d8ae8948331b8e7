"""One logical request is paid once, whatever became of the channel that paid it; and its answer is kept for so long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.errors import UsageError
from coinslot.intents.acts import Act
from coinslot.intents.session import Stage
from coinslot.server.settler import (
    CLOSE_IDLE_AFTER_S,
    FORGOTTEN_AT_ONCE,
    KEEP_ANSWERS_S,
    TIDY_EVERY,
    Policy,
    Report,
    settle_round,
)
from coinslot.store.channels import SessionStore
from support.drained import drained
from support.sessiontill import COST, HEAD, WORDS, Buyer, SessionTill, receipt_of
from support.till import first, offered, problem
from support.toybank import Bank

Wallet = dict[str, Any]
KEY = "the-first"


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


def settle(till: SessionTill, policy: Policy | None = None, turn: int = 1) -> Report:
    """A settler's round."""
    report = run(settle_round(till.store, (till.seller,), policy or Policy(), None, turn), till.world)
    drained(till.store)
    return report


def ended(till: SessionTill, buyer: Buyer, total: int, *, by_settler: bool = False) -> None:
    """Its channel is closed: its payer asked for that, or it idled."""
    if by_settler:
        till.world.at_s += CLOSE_IDLE_AFTER_S + 60
        settle(till)
    else:
        assert till.serve(buyer.close(total), HEAD).status in (200, 204)
    for _ in range(5):
        if buyer.record.stage is Stage.CLOSED:
            return
        settle(till)
    assert buyer.record.stage is Stage.CLOSED


@pytest.mark.guard("T02", "F14")
@pytest.mark.spec("TSES-163")
@pytest.mark.parametrize("by_settler", [False, True], ids=["payer", "settler"])
def test_what_a_closed_channel_paid_is_not_bought_again(by_settler: bool, till: SessionTill) -> None:
    """The answer was lost, and the channel closed; the next one gets that answer for nothing, any number of times."""
    old = till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY, handler=lambda: b"the first")
    ended(till, old, COST, by_settler=by_settler)
    new = till.buyer()
    for total in (COST, COST, 4 * COST):
        again = till.again(new.voucher(total), idempotency_key=KEY)
        assert (again.status, again.body, first(again, "idempotent-replayed")) == (200, b"the first", "true")
        receipt = receipt_of(again)
        assert (receipt.reference, receipt.extra["units"]) == (new.held.channel_id, 0)
    assert (till.runs, new.sums) == (1, (0, 0, 0))
    assert till.serve(new.voucher(COST), idempotency_key="another").body == b"words"
    assert new.sums == (COST, COST, 0)


@pytest.mark.guard("T02", "F14")
def test_an_opening_that_brings_a_known_key_buys_nothing(till: SessionTill) -> None:
    """The channel is opened, since its transaction says so, and the answer is the one that was paid for."""
    old = till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY, handler=lambda: b"the first")
    ended(till, old, COST)
    new, opening = till.open(first_units=COST)
    assert till.again(opening, idempotency_key=KEY).body == b"the first"
    assert (till.runs, new.sums) == (1, (COST, 0, 0))


@pytest.mark.guard("F07")
def test_what_was_paid_and_not_delivered_is_delivered_on_the_next_channel(till: SessionTill) -> None:
    """Its handler failed, and its channel is closed: it runs once more, and nothing is charged for that."""
    old = till.buyer()
    till.gate.abandoned(till.admitted(old.voucher(COST), idempotency_key=KEY))
    ended(till, old, COST)
    new = till.buyer()
    for _ in range(2):
        assert till.again(new.voucher(COST), idempotency_key=KEY).body == b"words"
    assert (till.runs, new.sums[1], old.sums[1]) == (1, 0, COST)


@pytest.mark.guard("T05")
def test_another_payer_gets_nothing_by_somebody_s_key(till: SessionTill, bank: Bank) -> None:
    """Whoever knows it buys, and gets what it paid for."""
    old = till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY, handler=lambda: b"for alice")
    secret = bank.open("bob", coin=100 * COST)
    bob = SessionTill(bank, {"bank": bank.path, "account": "bob", "secret": secret}, till.store)
    buyer = bob.buyer()
    answer = bob.serve(buyer.voucher(COST), idempotency_key=KEY, handler=lambda: b"for bob")
    assert (answer.body, bob.runs, buyer.sums) == (b"for bob", 1, (COST, COST, 0))
    assert bob.again(buyer.voucher(2 * COST), idempotency_key=KEY).body == b"for bob"
    assert till.again(till.buyer().voucher(COST), idempotency_key=KEY).body == b"for alice"


@pytest.mark.guard("T05", "T15")
def test_who_does_not_prove_to_pay_gets_nothing(till: SessionTill) -> None:
    """A voucher of another's hand, and one that was accepted before, which all can read when it was settled."""
    old, new = till.buyer(), till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY, handler=lambda: b"the first")
    till.serve(new.voucher(COST))
    forged = new.credential(till.payer.payload(new.held, Act.VOUCHER, 2 * COST, till.payer.sign(old.held, 2 * COST)))
    assert till.serve(forged, idempotency_key=KEY).status == 402
    for seen in (new.voucher(COST), new.voucher(COST - 1)):
        answer = till.serve(seen, idempotency_key=KEY)
        assert b"the first" not in answer.body
        assert first(answer, "idempotent-replayed") is None
    assert (till.runs, new.sums) == (2, (COST, COST, 0))


def test_a_key_of_another_request_is_refused_on_every_channel(till: SessionTill) -> None:
    """422 without a challenge, and nothing is taken."""
    old = till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY)
    ended(till, old, COST)
    new = till.buyer()
    for request in (replace(WORDS, query="page=2"), replace(WORDS, method="POST", body=b"more")):
        answer = till.serve(new.voucher(COST), request, idempotency_key=KEY)
        assert (answer.status, problem(answer)["slug"], offered(answer)) == (422, "idempotency-key-reused", [])
    assert (till.runs, new.sums) == (1, (0, 0, 0))


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.guard("F28")
def test_the_answers_of_closed_channels_are_forgotten_in_time(till: SessionTill) -> None:
    """By the settler, in a round in which it tidies up; then the key is a new request's. Records and journal stay."""
    old = till.buyer()
    till.serve(old.voucher(COST), idempotency_key=KEY)
    ended(till, old, COST)
    record, books = old.record, till.store.balances().result()
    assert settle(till, turn=TIDY_EVERY).forgotten == 0
    assert settle(till, Policy(keep_answers_s=None), turn=TIDY_EVERY).forgotten == 0
    soon = Policy(keep_answers_s=0.000_001)
    assert settle(till, soon, turn=TIDY_EVERY + 1).forgotten == 0
    assert settle(till, soon, turn=TIDY_EVERY).forgotten == 1
    assert (old.record, till.store.balances().result()) == (record, books)
    new = till.buyer()
    assert till.serve(new.voucher(COST), idempotency_key=KEY).body == b"words"
    assert (till.runs, new.sums) == (2, (COST, COST, 0))


@pytest.mark.guard("F16", "F28")
def test_many_answers_are_forgotten_a_few_at_a_time(session_till: SessionTill, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of the store takes more than so many, and one round takes several."""
    count = FORGOTTEN_AT_ONCE + 10
    for n in range(0, count, 10):
        buyer = session_till.buyer(20 * COST)
        for m in range(10):
            session_till.serve(buyer.voucher((m + 1) * COST), idempotency_key=f"{n}/{m}")
        session_till.store.mark_closed(buyer.held.key, 0).result()
    steps: list[int] = []
    forget = session_till.store.forget_answers

    def counted(keys: Any, kept_s: float) -> Any:
        steps.append(len(keys))
        return forget(keys, kept_s)

    monkeypatch.setattr(session_till.store, "forget_answers", counted)
    assert settle(session_till, Policy(keep_answers_s=0.000_001), turn=0).forgotten == count
    assert steps == [FORGOTTEN_AT_ONCE, 10]


def test_answers_are_kept_for_some_time() -> None:
    """A week, unless it is said otherwise; no time at all is none."""
    assert Policy().keep_answers_s == KEEP_ANSWERS_S == 7 * 86_400
    with pytest.raises(UsageError, match="kept"):
        Policy(keep_answers_s=0)
