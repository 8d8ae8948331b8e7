"""What every store promises about channels, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.errors import LeaseLost, LedgerError, StoreError, UsageError
from coinslot.intents.session import Channel, Close, Refused, Spent, Stage, Stale, Why, close, most_added
from coinslot.store.channels import (
    ChannelQuery,
    Job,
    JobKind,
    JobLease,
    JobStage,
    Known,
    Opened,
    Order,
    Repeated,
    Reservation,
    Reserved,
    SessionStore,
)  # fmt: skip
from coinslot.store.protocol import Lease, Query, Taken
from support.channel_cases import COST, DEPOSIT, RULES, channel, entry, found, opened, order, raw, voucher
from support.store_cases import DELIVERY, claim, leased, prepared

KEY = "net:1/c"
WIDE = 2**128 - 1


def keyed(amount: int, key: str = "k", request_hash: str = "h") -> Order:
    """An order that carries an Idempotency-Key."""
    return Order(KEY, COST, RULES, voucher("c", amount), 1, key, request_hash)


# --- vouchers of other kinds -------------------------------------------------------------------------


def signed(record: Channel, units: int) -> bytes:
    """The payee's own hand."""
    return b"%s says %d" % (record.id.encode(), units)


def test_what_the_payee_signs_is_kept_in_the_step_that_spends(store: SessionStore) -> None:
    """The whole deposit may be spent; each step writes down a voucher for exactly what was spent."""
    rules = replace(RULES, pen=signed)
    store.open_channel(claim("a"), channel("c"), rules).result()
    assert isinstance(store.confirm_open(KEY, DEPOSIT, 0, rules).result(), Channel)
    assert found(store).accepted == DEPOSIT
    assert isinstance(store.accept_and_spend(order("c", None, rules=rules)).result(), Spent)
    assert found(store).voucher == signed(found(store), COST)
    held = store.reserve(order("c", None, 0, rules), 1, 500).result()
    assert isinstance(held, Reserved)
    assert held.reservation is not None
    assert found(store).voucher == signed(found(store), COST)
    store.commit(held.reservation, 30, 3, rules=rules).result()
    assert found(store).voucher == signed(found(store), COST + 30)
    assert isinstance(store.top_up(KEY, 2 * DEPOSIT, rules).result(), Channel)
    assert found(store).accepted == 2 * DEPOSIT


def test_a_top_up_is_use_of_the_channel(store: SessionStore) -> None:
    """Who adds to a deposit is not idle; the same look at the chain again changes nothing."""
    opened(store)
    before = found(store)
    assert isinstance(store.top_up(KEY, DEPOSIT + 1, RULES).result(), Channel)
    after = found(store)
    assert (after.deposit, after.used_at_s > before.used_at_s) == (DEPOSIT + 1, True)
    assert isinstance(store.top_up(KEY, DEPOSIT + 1, RULES).result(), Channel)
    assert found(store) == after


def test_a_voucher_that_runs_ahead_is_refused_and_not_kept(store: SessionStore) -> None:
    """Where the rules don't allow it, and at the boundary; then it buys as any other."""
    opened(store)
    strict, most = replace(RULES, ahead=False), most_added(COST)
    refused = store.accept_and_spend(order("c", most + 1, rules=strict)).result()
    assert isinstance(refused, Refused)
    assert refused.why is Why.AHEAD
    assert (found(store).accepted, found(store).spent) == (0, 0)
    assert isinstance(store.accept_and_spend(order("c", most, rules=strict)).result(), Spent)
    assert isinstance(store.accept_and_spend(order("c", 2 * most, rules=strict)).result(), Spent)
    too_far = store.accept_and_spend(order("c", 3 * most + 1, rules=strict)).result()
    assert isinstance(too_far, Refused)
    assert isinstance(store.accept_and_spend(order("c", 3 * most + 1)).result(), Spent)


# --- the record ----------------------------------------------------------------------------------


def test_a_channel_is_kept_whole(store: SessionStore) -> None:
    """Everything comes back as it was given, with the time of recording."""
    given = replace(channel("c"), accepted=7, voucher=raw(7), settled=5)
    made = store.open_channel(claim("a"), given, RULES).result()
    assert isinstance(made, Opened)
    assert made.lease == Lease("id-a", 1)
    record = found(store)
    assert record == made.channel
    assert replace(record, opened_at_s=0.0, used_at_s=0.0) == given
    assert 1.7e9 < record.opened_at_s <= record.used_at_s
    store.prepare(made.lease, prepared(claim("a"))).result()


