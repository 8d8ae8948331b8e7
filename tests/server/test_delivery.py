"""One whole 2xx answer ends a payment; anything less leaves it to whoever paid."""

from __future__ import annotations

import pytest

from coinslot.core.receipt import decode_receipt
from coinslot.drive import run
from coinslot.errors import LeaseLost, StoreError
from coinslot.server.answer import Answer, kept_headers, paid_headers, replay
from coinslot.server.delivery import Delivering
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery, Stage
from coinslot.store.sqlite import SqliteStore
from support.lapse import LONG_LEASE_S, lapse
from support.strike import struck_at
from support.till import Till, first
from support.toybank import Bank


@pytest.mark.guard("F07")
@pytest.mark.parametrize("status", [199, 300, 302, 400, 402, 404, 409, 500, 503])
def test_what_is_no_2xx_leaves_the_payment_with_its_payer(till: Till, status: int) -> None:
    """The handler's failure costs nothing: the same credential comes again, with its receipt, for a whole answer."""
    credential = till.bought()
    first_try = till.admitted(credential)
    assert till.deliver(first_try, b"sorry", status).status == status
    again = till.admitted(credential)
    assert again.receipt == first_try.receipt
    assert first(till.deliver(again), "payment-receipt") == first_try.receipt.encode()
    assert till.bank.settled() == 1
    assert till.payment(credential).stage is Stage.DELIVERED


@pytest.mark.spec("CORE-047")
@pytest.mark.parametrize("status", [199, 302, 404, 500])
def test_no_error_carries_a_receipt(till: Till, status: int) -> None:
    """Not ours, and not one that the handler, or whatever stands behind it, put there."""
    watching = Delivering(till.admitted(till.bought()).receipt)
    headers = watching.begin(status, [("Payment-Receipt", "forged"), ("x-kept", "1")])
    assert headers == (("x-kept", "1"),)


@pytest.mark.spec("CORE-046", "CORE-112")
@pytest.mark.guard("T39")
def test_a_paid_answer_is_private_varies_and_has_a_receipt(till: Till) -> None:
    """No shared cache keeps it, a browser may read it, and what the handler said of caching otherwise stands."""
    admission = till.admitted(till.bought())
    given = [
        ("Cache-Control", "public, max-age=60, s-maxage=3600"),
        ("Vary", "Accept"),
        ("Payment-Receipt", "forged"),
        ("Access-Control-Expose-Headers", "X-Total"),
        ("ETag", '"1"'),
    ]
    headers = dict(Delivering(admission.receipt).begin(200, given))
    assert headers["cache-control"] == "private, max-age=60"
    assert headers["vary"] == "Accept, Authorization"
    assert headers["access-control-expose-headers"].startswith("X-Total, WWW-Authenticate, Payment-Receipt, ")
    assert headers["ETag"] == '"1"'
    members = decode_receipt(headers["payment-receipt"]).members()
    assert members["status"] == "success"
    assert "forged" not in headers.values()


@pytest.mark.spec("CORE-112")
def test_private_is_said_where_the_handler_said_nothing(till: Till) -> None:
    """Also where it said `no-store`, which stays."""
    receipt = till.admitted(till.bought()).receipt
    assert dict(paid_headers([], receipt))["cache-control"] == "private"
    assert dict(paid_headers([("cache-control", "no-store")], receipt))["cache-control"] == "private, no-store"


def test_what_is_not_recorded_is_not_remembered(till: Till) -> None:
    """Of a bought answer without a key nothing is kept; that it ends before its length is refused all the same."""
    watching = Delivering(till.admitted(till.bought()).receipt, reported=False)
    watching.begin(200, [("content-length", "5")])
    watching.add(b"word")
    with pytest.raises(StoreError):
        watching.finish()
    watching.add(b"s")
    assert (watching.whole, watching.finish(), watching.interrupted()) == (True, None, None)


def test_an_answer_that_ends_short_is_no_delivery(till: Till) -> None:
    """Half of what Content-Length promised is not recorded, and not replayed as if it had been all."""
    credential = till.bought()
    admission = till.admitted(credential)
    watching = Delivering(admission.receipt)
    watching.begin(200, [("content-length", "100")])
    watching.add(b"x" * 50)
    assert not watching.whole
    with pytest.raises(StoreError, match="promised length"):
        watching.finish()
    assert watching.interrupted() is None
    till.gate.abandoned(admission)
    assert till.serve(credential).body == b"goods"


