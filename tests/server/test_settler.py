"""The settler's rounds: what payers do on the chain is seen, what was bought is paid out, what is idle is closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coinslot.drive import _perform, run
from coinslot.errors import RpcUnreachable, UsageError, VerificationFailed
from coinslot.intents.session import Close, Rules, Stage, settlement
from coinslot.server import outbox
from coinslot.server.events import ChannelClosed, ChannelFrozen, ChannelSettled, ChannelStopped, JobFailed
from coinslot.server.outbox import batches
from coinslot.server.settler import (
    CLOSE_IDLE_AFTER_S,
    RETRY_S,
    SETTLE_AFTER_S,
    Policy,
    Report,
    settle_round,
    watch_round,
)
from coinslot.store.channels import Job, JobKind, JobStage, Order, Reserved, SessionStore
from support.drained import drained
from support.sessiondesk import session_seller
from support.sessiontill import COST, DEPOSIT, NETWORK, Buyer, SessionTill
from support.toybank import Bank
from support.toychannel import TRANSACTION_S
from support.toysessionseller import ToySessionSeller

Wallet = dict[str, Any]


def settle(till: SessionTill, policy: Policy | None = None, *sellers: ToySessionSeller, turn: int = 0) -> Report:
    """One round, after what was given back is written."""
    report = run(
        settle_round(till.store, sellers or (till.seller,), policy or Policy(), till.events.append, turn), till.world
    )
    drained(till.store)
    return report


def told(till: SessionTill, kind: type) -> list[Any]:
    """The events of a kind."""
    return [event for event in till.events if isinstance(event, kind)]


def escrow(till: SessionTill) -> dict[str, int]:
    """What the journal says of every account; it sums to zero."""
    accounts = till.store.balances().result().get("toy:main/coin", {})
    assert sum(accounts.values()) == 0
    return accounts


def conserved(till: SessionTill, *buyers: Buyer) -> None:
    """What the journal says each channel holds is what the bank holds of it."""
    accounts = escrow(till)
    for buyer in buyers:
        found = till.bank.channel(buyer.held.channel_id)
        assert found is not None
        held = 0 if found.closed else found.deposit - found.settled
        assert accounts.get(f"channel:{buyer.held.key}", 0) == held


@pytest.fixture
def till(bank: Bank, alice: Wallet, session_store: SessionStore) -> SessionTill:
    """A till on a store of each kind."""
    return SessionTill(bank, alice, session_store)


@pytest.fixture
def memory(session_till: SessionTill) -> SessionTill:
    """A till on a memory store."""
    return session_till


# --- the watcher ---------------------------------------------------------------------------------


@pytest.mark.guard("T27", "F26")
def test_a_round_that_saw_all_channels_says_so(memory: SessionTill) -> None:
    """Service depends on it; a bank that does not answer leaves the watch as old as it was."""
    assert memory.store.watched_ago_s("toy:other").result() is None
    memory.buyer()
    other = session_seller(Bank(memory.bank.path))
    memory.store._watched.clear()  # type: ignore[attr-defined]
    memory.bank.order("down", 1)
    report = settle(memory)
    assert (report.watched, report.silent) == ((), (NETWORK,))
    assert memory.store.watched_ago_s(NETWORK).result() is None
    report = settle(memory, None, other)
    assert (report.watched, report.silent, report.channels) == ((NETWORK,), (), 1)
    assert memory.store.watched_ago_s(NETWORK).result() is not None


@pytest.mark.spec("TSES-140")
def test_of_each_channel_every_amount_is_kept(till: SessionTill) -> None:
    """Authorized, spent, settled and deposited, and since when its payer wants it closed; each channel has its own."""
    one, other = till.buyer(), till.buyer()
    for total in (COST, 2 * COST):
        assert till.serve(one.voucher(total)).status == 200
    assert settle(till, Policy(settle_units=1)).settled == 1
    assert till.serve(one.voucher(4 * COST)).status == 200
    assert till.answer(one.top_up(COST)).status == 204
    kept = one.record
    assert (kept.accepted, kept.spent, kept.settled, kept.deposit) == (4 * COST, 3 * COST, 2 * COST, DEPOSIT + COST)
    assert kept.closing_at_s is None
    one.ask_to_close()
    assert run(watch_round(till.store, (till.seller,)), till.world).stopped == 1
    assert one.record.closing_at_s is not None
    same = other.record
    assert (same.accepted, same.spent, same.settled, same.deposit, same.closing_at_s) == (0, 0, 0, DEPOSIT, None)


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-122", "TSES-215", "TSES-216", "TSES-218")
def test_a_payer_that_asks_the_chain_to_close_buys_nothing_more(till: SessionTill) -> None:
    """The next round stops the channel, and takes what was bought; the rest goes back to the payer."""
    buyer = till.buyer()
    till.serve(buyer.voucher(2 * COST))
    till.serve(buyer.voucher(3 * COST))
    buyer.ask_to_close()
    report = settle(till)
    assert (report.stopped, report.planned, report.closed, report.pending) == (1, 1, 1, 0)
    assert buyer.record.stage is Stage.CLOSED
    assert buyer.record.settled == 2 * COST
    answer = till.answer(buyer.voucher(4 * COST))
    assert answer.status == 410
    assert told(till, ChannelStopped) == [ChannelStopped("toy", buyer.held.channel_id, "payer")]
    closed = told(till, ChannelClosed)[0]
    assert (closed.units, closed.refunded_units) == (2 * COST, DEPOSIT - 2 * COST)
    assert till.bank.balance("shop") == 2 * COST
    conserved(till, buyer)


@pytest.mark.guard("T27")
def test_closing_is_seen_though_a_stream_still_runs(memory: SessionTill) -> None:
    """No close while a window is set aside; what is signed is settled when a third of the time is over."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(2 * COST))
    got = memory.store.reserve(Order(buyer.held.key, 0, memory.seller.rules(memory.seller.terms(
        buyer.challenge.request_object()))), COST, COST).result()  # fmt: skip
    assert isinstance(got, Reserved)
    assert got.reservation is not None
    buyer.ask_to_close()
    report = settle(memory)
    assert (report.stopped, report.planned) == (1, 0)
    memory.world.at_s += memory.seller.grace_s / 2
    report = settle(memory)
    assert (report.planned, report.settled) == (1, 1)
    assert memory.bank.balance("shop") == 2 * COST
    memory.store.commit(got.reservation, COST).result()
    assert settle(memory).closed == 1
    conserved(memory, buyer)


