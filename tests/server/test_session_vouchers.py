"""Vouchers at the gate: each buys once, and what it buys is what the route sells at the route's price."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coinslot.core.canonical import decode_object, encode_object
from coinslot.drive import run
from coinslot.intents.acts import Act
from coinslot.server.answer import Answer
from coinslot.server.events import Bought
from coinslot.server.flood import BURST, FRUITLESS_PER_S
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.server.price import Metering
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.open import open_store
from coinslot.store.sqlite import SqliteStore
from support.sessiondesk import session_payer
from support.sessiontill import COST, DEPOSIT, HEAD, WORDS, Buyer, SessionTill, receipt_of
from support.till import asking, first, offered, problem, rewritten, token_of
from support.toybank import Bank
from support.toychannel import voucher_raw

Wallet = dict[str, Any]
COPIES = 100


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


@pytest.fixture
def buyer(session_till: SessionTill) -> Buyer:
    """A client with an open channel, on a memory store."""
    return session_till.buyer()


# --- what a voucher buys -------------------------------------------------------------------------


@pytest.mark.guard("T02", "T22")
@pytest.mark.spec("TSES-129", "TSES-139", "TSES-143", "TSES-152", "TSES-154", "TSES-155", "TSES-156", "TSES-157")
@pytest.mark.spec("TSES-165", "TSES-166", "TSES-192")
def test_each_voucher_buys_one_request_and_its_receipt_says_so(till: SessionTill) -> None:
    """Accepted and spent grow by the price; the receipt goes with the answer and tells how the channel stands."""
    buyer = till.buyer()
    for n in range(1, 4):
        answer = till.serve(buyer.voucher(n * COST))
        assert (answer.status, answer.body) == (200, b"words")
        receipt = receipt_of(answer)
        told = {name: receipt.extra[name] for name in ("acceptedCumulative", "spent", "units", "channelId")}
        assert told == {
            "acceptedCumulative": str(n * COST), "spent": str(n * COST), "units": 1, "channelId": buyer.held.channel_id,
        }  # fmt: skip
        assert receipt.extra["challengeId"] == buyer.challenge.id
        assert buyer.sums == (n * COST, n * COST, 0)
    assert till.runs == 3
    bought = [event for event in till.events if isinstance(event, Bought)]
    assert [(one.units, one.payer, one.channel) for one in bought] == [(COST, "alice", buyer.held.channel_id)] * 3


@pytest.mark.guard("T02")
@pytest.mark.spec("TSES-125", "TSES-133", "TSES-134", "TSES-163")
def test_the_same_voucher_a_hundred_times_runs_the_handler_once(till: SessionTill) -> None:
    """One after the other: the first buys, the others get a receipt of what is known, and no content."""
    buyer = till.buyer()
    credential = buyer.voucher(COST)
    answers = [till.serve(credential) for _ in range(COPIES)]
    assert till.runs == 1
    assert [one.body for one in answers] == [b"words"] + [b""] * (COPIES - 1)
    assert {one.status for one in answers} == {200}
    repeat = receipt_of(answers[-1]).extra
    assert (repeat["acceptedCumulative"], repeat["spent"], repeat["units"]) == (str(COST), str(COST), 0)
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("T02", "F15")
@pytest.mark.spec("TSES-004", "TSES-142")
def test_the_same_voucher_a_hundred_times_at_once_runs_the_handler_once(till: SessionTill) -> None:
    """From many threads: one buys."""
    buyer = till.buyer()
    credential = buyer.voucher(2 * COST)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: till.serve(credential), range(COPIES)))
    assert till.runs == 1
    assert sorted(one.body for one in answers) == [b""] * (COPIES - 1) + [b"words"]
    assert buyer.sums == (2 * COST, COST, 0)


@pytest.mark.guard("T02")
@pytest.mark.spec("TSES-123", "TSES-124", "TSES-135")
@pytest.mark.parametrize(("flavour", "managed"), [("v2", 204), ("v1", 402)])
def test_a_lower_voucher_buys_nothing(bank: Bank, alice: Wallet, flavour: str, managed: int) -> None:
    """On content it is refused; about the channel alone it changes nothing (v2), or is refused too (v1)."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer = till.buyer()
    till.serve(buyer.voucher(3 * COST))
    before = buyer.record
    content, about = till.serve(buyer.voucher(COST)), till.serve(buyer.voucher(COST), HEAD)
    assert (content.status, problem(content)["slug"]) == (402, "delta-too-small")
    assert about.status == managed
    assert till.runs == 1
    assert buyer.record == before


