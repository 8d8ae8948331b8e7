"""What databases add to channels: a change between look and write, a connection lost in a commit, an older file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from coinslot.errors import StoreBroken
from coinslot.intents.session import Refused, Rules, Spent, Stage, Why, settlement
from coinslot.store import channel_operations
from coinslot.store.channels import JobKind, JobStage, Order, Repeated, Reservation, Reserved, SessionStore
from coinslot.store.operations import Db
from coinslot.store.postgres import PostgresStore
from coinslot.store.rows import Row, Values
from coinslot.store.schema.steps import Words, statements, version_table
from coinslot.store.sqlite import SqliteStore
from support import channel_cases
from support.channel_cases import COST, RULES, channel, entry, found, opened, order, voucher
from support.cutting_proxy import CuttingProxy
from support.store_cases import claim, leased

KEY = "net:1/c"


class Through:
    """A transaction that runs `between` once, right after the first look at a channel."""

    computes = False

    def __init__(self, db: Db, between: Callable[[Db], object], *, redo: bool = False) -> None:
        self._db = db
        self._between: Callable[[Db], object] | None = between
        self.redo = redo

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """All rows of a query."""
        got = self._db.rows(sql, values)
        if self._between is not None:
            between, self._between = self._between, None
            between(self._db)
        return got

    def change(self, sql: str, values: Values) -> int:
        """How many rows changed."""
        return self._db.change(sql, values)

    def journal_lock(self) -> None:
        """As below."""
        self._db.journal_lock()


def run(store: SessionStore, work: Callable[[Db], object]) -> object:
    """In a transaction of the store."""
    return store._write(work).result()  # type: ignore[attr-defined]


@pytest.mark.guard("F15")
def test_a_change_between_look_and_write_is_not_overwritten(opened_store: SessionStore) -> None:
    """Whoever looked too early looks again: both are served, and both were paid."""
    opened_store.accept_and_spend(order("c", 100, 0)).result()

    def other(db: Db) -> object:
        return channel_operations.buy(db, "other", "other-token", order("c", None), None, [])

    mine = run(
        opened_store,
        lambda db: channel_operations.buy(Through(db, other), "me", "my-token", order("c", None), None, []),
    )
    assert isinstance(mine, Spent)
    assert mine.channel.spent == found(opened_store).spent == 2 * COST


@pytest.mark.guard("F15", "T27")
def test_what_was_written_last_is_not_believed_without_the_row(opened: Callable[..., SessionStore]) -> None:
    """Two handles take turns, each on top of the other's step: nothing is lost, and a close by one stops the other."""
    one, two = opened(), opened()
    channel_cases.opened(one)
    for turn, store in enumerate((one, one, two, two, one, two), 1):
        assert isinstance(store.accept_and_spend(order("c", turn * COST)).result(), Spent)
        assert found(store).spent == turn * COST
    two.mark_closing(KEY, 1.0).result()
    refused = one.accept_and_spend(order("c", 70)).result()
    assert isinstance(refused, Refused)
    assert refused.why is Why.CLOSING
    assert found(one).accepted == 60


@pytest.mark.guard("F19")
@pytest.mark.parametrize("amount", [None, 100])
def test_an_unknown_outcome_is_told(opened_store: SessionStore, amount: int | None) -> None:
    """A second run that finds somebody else's step on record neither charges again nor serves for nothing."""
    opened_store.accept_and_spend(order("c", 100, 0)).result()
    with pytest.raises(StoreBroken):
        run(
            opened_store,
            lambda db: channel_operations.buy(
                Through(db, lambda _: None, redo=True), "me", "my-token", order("c", amount), None, []
            ),
        )
    assert found(opened_store).spent == 0


@pytest.mark.guard("F19")
def test_what_was_bought_under_a_key_is_known_after_others_came(opened_store: SessionStore) -> None:
    """The first run's key is on record under its own token: the second run answers what the first would have."""
    opened_store.accept_and_spend(order("c", 500, 0)).result()
    plain = Order(KEY, COST, RULES, None, 1, "k", "h")
    window = replace(plain, idempotency_key="w")
    run(opened_store, lambda db: channel_operations.buy(db, "me", "one", plain, None, []))
    first = run(opened_store, lambda db: channel_operations.buy(db, "me", "two", window, (1, 30), []))
    assert isinstance(first, Reserved)
    opened_store.accept_and_spend(order("c", None)).result()
    spent = found(opened_store).spent

    def again(token: str, wish: Order, most: tuple[int, int] | None) -> object:
        return run(
            opened_store,
            lambda db: channel_operations.buy(Through(db, lambda _: None, redo=True), "me", token, wish, most, []),
        )

    assert again("one", plain, None) == Spent(found(opened_store))
    assert again("two", window, (1, 30)) == Reserved(found(opened_store), first.reservation)
    assert found(opened_store).spent == spent