@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_a_channel_closed_on_the_chain_is_closed_on_record(bank: Bank, alice: Wallet, flavour: str) -> None:
    """A payer that waited and withdrew while nobody looked: the journal follows the bank."""
    till = SessionTill(bank, alice, flavour=flavour)
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    buyer.ask_to_close()
    bank.advance(till.seller.grace_s + 1)
    sent = run(till.payer.withdraw(buyer.held), till.world)
    run(till.payer.send(sent.raw), till.world)
    report = settle(till)
    if flavour == "v2":  # forgotten: believed when a payer could have withdrawn
        assert (report.stopped, report.closed) == (1, 0)
        assert till.answer(buyer.voucher(2 * COST)).status == 410
        till.world.at_s += till.seller.grace_s + 60
        report = settle(till)
    assert report.closed == 1
    assert (buyer.record.stage, buyer.record.settled) == (Stage.CLOSED, 0)
    conserved(till, buyer)


def test_what_somebody_else_settled_is_put_on_record(memory: SessionTill) -> None:
    """The journal gets the entry, and gets it once."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(2 * COST))
    close = memory.store.find_channel(buyer.held.key).result()
    assert close is not None
    wanted = settlement(close, Rules())
    assert wanted is not None
    sent = run(memory.seller.pay_out([(close, wanted, False)]), memory.world)
    run(memory.seller.send(sent.raw), memory.world)
    for _ in range(2):
        settle(memory)
        assert buyer.sums == (2 * COST, COST, 2 * COST)
        conserved(memory, buyer)


def test_money_that_nobody_told_of_is_found(memory: SessionTill) -> None:
    """A deposit that the payer raised by itself counts, on record and in the journal, and once."""
    buyer = memory.buyer()
    move = run(memory.payer.top_up(buyer.challenge, buyer.held, 5_000), memory.world)
    memory.bank.submit(bytes.fromhex(str(move.payload["transaction"])))
    for _ in range(2):
        settle(memory)
        assert buyer.record.deposit == DEPOSIT + 5_000
        conserved(memory, buyer)


# --- F27 -----------------------------------------------------------------------------------------


@pytest.mark.guard("F27")
def test_a_restored_backup_freezes_its_channel_and_nothing_else(till: SessionTill) -> None:
    """The chain paid out more than any voucher on record: that channel sells nothing more, the round goes on."""
    old, other = till.buyer(), till.buyer()
    till.serve(old.voucher(2 * COST))
    till.serve(other.voucher(COST))
    record = old.record
    raw = till.payer.sign(old.held, 5 * COST)
    later = Close(5 * COST, f"{5 * COST}:{raw.decode().partition(':')[2]}".encode(), 5 * COST)
    sent = run(till.seller.pay_out([(record, later, False)]), till.world)
    run(till.seller.send(sent.raw), till.world)
    for _ in range(2):
        report = settle(till, Policy(settle_units=1))
        assert report.frozen == (old.held.key,)
    assert len(told(till, ChannelFrozen)) == 1
    assert till.answer(old.voucher(6 * COST)).status in {402, 410}
    assert old.record.stage is Stage.CLOSING
    assert other.record.settled == COST
    assert till.store.watched_ago_s(NETWORK).result() is not None


# --- when to settle, when to close ---------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "settled"), [(2 * COST, 0), (COST, 1), (1, 1)])
def test_settled_when_enough_was_bought(memory: SessionTill, threshold: int, settled: int) -> None:
    """At the threshold and above, and no sooner; what is paid out is what was signed, a step above what was bought."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST + 1))
    report = settle(memory, Policy(settle_units=threshold))
    assert (report.settled, report.unsettled) == (settled, {"toy:main/coin": COST})
    assert buyer.sums == (COST + 1, COST, (COST + 1) * settled)
    assert buyer.record.stage is Stage.OPEN
    if settled:
        event = told(memory, ChannelSettled)[0]
        assert (event.units, event.channel) == (COST + 1, buyer.held.channel_id)
        assert settle(memory, Policy(settle_units=threshold)).planned == 0
    conserved(memory, buyer)


