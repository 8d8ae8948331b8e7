"""What is SQLite's own: the file, its locks, its errors, group commit."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coinslot.errors import ConfigError, StoreBroken, StoreBusy, StoreError, StoreNewer
from coinslot.intents.charge import Budget
from coinslot.store import sqlite_file
from coinslot.store.open import open_store
from coinslot.store.protocol import Lease, OverBudget, Query
from coinslot.store.schema.steps import VERSION
from coinslot.store.sqlite import SqliteStore
from support.store_cases import claim, delivered, entry, leased, prepared, receipt, settled, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file goes."""
    return tmp_path / "payments.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """A store."""
    made = SqliteStore(str(path))
    yield made
    made.close()


def digest(path: Path) -> str:
    """What the file holds."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the file ------------------------------------------------------------------------------------


def test_only_the_owner_can_read_the_file(store: SqliteStore, path: Path) -> None:
    """The file, its log and its index are 0600 whatever the umask."""
    leased(store, claim("a"))
    for each in path.parent.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    assert len(list(path.parent.iterdir())) == 3


def test_every_commit_is_synced(path: Path, store: SqliteStore) -> None:
    """The settings that make a commit durable are the ones in use."""
    leased(store, claim("a"))
    with closing(sqlite_file.connect(str(path), 1.0)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
        assert connection.execute("PRAGMA foreign_keys").fetchall() == [(1,)]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The store makes a file, not folders."""
    with pytest.raises(ConfigError, match="folder of the store does not exist"):
        SqliteStore(str(tmp_path / "none" / "x.db"))


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    """Nor is anything else that isn't a file."""
    with pytest.raises(ConfigError, match="not a file"):
        SqliteStore(str(tmp_path))


def test_another_kind_of_file_is_left_alone(path: Path) -> None:
    """A file that isn't a database is refused and keeps its bytes."""
    path.write_bytes(b"not a database at all" * 100)
    before = digest(path)
    with pytest.raises(ConfigError, match="not a SQLite database"):
        SqliteStore(str(path))
    assert digest(path) == before


def test_a_name_with_signs_of_a_url_is_only_a_name(tmp_path: Path) -> None:
    """`?`, `#` and `%` in a path open that very file."""
    path = tmp_path / "a?mode=memory#b%20c.db"
    store = SqliteStore(str(path))
    leased(store, claim("a"))
    store.close()
    assert path.stat().st_size > 0


# --- versions ------------------------------------------------------------------------------------


@pytest.mark.guard("F22")
def test_a_newer_file_is_refused_untouched(path: Path) -> None:
    """Not a byte of a newer program's file changes, its unfinished log included."""
    store = SqliteStore(str(path))
    leased(store, claim("a"))
    store.close()
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute(f"UPDATE coinslot_schema SET version = {VERSION + 1}")
    copy = path.parent / "crashed"
    copy.mkdir()
    for each in path.parent.glob("payments.db*"):  # with its log, as after a crash of the newer program
        shutil.copy(each, copy)
    newer.close()
    files = {each: digest(each) for each in copy.iterdir() if not each.name.endswith("-shm")}
    assert len(files) == 2
    with pytest.raises(StoreNewer, match="newer coinslot"):
        SqliteStore(str(copy / "payments.db"))
    assert {each: digest(each) for each in files} == files


def test_an_existing_file_is_opened_again(path: Path) -> None:
    """What is up to date takes no step twice."""
    for name in ("a", "b"):
        store = SqliteStore(str(path))
        leased(store, claim(name))
        store.close()
    store = SqliteStore(str(path))
    assert len(store.payments(Query()).result()) == 2
    store.close()


# --- busy ----------------------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def writer(path: Path, store: SqliteStore) -> Iterator[Callable[[], None]]:
    """Another process holds the write lock; call to let it go."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"

    def let_go() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"

    yield let_go
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.mark.guard("F16")
def test_a_busy_file_is_waited_for_and_no_longer(store: SqliteStore, writer: Callable[[], None]) -> None:
    """Within the wait comes StoreBusy; nothing changed, reading goes on, and later the same claim works."""
    patience_s, store._wait_s = store._wait_s, 0.4
    started = time.monotonic()
    asked = [store.claim(claim(f"{n}")) for n in range(5)]
    for each in asked:
        with pytest.raises(StoreBusy):
            each.result(10)
    assert 0.3 < time.monotonic() - started < 10.0
    store._wait_s = patience_s
    assert store.find("id-0").result() is None
    writer()
    assert isinstance(store.claim(claim("0")).result(), Lease)
    assert store.find("id-1").result() is None


def test_who_comes_later_waits_as_long(store: SqliteStore, writer: Callable[[], None]) -> None:
    """A late operation isn't refused with an early one: it has its own time, and uses it."""
    patience_s, store._wait_s = store._wait_s, 0.4
    early = store.claim(claim("early"))
    store._wait_s = patience_s
    late = [store.claim(claim(f"late-{n}")) for n in range(3)]
    with pytest.raises(StoreBusy):
        early.result(10)
    writer()
    assert all(isinstance(each.result(10), Lease) for each in late)


# --- broken --------------------------------------------------------------------------------------


def shrink(store: SqliteStore) -> Callable[[], None]:
    """Let the file grow no further, as on a full disk; returns what makes room again."""
    committer = store._attached()
    until(lambda: committer._connection is not None)
    connection = committer._connection
    assert connection is not None
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: None  # a connection that is opened anew has room


@pytest.mark.guard("F17")
def test_a_full_disk_acknowledges_nothing(store: SqliteStore) -> None:
    """The operation that finds no room has a name, leaves no half, and the store goes on when there is room."""
    settled(store, claim("before"))
    shrink(store)
    wish = claim("big")
    lease = leased(store, wish)
    store.prepare(lease, prepared(wish)).result()
    long = tuple(entry(wish).postings * 2000)
    with pytest.raises(StoreBroken, match="SQLITE_FULL"):
        store.settle(lease, receipt(wish), type(entry(wish))("charge/big", 1.0, "r", long)).result(10)
    payment = store.find("id-big").result()
    assert payment is not None
    assert payment.stage == "prepared"
    assert len(store.entries(None, 9).result()) == 1
    store.settle(lease, receipt(wish), entry(wish)).result(10)
    assert len(store.entries(None, 9).result()) == 2


FILE_LIMIT = """
import resource, signal, sys
from coinslot.errors import StoreBroken
from coinslot.store.open import open_store
from support.store_cases import claim, leased
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store("sqlite:///" + sys.argv[1])
store.ping().result()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, hard))
told, failures, n = [], 0, 0
while failures < 5 and n < 3000:
    n += 1
    try:
        leased(store, claim(f"{n}"))
        told.append(n)
        failures = 0
    except StoreBroken:
        failures += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.ping().result()
missing = [n for n in told if store.find(f"id-{n}").result() is None]
print(len(told), len(missing))
store.close()
"""


@pytest.mark.guard("F17")
def test_writes_that_fail_in_the_kernel_break_nothing(path: Path) -> None:
    """While files can't grow nothing is acknowledged; with room again the same process goes on, with all it told."""
    tests = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, missing = map(int, done.stdout.split())
    assert told > 20
    assert missing == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_failure_of_one_is_not_the_failure_of_another(store: SqliteStore) -> None:
    """In one batch good and bad operations each get their own end."""
    release = threading.Event()
    store._write(lambda _: release.wait(5))  # holds the committer, so that the rest is one batch
    over = Budget("sponsor", 2, 1, 60)
    good = [store.claim(claim(f"good-{n}")) for n in range(5)]
    bad = store.claim(claim("\ud800"))
    exceeded = store.claim(claim("over", budgets=(Budget("other", 1, 9, 60), over)))
    lost = store.fail(Lease("id-never", 1), "no")
    more = [store.claim(claim(f"more-{n}", budgets=(Budget("other", 9, 9, 60),))) for n in range(1)]
    release.set()
    assert all(isinstance(each.result(), Lease) for each in good + more)
    assert bad.exception() is not None
    assert exceeded.result() == OverBudget(over)
    assert lost.exception() is not None
    assert len(store.payments(Query()).result()) == 6


def test_many_share_a_commit(store: SqliteStore, path: Path) -> None:
    """What queues up while the disk is busy is written together."""
    settled(store, claim("first"))
    seen: list[str] = []
    release = threading.Event()
    store._write(lambda _: release.wait(5))
    asked = [store.claim(claim(f"{n}")) for n in range(100)]
    connection = store._attached()._connection
    assert connection is not None
    connection.set_trace_callback(seen.append)
    release.set()
    assert all(isinstance(each.result(), Lease) for each in asked)
    assert seen.count("COMMIT") <= 2


def test_a_cancelled_wait_claims_nothing(store: SqliteStore) -> None:
    """An operation cancelled before it ran never runs."""
    release = threading.Event()
    store._write(lambda _: release.wait(5))
    first = store.claim(claim("a"))
    until(lambda: first.running() or store._attached()._queue.qsize())
    cancelled = first.cancel()
    release.set()
    store.ping().result()
    assert cancelled == (store.find("id-a").result() is None)


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.guard("F21")
@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_jumps_makes_no_lease_eternal(path: Path, jump_s: float) -> None:
    """A beat an hour in the future is as dead as one an hour in the past."""
    now = [2_000_000_000.0]
    dead = SqliteStore(str(path), lease_s=60, clock=lambda: now[0])
    other = SqliteStore(str(path), lease_s=60, clock=lambda: now[0])
    lease = leased(dead, claim("a"))
    dead._heart.stop()
    assert other.take("id-a").result() is None
    now[0] += jump_s
    payment = other.find("id-a").result()
    assert payment is not None
    assert not payment.leased
    assert other.take("id-a").result() == Lease("id-a", lease.number + 1)
    dead.close()
    other.close()


def test_a_budget_is_free_again_after_its_window(path: Path) -> None:
    """Draws count for their window and are then forgotten, also on the disk."""
    now = [2_000_000_000.0]
    store = SqliteStore(str(path), clock=lambda: now[0])
    share = (Budget("sponsor", 50, 100, 60),)
    leased(store, claim("a", budgets=share))
    now[0] += 30
    second = leased(store, claim("b", budgets=share))
    now[0] += 29
    assert isinstance(store.claim(claim("c", budgets=share)).result(), OverBudget)
    now[0] += 1
    leased(store, claim("c", budgets=share))
    assert isinstance(store.claim(claim("d", budgets=share)).result(), OverBudget)
    store.fail(second, "no").result()
    leased(store, claim("d", budgets=share))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM coinslot_draws").fetchall() == [(2,)]
    store.close()


def test_what_lapsed_is_not_given_back(path: Path) -> None:
    """A failure after the window has ended gives nobody more than the limit."""
    now = [2_000_000_000.0]
    store = SqliteStore(str(path), clock=lambda: now[0])
    share = (Budget("sponsor", 100, 100, 60),)
    first = leased(store, claim("a", budgets=share))
    now[0] += 61
    leased(store, claim("b", budgets=share))
    store.fail(first, "no").result()
    assert isinstance(store.claim(claim("c", budgets=share)).result(), OverBudget)
    store.close()


# --- backup --------------------------------------------------------------------------------------


def test_a_backup_is_a_store_with_the_same_content(store: SqliteStore, tmp_path: Path) -> None:
    """Taken while in use, 0600, it opens and tells the same."""
    for n in range(3):
        delivered(store, claim(f"{n}"))
    target = tmp_path / "backup.db"
    store.backup(str(target)).result()
    delivered(store, claim("later"))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copy = SqliteStore(str(target))
    for n in range(3):
        assert copy.find(f"id-{n}").result() == store.find(f"id-{n}").result()
    assert copy.find("id-later").result() is None
    assert list(copy.entries(None, 9).result()) == list(store.entries(None, 9).result())[:3]
    copy.close()


def test_a_backup_overwrites_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """An existing target keeps its bytes; a missing folder is named."""
    target = tmp_path / "precious"
    target.write_text("precious")
    with pytest.raises(StoreError, match="exists"):
        store.backup(str(target)).result()
    assert target.read_text() == "precious"
    with pytest.raises(StoreError, match="can't be made"):
        store.backup(str(tmp_path / "none" / "x")).result()


# --- one committer -------------------------------------------------------------------------------


def test_handles_of_one_file_share_a_committer(path: Path, store: SqliteStore, tmp_path: Path) -> None:
    """By whatever name the file is opened; and the last to close ends it."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    second = open_store(f"sqlite:///{link}")
    assert isinstance(second, SqliteStore)
    assert second._attached() is store._attached()
    committer = store._attached()
    second.close()
    leased(store, claim("a"))
    store.close()
    assert committer._thread is not None
    assert not committer._thread.is_alive()
