"""Whoever dies around a delivery: it is paid once, and never more than was signed and written down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coinslot.intents.acts import Held
from coinslot.intents.owing import Owed, Paid, Wish
from coinslot.store.book_sqlite import SqliteBook
from coinslot.store.sqlite import SqliteStore
from support.channel_cases import RULES, found, opened, voucher
from support.lendingsite import lending
from support.mutation import TESTS
from support.toybank import Bank

KEY = "net:1/c"
PATH = {"PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))}
LIFE = """
import os, signal, sys
from coinslot import drive
from coinslot.intents.owing import Wish
from coinslot.store.sqlite import SqliteStore
from support.channel_cases import RULES, voucher

def strike(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

drive.arm_failpoints(strike)
store = SqliteStore(sys.argv[1])
wish = Wish("net:1/c", 300, 1, 100, begins=True)
store.drop_delivery(store.set_aside(wish).result()).result()
made = store.set_aside(wish).result()
store.owe(made, 70, 7).result()
store.pay_delivery("net:1/c", made.id, voucher("c", 70), RULES).result()
store.expire_deliveries(10).result()
"""


@pytest.mark.guard("F07")
@pytest.mark.parametrize(
    "failpoint",
    [
        "store.delivery.set_aside",
        "store.delivery.drop",
        "store.delivery.owe",
        "store.delivery.pay",
        "store.delivery.expire",
    ],
)
def test_a_server_dies_after_any_step_of_a_delivery(tmp_path: Path, failpoint: str) -> None:
    """What was done is done, whole; the same commit again pays it once, whoever takes it."""
    path = str(tmp_path / "x.db")
    first = SqliteStore(path)
    opened(first)
    first.close()
    child = subprocess.run([sys.executable, "-c", LIFE, path, failpoint], check=False, env={**os.environ, **PATH})
    assert child.returncode == -signal.SIGKILL
    store = SqliteStore(path)
    paid = store.pay_delivery(KEY, "c:1", voucher("c", 70), RULES).result()
    after = failpoint in ("store.delivery.pay", "store.delivery.expire")
    if isinstance(paid, Paid):
        assert (paid.replayed, failpoint != "store.delivery.set_aside") == (after, True)
        assert (found(store).spent, found(store).accepted) == (70, 70)
    else:
        assert failpoint in ("store.delivery.set_aside", "store.delivery.drop")
        assert found(store).spent == 0
    again = store.set_aside(Wish(KEY, 300, 1, 100, begins=True)).result()
    assert isinstance(again, Owed)
    store.close()


def held_in(path: Path) -> Held:
    """The only channel of a book."""
    book = SqliteBook(path)
    (held,) = book.all().result()
    book.close()
    return held


def reader(path: Path, alice: dict[str, Any], url: str, failpoint: str = "") -> subprocess.CompletedProcess[bytes]:
    """A client of its own process that reads a stream, and pays it."""
    command = [sys.executable, "-m", "support.payer_child", str(path), json.dumps(alice), url, "1", failpoint]
    return subprocess.run(command, check=False, env={**os.environ, **PATH}, stdout=subprocess.PIPE, timeout=60)


@pytest.mark.guard("F01", "F02", "F03")
@pytest.mark.parametrize("failpoint", ["client.committing", "client.signed", "client.saved", "client.committed"])
def test_a_client_dies_around_a_commit(bank: Bank, alice: dict[str, Any], tmp_path: Path, failpoint: str) -> None:
    """Between its words in the book, its signature and the answer: the next process pays the same delivery once."""
    path = tmp_path / "channels.sqlite"
    with lending(bank, credit_units=1_000) as site:
        assert reader(path, alice, site.stream).stdout == b"200\n"
        before = held_in(path)
        assert (before.signed_units, before.spent_units) == (12, 10)  # an opening, and asking, cost a unit to sign
        # the first voucher of a run buys the request, the second one is the commit's
        strikes = f"{failpoint}:2" if failpoint in ("client.signed", "client.saved") else failpoint
        assert reader(path, alice, site.stream, strikes).returncode == -signal.SIGKILL
        died = held_in(path)
        assert died.opening
        assert (died.acknowledged_units, died.spent_units) == (13, 10)
        assert died.signed_units == (13 if failpoint in ("client.committing", "client.signed") else 23)
        assert reader(path, alice, site.stream).stdout == b"200\n"
        after = held_in(path)
        record = site.slot.store.find_channel(after.key).result()
    assert record is not None
    assert (record.spent, after.spent_units) == (30, 30)  # signed then, where it died before that
    assert after.signed_units == record.spent + 4
    assert after.opening == b""
