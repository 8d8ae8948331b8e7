"""What is PostgreSQL's own: connections that break in the middle of a commit, locks, rights, settings."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from coinslot.errors import ConfigError, StoreBroken, StoreBusy, StoreError, StoreNewer, UsageError
from coinslot.intents.charge import Budget
from coinslot.store import postgres
from coinslot.store.postgres import PostgresStore
from coinslot.store.postgres_pool import GRACE_S
from coinslot.store.protocol import Lease, Query, Stage, Taken
from coinslot.store.schema.steps import VERSION
from support.cutting_proxy import CuttingProxy
from support.postgres import Server, server_binaries
from support.store_cases import ASSET, DELIVERY, claim, delivered, entry, leased, prepared, receipt, settled

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(postgres_db: str) -> Iterator[PostgresStore]:
    """A store."""
    made = PostgresStore(postgres_db)
    yield made
    made.close()


@pytest.fixture
def proxy(postgres_db: str) -> Iterator[CuttingProxy]:
    """A line to the server that can be cut."""
    parts = urlsplit(postgres_db)
    made = CuttingProxy((str(parts.hostname), int(parts.port or 0)))
    yield made
    made.close()


@pytest.fixture
def far(postgres_db: str, proxy: CuttingProxy) -> Iterator[PostgresStore]:
    """A store behind that line; it has time to find another one."""
    parts = urlsplit(postgres_db)
    made = PostgresStore(f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}", wait_s=15.0)
    yield made
    made.close()


@pytest.fixture
def hasty(postgres_db: str, proxy: CuttingProxy) -> Iterator[PostgresStore]:
    """The same, soon tired of waiting."""
    parts = urlsplit(postgres_db)
    made = PostgresStore(f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}", wait_s=HASTE_S)
    yield made
    made.close()


# What a frozen line may cost.
HASTE_S = 3.0
STEPS: dict[str, tuple[bytes, Callable[[PostgresStore], Future[Any]]]] = {
    "claim": (b"INTO coinslot_payments", lambda far: far.claim(claim("a"))),
    "claim with budget": (
        b"COMMIT",
        lambda far: far.claim(claim("a", budgets=(Budget("sponsor", 1, 1, 60),))),
    ),
    "take": (b"COMMIT", lambda far: far.take("id-a")),
    "prepare": (b"UPDATE coinslot_payments", lambda far: far.prepare(Lease("id-a", 1), prepared(claim("a")))),
    "settle": (b"COMMIT", lambda far: far.settle(Lease("id-a", 1), receipt(claim("a")), entry(claim("a")))),
    "fail": (b"COMMIT", lambda far: far.fail(Lease("id-a", 1), "no")),
    "deliver": (b"COMMIT", lambda far: far.deliver(Lease("id-a", 1), DELIVERY)),
}
# Where the payment must stand before the step, what the step answers, and where it stands then.
EXPECTED = {
    "claim": (None, Lease("id-a", 1), Stage.CLAIMED),
    "claim with budget": (None, Lease("id-a", 1), Stage.CLAIMED),
    "take": ("released", Lease("id-a", 2), Stage.CLAIMED),
    "prepare": (Stage.CLAIMED, None, Stage.PREPARED),
    "settle": (Stage.PREPARED, None, Stage.SETTLED),
    "fail": (Stage.CLAIMED, None, Stage.FAILED),
    "deliver": (Stage.SETTLED, None, Stage.DELIVERED),
}


def reach(far: PostgresStore, stage: object) -> None:
    """Payment `a` in that stage, its lease number 1 held but for `released`; the heart has begun to beat."""
    leased(far, claim("warm"))
    if stage is None:
        return
    lease = leased(far, claim("a"))
    if stage == "released":
        far.release(lease).result()
    if stage in {Stage.PREPARED, Stage.SETTLED}:
        far.prepare(lease, prepared(claim("a"))).result()
    if stage == Stage.SETTLED:
        far.settle(lease, receipt(claim("a")), entry(claim("a"))).result()


def heart_at_rest(store: PostgresStore) -> None:
    """The first beat is on record, so that no step brings one along."""
    deadline = time.monotonic() + 10
    while store._heart.due():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.guard("F19")
@pytest.mark.parametrize("lost", ["answer", "question"])
@pytest.mark.parametrize("step", STEPS)
def test_a_connection_lost_in_the_commit(step: str, lost: str, far: PostgresStore, proxy: CuttingProxy) -> None:
    """Whether the commit happened or not, the step's answer is what it would have been, and it happened once."""
    before, answer, after = EXPECTED[step]
    reach(far, before)
    heart_at_rest(far)
    needle, run = STEPS[step]
    (proxy.lose_answer if lost == "answer" else proxy.lose_question)(needle)
    assert run(far).result(10) == answer
    assert proxy.strikes == 1
    payment = far.find("id-a").result()
    assert payment is not None
    assert payment.stage == after
    assert payment.leased == (after in {Stage.CLAIMED, Stage.PREPARED, Stage.SETTLED})
    if step == "settle":
        assert list(far.entries(None, 9).result()) == [entry(claim("a"))]
        assert far.balances().result()[ASSET]["payee:shop"] == 10_000