@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-187")
def test_what_was_signed_ahead_is_not_taken(memory: SessionTill) -> None:
    """A client that authorized more than it bought is not settled for it; when it has caught up, it is."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(3 * COST))
    assert settle(memory, Policy(settle_units=1)).planned == 0
    memory.serve(buyer.voucher(3 * COST + 1))
    memory.serve(buyer.voucher(3 * COST + 2))
    assert buyer.sums == (3 * COST + 2, 3 * COST, 0)
    assert settle(memory, Policy(settle_units=1)).settled == 1
    conserved(memory, buyer)


def test_settled_when_it_has_aged(memory: SessionTill) -> None:
    """What was bought is paid out at the age that the policy says, counted from the settlement before."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    assert settle(memory).planned == 0
    memory.world.at_s += SETTLE_AFTER_S + 60
    assert settle(memory).settled == 1
    assert settle(memory, Policy(settle_after_s=None)).planned == 0
    memory.watch()
    assert memory.store.jobs_of(buyer.held.key, 9).result()[0].stage is JobStage.DONE
    conserved(memory, buyer)


@pytest.mark.guard("T23")
@pytest.mark.spec("TSES-186", "TSES-187", "TSES-195")
@pytest.mark.parametrize("bought", [0, 2])
def test_an_idle_channel_is_closed_and_its_deposit_freed(till: SessionTill, bought: int) -> None:
    """Also where nothing was bought; what is paid out is what was bought, however much was signed."""
    buyer = till.buyer()
    for n in range(bought):
        till.serve(buyer.voucher((n + 3) * COST))
    till.world.at_s += CLOSE_IDLE_AFTER_S + 60
    report = settle(till, Policy(settle_after_s=None))
    assert (report.stopped, report.closed) == (1, 1)
    assert (till.bank.balance("shop"), buyer.record.stage) == (bought * COST, Stage.CLOSED)
    assert told(till, ChannelStopped)[0].why == "idle"
    conserved(till, buyer)