def test_nothing_is_found_where_nothing_is(store: SessionStore) -> None:
    """An unknown channel has no record, buys nothing, and can't be changed."""
    nothing = Refused(Why.NOT_FOUND, None)
    assert store.find_channel(KEY).result() is None
    assert store.accept_and_spend(order("c", 10)).result() == nothing
    assert store.reserve(order("c", 10), 1, 1).result() == nothing
    assert store.confirm_open(KEY, 1, 0, RULES).result() == nothing
    assert store.top_up(KEY, 1, RULES).result() == nothing
    assert store.mark_closing(KEY, 1).result() == nothing
    assert store.note_settled(KEY, 1, entry("c", 1)).result() == nothing
    assert store.plan(KEY, JobKind.SETTLE, Close(1, b"", 1)).result() == nothing
    assert list(store.list_channels(ChannelQuery()).result()) == []
    assert list(store.pending_jobs(9).result()) == []
    assert store.take_job(1).result() is None
    assert list(store.entries(None, 9).result()) == []


@pytest.mark.guard("T06")
def test_a_proof_opens_or_pays_once(store: SessionStore) -> None:
    """What paid a charge opens no channel, what opened one pays no charge, and nothing is recorded on the way."""
    leased(store, claim("charge", proof="p"))
    taken = store.open_channel(claim("a", proof="p"), channel("c"), RULES).result()
    assert isinstance(taken, Taken)
    assert taken.by == "proof"
    assert store.find_channel(KEY).result() is None
    assert isinstance(store.open_channel(claim("b", proof="q"), channel("c"), RULES).result(), Opened)
    assert isinstance(store.claim(claim("charge2", proof="q")).result(), Taken)
    assert isinstance(store.open_channel(claim("d", proof="q"), channel("d"), RULES).result(), Taken)


@pytest.mark.guard("T08")
def test_a_channel_is_recorded_once_for_ever(store: SessionStore) -> None:
    """Also after it was closed; the new proof stays unused."""
    opened(store)
    store.accept_and_spend(order("c", 50)).result()
    store.mark_closed(KEY, 50).result()
    known = store.open_channel(claim("again"), channel("c"), RULES).result()
    assert isinstance(known, Known)
    assert (known.channel.stage, known.channel.spent) == (Stage.CLOSED, COST)
    assert store.find("id-again").result() is None
    assert isinstance(store.claim(claim("again")).result(), Lease)


def test_amounts_of_any_chain_fit(store: SessionStore) -> None:
    """Up to 2^128 - 1, exact in sums and comparisons."""
    rules = replace(RULES, bits=128)
    store.open_channel(claim("a"), channel("c", WIDE), rules).result()
    store.confirm_open(KEY, WIDE, 0, rules).result()
    bought = store.accept_and_spend(Order(KEY, WIDE - 1, rules, voucher("c", WIDE))).result()
    assert isinstance(bought, Spent)
    assert store.accept_and_spend(Order(KEY, 2, rules)).result() == Refused(Why.BALANCE, found(store), 1)
    assert isinstance(store.accept_and_spend(Order(KEY, 1, rules)).result(), Spent)
    assert (found(store).accepted, found(store).spent) == (WIDE, WIDE)
    assert store.note_settled(KEY, WIDE).result() == found(store)


