"""An Idempotency-Key is its payer's, on whichever channel it comes again; and what becomes of old answers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from coinslot.intents.session import Refused, Spent, Stale, Why
from coinslot.store import keyed as keyed_sql
from coinslot.store.channels import KEPT_KEYS, KeptKey, Order, Repeated, Reserved, SessionStore
from coinslot.store.keyed_rules import payer_of
from coinslot.store.open import open_store
from coinslot.store.protocol import Delivery
from coinslot.store.schema.steps import Words, statements, version_table
from support import channel_cases
from support.channel_cases import COST, RULES, channel, found, opened, voucher
from support.store_cases import DELIVERY

WIDE = 10_000 * COST
OLD_KEY, NEW_KEY = "net:1/old", "net:1/new"
# As many processes, on a channel each, and keys that all of them want.
PROCESSES, SHARED = 3, 20
KEEP_S = 3_600.0


def keyed(name: str, amount: int | None, key: str = "k", request_hash: str = "h") -> Order:
    """An order on a channel that carries an Idempotency-Key."""
    signed = None if amount is None else voucher(name, amount)
    return Order(f"net:1/{name}", COST, RULES, signed, 1, key, request_hash)


@pytest.fixture
def shop(store: SessionStore) -> SessionStore:
    """A store of each kind where somebody bought `k` on a channel that is closed by now, and has a new one."""
    opened(store, "old", WIDE)
    assert isinstance(store.accept_and_spend(keyed("old", COST)).result(), Spent)
    opened(store, "new", WIDE)
    return store


def answered_and_closed(store: SessionStore) -> None:
    """The answer was kept, and its channel closed."""
    store.keep_answer(OLD_KEY, "k", DELIVERY).result()
    store.mark_closed(OLD_KEY, COST).result()


# --- the same payer ------------------------------------------------------------------------------


@pytest.mark.guard("T02", "F14")
@pytest.mark.spec("TSES-163", "SSES-205")
def test_what_a_closed_channel_paid_is_answered_on_the_next(shop: SessionStore) -> None:
    """The answer of the first, whatever voucher of the new channel could buy it; nothing is taken from that."""
    answered_and_closed(shop)
    before = found(shop, "new")
    for amount in (COST, 3 * COST, COST):
        assert shop.accept_and_spend(keyed("new", amount)).result() == Repeated(before, DELIVERY)
    assert shop.reserve(keyed("new", COST), 1, 5).result() == Repeated(before, DELIVERY)
    assert (found(shop, "new"), found(shop, "old").spent) == (before, COST)


@pytest.mark.guard("T02", "F14")
def test_while_it_is_answered_no_other_channel_buys_it(shop: SessionStore) -> None:
    """Who asks meanwhile is told to wait, and then gets the answer."""
    assert shop.accept_and_spend(keyed("new", COST)).result() == Repeated(found(shop, "new"), None)
    answered_and_closed(shop)
    assert shop.accept_and_spend(keyed("new", COST)).result() == Repeated(found(shop, "new"), DELIVERY)
    assert found(shop, "new").spent == 0


@pytest.mark.guard("F07", "F15")
def test_what_was_paid_and_not_delivered_runs_on_the_next_channel_once(shop: SessionStore) -> None:
    """Without a charge; its answer is kept there from then on, and an answer that comes late to the old one is none."""
    shop.keep_answer(OLD_KEY, "k", None).result()
    shop.mark_closed(OLD_KEY, COST).result()
    opened(shop, "third", WIDE)
    first = shop.accept_and_spend(keyed("new", COST)).result()
    assert isinstance(first, Spent)
    assert (first.channel.accepted, first.channel.spent) == (COST, 0)
    assert shop.accept_and_spend(keyed("third", COST)).result() == Repeated(found(shop, "third"), None)
    shop.keep_answer(OLD_KEY, "k", Delivery(200, (), b"late")).result()
    shop.keep_answer(NEW_KEY, "k", DELIVERY).result()
    assert shop.accept_and_spend(keyed("third", COST)).result() == Repeated(found(shop, "third"), DELIVERY)
    assert shop.accept_and_spend(keyed("new", None)).result() == Repeated(found(shop, "new"), DELIVERY)


def test_a_key_stands_for_one_request_on_every_channel(shop: SessionStore) -> None:
    """Another request under it is refused, and nothing is taken."""
    answered_and_closed(shop)
    before = found(shop, "new")
    for order in (keyed("new", COST, request_hash="other"), keyed("new", 2 * COST, request_hash="h/2000")):
        assert shop.accept_and_spend(order).result() == Refused(Why.KEY_REUSED, before)
    assert isinstance(shop.accept_and_spend(keyed("new", COST, "next")).result(), Spent)


def test_a_stream_that_was_lost_is_set_aside_on_the_next_channel(shop: SessionStore) -> None:
    """Streams are keyed as any request is."""
    shop.keep_answer(OLD_KEY, "k", None).result()
    got = shop.reserve(keyed("new", 90), 1, 30).result()
    assert isinstance(got, Reserved)
    assert (got.channel.spent, got.channel.reserved) == (0, 30)
    assert shop.reserve(keyed("new", None), 1, 30).result() == Repeated(found(shop, "new"), None)


@pytest.mark.guard("F28")
def test_the_keys_of_one_channel_push_out_its_own_only(shop: SessionStore) -> None:
    """A payer's keys are counted on each channel; one that runs on another counts there."""
    shop.keep_answer(OLD_KEY, "k", DELIVERY).result()
    for n in range(KEPT_KEYS + 1):
        assert isinstance(shop.accept_and_spend(keyed("new", (n + 1) * COST, f"n{n}")).result(), Spent)
        shop.keep_answer(NEW_KEY, f"n{n}", DELIVERY).result()
    assert isinstance(shop.accept_and_spend(keyed("new", WIDE)).result(), Repeated)
    assert isinstance(shop.accept_and_spend(keyed("old", WIDE, "n1")).result(), Repeated)
    assert isinstance(shop.accept_and_spend(keyed("old", WIDE, "n0")).result(), Spent)