@pytest.mark.guard("T23")
def test_where_closing_takes_what_the_voucher_says_it_takes_that(bank: Bank, alice: Wallet) -> None:
    """v1: nobody came with a voucher of what was bought, so the highest one counts."""
    till = SessionTill(bank, alice, flavour="v1")
    buyer = till.buyer()
    till.serve(buyer.voucher(3 * COST))
    till.world.at_s += CLOSE_IDLE_AFTER_S + 60
    assert settle(till, Policy(settle_after_s=None)).planned == 0  # its payer may still ask for less
    till.world.at_s += 60
    assert settle(till, Policy(settle_after_s=None)).closed == 1
    assert bank.balance("shop") == 3 * COST
    conserved(till, buyer)


@pytest.mark.guard("T23")
@pytest.mark.parametrize(("ahead_s", "waits"), [(0.0, True), (5.0, True), (3_600.0, False)])
def test_a_payer_may_still_ask_for_less_though_the_chains_clock_is_ahead(
    bank: Bank, alice: Wallet, ahead_s: float, waits: bool
) -> None:
    """v1: by seconds, as clocks are; one that is hours off keeps nobody waiting for hours."""
    till = SessionTill(bank, alice, flavour="v1")
    buyer = till.buyer()
    till.serve(buyer.voucher(3 * COST))
    bank.advance(ahead_s)
    buyer.ask_to_close()
    found = bank.channel(buyer.held.channel_id)
    assert found is not None
    assert found.closing_at_s is not None
    till.world.at_s = found.closing_at_s - ahead_s
    assert settle(till).planned == (not waits)
    till.world.at_s += ahead_s + 60
    settle(till)
    assert bank.balance("shop") == 3 * COST
    conserved(till, buyer)


def test_never_for_reasons_that_are_switched_off(memory: SessionTill) -> None:
    """A policy without thresholds and ages leaves open channels alone."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    memory.world.at_s += 10 * CLOSE_IDLE_AFTER_S
    report = settle(memory, Policy(None, None, None))
    assert (report.planned, report.stopped, buyer.record.stage) == (0, 0, Stage.OPEN)


def test_age_alone_settles_no_dust(memory: SessionTill) -> None:
    """One unit less than the least waits, however old; a threshold takes it, and so does a close."""
    few, many = memory.buyer(), memory.buyer()
    memory.serve(few.voucher(COST))
    memory.serve(many.voucher(COST))
    memory.serve(many.voucher(2 * COST))
    memory.world.at_s += 2 * SETTLE_AFTER_S
    floor = Policy(close_idle_after_s=None, min_settle_units=COST + 1)
    assert settle(memory, floor).settled == 1
    assert (few.record.settled, many.record.settled) == (0, 2 * COST)
    memory.world.at_s += 9 * SETTLE_AFTER_S
    assert settle(memory, floor).planned == 0
    assert settle(memory, replace(floor, min_settle_units=COST)).settled == 1
    conserved(memory, few, many)


def test_dust_is_taken_by_a_threshold_and_by_a_close(memory: SessionTill) -> None:
    """The least is for age alone."""
    one, other = memory.buyer(), memory.buyer()
    memory.serve(one.voucher(COST))
    assert settle(memory, Policy(settle_units=COST, min_settle_units=10 * COST)).settled == 1
    memory.serve(other.voucher(COST))
    memory.world.at_s += 10 * CLOSE_IDLE_AFTER_S
    assert settle(memory, Policy(min_settle_units=10 * COST)).closed == 2
    assert (one.record.settled, other.record.settled) == (COST, COST)
    conserved(memory, one, other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settle_units": 0},
        {"settle_after_s": 0.0},
        {"close_idle_after_s": -1.0},
        {"batch": 0},
        {"min_settle_units": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Zero and less mean nothing here."""
    with pytest.raises(UsageError):
        Policy(**wrong)


# --- the outbox ----------------------------------------------------------------------------------