@pytest.fixture
def opened_store(opened: Callable[..., SessionStore]) -> SessionStore:
    """A store on disk with an open channel `c`."""
    made = opened()
    assert channel_cases.opened(made) == KEY
    return made


@pytest.mark.postgres
@pytest.mark.guard("T02", "T22", "T27")
@pytest.mark.parametrize(
    ("amount", "cost", "delta"),
    [(60, 50, 0), (50, 0, 0), (49, 0, 0), (54, 1, 5), (1001, 1, 0), (60, 10**30, 0)],
)
def test_the_one_statement_holds_every_limit(amount: int, cost: int, delta: int, postgres_db: str) -> None:
    """It changes nothing for a wish that the engine would refuse, at each boundary, and does the one just inside."""
    store = PostgresStore(postgres_db)
    opened(store)
    store.accept_and_spend(order("c", 50, 11)).result()
    before = found(store)
    rules = replace(RULES, min_delta_units=delta)

    def at_once(amount: int, cost: int, key: str = KEY) -> object:
        wish = Order(key, cost, rules, voucher("c", amount))
        return run(store, lambda db: channel_operations._buy_at_once(db, "token", wish, voucher("c", amount)))

    assert at_once(amount, cost) is None
    assert at_once(60, 1, "net:1/d") is None
    assert found(store) == before
    assert at_once(60, 49) == found(store)
    assert (found(store).accepted, found(store).available) == (60, 0)
    store.mark_closing(KEY, 1.0).result()
    assert at_once(100, 1) is None
    store.close()


@pytest.mark.guard("F22")
def test_a_file_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    """Its payments stay, and channels work."""
    path = tmp_path / "old.db"
    words = Words(serial="INTEGER PRIMARY KEY", blob="BLOB", real="REAL", units="TEXT")
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA journal_mode = WAL")
        for each in (version_table(words), *statements(0, words)):
            old.execute(each)
        old.execute("INSERT INTO coinslot_schema (version, pinged_at) VALUES (1, 0)")
    old.close()
    store = SqliteStore(str(path))
    leased(store, claim("a", proof="p"))
    assert opened(store) == KEY
    assert isinstance(store.accept_and_spend(order("c", 50)).result(), Spent)
    store.close()


# --- connections lost in the commit --------------------------------------------------------------


@pytest.fixture
def proxy(postgres_db: str) -> Iterator[CuttingProxy]:
    """A line to the server that can be cut."""
    parts = urlsplit(postgres_db)
    made = CuttingProxy((str(parts.hostname), int(parts.port or 0)))
    yield made
    made.close()


@pytest.fixture
def far(postgres_db: str, proxy: CuttingProxy) -> Iterator[PostgresStore]:
    """A store behind that line, with an open channel and 50 accepted."""
    path = urlsplit(postgres_db).path
    made = PostgresStore(f"postgresql://postgres@127.0.0.1:{proxy.port}{path}", wait_s=15.0)
    opened(made)
    made.accept_and_spend(order("c", 50, 0)).result()
    yield made
    made.close()


def _window(far: PostgresStore) -> Reservation:
    got = far.reserve(order("c", None, 0), 1, 10).result()
    assert isinstance(got, Reserved)
    assert got.reservation is not None
    return got.reservation


STEPS: dict[str, tuple[bytes, Callable[[PostgresStore], Future[Any]]]] = {
    "voucher": (b"UPDATE coinslot_channels", lambda far: far.accept_and_spend(order("c", 60))),
    "cost": (b"COMMIT", lambda far: far.accept_and_spend(order("c", None))),
    "keyed": (b"COMMIT", lambda far: far.accept_and_spend(Order(KEY, COST, RULES, voucher("c", 60), 1, "k", "h"))),
    "reserve": (b"COMMIT", lambda far: far.reserve(order("c", None, 0), 1, 10)),
    "open": (b"COMMIT", lambda far: far.open_channel(claim("d"), channel("d"), RULES)),
    "settled": (b"COMMIT", lambda far: far.note_settled(KEY, 20, entry("c", 20))),
}