# --- somebody else -------------------------------------------------------------------------------


@pytest.mark.guard("T05")
@pytest.mark.parametrize(
    "other", [{"payer": "0xother"}, {"signer": "0xother"}, {"payee": "0xother"}], ids=["payer", "signer", "payee"]
)
def test_anybody_else_s_key_is_another(other: dict[str, str], shop: SessionStore) -> None:
    """Another payer, whom a payer lets sign elsewhere, and another payee's customer: each buys, and gets its own."""
    answered_and_closed(shop)
    opened(shop, "else", WIDE, **other)
    assert isinstance(shop.accept_and_spend(keyed("else", COST)).result(), Spent)
    mine = Delivery(200, (), b"mine")
    shop.keep_answer("net:1/else", "k", mine).result()
    assert shop.accept_and_spend(keyed("else", COST)).result() == Repeated(found(shop, "else"), mine)
    assert shop.accept_and_spend(keyed("new", COST)).result() == Repeated(found(shop, "new"), DELIVERY)


@pytest.mark.guard("T05")
def test_a_voucher_that_all_can_read_asks_for_nothing_of_another_channel(shop: SessionStore) -> None:
    """What was accepted may stand on the chain: equal and lower ones are answered as without a key, and reveal none."""
    answered_and_closed(shop)
    assert isinstance(shop.accept_and_spend(Order(NEW_KEY, COST, RULES, voucher("new", 5 * COST))).result(), Spent)
    before = found(shop, "new")
    assert shop.accept_and_spend(keyed("new", 5 * COST)).result() == Stale(before, equal=True)
    assert shop.accept_and_spend(keyed("new", 4 * COST)).result() == Refused(Why.LOWER, before)
    assert shop.accept_and_spend(keyed("new", 5 * COST, request_hash="x")).result() == Stale(before, equal=True)
    assert shop.reserve(keyed("new", 5 * COST), 1, 5).result() == Stale(before, equal=True)
    assert shop.accept_and_spend(keyed("new", 6 * COST)).result() == Repeated(before, DELIVERY)


@pytest.mark.guard("T05")
@pytest.mark.parametrize("amount", [COST, None])
def test_a_channel_that_ends_asks_for_nothing_of_another(amount: int | None, shop: SessionStore) -> None:
    """Closing or closed, it could buy nothing either; what it bought itself is answered as ever."""
    answered_and_closed(shop)
    shop.mark_closing(NEW_KEY, 1.0).result()
    assert shop.accept_and_spend(keyed("new", amount)).result() == Refused(Why.CLOSING, found(shop, "new"))
    shop.mark_closed(NEW_KEY, 0).result()
    assert shop.accept_and_spend(keyed("new", amount)).result() == Refused(Why.CLOSED, found(shop, "new"))
    assert shop.accept_and_spend(keyed("old", amount)).result() == Repeated(found(shop, "old"), DELIVERY)