@pytest.mark.guard("F19")
def test_another_ones_claim_is_not_taken_for_ones_own(
    far: PostgresStore, postgres_db: str, proxy: CuttingProxy
) -> None:
    """If somebody else was first, a broken connection makes nobody believe it was them."""
    leased(far, claim("warm"))
    heart_at_rest(far)
    with closing(PostgresStore(postgres_db)) as other:
        leased(other, claim("a"))
    proxy.lose_answer(b"INTO coinslot_payments")
    answer = far.claim(claim("a")).result(10)
    assert isinstance(answer, Taken)
    assert proxy.strikes == 1


def test_a_server_that_says_nothing_is_given_up(hasty: PostgresStore, proxy: CuttingProxy) -> None:
    """A frozen line ends in an error that says the outcome is open, in bounded time, for reads and writes alike."""
    leased(hasty, claim("warm"))
    proxy.freeze()
    started = time.monotonic()
    asked: list[Future[Any]] = [hasty.claim(claim("a")), hasty.find("id-warm")]
    for each in asked:
        with pytest.raises((StoreBroken, StoreBusy)):
            each.result(20)
    assert time.monotonic() - started < 12


@pytest.mark.guard("F19")
def test_a_line_that_freezes_before_it_is_set_up_is_given_up(hasty: PostgresStore, proxy: CuttingProxy) -> None:
    """A connection whose very first question gets no answer ends as any other, and so does closing the store."""
    proxy.freeze(at=b"SHOW fsync")
    busy = [hasty._write(lambda db: db.rows("SELECT pg_sleep(1)", {})) for _ in range(2)]
    started = time.monotonic()
    for each in busy:
        with pytest.raises((StoreBroken, StoreBusy)):
            each.result(20)
    hasty.close()
    assert time.monotonic() - started < HASTE_S + GRACE_S + 15
    assert not [one for one in hasty._workers._threads if one.is_alive()]