def test_lists_by_stage_age_and_what_is_unsettled(store: SessionStore) -> None:
    """In the order of recording, page by page."""
    for n in range(5):
        opened(store, f"c{n}")
    store.accept_and_spend(order("c1", 50, 50)).result()
    store.accept_and_spend(order("c3", 50, 20)).result()
    store.note_settled("net:1/c3", 1).result()
    store.mark_closing("net:1/c4", 1.0).result()

    def names(**wanted: object) -> list[str]:
        return [each.id for each in store.list_channels(ChannelQuery(**wanted)).result()]  # type: ignore[arg-type]

    assert names() == ["c0", "c1", "c2", "c3", "c4"]
    assert names(stages=frozenset({Stage.CLOSING})) == ["c4"]
    assert names(stages=frozenset({Stage.CLOSING, Stage.OPEN}), limit=2, after="net:1/c2") == ["c3", "c4"]
    assert names(min_unsettled_units=19) == ["c1", "c3"]
    assert names(min_unsettled_units=20, limit=1) == ["c1"]
    assert names(min_unsettled_units=20, after="net:1/c1") == []
    assert names(idle_since_s=found(store, "c0").used_at_s)[0] == "c0"
    assert names(idle_since_s=1.0) == []
    with pytest.raises(UsageError):
        names(after="net:1/nowhere")


# --- buying --------------------------------------------------------------------------------------


@pytest.mark.guard("T02")
@pytest.mark.spec("TSES-125", "TSES-163")
def test_a_voucher_buys_once(store: SessionStore) -> None:
    """A hundred times the same voucher: one is served, and the record moves once."""
    opened(store)
    answers = [store.accept_and_spend(order("c", 3 * COST)) for _ in range(100)]
    results = [each.result() for each in answers]
    assert sum(isinstance(each, Spent) for each in results) == 1
    assert sum(isinstance(each, Stale) and each.equal for each in results) == 99
    assert (found(store).accepted, found(store).spent, found(store).units) == (3 * COST, COST, 1)
    assert found(store).voucher == raw(3 * COST)


@pytest.mark.guard("T27")
@pytest.mark.spec("TSES-122")
def test_closing_ends_buying(store: SessionStore) -> None:
    """From the moment on record: no voucher, no cost, no window; a top-up takes it back, but no close under way."""
    opened(store)
    store.accept_and_spend(order("c", 50)).result()
    closing = store.mark_closing(KEY, 7.5).result()
    assert not isinstance(closing, Refused)
    assert (closing.stage, closing.closing_at_s) == (Stage.CLOSING, 7.5)
    for answered in (
        store.accept_and_spend(order("c", 90)).result(),
        store.accept_and_spend(order("c", None)).result(),
        store.reserve(order("c", 90, 0), 1, 1).result(),
    ):
        assert isinstance(answered, Refused)
        assert answered.why is Why.CLOSING
    assert found(store).accepted == 50
    topped = store.top_up(KEY, 2 * DEPOSIT, RULES).result()
    assert not isinstance(topped, Refused)
    assert (topped.stage, topped.closing_at_s, topped.deposit) == (Stage.OPEN, None, 2 * DEPOSIT)
    store.mark_closing(KEY, 8.5).result()
    store.plan(KEY, JobKind.CLOSE, Close(50, raw(50), COST)).result()
    stays = store.top_up(KEY, 3 * DEPOSIT, RULES).result()
    assert isinstance(stays, Refused)
    assert found(store).stage is Stage.CLOSING


@pytest.mark.spec("TSES-126", "TSES-127", "TSES-135")
def test_each_refusal_changes_nothing(store: SessionStore) -> None:
    """Lower, too small a step, above the deposit, of another channel: the record is what it was."""
    opened(store)
    store.accept_and_spend(order("c", 100)).result()
    before = found(store)
    small = replace(RULES, min_delta_units=5)
    assert store.accept_and_spend(order("c", 99)).result() == Refused(Why.LOWER, before)
    assert store.accept_and_spend(order("c", 104, rules=small)).result() == Refused(Why.DELTA, before)
    assert store.accept_and_spend(order("c", DEPOSIT + 1)).result() == Refused(Why.DEPOSIT, before)
    for odd in (
        Order(KEY, COST, RULES, voucher("d", 500)),
        Order(KEY, -1, RULES),
        Order(KEY, 1, RULES, units=-1),
        Order(KEY, 1, RULES, voucher("c", 2**96)),
    ):
        with pytest.raises(UsageError):
            store.accept_and_spend(odd).result()
    assert found(store) == before