def test_a_head_answer_promises_a_body_and_has_none(till: Till) -> None:
    """It is whole as it is, and its replay speaks of the same length."""
    watching = Delivering(till.admitted(till.bought()).receipt)
    watching.begin(200, [("content-length", "100")])
    delivery = watching.finish()
    assert delivery is not None
    assert ("content-length", "100") in Answer(200, delivery.headers, b"").sized()


@pytest.mark.guard("T25")
def test_who_leaves_a_stream_has_had_it(till: Till) -> None:
    """Hanging up before the end is no free pass: the payment is delivered, and its rest is not kept."""
    credential = till.bought()
    admission = till.admitted(credential)
    watching = Delivering(admission.receipt)
    watching.begin(200, [])
    watching.add(b"almost all of i")
    delivery = watching.interrupted()
    assert delivery is not None
    run(till.gate.delivered(admission, delivery), till.world)
    assert till.answer(credential).status == 409


def test_an_end_that_could_not_be_recorded_is_no_interruption(till: Till) -> None:
    """After `finish` only the record can have failed; then the answer must not go out, and it is still owed."""
    watching = Delivering(till.admitted(till.bought()).receipt)
    watching.begin(200, [])
    assert watching.finish() is not None
    assert watching.interrupted() is None


def test_a_body_is_kept_up_to_its_limit(till: Till) -> None:
    """One byte more is forgotten while it passes, not gathered."""
    receipt = till.admitted(till.bought()).receipt
    for size, kept in ((MAX_KEPT_BODY, True), (MAX_KEPT_BODY + 1, False)):
        watching = Delivering(receipt)
        watching.begin(200, [])
        for _ in range(4):
            watching.add(b"x" * (size // 4))
        watching.add(b"x" * (size % 4))
        delivery = watching.finish()
        assert delivery is not None
        assert (delivery.body is not None) == kept


def test_a_replay_has_no_cookies_and_no_headers_of_a_connection(till: Till) -> None:
    """They belong to one moment and one hop; the rest comes back as it was, in order."""
    receipt = till.admitted(till.bought()).receipt
    given = [("Date", "x"), ("X-A", "1"), ("Set-Cookie", "session=1"), ("Transfer-Encoding", "chunked"), ("X-A", "2")]
    kept = kept_headers(given)
    assert kept == (("X-A", "1"), ("X-A", "2"))
    answer = replay(Delivery(201, kept, b"body"), receipt, b"body")
    assert (answer.status, answer.body) == (201, b"body")
    assert ("content-length", "4") in answer.sized()


@pytest.mark.guard("F07")
def test_a_lease_that_lapsed_passes_to_another_process(bank: Bank, alice: dict[str, object], tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    """The first process, stalled for longer than a lease, must not deliver once another one has taken over."""
    path = str(tmp_path_factory.mktemp("store") / "payments.db")
    stalled = Till(bank, alice, SqliteStore(path, lease_s=LONG_LEASE_S))
    credential = stalled.bought()
    admission = stalled.admitted(credential)
    stalled.store._heart.stop()  # type: ignore[attr-defined]
    other = Till(bank, alice, SqliteStore(path))
    assert other.answer(credential).status == 409
    lapse(other.store)
    taken = other.admitted(credential)
    with pytest.raises(LeaseLost):
        stalled.deliver(admission, b"late goods")
    assert other.deliver(taken, b"goods").status == 200
    assert other.answer(credential).body == b"goods"
    assert bank.settled() == 1
    other.store.close()
    stalled.store.close()


@pytest.mark.guard("F07")
def test_what_was_recorded_and_not_sent_is_replayed(till: Till) -> None:
    """The process died between the record and the last byte: the same credential gets the stored answer."""
    credential = till.bought()
    admission = till.admitted(credential)
    with struck_at("gate.delivered"):
        till.deliver(admission)
    assert till.answer(credential).body == b"goods"