@pytest.mark.spec("TSES-126", "TSES-199")
def test_a_step_below_the_least_one_is_refused(bank: Bank, alice: Wallet) -> None:
    """A server that asks for steps of some size takes no smaller ones."""
    till = SessionTill(bank, alice, min_delta=2 * COST)
    buyer = till.buyer()
    answer = till.serve(buyer.voucher(2 * COST - 1))
    assert (answer.status, problem(answer)["slug"]) == (402, "delta-too-small")
    assert buyer.sums == (0, 0, 0)
    assert till.serve(buyer.voucher(2 * COST)).status == 200


@pytest.mark.guard("T22")
@pytest.mark.spec("TSES-044", "TSES-143", "TSES-144", "TSES-146", "TSES-148", "TSES-149", "TSES-151")
def test_what_is_missing_is_told_with_a_challenge_that_says_how_to_go_on(buyer: Buyer) -> None:
    """The voucher is kept; the fresh challenge and the headers name the channel and the total that would do."""
    till = buyer.till
    answer = till.serve(buyer.voucher(COST - 400))
    told = problem(answer)
    assert (answer.status, told["slug"], told["requiredTopUp"]) == (402, "insufficient-balance", "400")
    assert told["channelId"] == buyer.held.channel_id
    assert buyer.sums == (COST - 400, 0, 0)
    (fresh,) = offered(answer)
    details = fresh.request_object()["methodDetails"]
    snapshot = details["sessionSnapshot"]
    assert details["channelId"] == buyer.held.channel_id
    assert (snapshot["requiredCumulative"], snapshot["acceptedCumulative"]) == (str(COST), str(COST - 400))
    assert first(answer, "payment-session") == buyer.held.channel_id
    header = first(answer, "payment-session-snapshot")
    assert header is not None
    assert decode_object(header) == snapshot
    assert till.runs == 0
    assert till.serve(buyer.voucher(int(snapshot["requiredCumulative"]), challenge=fresh)).status == 200
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.spec("TSES-127")
def test_a_voucher_above_the_deposit_is_refused(buyer: Buyer) -> None:
    """What the channel doesn't hold can't be taken."""
    answer = buyer.till.serve(buyer.voucher(DEPOSIT + 1))
    assert (answer.status, problem(answer)["slug"]) == (402, "amount-exceeds-deposit")
    assert buyer.sums == (0, 0, 0)


# --- who signs -----------------------------------------------------------------------------------


@pytest.mark.guard("T13", "T15")
@pytest.mark.spec("TSES-121", "TSES-131", "TSES-137", "TSES-143", "TSES-145", "TSES-147", "TSES-225", "TSES-226")
def test_only_the_channels_signer_is_believed(buyer: Buyer) -> None:
    """Another key, a broken signature: refused with a fresh challenge that tells nothing of the channel."""
    till = buyer.till
    held = buyer.held
    other = session_payer({**till.wallet, "signer_secret": "33" * 32})
    forged = buyer.credential(other.payload(held, Act.VOUCHER, COST, other.sign(held, COST)))
    payload = token_of(buyer.voucher(COST)).payload_object()
    broken = buyer.credential({**payload, "cumulativeAmount": str(COST + 1)})
    for credential, slug in ((forged, "signer-mismatch"), (broken, "invalid-signature")):
        for request in (WORDS, HEAD):
            answer = till.serve(credential, request)
            assert answer.status == 402
            assert problem(answer)["slug"] == slug
            assert "sessionSnapshot" not in offered(answer)[0].request_object()["methodDetails"]
            assert first(answer, "payment-session-snapshot") is None
            assert first(answer, "payment-receipt") is None
    assert buyer.sums == (0, 0, 0)
    assert till.runs == 0


@pytest.mark.guard("T03")
@pytest.mark.parametrize("flavour", ["v2", "v1"])
def test_a_channel_to_somebody_else_buys_nothing_here(bank: Bank, alice: Wallet, flavour: str) -> None:
    """Two payees on one store: the channel of one is worth nothing at the other."""
    store = MemoryStore()
    here = SessionTill(bank, alice, store, flavour=flavour)
    there = SessionTill(bank, alice, store, flavour=flavour, recipient="other")
    foreign = there.buyer()
    answer = here.serve(foreign.voucher(COST, challenge=here.challenge()))
    assert (answer.status, problem(answer)["slug"]) == (402, "verification-failed")
    assert here.runs == 0
    assert there.serve(foreign.voucher(COST)).status == 200
    answer = here.serve(foreign.voucher(2 * COST, challenge=here.challenge()))
    assert answer.status == 402


