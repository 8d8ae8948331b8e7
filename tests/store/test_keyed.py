"""Requests under an Idempotency-Key: many of them on one channel, each paid once for as long as its key is known."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from coinslot.intents.session import Channel, Refused, Spent, Stale, Why
from coinslot.store import keyed as keyed_sql
from coinslot.store import keyed_memory
from coinslot.store.channels import KEPT_KEYS, SMALL_KEPT_BODY, Order, Repeated, Reserved, SessionStore
from coinslot.store.protocol import MAX_KEPT_BODY, Delivery
from coinslot.store.schema.steps import Words, statements, version_table
from coinslot.store.sqlite import SqliteStore
from support import channel_cases
from support.channel_cases import COST, RULES, found, opened, voucher
from support.store_cases import DELIVERY

KEY = "net:1/c"
WIDE = 10_000 * COST
# As many processes, and keys that all of them want.
PROCESSES, SHARED = 2, 20


def keyed(amount: int, key: str, request_hash: str = "h") -> Order:
    """An order that carries an Idempotency-Key."""
    return Order(KEY, COST, RULES, voucher("c", amount), 1, key, request_hash)


@pytest.fixture
def shop(store: SessionStore) -> SessionStore:
    """A store of each kind with an open channel `c`."""
    opened(store, deposit=WIDE)
    return store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys are kept, and few may run longer."""
    for module in (keyed_sql, keyed_memory):
        monkeypatch.setattr(module, "KEPT_KEYS", 4)
        monkeypatch.setattr(module, "MAX_RUNNING_KEYS", 2)


def bought(store: SessionStore, key: str) -> Channel:
    """A keyed request, bought with a voucher that covers it."""
    answered = store.accept_and_spend(keyed(found(store).accepted + COST, key)).result()
    assert isinstance(answered, Spent), answered
    return answered.channel


def answered_too(store: SessionStore, key: str) -> None:
    """The same, and answered."""
    bought(store, key)
    store.keep_answer(KEY, key, DELIVERY).result()


def ask(store: SessionStore, key: str) -> object:
    """The request once more, with a voucher that could buy it."""
    return store.accept_and_spend(keyed(found(store).accepted + COST, key)).result()


@pytest.mark.guard("F14")
@pytest.mark.spec("TSES-136", "TSES-162")
def test_each_of_many_lost_answers_is_given_again(shop: SessionStore) -> None:
    """Several at once on one channel, their answers lost, repeated in any order: nobody is charged twice."""
    names = [f"k{n}" for n in range(8)]
    for name in names:
        bought(shop, name)
    assert [ask(shop, name) for name in names] == [Repeated(found(shop), None)] * 8
    for n, name in enumerate(names):
        shop.keep_answer(KEY, name, replace(DELIVERY, body=b"%d" % n)).result()
    for n in (3, 0, 7, 1, 2, 6, 5, 4):
        assert ask(shop, f"k{n}") == Repeated(found(shop), replace(DELIVERY, body=b"%d" % n))
    assert found(shop).spent == 8 * COST
    assert isinstance(ask(shop, "k8"), Spent)


@pytest.mark.guard("F07")
def test_an_older_request_that_was_not_delivered_runs_again_without_a_charge(shop: SessionStore) -> None:
    """Others were bought since; it is run once, and then somebody is at it."""
    for name in "abc":
        bought(shop, name)
    shop.keep_answer(KEY, "a", None).result()
    assert isinstance(ask(shop, "a"), Spent)
    assert ask(shop, "a") == Repeated(found(shop), None)
    assert (found(shop).spent, found(shop).units) == (3 * COST, 3)


def test_an_older_key_stands_for_its_request_only(shop: SessionStore) -> None:
    """Another request under it is refused, whatever came between."""
    for name in "abc":
        answered_too(shop, name)
    refused = shop.accept_and_spend(keyed(9 * COST, "a", "other")).result()
    assert refused == Refused(Why.KEY_REUSED, found(shop))
    assert shop.reserve(keyed(9 * COST, "b"), 1, 5).result() == Repeated(found(shop), DELIVERY)


