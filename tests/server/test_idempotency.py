"""An Idempotency-Key: one payment and one answer for a payer's request, whatever is presented with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.core.receipt import decode_receipt
from coinslot.server.answer import Answer
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.server.request import Incoming
from coinslot.store.protocol import Stage
from support.stepping import interleaved
from support.strike import struck_at
from support.till import GET, UNITS, Till, first, offered, problem, rewritten, toy_seller
from support.toybank import Bank


@pytest.mark.spec("CORE-093", "CORE-094")
@pytest.mark.guard("T01")
def test_a_second_payment_under_a_key_is_not_taken(till: Till) -> None:
    """The same payer and request: the first paid answer comes back, and the second cheque never reaches the bank."""
    given = till.serve(till.bought(), idempotency_key="k")
    again = till.answer(till.bought(), idempotency_key="k")
    assert (again.status, again.body) == (200, b"goods")
    assert first(again, "payment-receipt") == first(given, "payment-receipt")
    assert (till.bank.submissions(), till.bank.balance("shop")) == (1, UNITS)


def test_other_content_under_a_key_is_refused(till: Till) -> None:
    """422 for another query, path, method or body; nothing moves."""
    assert till.serve(till.bought(), idempotency_key="k").status == 200
    for other in (
        replace(GET, query="page=2"),
        replace(GET, path="/paid/other"),
        replace(GET, method="POST"),
        replace(GET, body=b"x"),
    ):
        answer = till.answer(till.bought(other), other, idempotency_key="k")
        assert (answer.status, problem(answer)["slug"]) == (422, "idempotency-key-reused")
        assert not offered(answer)
    assert till.bank.submissions() == 1


def test_another_payer_has_keys_of_its_own(till: Till) -> None:
    """The key says nothing about who else used it."""
    assert till.serve(till.bought(), idempotency_key="k").status == 200
    secret = till.bank.open("bob", coin=UNITS)
    bob = Till(till.bank, {"bank": till.bank.path, "account": "bob", "secret": secret}, till.store)
    assert bob.serve(bob.bought(), idempotency_key="k", handler=lambda: b"bob's").body == b"bob's"
    assert till.bank.balance("shop") == 2 * UNITS


def test_without_a_good_credential_a_key_reveals_nothing(till: Till) -> None:
    """Neither its answer nor that it exists: no credential, a forged one, or one of another request, is answered as
    ever.
    """
    assert till.serve(till.bought(), idempotency_key="k", handler=lambda: b"secret").status == 200
    forged = rewritten(till.bought(), {"payer": "alice", "signature": "00" * 32})
    elsewhere = till.bought(replace(GET, query="page=2"))
    for credential, slug in (
        (None, "payment-required"),
        (forged, "verification-failed"),
        (elsewhere, "invalid-challenge"),
    ):
        for key in ("k", "never seen"):
            answer = till.answer(credential, idempotency_key=key)
            assert (answer.status, problem(answer)["slug"]) == (402, slug)
            assert b"secret" not in answer.body


def test_in_flight_a_key_waits(till: Till) -> None:
    """409 while the first one's handler runs, and its answer afterwards."""
    admission = till.admitted(till.bought(), idempotency_key="k")
    second = till.bought()
    answer = till.answer(second, idempotency_key="k")
    assert (answer.status, first(answer, "retry-after")) == (409, "1")
    till.deliver(admission)
    assert till.answer(second, idempotency_key="k").body == b"goods"
    assert till.bank.submissions() == 1


def test_while_the_end_is_unknown_a_key_waits(till: Till) -> None:
    """503 with the first payment's hash; the second is not taken, and gets the goods once the first has settled."""
    one, two = till.bought(), till.bought()
    till.bank.order("stuck")
    assert till.answer(one, idempotency_key="k").status == 503
    answer = till.answer(two, idempotency_key="k")
    assert answer.status == 503
    assert problem(answer)["reference"] == till.payment(one).prepared.reference  # type: ignore[union-attr]
    till.bank.release()
    assert till.resolve() == 0
    assert till.serve(two, idempotency_key="k").status == 200
    assert till.serve(one, idempotency_key="k").status == 200
    assert till.bank.submissions() == 1