@pytest.mark.guard("F11")
@pytest.mark.parametrize("fault", ["lost-answer", "stuck"])
def test_a_settlement_whose_end_is_not_known_is_asked_about(till: SessionTill, fault: str) -> None:
    """The bytes that were sent are the ones that count: paid out once, and never prepared a second time."""
    buyer = till.buyer()
    till.serve(buyer.voucher(COST))
    till.bank.order(fault)
    first = settle(till, Policy(settle_units=1))
    assert (first.settled, first.pending) == ((1, 0) if fault == "lost-answer" else (0, 1))
    till.bank.release()
    settle(till, Policy(settle_units=1))
    jobs = till.store.jobs_of(buyer.held.key, 9).result()
    assert [(job.stage, job.kind) for job in jobs] == [(JobStage.DONE, JobKind.SETTLE)]
    assert (till.bank.balance("shop"), buyer.record.settled) == (COST, COST)
    conserved(till, buyer)


@pytest.mark.guard("F11", "F13")
def test_what_was_dropped_is_made_anew_only_when_it_is_dead(memory: SessionTill) -> None:
    """Until the chain can't take it any more the same bytes are sent again; then others, for the same job."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    memory.bank.order("drop", 3)
    references = set()
    for _ in range(3):
        assert settle(memory, Policy(settle_units=1)).pending == 1
        references.add(memory.store.jobs_of(buyer.held.key, 9).result()[0].reference)
    assert len(references) == 1
    memory.bank.order("drop", 9)
    memory.world.at_s += TRANSACTION_S + 5
    memory.bank.advance(TRANSACTION_S + 5)
    settle(memory, Policy(settle_units=1))
    memory.bank.heal("drop")
    report = settle(memory, Policy(settle_units=1))
    jobs = memory.store.jobs_of(buyer.held.key, 9).result()
    assert (report.settled, len(jobs), jobs[0].stage) == (1, 1, JobStage.DONE)
    assert jobs[0].reference not in references
    assert memory.bank.balance("shop") == COST


def test_what_reverted_is_tried_again_after_a_while(memory: SessionTill) -> None:
    """Each failure doubles the wait, and is told."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    memory.bank.order("revert")
    report = settle(memory, Policy(settle_units=1))
    assert (report.failed, told(memory, JobFailed)[0].reason) == (1, "reverted")
    assert settle(memory, Policy(settle_units=1)).planned == 0
    memory.world.at_s += RETRY_S + 60  # a job is dated by the clock of its store, which does not stand still
    assert settle(memory, Policy(settle_units=1)).settled == 1
    conserved(memory, buyer)


def test_many_channels_go_in_few_transactions(memory: SessionTill) -> None:
    """As many as the method's batch in each, and no more than the policy says."""
    buyers = [memory.buyer(deposit=2 * COST) for _ in range(6)]
    for buyer in buyers:
        memory.serve(buyer.voucher(COST))
    before = memory.bank.submissions()
    assert settle(memory, Policy(settle_units=1)).settled == 6
    assert memory.bank.submissions() - before == 2
    for buyer in buyers:
        memory.serve(buyer.voucher(2 * COST))
    memory.world.at_s += 1
    assert settle(memory, Policy(settle_units=1, batch=1)).settled == 6
    assert memory.bank.submissions() - before == 8
    conserved(memory, *buyers)