@pytest.mark.parametrize("flavour", ["v2", "v1"])
def test_an_unknown_channel_is_gone(bank: Bank, alice: Wallet, flavour: str) -> None:
    """410 without a challenge: no voucher would help."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer, _ = till.open()
    for act in (Act.VOUCHER, Act.CLOSE):
        answer = till.serve(buyer.voucher(COST, act))
        assert (answer.status, problem(answer)["slug"]) == (410, "channel-not-found")
        assert offered(answer) == []


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-101", "TSES-102", "TSES-122")
def test_a_channel_that_closes_or_closed_sells_nothing(till: SessionTill) -> None:
    """From the moment that closing is on record: 410, whatever is signed, and no handler."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.store.mark_closing(buyer.held.key, 1.0).result()
    for credential in (buyer.voucher(COST), buyer.voucher(2 * COST)):
        for request in (WORDS, HEAD):
            answer = till.serve(credential, request)
            assert answer.status == 410
            assert request is HEAD or problem(answer)["slug"] == "channel-finalized"
    till.store.mark_closed(buyer.held.key, COST).result()
    assert till.serve(buyer.voucher(2 * COST)).status == 410
    assert (till.runs, buyer.sums) == (1, (COST, COST, COST))


# --- the challenge and the route -----------------------------------------------------------------


@pytest.mark.guard("T03")
def test_one_challenge_serves_its_path_whatever_is_asked_there(buyer: Buyer) -> None:
    """Other query, method and body: the same session."""
    requests = [
        WORDS,
        replace(WORDS, query="page=2"),
        replace(WORDS, method="POST", body=b"more"),
        replace(WORDS, method="POST", body=None),
    ]
    for n, request in enumerate(requests, 1):
        assert buyer.till.serve(buyer.voucher(n * COST), request).status == 200


@pytest.mark.guard("T03")
def test_a_challenge_of_another_path_is_refused(buyer: Buyer) -> None:
    """Prices belong to paths, and so do challenges."""
    other = replace(WORDS, path="/paid/books")
    answer = buyer.till.serve(buyer.voucher(COST), other)
    assert (answer.status, problem(answer)["slug"]) == (402, "invalid-challenge")
    assert buyer.sums == (0, 0, 0)
    fresh = buyer.till.challenge(other)
    assert buyer.till.serve(buyer.voucher(COST, challenge=fresh), other).status == 200


@pytest.mark.guard("T03")
def test_no_echoed_field_may_be_changed(buyer: Buyer) -> None:
    """A cheaper request, a later end, another realm: not ours."""
    credential, echo = buyer.voucher(COST), buyer.challenge
    cheaper = encode_object({**echo.request_object(), "amount": "1"})
    later = (echo.expires or "").replace("20", "21", 1)
    for changed in (
        rewritten(credential, request=cheaper),
        rewritten(credential, expires=later),
        rewritten(credential, realm="api.example.org"),
        rewritten(credential, opaque=None),
        rewritten(credential, id="x" * len(echo.id)),
    ):
        answer = buyer.till.serve(changed)
        assert (answer.status, problem(answer)["slug"]) == (402, "invalid-challenge")
    assert (buyer.till.runs, buyer.sums) == (0, (0, 0, 0))


@pytest.mark.guard("T03")
@pytest.mark.spec("TSES-150")
def test_the_price_is_the_routes_at_this_moment(bank: Bank, alice: Wallet) -> None:
    """A challenge from before a change of price buys nothing at either price; a fresh one does."""
    prices = ["0.001"]
    till = SessionTill(bank, alice, price=lambda _: prices[0])
    buyer = till.buyer()
    assert till.serve(buyer.voucher(COST)).status == 200
    prices[0] = "0.005"
    answer = till.serve(buyer.voucher(2 * COST))
    assert (answer.status, problem(answer)["slug"]) == (402, "invalid-challenge")
    assert buyer.sums == (COST, COST, 0)
    assert till.serve(buyer.voucher(6 * COST, challenge=offered(answer)[0])).status == 200
    assert buyer.sums == (6 * COST, 6 * COST, 0)