@pytest.mark.guard("F28")
def test_a_key_is_known_until_so_many_others_were_bought(shop: SessionStore) -> None:
    """The last ones are known to the end, the first that falls out is a new request. An old voucher buys nothing."""
    names = [f"k{n}" for n in range(KEPT_KEYS + 1)]
    for name in names[:-1]:
        answered_too(shop, name)
    assert isinstance(ask(shop, names[0]), Repeated)
    bought(shop, names[-1])
    assert isinstance(ask(shop, names[1]), Repeated)
    ignoring = replace(RULES, lower=RULES.equal)
    again = shop.accept_and_spend(replace(keyed(COST, names[0]), rules=ignoring)).result()
    assert isinstance(again, Stale)
    spent = found(shop).spent
    assert isinstance(ask(shop, names[0]), Spent)
    assert found(shop).spent == spent + COST


@pytest.mark.guard("F14", "F28")
@pytest.mark.usefixtures("small")
def test_a_request_that_is_answered_is_not_forgotten(shop: SessionStore) -> None:
    """However many come meanwhile; and when it has been answered it is as young as the youngest."""
    bought(shop, "long")
    for n in range(9):
        answered_too(shop, f"k{n}")
    assert ask(shop, "long") == Repeated(found(shop), None)
    shop.keep_answer(KEY, "long", DELIVERY).result()
    for n in range(9, 12):
        answered_too(shop, f"k{n}")
    assert ask(shop, "long") == Repeated(found(shop), DELIVERY)
    answered_too(shop, "k12")
    assert isinstance(ask(shop, "long"), Spent)


@pytest.mark.guard("F14", "F28")
@pytest.mark.usefixtures("small")
def test_running_again_makes_nobody_older(shop: SessionStore) -> None:
    """Only what is bought pushes others out."""
    for name in "abcd":
        answered_too(shop, name)
    bought(shop, "lost")
    for _ in range(9):
        shop.keep_answer(KEY, "lost", None).result()
        assert isinstance(ask(shop, "lost"), Spent)
    assert [isinstance(ask(shop, name), Repeated) for name in "bcd"] == [True] * 3
    answered_too(shop, "next")
    assert [isinstance(ask(shop, name), Repeated) for name in "cd"] == [True] * 2


@pytest.mark.guard("F28")
@pytest.mark.usefixtures("small")
def test_of_requests_that_run_for_long_there_are_only_so_many(shop: SessionStore) -> None:
    """One more is refused and changes nothing, by a voucher or a window; without a key it is served as ever."""
    for n in range(6):
        bought(shop, f"k{n}")
    before = found(shop)
    assert ask(shop, "k6") == Refused(Why.CROWDED, before)
    assert shop.reserve(keyed(before.accepted + 2 * COST, "k6"), 1, 5).result() == Refused(Why.CROWDED, before)
    assert found(shop) == before
    assert isinstance(ask(shop, "k1"), Repeated)
    plain = Order(KEY, COST, RULES, voucher("c", before.accepted + COST), 1)
    assert isinstance(shop.accept_and_spend(plain).result(), Spent)
    shop.keep_answer(KEY, "k0", DELIVERY).result()
    bought(shop, "k6")


@pytest.mark.guard("F28")
def test_the_bodies_of_a_channel_are_bounded(shop: SessionStore) -> None:
    """Small ones stay with their keys; of larger ones the newest; one too large is not kept. Every key stays known."""
    small = Delivery(200, (("a", "b"),), b"s" * SMALL_KEPT_BODY)
    half = Delivery(200, (), b"h" * (MAX_KEPT_BODY // 2))
    for name, given in (("s", small), ("h1", half), ("h2", half), ("h3", half)):
        bought(shop, name)
        shop.keep_answer(KEY, name, given).result()

    def kept(name: str) -> Delivery | None:
        repeated = ask(shop, name)
        assert isinstance(repeated, Repeated), repeated
        return repeated.answer

    assert (kept("s"), kept("h1"), kept("h2"), kept("h3")) == (small, replace(half, body=None), half, half)
    bought(shop, "huge")
    shop.keep_answer(KEY, "huge", replace(half, body=b"x" * (MAX_KEPT_BODY + 1))).result()
    assert (kept("huge"), kept("h2"), kept("h3")) == (replace(half, body=None), half, half)
    assert found(shop).spent == 5 * COST


def test_an_answer_to_an_unknown_key_is_none(shop: SessionStore) -> None:
    """Nothing is kept under a key that bought nothing."""
    shop.keep_answer(KEY, "never", DELIVERY).result()
    shop.keep_answer("net:1/nowhere", "k", DELIVERY).result()
    assert isinstance(ask(shop, "never"), Spent)


@pytest.mark.guard("T02", "F15")
def test_many_threads_want_the_same_keys(shop: SessionStore) -> None:
    """Each key is paid once, whoever comes first."""
    wanted = [keyed(WIDE, f"k{n % 5}") for n in range(60)]
    free = Order(KEY, 0, RULES, voucher("c", WIDE))
    assert isinstance(shop.accept_and_spend(free).result(), Spent)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: shop.accept_and_spend(replace(one, voucher=None)).result(), wanted))
    assert sum(isinstance(one, Spent) for one in answers) == 5
    assert sum(isinstance(one, Repeated) for one in answers) == 55
    assert found(shop).spent == 5 * COST