@pytest.mark.spec("TSES-146", "TSES-151")
def test_a_good_voucher_that_does_not_cover_is_kept(store: SessionStore) -> None:
    """What is missing is told, and the next voucher needs to add only that."""
    opened(store)
    refused = store.accept_and_spend(order("c", 30, 100)).result()
    assert isinstance(refused, Refused)
    assert (refused.why, refused.missing_units) == (Why.BALANCE, 70)
    assert (found(store).accepted, found(store).spent, found(store).voucher) == (30, 0, raw(30))
    assert isinstance(store.accept_and_spend(order("c", 100, 100)).result(), Spent)


# --- keyed requests ------------------------------------------------------------------------------


@pytest.mark.spec("TSES-136", "TSES-162", "TSES-163")
def test_a_lost_answer_is_given_again(store: SessionStore) -> None:
    """By its key, whole, for the equal voucher and for any other; while it is made, nobody makes it twice."""
    opened(store)
    assert isinstance(store.accept_and_spend(keyed(50)).result(), Spent)
    assert store.accept_and_spend(keyed(50)).result() == Repeated(found(store), None)
    store.keep_answer(KEY, "k", DELIVERY).result()
    for again in (50, 60):
        assert store.accept_and_spend(keyed(again)).result() == Repeated(found(store), DELIVERY)
    assert (found(store).spent, found(store).accepted) == (COST, 50)
    assert store.accept_and_spend(keyed(50, request_hash="other")).result() == Refused(Why.KEY_REUSED, found(store))
    assert store.reserve(keyed(50), 1, 5).result() == Repeated(found(store), DELIVERY)


def test_what_was_not_delivered_is_run_again_without_a_second_charge(store: SessionStore) -> None:
    """Once: the next one is told that it is being answered."""
    opened(store)
    store.accept_and_spend(keyed(50)).result()
    store.keep_answer(KEY, "k", None).result()
    assert store.accept_and_spend(keyed(50)).result() == Spent(found(store))
    assert store.accept_and_spend(keyed(50)).result() == Repeated(found(store), None)
    assert found(store).spent == COST


# --- windows -------------------------------------------------------------------------------------


def window(store: SessionStore, amount: int | None = 100, least: int = 1, most: int = 30) -> Reservation:
    """A window set aside."""
    got = store.reserve(order("c", amount, 0), least, most).result()
    assert isinstance(got, Reserved), got
    assert got.reservation is not None
    return got.reservation


@pytest.mark.guard("T22")
@pytest.mark.spec("TSES-153", "TSES-158")
def test_a_window_is_set_aside_before_and_spent_after(store: SessionStore) -> None:
    """Nobody else can spend it; what wasn't used is free again; the next one comes in the same step."""
    opened(store)
    held = window(store)
    assert (found(store).reserved, found(store).free, found(store).spent) == (30, 70, 0)
    refused = store.accept_and_spend(order("c", None, 71)).result()
    assert isinstance(refused, Refused)
    assert refused.missing_units == 1
    rolled = store.commit(held, 20, 4, (1, 500)).result()
    assert rolled.reservation is not None
    assert rolled.reservation.window_units == 80
    assert (found(store).spent, found(store).reserved, found(store).units) == (20, 80, 5)
    dry = store.commit(rolled.reservation, 80, 1, (5, 30)).result()
    assert (dry.reservation, dry.missing_units, dry.channel.spent) == (None, 5, 100)
    assert (found(store).spent, found(store).reserved) == (100, 0)


def test_a_window_is_spent_once(store: SessionStore) -> None:
    """A second commit, or one for more than it held, changes nothing."""
    opened(store)
    held = window(store)
    with pytest.raises(UsageError):
        store.commit(held, 31).result()
    store.commit(held, 10).result()
    with pytest.raises(LeaseLost):
        store.commit(held, 10).result()
    assert store.bill(held).result() is None
    assert found(store).spent == 10


def test_the_window_and_the_cost_come_together_or_not_at_all(store: SessionStore) -> None:
    """A start fee and a window: where the window doesn't fit, the fee isn't taken, the voucher is kept."""
    opened(store)
    refused = store.reserve(order("c", 30, 25), 10, 20).result()
    assert isinstance(refused, Refused)
    assert (refused.why, refused.missing_units) == (Why.BALANCE, 5)
    assert (found(store).accepted, found(store).spent, found(store).reserved) == (30, 0, 0)
    assert isinstance(store.reserve(order("c", 35, 25), 10, 20).result(), Reserved)
    assert (found(store).spent, found(store).reserved) == (25, 10)
    again = store.reserve(order("c", 35, 0), 1, 1).result()
    assert again == Refused(Why.EQUAL, found(store)) or isinstance(again, Stale)