@pytest.mark.guard("T10")
@pytest.mark.spec("TSES-138")
def test_an_expired_challenge_is_answered_with_a_fresh_one(buyer: Buyer) -> None:
    """The channel goes on: only the challenge is too old."""
    buyer.till.world.at_s += EXPIRES_IN_S
    answer = buyer.till.serve(buyer.voucher(COST))
    assert (answer.status, problem(answer)["slug"]) == (402, "payment-expired")
    assert buyer.sums == (0, 0, 0)
    assert buyer.till.serve(buyer.voucher(COST, challenge=offered(answer)[0])).status == 200


def test_a_route_without_sessions_takes_none(bank: Bank, alice: Wallet, session_till: SessionTill) -> None:
    """The challenge was issued by us, for a price that channels no longer pay."""
    buyer = session_till.buyer()
    charges = SessionTill(bank, alice, session_till.store, charge=True).price.sellers[1]
    session_till.price = replace(session_till.price, sellers=(charges,))
    assert session_till.serve(buyer.voucher(COST)).status == 400


@pytest.mark.spec("TSES-051", "TSES-056", "TSES-057", "TSES-137")
def test_what_can_not_be_read_is_refused_and_what_is_new_is_ignored(buyer: Buyer) -> None:
    """Unknown actions and missing members: a problem. Unknown members: nothing."""
    payload = token_of(buyer.voucher(COST)).payload_object()
    bad: list[dict[str, Any]] = [
        {**payload, "action": "transfer"},
        {name: value for name, value in payload.items() if name != "action"},
        {name: value for name, value in payload.items() if name != "signature"},
        {**payload, "cumulativeAmount": "1e3"},
        {**payload, "cumulativeAmount": 1000},
    ]
    for one in bad:
        answer = buyer.till.serve(buyer.credential(one))
        assert (answer.status, problem(answer)["slug"]) == (402, "malformed-credential")
    assert buyer.till.serve(buyer.credential({**payload, "mood": "good"})).status == 200


# --- about the channel only ----------------------------------------------------------------------


@pytest.mark.spec("TSES-001", "TSES-191")
def test_a_voucher_on_head_is_kept_and_buys_nothing(buyer: Buyer) -> None:
    """204 with the receipt and the channel's state in headers; later content is bought from it."""
    till = buyer.till
    answer = till.serve(buyer.voucher(2 * COST), HEAD)
    assert (answer.status, answer.body) == (204, b"")
    assert receipt_of(answer).extra["acceptedCumulative"] == str(2 * COST)
    assert first(answer, "payment-session") == buyer.held.channel_id
    assert (till.runs, buyer.sums) == (0, (2 * COST, 0, 0))


@pytest.mark.parametrize("body", [b"", None])
def test_a_post_without_body_on_a_metered_route_is_about_the_channel(
    bank: Bank, alice: Wallet, body: bytes | None
) -> None:
    """A stream that ran dry is helped by a voucher alone; with a body it is a request of its own."""
    till = SessionTill(bank, alice, metering=Metering("word", window=2))
    buyer = till.buyer()
    empty = replace(WORDS, method="POST", body=body)
    assert till.serve(buyer.voucher(COST), empty).status == 204
    assert buyer.sums == (COST, 0, 0)
    admission = till.admitted(buyer.voucher(2 * COST), replace(empty, body=b"go on"))
    assert admission.meter is not None
    assert buyer.record.reserved == 2 * COST
    till.gate.abandoned(admission)


def test_a_route_without_content_for_a_method_takes_vouchers_only(buyer: Buyer) -> None:
    """Where the door says that nothing is sold under this method, a voucher is kept and nothing runs."""
    request = replace(WORDS, method="PUT", manages=True)
    assert buyer.till.serve(buyer.voucher(COST), request).status == 204
    assert buyer.till.serve(None, request).status == 405
    assert (buyer.till.runs, buyer.sums) == (0, (COST, 0, 0))


# --- the watcher and the store -------------------------------------------------------------------


@pytest.mark.guard("F26", "T27")
def test_without_a_watcher_nothing_is_sold(bank: Bank, alice: Wallet) -> None:
    """Whoever looked last looked too long ago, or never: 503, and nothing is taken. Closing is still served."""
    clock = [1_000.0]
    till = SessionTill(bank, alice, MemoryStore(clock=lambda: clock[0]))
    buyer = till.buyer()
    assert till.serve(buyer.voucher(COST)).status == 200
    for beat, status in ((till.seller.grace_s / 3 - 1, 200), (2, 503)):
        clock[0] += beat
        till.world.at_s += beat / 100
        total = buyer.record.accepted + COST
        till.world.at_s += 10
        answer = till.serve(buyer.voucher(total))
        assert answer.status == status
        assert buyer.record.accepted == (total if status == 200 else total - COST)
    assert first(answer, "retry-after") is not None
    assert offered(answer) == []
    assert till.answer(buyer.top_up(5)).status == 503
    assert till.answer(till.open()[1]).status == 503
    assert till.answer(buyer.close(2 * COST)).status == 204