# --- what databases add --------------------------------------------------------------------------


@pytest.mark.guard("F14", "F15")
def test_two_processes_want_the_same_keys(disk_url: str, opened: Callable[..., SessionStore]) -> None:
    """Each is bought in one of them, and answered in the other from what was kept."""
    store = opened()
    channel_cases.opened(store, deposit=WIDE)
    assert isinstance(store.accept_and_spend(Order(KEY, 0, RULES, voucher("c", WIDE))).result(), Spent)
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), *sys.path])
    children = [
        subprocess.Popen(
            [sys.executable, channel_cases.__file__, "keys", disk_url, "c", str(SHARED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(PROCESSES)
    ]
    for each in children:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    told = [each.communicate("go\n")[0] for each in children]
    assert [each.returncode for each in children] == [0] * PROCESSES
    assert sum(map(int, told)) == SHARED
    assert found(store).spent == SHARED * COST
    assert all(ask(store, f"k{n}") == Repeated(found(store), DELIVERY) for n in range(SHARED))


@pytest.mark.guard("F28")
def test_key_after_key_costs_the_same(opened: Callable[..., SessionStore]) -> None:
    """The rows of a channel don't become more: of 200 keys as many are there as of 100."""
    store = opened()
    channel_cases.opened(store, deposit=WIDE)

    def rows() -> int:
        counted = store._list(lambda db: db.rows("SELECT COUNT(*) FROM coinslot_keyed", {})).result()  # type: ignore[attr-defined]
        return int(counted[0][0])

    for n in range(100):
        answered_too(store, f"k{n}")
    assert rows() == KEPT_KEYS
    for n in range(100, 200):
        answered_too(store, f"k{n}")
    assert rows() == KEPT_KEYS


@pytest.mark.guard("F22")
def test_the_answer_of_an_older_file_comes_along(tmp_path: Path) -> None:
    """The version before kept one answer per channel: its key is not charged again after the upgrade."""
    path = tmp_path / "old.db"
    words = Words(serial="INTEGER PRIMARY KEY", blob="BLOB", real="REAL", units="TEXT")
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA journal_mode = WAL")
        for each in (version_table(words), *statements(0, words), *statements(1, words)):
            old.execute(each)
        old.execute("INSERT INTO coinslot_schema (version, pinged_at) VALUES (2, 0)")
        kept = (KEY, "k", "h", None, 200, '[["a", "b"]]', b"old")
        old.execute("INSERT INTO coinslot_answers VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
    old.close()
    store = SqliteStore(str(path))
    channel_cases.opened(store, deposit=WIDE)
    assert ask(store, "k") == Repeated(found(store), Delivery(200, (("a", "b"),), b"old"))
    assert isinstance(ask(store, "next"), Spent)
    store.close()


def test_a_window_under_an_older_key_is_set_aside_once(shop: SessionStore) -> None:
    """Streams are keyed as any request is."""
    first = shop.reserve(Order(KEY, 0, RULES, voucher("c", 90), 0, "s", "h"), 1, 30).result()
    assert isinstance(first, Reserved)
    bought(shop, "between")
    assert shop.reserve(Order(KEY, 0, RULES, None, 0, "s", "h"), 1, 30).result() == Repeated(found(shop), None)
    assert found(shop).reserved == 30