@pytest.mark.guard("F11")
def test_jobs_that_stay_open_keep_no_others_from_their_turn(
    memory: SessionTill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round works on so many, and the next one goes on after them."""
    monkeypatch.setattr(outbox, "ROUND", 2)
    buyers = [memory.buyer(deposit=COST) for _ in range(5)]
    for buyer in buyers:
        memory.serve(buyer.voucher(COST))
    memory.bank.order("drop", 99)
    for turn, sent in enumerate((2, 4, 5)):
        report = settle(memory, Policy(settle_units=1), turn=turn)
        assert report.pending == 5
        jobs = [memory.store.jobs_of(buyer.held.key, 1).result()[0] for buyer in buyers]
        assert sum(job.stage is JobStage.PREPARED for job in jobs) == sent


class Picky(ToySessionSeller):
    """A seller whose chain refuses one channel."""

    def pay_out(self, jobs):  # type: ignore[no-untyped-def]
        """As if the bank would refuse it."""
        if any(channel.accepted == COST + 1 for channel, _, _ in jobs):
            raise VerificationFailed("refused, as ordered")
        return (yield from ToySessionSeller.pay_out(self, jobs))


def test_one_that_the_chain_refuses_stops_no_others(memory: SessionTill) -> None:
    """They are tried one by one; the refused one is told, and tried again later."""
    buyers = [memory.buyer(deposit=4 * COST) for _ in range(3)]
    for buyer, rest in zip(buyers, (0, 1, 0), strict=True):
        memory.serve(buyer.voucher(COST + rest))
    seller = memory.seller
    picky = Picky(seller.bank, seller.identity, seller.grace_s, seller.recipient, seller.currency)
    report = settle(memory, Policy(settle_units=1), picky)
    assert (report.settled, report.failed) == (2, 1)
    assert [event.reason for event in told(memory, JobFailed)] == ["refused, as ordered"]
    assert settle(memory, Policy(settle_units=1), picky).planned == 0
    conserved(memory, *buyers)


class Silent(ToySessionSeller):
    """A seller on a network that does not answer."""

    def look(self, channels):  # type: ignore[no-untyped-def]
        """Never."""
        yield from ()
        raise RpcUnreachable("no answer")


@pytest.mark.guard("F11")
def test_a_network_that_is_down_blocks_no_other(memory: SessionTill, tmp_path: Any) -> None:
    """Its channels are not seen and it is not noted; the others are settled and noted."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    bank = Bank(str(tmp_path / "second.db")).create("second")
    secret = bank.open("alice", coin=DEPOSIT)
    bank.open("shop")
    far = SessionTill(bank, {"bank": bank.path, "account": "alice", "secret": secret}, memory.store)
    lost = far.buyer()
    far.serve(lost.voucher(COST))
    one = far.seller
    silent = Silent(one.bank, one.identity, one.grace_s, one.recipient, one.currency)
    memory.store._watched.clear()  # type: ignore[attr-defined]
    report = settle(memory, Policy(settle_units=1), silent, memory.seller)
    assert (report.watched, report.silent, report.settled) == ((NETWORK,), ("toy:second",), 1)
    assert memory.store.watched_ago_s("toy:second").result() is None
    assert lost.record.settled == 0


def test_a_channel_that_nobody_sells_is_watched_and_named(memory: SessionTill) -> None:
    """Another recipient's channel in the same store: seen and stopped, but not paid out by us."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    buyer.ask_to_close()
    stranger = session_seller(memory.bank, recipient="carol")
    report = settle(memory, Policy(settle_units=1), stranger)
    assert (report.unserved, report.stopped, report.planned) == ((buyer.held.key,), 1, 0)
    assert report.watched == (NETWORK,)
    assert settle(memory, Policy(settle_units=1)).closed == 1


def test_batches_keep_together_what_was_sent_together(memory: SessionTill) -> None:
    """Jobs of one transaction are asked about together; planned ones are cut to size."""
    buyers = [memory.buyer(deposit=COST) for _ in range(5)]
    channel = buyers[0].record

    def job(n: int, reference: str | None) -> Any:
        stage = JobStage.PLANNED if reference is None else JobStage.PREPARED
        return channel, Job(n, channel.key, JobKind.SETTLE, Close(0, b"", 0), stage, False, 0.0, reference)

    jobs = [job(1, None), job(2, "x"), job(3, "y"), job(4, "x"), job(5, None), job(6, None)]
    assert [[one.id for _, one in some] for some in batches(jobs, 2)] == [[2, 4], [3], [1, 5], [6]]


@pytest.mark.guard("F10")
def test_two_settlers_do_each_job_once(memory: SessionTill) -> None:
    """Their rounds interleave in every way of this: one prepares, the other runs a whole round."""
    buyer = memory.buyer()
    memory.serve(buyer.voucher(COST))
    for steps in range(60):
        flow = settle_round(memory.store, (memory.seller,), Policy(settle_units=1), None)
        _advance(flow, steps, memory)
        settle(memory, Policy(settle_units=1))
        flow.close()
        settle(memory, Policy(settle_units=1))
        assert memory.bank.balance("shop") == COST
    assert [job.stage for job in memory.store.jobs_of(buyer.held.key, 99).result()] == [JobStage.DONE]
    conserved(memory, buyer)


def _advance(flow: Any, steps: int, till: SessionTill) -> None:
    try:
        answer: object = None
        for _ in range(steps):
            effect = flow.send(answer)
            answer = _perform(effect, till.world)
    except StopIteration:
        return