@pytest.mark.guard("F26")
def test_a_store_that_nobody_ever_watched_sells_nothing(bank: Bank, alice: Wallet) -> None:
    """A server that was set up without its settler says so instead of taking deposits."""
    till = SessionTill(bank, alice, watched=False)
    buyer, opening = till.open()
    for credential in (opening, opening):
        assert till.answer(credential, HEAD).status == 503
    assert (bank.submissions(), till.store.find_channel(buyer.held.key).result()) == (0, None)


@pytest.mark.guard("F26", "T27")
def test_a_watch_that_has_aged_is_asked_for_again(bank: Bank, alice: Wallet) -> None:
    """An answer of the store that was fresh a moment ago is not believed beyond a third of the grace period."""
    bank.set_grace(9.0)
    now = [1_000.0]
    till = SessionTill(bank, alice, MemoryStore(clock=lambda: now[0]))
    buyer = till.buyer()
    assert till.serve(buyer.voucher(COST)).status == 200
    now[0] += 4.0
    till.world.at_s += 4.0
    assert till.serve(buyer.voucher(2 * COST)).status == 503
    assert buyer.sums == (COST, COST, 0)


@pytest.mark.guard("F26")
def test_a_watcher_that_looks_often_is_not_missed(bank: Bank, alice: Wallet) -> None:
    """With a short grace period an old answer of the store is asked again before anybody is refused."""
    bank.set_grace(9.0)
    now = [1_000.0]
    till = SessionTill(bank, alice, MemoryStore(clock=lambda: now[0]))
    buyer = till.buyer()
    for n in range(1, 9):
        now[0] += 1.0
        till.world.at_s += 1.0
        till.watch()
        assert till.serve(buyer.voucher(n * COST)).status == 200