@pytest.mark.postgres
@pytest.mark.guard("F19")
@pytest.mark.parametrize("lost", ["answer", "question"])
@pytest.mark.parametrize("step", STEPS)
def test_a_connection_lost_in_the_commit(step: str, lost: str, far: PostgresStore, proxy: CuttingProxy) -> None:
    """Whether the commit happened or not, the step's answer is what it would have been, and it happened once."""
    needle, ask = STEPS[step]
    before = found(far)
    (proxy.lose_answer if lost == "answer" else proxy.lose_question)(needle)
    answered = ask(far).result(10)
    after = found(far)
    assert proxy.strikes >= 1
    assert not isinstance(answered, Refused)
    if step in {"voucher", "cost", "keyed"}:
        assert isinstance(answered, Spent)
        assert replace(answered.channel, used_at_s=after.used_at_s) == after
        assert after.spent == before.spent + COST
    if step == "reserve":
        assert isinstance(answered, Reserved)
        assert answered.reservation is not None
        assert after.reserved == answered.reservation.window_units == 10
        assert far.commit(answered.reservation, 10).result().channel.spent == 10
    if step == "open":
        assert found(far, "d").stage is Stage.OPENING
    if step == "settled":
        assert (after.settled, len(far.entries(None, 9).result())) == (20, 1)


@pytest.mark.postgres
@pytest.mark.guard("F19")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_connection_lost_while_a_keyed_request_is_run_again(
    lost: str, far: PostgresStore, proxy: CuttingProxy
) -> None:
    """It was paid before and wasn't delivered: it runs, once, without a charge, whether the commit happened or not."""
    again = Order(KEY, COST, RULES, voucher("c", 60), 1, "k", "h")
    assert isinstance(far.accept_and_spend(again).result(), Spent)
    far.keep_answer(KEY, "k", None).result()
    (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"COMMIT")
    assert isinstance(far.accept_and_spend(again).result(10), Spent)
    assert proxy.strikes >= 1
    assert far.accept_and_spend(again).result() == Repeated(found(far), None)
    assert found(far).spent == COST


@pytest.mark.postgres
@pytest.mark.guard("F19")
@pytest.mark.parametrize("lost", ["answer", "question"])
def test_a_connection_lost_while_a_window_is_rolled(lost: str, far: PostgresStore, proxy: CuttingProxy) -> None:
    """What was used is spent once, and there is one next window."""
    held = _window(far)
    (proxy.lose_answer if lost == "answer" else proxy.lose_question)(b"COMMIT")
    rolled = far.commit(held, 10, 1, (1, 10)).result(10)
    assert rolled.reservation is not None
    assert rolled.reservation.window_units == 10
    assert (found(far).spent, found(far).reserved) == (10, 10)
    assert far.commit(rolled.reservation, 5).result().channel.spent == 15


@pytest.mark.postgres
@pytest.mark.guard("F19")
def test_a_refusal_lost_in_the_commit_is_told_again(far: PostgresStore, proxy: CuttingProxy) -> None:
    """The voucher was accepted by the first run; the second says what is missing all the same."""
    proxy.lose_answer(b"SET accepted = $1")
    refused = far.accept_and_spend(order("c", 60, 100)).result(10)
    assert isinstance(refused, Refused)
    assert (refused.why, refused.missing_units) == (Why.BALANCE, 40)
    assert proxy.strikes >= 1
    assert (found(far).accepted, found(far).spent) == (60, 0)


@pytest.mark.postgres
@pytest.mark.guard("F19")
def test_a_connection_lost_while_a_job_ends(far: PostgresStore, proxy: CuttingProxy) -> None:
    """It ends once, with one entry."""
    far.accept_and_spend(order("c", 60)).result()
    how = settlement(found(far), Rules())
    assert how is not None
    job = far.plan(KEY, JobKind.SETTLE, how).result()
    assert not isinstance(job, Refused)
    lease = far.take_job(job.id).result()
    assert lease is not None
    far.prepare_job(lease, "0xtx", b"raw").result()
    proxy.lose_answer(b"COMMIT")
    assert far.finish_job(lease, 60, entry("c", 60)).result(10).settled == 60
    assert [each.stage for each in far.jobs_of(KEY, 9).result()] == [JobStage.DONE]
    assert len(far.entries(None, 9).result()) == 1