# --- at once -------------------------------------------------------------------------------------


@pytest.mark.guard("F14", "F15")
def test_processes_want_the_same_keys_on_a_channel_each(disk_url: str, opened: Callable[..., SessionStore]) -> None:
    """Each is bought once in all, by whoever comes first, and answered to the others from what was kept."""
    store = opened()
    names = [f"c{n}" for n in range(PROCESSES)]
    for name in names:
        channel_cases.opened(store, name, WIDE)
        free = Order(f"net:1/{name}", 0, RULES, voucher(name, WIDE // 2))
        assert isinstance(store.accept_and_spend(free).result(), Spent)
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), *sys.path])
    children = [
        subprocess.Popen(
            [sys.executable, channel_cases.__file__, "keys", disk_url, name, str(SHARED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for name in names
    ]
    for each in children:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in children:  # all begin before any is waited for
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    told = [each.communicate()[0] for each in children]
    assert [each.returncode for each in children] == [0] * PROCESSES
    assert sum(map(int, told)) == SHARED
    assert sum(found(store, name).spent for name in names) == SHARED * COST
    for name in names:
        for n in range(SHARED):
            answered = store.accept_and_spend(keyed(name, WIDE, f"k{n}")).result()
            assert answered == Repeated(found(store, name), DELIVERY)


@pytest.mark.guard("F14", "F15")
@pytest.mark.parametrize("lost", [False, True], ids=["new", "lost"])
def test_two_channels_want_one_key_at_once(lost: bool, disk_url: str, opened: Callable[..., SessionStore]) -> None:
    """New, or paid and lost: over two handles, again and again, one of them runs it and is charged where it was new."""
    stores = [opened(), opened()]
    names = ["a", "b"]
    for name in (*names, "first"):
        channel_cases.opened(stores[0], name, WIDE)
    for n in range(30):
        if lost:
            stores[0].accept_and_spend(keyed("first", (n + 1) * COST, f"k{n}")).result()
            stores[0].keep_answer("net:1/first", f"k{n}", None).result()
        orders = [keyed(name, (n + 1) * COST, f"k{n}") for name in names]
        answers: list[object] = [None, None]
        together = threading.Barrier(2)

        def ask(at: int, orders: list[Order] = orders, answers: list[object] = answers) -> None:
            together.wait()  # noqa: B023 - it is run within the round
            answers[at] = stores[at].accept_and_spend(orders[at]).result()

        asking = [threading.Thread(target=ask, args=(at,)) for at in (0, 1)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        assert sorted(type(one).__name__ for one in answers) == ["Repeated", "Spent"], answers
    assert sum(found(stores[0], name).spent for name in names) == (0 if lost else 30 * COST)


BOUGHT = (
    "INSERT INTO coinslot_keyed (channel, idempotency_key, payer, request_hash, number, lease_owner, lease_token)"
    " VALUES ('net:1/old', 'k', %s, 'h', 1, 'o', 't')"
)
RUN_AGAIN = "UPDATE coinslot_keyed SET lease_owner = 'o', lease_token = 't' WHERE payer = %s"


@pytest.mark.postgres
@pytest.mark.guard("F14", "F15")
@pytest.mark.parametrize("lost", [False, True], ids=["new", "lost"])
def test_who_finds_a_key_taken_meanwhile_leaves_no_trace(lost: bool, postgres_url: str) -> None:
    """Both have looked before either has written: the second waits for the first, and is told that it is answered."""
    name = "s_" + os.urandom(8).hex()
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(f"CREATE SCHEMA {name}".encode())
        other.execute(f"SET search_path TO {name}".encode())
        store = open_store(f"{postgres_url}?options=-csearch_path%3D{name}")
        opened(store, "old", WIDE)
        opened(store, "new", WIDE)
        if lost:
            store.accept_and_spend(keyed("old", COST)).result()
            store.keep_answer(OLD_KEY, "k", None).result()
        other.execute("INSERT INTO coinslot_owners (id, beat_at, lease_s) VALUES ('o', extract(epoch from now()), 100)")
        with other.transaction():
            other.execute(RUN_AGAIN if lost else BOUGHT, (payer_of(channel("old")),))
            waiting = store.accept_and_spend(keyed("new", COST))
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
        before = found(store, "new")
        assert waiting.result() == Repeated(before, None)
        assert (before.accepted, before.spent) == (0, 0)
        store.close()


# --- old answers ---------------------------------------------------------------------------------


@pytest.mark.guard("F14")
def test_answers_of_open_channels_are_never_old(shop: SessionStore) -> None:
    """However long ago: they are counted, and not timed. What is being answered isn't old either."""
    shop.mark_closed(OLD_KEY, COST).result()  # k is still running there
    shop.accept_and_spend(keyed("new", COST, "n")).result()
    shop.keep_answer(NEW_KEY, "n", DELIVERY).result()
    assert list(shop.old_answers(0.0, 9).result()) == []


@pytest.mark.guard("F28")
def test_old_answers_of_a_closed_channel_are_forgotten(shop: SessionStore) -> None:
    """When they are old, so many at a time; the record and the journal stay, and the key is a new request's."""
    other = [f"o{n}" for n in range(5)]
    for n, key in enumerate(other):
        assert isinstance(shop.accept_and_spend(keyed("old", (n + 2) * COST, key)).result(), Spent)
        shop.keep_answer(OLD_KEY, key, DELIVERY).result()
    answered_and_closed(shop)
    before = found(shop, "old")
    assert list(shop.old_answers(KEEP_S, 9).result()) == []
    names = list(shop.old_answers(0.0, 9).result())
    assert {(one.channel, one.idempotency_key) for one in names} == {(OLD_KEY, key) for key in ["k", *other]}
    assert list(shop.old_answers(0.0, 4).result()) == names[:4]
    assert shop.forget_answers(names, KEEP_S).result() == 0  # as if they had been touched since we looked
    assert shop.accept_and_spend(keyed("old", COST)).result() == Repeated(before, DELIVERY)
    assert shop.forget_answers(names[:4], 0.0).result() == 4
    assert shop.forget_answers(names, 0.0).result() == 2
    assert list(shop.old_answers(0.0, 9).result()) == []
    assert found(shop, "old") == before
    assert isinstance(shop.accept_and_spend(keyed("new", COST)).result(), Spent)


@pytest.mark.guard("F28")
def test_what_ran_on_another_channel_is_not_forgotten_with_the_old_one(shop: SessionStore) -> None:
    """Somebody listed it while it lay on the closed channel; it was taken up since."""
    shop.keep_answer(OLD_KEY, "k", None).result()
    shop.mark_closed(OLD_KEY, COST).result()
    (name,) = shop.old_answers(0.0, 9).result()
    assert isinstance(shop.accept_and_spend(keyed("new", COST)).result(), Spent)
    assert shop.forget_answers([name], 0.0).result() == 0
    shop.keep_answer(NEW_KEY, "k", DELIVERY).result()
    assert isinstance(shop.accept_and_spend(keyed("new", 2 * COST)).result(), Repeated)


@pytest.mark.guard("F16")
def test_old_answers_are_looked_for_beside_whoever_writes(tmp_path: Path) -> None:
    """The search takes no lock: it ends while another process holds the file."""
    store = open_store(f"sqlite:///{tmp_path}/payments.db")
    opened(store, "old", WIDE)
    store.accept_and_spend(keyed("old", COST)).result()
    answered_and_closed(store)
    with closing(sqlite3.connect(tmp_path / "payments.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert list(store.old_answers(0.0, 9).result(2)) == [KeptKey(OLD_KEY, "k")]
        other.execute("ROLLBACK")
    store.close()


@pytest.mark.guard("F28")
def test_looking_for_old_answers_costs_what_is_old(tmp_path: Path) -> None:
    """The search goes by the age of keys: closed channels, of which there are ever more, are not gone through."""
    store = open_store(f"sqlite:///{tmp_path}/payments.db")
    asked: list[str] = []

    class Explaining:
        def rows(self, sql: str, values: dict[str, object]) -> list[object]:
            asked.append(sql)
            return []

    keyed_sql.old(Explaining(), 1.0, 9)  # type: ignore[arg-type]
    with closing(sqlite3.connect(tmp_path / "payments.db")) as connection:
        values = {"now": 1.0, "kept_s": 1.0, "limit": 9}
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}", values)]
    assert steps[0] == "SEARCH p USING INDEX coinslot_keyed_touched (touched_at<?)"
    assert not any("coinslot_channels_stage" in step or "SCAN" in step for step in steps)
    store.close()


# --- older databases -----------------------------------------------------------------------------

SQLITE = Words(serial="INTEGER PRIMARY KEY", blob="BLOB", real="REAL", units="TEXT")
POSTGRES = Words("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BYTEA", "DOUBLE PRECISION", "NUMERIC(78, 0)")
BEFORE = 4


def _run(url: str, texts: list[str]) -> None:
    """Statements, past every store."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for text in texts:
                connection.execute(text)
    else:
        with psycopg.connect(url, autocommit=True) as server:
            for text in texts:
                server.execute(text.encode())


def _row(name: str, key: str, body: str, words: Words) -> str:
    """A kept answer, as the version before writes it."""
    return (
        "INSERT INTO coinslot_keyed (channel, idempotency_key, request_hash, number, lease_token, status, headers,"
        f" body) VALUES ('net:1/{name}', '{key}', 'h', 1, '', 200, '[]', CAST('{body}' AS {words.blob}))"
    )


def _as_before(url: str) -> Words:
    """The tables of the version before, with two channels of a payer, one of another, and what they bought."""
    words = SQLITE if url.startswith("sqlite") else POSTGRES
    texts = [version_table(words), *(each for step in range(BEFORE) for each in statements(step, words))]
    texts.append(f"INSERT INTO coinslot_schema (version, pinged_at) VALUES ({BEFORE}, 0)")
    for name, payer, stage in (("one", "0xpayer", "closed"), ("two", "0xpayer", "open"), ("else", "0xelse", "open")):
        texts.append(
            "INSERT INTO coinslot_channels (key, id, network, method, payer, payee, signer, asset, deposit, accepted,"
            " reserved, spent, settled, units, stage, voucher, state, opened_at, used_at, token) VALUES"
            f" ('net:1/{name}', '{name}', 'net:1', 'card', '{payer}', '0xpayee', '0xsigner', 'net:1/token', '9999',"
            f" '0', '0', '0', '0', 0, '{stage}', CAST('' AS {words.blob}), CAST('' AS {words.blob}), 5, 5, 't')"
        )
    both = [("one", "both", "first"), ("two", "both", "second"), ("one", "k", "kept"), ("else", "k", "else")]
    _run(url, [*texts, *(_row(*each, words) for each in both)])
    return words


@pytest.mark.guard("F22")
def test_the_keys_of_an_older_database_are_their_payers(disk_url: str) -> None:
    """What was kept is known on the payer's other channels; of a key that two of them bought, each knows its own."""
    _as_before(disk_url)
    store = open_store(disk_url)

    def kept(name: str, key: str) -> bytes | None:
        answered = store.accept_and_spend(keyed(name, COST, key)).result()
        assert isinstance(answered, Repeated), answered
        return None if answered.answer is None else answered.answer.body

    assert (kept("two", "k"), kept("else", "k")) == (b"kept", b"else")
    assert (kept("one", "both"), kept("two", "both")) == (b"first", b"second")
    assert isinstance(store.accept_and_spend(keyed("else", COST, "both")).result(), Spent)
    assert {one.idempotency_key for one in store.old_answers(9.0, 9).result()} == {"both", "k"}
    store.close()


@pytest.mark.guard("F22")
def test_a_program_of_the_version_before_may_write_on(disk_url: str) -> None:
    """What it sold under a key is known on that channel, and forgotten when it is old."""
    words = _as_before(disk_url)
    store = open_store(disk_url)
    _run(disk_url, [_row("one", "late", "late", words), _row("two", "late too", "late too", words)])
    answered = store.accept_and_spend(keyed("two", COST, "late too")).result()
    assert isinstance(answered, Repeated)
    assert isinstance(store.accept_and_spend(keyed("two", COST, "late")).result(), Spent)
    old = list(store.old_answers(9.0, 9).result())
    assert KeptKey("net:1/one", "late") in old
    assert store.forget_answers(old, 9.0).result() == len(old) == 3
    store.close()