def test_what_runs_while_the_channel_closes_is_billed(store: SessionStore) -> None:
    """The window stays good; no next one is set aside; the close waits for it."""
    opened(store)
    held = window(store)
    store.mark_closing(KEY, 1.0).result()
    waits = store.plan(KEY, JobKind.CLOSE, Close(100, raw(100), 0)).result()
    assert isinstance(waits, Refused)
    assert waits.why is Why.RESERVED
    done = store.commit(held, 30, 1, (1, 30)).result()
    assert (done.reservation, done.channel.spent) == (None, 30)
    assert isinstance(store.plan(KEY, JobKind.CLOSE, Close(100, raw(100), 30)).result(), Job)


# --- settling ------------------------------------------------------------------------------------


@pytest.mark.guard("F10")
def test_a_settlement_and_its_entry_are_one_step(store: SessionStore) -> None:
    """Noted twice it is posted once; another entry under its name is refused, and so is more than was ever signed."""
    opened(store)
    store.accept_and_spend(order("c", 50, 50)).result()
    for _ in range(2):
        store.note_settled(KEY, 40, entry("c", 40)).result()
    assert [each.id for each in store.entries(None, 9).result()] == ["settle/c/40"]
    with pytest.raises(LedgerError):
        store.note_settled(KEY, 45, replace(entry("c", 40), reference="0xother")).result()
    with pytest.raises(LedgerError):
        store.note_settled(KEY, 51, entry("c", 51)).result()
    assert found(store).settled == 40
    assert len(store.entries(None, 9).result()) == 1


def closing_job(store: SessionStore) -> Job:
    """A close in the outbox for a channel that spent 10 of 50."""
    opened(store)
    store.accept_and_spend(order("c", 50)).result()
    store.mark_closing(KEY, 1.0).result()
    how = close(found(store), None, RULES)
    assert isinstance(how, Close)
    job = store.plan(KEY, JobKind.CLOSE, how).result()
    assert isinstance(job, Job)
    return job


def taken(store: SessionStore, job: Job) -> JobLease:
    """The lease of a job that is free."""
    lease = store.take_job(job.id).result()
    assert lease is not None
    return lease


@pytest.mark.guard("F09", "F10")
def test_a_close_goes_through_the_outbox_once(store: SessionStore) -> None:
    """Planned once, prepared before it is sent, done together with the channel and the journal."""
    job = closing_job(store)
    assert (job.kind, job.stage, job.close, job.leased) == (
        JobKind.CLOSE, JobStage.PLANNED, Close(50, raw(50), COST), False
    )  # fmt: skip
    assert store.plan(KEY, JobKind.SETTLE, Close(50, raw(50), 50)).result() == job
    assert list(store.pending_jobs(9).result()) == [job]
    lease = taken(store, job)
    assert store.take_job(job.id).result() is None
    assert list(store.pending_jobs(9).result()) == []
    with pytest.raises(StoreError):
        store.finish_job(lease, COST).result()
    store.prepare_job(lease, "0xtx", b"raw\xff", 9.5).result()
    (shown,) = store.jobs_of(KEY, 9).result()
    assert (shown.stage, shown.reference, shown.raw, shown.dead_after_s) == (JobStage.PREPARED, "0xtx", b"raw\xff", 9.5)
    with pytest.raises(StoreError):
        store.prepare_job(lease, "0xother", b"", None).result()
    ended = store.finish_job(lease, COST, entry("c", COST)).result()
    assert (ended.stage, ended.settled) == (Stage.CLOSED, COST)
    assert found(store) == ended
    assert [each.stage for each in store.jobs_of(KEY, 9).result()] == [JobStage.DONE]
    assert store.take_job(job.id).result() is None
    assert len(store.entries(None, 9).result()) == 1