@pytest.mark.guard("F16")
def test_a_busy_store_is_answered_with_503_and_retry_after(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """Somebody holds the file: never a hang, no fresh challenge, and the same voucher is good afterwards."""
    path = str(tmp_path / "payments.db")
    store = SqliteStore(path)
    till = SessionTill(bank, alice, store)
    buyer = till.buyer()
    credential = buyer.voucher(COST)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    patience_s, store._wait_s = store._wait_s, 0.2
    answer = till.serve(credential)
    store._wait_s = patience_s
    assert (answer.status, first(answer, "retry-after"), offered(answer)) == (503, "1", [])
    other.execute("rollback")
    other.close()
    assert till.serve(credential).body == b"words"
    assert (till.runs, buyer.sums) == (1, (COST, COST, 0))
    till.store.close()


@pytest.mark.guard("F07")
@pytest.mark.spec("TSES-128", "TSES-132", "TSES-146", "TSES-153", "TSES-158", "TSES-159")
def test_what_is_sold_is_on_disk_before_the_handler_runs(bank: Bank, alice: Wallet, disk_store_url: str) -> None:
    """Another process sees the whole signed voucher, and the cost as spent, while the handler works."""
    till = SessionTill(bank, alice, open_store(disk_store_url))
    other = open_store(disk_store_url)
    buyer = till.buyer()
    credential = buyer.voucher(3 * COST)
    payload = token_of(credential).payload_object()
    seen = []

    def handler() -> bytes:
        seen.append(other.find_channel(buyer.held.key).result())
        return b"words"

    assert till.serve(credential, handler=handler).status == 200
    (record,) = seen
    assert record is not None
    assert (record.accepted, record.spent) == (3 * COST, COST)
    assert record.voucher == voucher_raw(3 * COST, payload["signature"])
    other.close()
    till.store.close()


def told_by(answer: Answer) -> str:
    """All that an answer says."""
    return repr(answer.headers) + repr(answer.body)


@pytest.mark.guard("T38")
def test_no_answer_repeats_a_credential_or_a_key(buyer: Buyer) -> None:
    """Answers name channels and totals, never what signs."""
    till = buyer.till
    credentials = [buyer.voucher(COST), buyer.voucher(COST // 2), buyer.voucher(DEPOSIT + 1), buyer.close(COST)]
    for credential in credentials:
        got = told_by(till.serve(credential))
        assert credential.removeprefix("Payment ") not in got
        assert str(till.wallet["secret"]) not in got


def test_a_request_without_a_credential_is_offered_the_channel(session_till: SessionTill) -> None:
    """402 with the price of a unit, and nothing about any channel."""
    answer = session_till.answer(None)
    assert problem(answer)["slug"] == "payment-required"
    (challenge,) = offered(answer)
    assert (challenge.intent, challenge.digest) == ("session", None)
    assert challenge.request_object()["amount"] == str(COST)


def test_a_handler_that_fails_after_a_voucher_was_spent(buyer: Buyer) -> None:
    """The cost stays spent (it was recorded before): the answer carries no receipt, and its voucher buys no more."""
    till = buyer.till
    credential = buyer.voucher(COST)
    answer = till.serve(credential, status=500)
    assert (answer.status, first(answer, "payment-receipt")) == (500, None)
    assert till.serve(credential).body == b""
    assert buyer.sums == (COST, COST, 0)


def test_money_left_from_a_higher_voucher_does_not_pay_for_a_repeat(buyer: Buyer) -> None:
    """Signed ahead of what was bought: an equal voucher still buys nothing."""
    till = buyer.till
    ahead = buyer.voucher(5 * COST)
    assert till.serve(ahead).body == b"words"
    assert till.serve(ahead).body == b""
    assert buyer.sums == (5 * COST, COST, 0)
    assert till.serve(buyer.voucher(5 * COST + 1)).body == b"words"
    assert buyer.sums == (5 * COST + 1, 2 * COST, 0)


def test_asking_twice_is_no_credential(buyer: Buyer) -> None:
    """Two credentials in one request: not a matter of channels, and nothing is taken."""
    one, two = buyer.voucher(COST), buyer.voucher(2 * COST)
    request = asking(WORDS, None)
    request = replace(request, headers={**request.headers, "authorization": (one, two)})
    answer = run(buyer.till.gate.admit(request, buyer.till.price), buyer.till.world)
    assert isinstance(answer, Answer)
    assert answer.status in (400, 402)
    assert buyer.sums == (0, 0, 0)


# --- too many ------------------------------------------------------------------------------------


@pytest.mark.guard("T26")
@pytest.mark.spec("SSES-289", "TSES-196", "TSES-197")
def test_vouchers_that_buy_nothing_are_limited_and_those_that_buy_are_not(till: SessionTill) -> None:
    """After a burst the same voucher gets 429 until time has passed; a higher one buys, and so does a neighbour."""
    buyer, neighbour = till.buyer(), till.buyer()
    bought = buyer.voucher(COST)
    assert till.serve(bought).body == b"words"
    statuses = [till.serve(bought).status for _ in range(int(BURST) + 1)]
    assert statuses == [200] * int(BURST) + [429]
    assert problem(till.serve(bought))["slug"] == "too-many-vouchers"
    assert till.serve(buyer.voucher(2 * COST)).body == b"words"
    assert till.serve(neighbour.voucher(COST)).body == b"words"
    till.world.at_s += 1.0
    again = buyer.voucher(2 * COST)
    assert [till.serve(again).status for _ in range(int(FRUITLESS_PER_S) + 1)] == [200] * int(FRUITLESS_PER_S) + [429]


@pytest.mark.guard("T26")
def test_a_strangers_vouchers_use_up_nobodys_allowance(till: SessionTill) -> None:
    """What is not signed for the channel is refused before it counts."""
    buyer = till.buyer()
    other = session_payer({**till.wallet, "signer_secret": "33" * 32})
    forged = buyer.credential(other.payload(buyer.held, Act.VOUCHER, COST, other.sign(buyer.held, COST)))
    assert {till.serve(forged).status for _ in range(int(BURST) + 5)} == {402}
    assert till.serve(buyer.voucher(COST)).body == b"words"
    assert till.serve(buyer.voucher(COST)).status == 200


@pytest.mark.spec("TSES-211", "TSES-212", "TSES-213", "TSES-214")
def test_what_was_bought_is_told_with_its_challenge_and_voucher(till: SessionTill) -> None:
    """An observer can keep which challenge and which signed total paid for which request."""
    buyer = till.buyer()
    till.serve(buyer.voucher(3 * COST))
    told = [one for one in till.events if isinstance(one, Bought)][-1]
    assert (told.challenge_id, told.channel) == (buyer.challenge.id, buyer.held.channel_id)
    assert (told.accepted_units, told.path) == (3 * COST, WORDS.path)