@pytest.mark.guard("F19")
def test_closing_waits_for_a_stuck_step_no_longer_than_it_may_take(
    postgres_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that never ends, for whatever reason, does not keep a program from ending."""
    monkeypatch.setattr(postgres, "CLOSE_GRACE_S", 0.5)
    made = PostgresStore(postgres_db, wait_s=0.5)
    let_go = threading.Event()
    made._write(lambda db: let_go.wait(15))
    made._list(lambda db: let_go.wait(15))
    started = time.monotonic()
    try:
        made.close()
        assert time.monotonic() - started < 10
    finally:
        let_go.set()


@pytest.mark.guard("F16")
def test_a_locked_table_is_waited_for_and_no_longer(store: PostgresStore, postgres_db: str) -> None:
    """Within the wait comes StoreBusy; nothing changed, and later the same claim works."""
    leased(store, claim("warm"))
    with closing(PostgresStore(postgres_db, wait_s=0.5)) as soon_tired, psycopg.connect(postgres_db) as blocker:
        blocker.execute("LOCK TABLE coinslot_payments IN SHARE MODE")
        started = time.monotonic()
        asked = [soon_tired.claim(claim(f"{n}")) for n in range(20)]
        for each in asked:
            with pytest.raises(StoreBusy):
                each.result(10)
        assert time.monotonic() - started < 8.0  # one after the other they would take ten
        assert store.find("id-0").result() is None
        blocker.rollback()
    leased(store, claim("0"))
    assert len(store.payments(Query()).result()) == 2


def test_connections_that_the_server_ended_are_replaced(
    store: PostgresStore, postgres_db: str, postgres_server: Server
) -> None:
    """After a restart of the server the same handle works on."""
    for n in range(4):
        settled(store, claim(f"before-{n}"))
    name = urlsplit(postgres_db).path.lstrip("/")
    postgres_server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for n in range(4):
        delivered(store, claim(f"after-{n}"))
    assert len(store.entries(None, 99).result()) == 8


def test_a_crashed_server_kept_what_was_acknowledged() -> None:
    """Stopped as in a crash and started again, the server has every acknowledged payment."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here")
    server = Server(binaries)
    try:
        server.create()
        server.start()
        with closing(PostgresStore(server.url(), wait_s=20.0)) as store:
            for n in range(10):
                delivered(store, claim(f"{n}"))
            server.stop(signal.SIGQUIT)
            asked = store.claim(claim("meanwhile"))
            server.start()
            assert isinstance(asked.result(30), Lease)
            paid = store.payments(Query(stages=frozenset({Stage.DELIVERED}))).result()
            assert len(paid) == 10
    finally:
        server.stop()
        server.remove()


def test_a_server_without_fsync_is_refused() -> None:
    """It would acknowledge payments and lose them."""
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here")
    server = Server(binaries)
    try:
        server.create()
        with (server._home / "data" / "postgresql.conf").open("a") as settings:
            settings.write("fsync = off\n")
        server.start()
        with pytest.raises(ConfigError, match="fsync=off"):
            PostgresStore(server.url())
    finally:
        server.stop()
        server.remove()


@pytest.mark.guard("F19")
@pytest.mark.parametrize(("database", "session"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_commits_are_synchronous_here(database: str, session: str, postgres_db: str, postgres_server: Server) -> None:
    """A database that is set to acknowledge early does not do so for payments; a stricter one stays strict."""
    name = urlsplit(postgres_db).path.lstrip("/")
    postgres_server.sql(f"ALTER DATABASE {name} SET synchronous_commit = {database}")
    with closing(PostgresStore(postgres_db)) as store:
        shown = store._read(lambda db: db.rows("SELECT current_setting('synchronous_commit')", {})).result()
    assert shown == [(session,)]


@pytest.mark.guard("F22")
def test_a_newer_database_is_refused_untouched(postgres_db: str) -> None:
    """A newer program's tables are left as they are."""
    PostgresStore(postgres_db).close()
    with psycopg.connect(postgres_db) as connection:
        connection.execute("DROP TABLE coinslot_draws")
        connection.execute("UPDATE coinslot_schema SET version = %s", (VERSION + 1,))
    with pytest.raises(StoreNewer, match="newer coinslot"):
        PostgresStore(postgres_db)
    with psycopg.connect(postgres_db) as connection:
        assert connection.execute("SELECT version FROM coinslot_schema").fetchall() == [(VERSION + 1,)]
        assert connection.execute("SELECT to_regclass('coinslot_draws')").fetchall() == [(None,)]


def test_a_user_without_rights_is_told(postgres_db: str, postgres_server: Server) -> None:
    """Who may not create tables gets a named error, and an unknown database one too."""
    postgres_server.sql("DO $$ BEGIN CREATE ROLE nobody_much LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with pytest.raises(ConfigError, match="may not create"):
        PostgresStore(postgres_db.replace("postgres@", "nobody_much@"))
    with pytest.raises(StoreError, match="does not exist"):
        PostgresStore(postgres_db + "_missing")


def test_the_backup_is_the_databases_own(store: PostgresStore, tmp_path: object) -> None:
    """The error says what to use."""
    with pytest.raises(StoreError, match="pg_dump"):
        store.backup(f"{tmp_path}/x").result()


def test_text_with_a_null_character_is_refused_by_name(store: PostgresStore) -> None:
    """PostgreSQL can't hold it; that is no reason to think the store broken."""
    with pytest.raises(UsageError):
        store.claim(claim("a\0b")).result()
    leased(store, claim("a"))