def test_a_paid_and_undelivered_key_is_delivered_to_the_second(till: Till) -> None:
    """The first one's handler failed: its payment serves whoever of the payer's comes next under the key."""
    one, two = till.bought(), till.bought()
    till.gate.abandoned(till.admitted(one, idempotency_key="k"))
    assert till.serve(two, idempotency_key="k").status == 200
    assert till.answer(one, idempotency_key="k").body == b"goods"
    assert till.bank.submissions() == 1


def test_a_failed_payment_frees_its_key(till: Till) -> None:
    """Nothing was paid under it, so the next payment counts."""
    till.bank.order("revert")
    assert till.answer(till.bought(), idempotency_key="k").status == 402
    assert till.serve(till.bought(), idempotency_key="k").status == 200
    assert till.bank.settled() == 1


def test_a_claim_that_died_before_anything_was_sent_frees_its_key(till: Till) -> None:
    """Its process is gone and nothing was prepared: the next payment under the key goes through, once."""
    one = till.bought()
    with struck_at("gate.claimed"):
        till.present(one, idempotency_key="k")
    assert till.serve(till.bought(), idempotency_key="k").status == 200
    assert till.answer(one, idempotency_key="k").status == 503  # its payer could still send it
    till.bank.skew(2 * EXPIRES_IN_S)
    assert till.answer(one, idempotency_key="k").status == 402
    assert till.bank.settled() == 1


@pytest.mark.guard("F07")
def test_a_claim_that_was_sent_while_we_looked_is_not_given_up(till: Till) -> None:
    """Between the look at the key and the lease, its credential came again and was broadcast: that is no orphan."""
    one, two = till.bought(), till.bought()
    with struck_at("gate.claimed"):
        till.present(one, idempotency_key="k")

    def come_again() -> None:
        till.bank.order("stuck")
        assert till.answer(one, idempotency_key="k").status == 503

    got = interleaved(till, two, before_take=come_again, idempotency_key="k")
    assert isinstance(got, Answer)
    assert got.status == 503
    assert till.payment(one).stage is Stage.PREPARED
    till.bank.release()
    till.resolve()
    assert till.serve(two, idempotency_key="k").status == 200
    assert (till.bank.submissions(), till.bank.settled()) == (1, 1)


def test_an_answer_too_large_to_keep_is_told_by_its_receipt(till: Till) -> None:
    """409 with the first receipt in the problem, none in a header, and no second payment."""
    given = till.serve(till.bought(), idempotency_key="k", handler=lambda: b"x" * (1024 * 1024 + 1))
    again = till.answer(till.bought(), idempotency_key="k")
    assert again.status == 409
    assert problem(again)["receipt"] == decode_receipt(first(given, "payment-receipt") or "").members()
    assert first(again, "payment-receipt") is None
    assert till.bank.submissions() == 1


def test_a_key_outlives_its_challenge(till: Till) -> None:
    """A day later, with a fresh credential, the first answer comes back."""
    till.serve(till.bought(), idempotency_key="k")
    till.world.at_s += 100 * EXPIRES_IN_S
    assert till.answer(till.bought(), idempotency_key="k").body == b"goods"
    assert till.bank.submissions() == 1


@pytest.mark.guard("T41")
@pytest.mark.parametrize("values", [("",), ("x" * 256,), ("a", "b"), ("\xe9",), ("a\x7f",)])
def test_a_key_that_is_none_is_refused(till: Till, values: tuple[str, ...]) -> None:
    """Empty, longer than an index holds, twice, or no plain text: 400, and nothing moves."""
    request = Incoming(GET.method, GET.path, GET.query, {"idempotency-key": values})
    answer = till.answer(till.bought(), request)
    assert answer.status == 400
    assert till.bank.submissions() == 0


def test_the_longest_key_is_taken(till: Till) -> None:
    """255 characters are."""
    assert till.serve(till.bought(), idempotency_key="x" * 255).status == 200


def test_a_seller_that_is_gone_is_no_reason_to_pay_again(bank: Bank, alice: dict[str, object]) -> None:
    """The first payment under the key was by another method; it is owed, and nothing more is taken for it."""
    shells = Till(bank, alice, sellers=[toy_seller(bank, "shell")])
    shells.gate.abandoned(shells.admitted(shells.bought(), idempotency_key="k"))
    coins = Till(bank, alice, shells.store)
    answer = coins.answer(coins.bought(), idempotency_key="k")
    assert answer.status == 503
    assert not offered(answer)
    assert bank.submissions() == 1
    assert shells.serve(shells.bought(), idempotency_key="k").status == 200