def test_a_job_that_failed_is_planned_anew(store: SessionStore) -> None:
    """What can never appear is prepared anew; what is given up makes room for the next."""
    job = closing_job(store)
    lease = taken(store, job)
    store.prepare_job(lease, "0xtx", b"raw", None).result()
    store.replan_job(lease).result()
    store.prepare_job(lease, "0xtx2", b"raw2", None).result()
    store.fail_job(lease, "reverted").result()
    with pytest.raises(LeaseLost):
        store.fail_job(lease, "again").result()
    again = store.plan(KEY, JobKind.SETTLE, Close(50, raw(50), 50)).result()
    assert isinstance(again, Job)
    assert again.id != job.id
    assert [(each.stage, each.reason) for each in store.jobs_of(KEY, 9).result()] == [
        (JobStage.PLANNED, None), (JobStage.FAILED, "reverted")
    ]  # fmt: skip


def test_an_older_lease_on_a_job_does_nothing(store: SessionStore) -> None:
    """Let go and taken anew, the number fences the first holder off."""
    job = closing_job(store)
    first = taken(store, job)
    store.release_job(first).result()
    second = taken(store, job)
    assert (first.number, second.number) == (1, 2)
    for late in (
        store.prepare_job(first, "0x", b"", None), store.replan_job(first), store.fail_job(first, ""),
        store.finish_job(first, 1),
    ):  # fmt: skip
        with pytest.raises(LeaseLost):
            late.result()
    store.release_job(first).result()
    assert store.take_job(job.id).result() is None


@pytest.mark.guard("F09")
def test_the_jobs_of_one_transaction_are_prepared_together_or_not_at_all(store: SessionStore) -> None:
    """A lease that was lost keeps them all back: a part of them on record would be sent twice."""
    leases = []
    for name in ("a", "b"):
        key = opened(store, name)
        store.accept_and_spend(order(name, 50)).result()
        job = store.plan(key, JobKind.SETTLE, Close(50, raw(50), 50)).result()
        assert isinstance(job, Job)
        leases.append(taken(store, job))
    lost = replace(leases[1], number=7)
    with pytest.raises(LeaseLost):
        store.prepare_jobs([leases[0], lost], "0xtx", b"raw", 9.5).result()
    stages = {store.jobs_of(f"net:1/{name}", 1).result()[0].stage for name in ("a", "b")}
    assert stages == {JobStage.PLANNED}
    store.prepare_jobs(leases, "0xtx", b"raw", 9.5).result()
    for name in ("a", "b"):
        (done,) = store.jobs_of(f"net:1/{name}", 1).result()
        assert (done.stage, done.reference, done.raw, done.dead_after_s) == (JobStage.PREPARED, "0xtx", b"raw", 9.5)


def test_only_a_closing_channel_is_closed_by_a_job(store: SessionStore) -> None:
    """An open one settles; an opening or a closed one does neither."""
    store.open_channel(claim("a"), channel("o"), RULES).result()
    opened(store)
    how = Close(1, raw(1), 1)
    for key, kind, why in (
        ("net:1/o", JobKind.SETTLE, Why.OPENING), (KEY, JobKind.CLOSE, Why.CLOSING),
    ):  # fmt: skip
        refused = store.plan(key, kind, how).result()
        assert isinstance(refused, Refused)
        assert refused.why is why
    store.mark_closed(KEY, 0).result()
    refused = store.plan(KEY, JobKind.SETTLE, how).result()
    assert isinstance(refused, Refused)
    assert refused.why is Why.CLOSED


def test_an_opening_is_a_payment_as_any(store: SessionStore) -> None:
    """It is listed, prepared, and found by a resolver after a crash."""
    made = store.open_channel(claim("a"), channel("c"), RULES).result()
    assert isinstance(made, Opened)
    store.prepare(made.lease, prepared(claim("a"))).result()
    store.release(made.lease).result()
    assert [each.challenge.id for each in store.unresolved(9).result()] == ["id-a"]
    assert len(store.payments(Query()).result()) == 1


def test_the_watcher_s_last_round_is_known(store: SessionStore) -> None:
    """Per network, as an age by the store's clock, so that no two clocks need to agree."""
    assert store.watched_ago_s("net:1").result() is None
    for _ in range(2):
        store.note_watched("net:1").result()
        ago = store.watched_ago_s("net:1").result()
        assert ago is not None
        assert 0 <= ago < 60
    assert store.watched_ago_s("net:2").result() is None
