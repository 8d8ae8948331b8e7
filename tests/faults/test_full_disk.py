"""A disk that is full for longer than anybody asks again: what was held is given back as soon as there is room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = """
import resource, signal, sys, time
from coinslot.errors import StoreBroken
from coinslot.intents.session import Spent
from coinslot.server.holding import insist, let_go
from coinslot.store.channels import JobKind, Order
from coinslot.store.open import open_store
from coinslot.intents.session import Close
from support.channel_cases import COST, RULES, opened, order, raw, voucher
from support.store_cases import DELIVERY, claim, until
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store("sqlite:///" + sys.argv[1], lease_s=1.0)
key = opened(store)
keyed = [Order(key, COST, RULES, voucher("c", n * COST), 1, f"k{n}", "h") for n in (1, 2)]
assert [isinstance(store.accept_and_spend(each).result(), Spent) for each in keyed] == [True, True]
lease = store.claim(claim("a")).result()
job = store.plan(key, JobKind.SETTLE, Close(COST, raw(COST), COST)).result()
work = store.take_job(job.id).result()
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
let_go(store, lease)
insist(lambda: store.release_job(work))
insist(lambda: store.keep_answer(key, "k1", None))
insist(lambda: store.keep_answer(key, "k2", DELIVERY))
refused = 0
for n in range(50):
    try:
        store.claim(claim(f"full-{n}")).result()
    except StoreBroken:
        refused += 1
assert refused == 50, refused
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
until(lambda: store.take("id-a").result() is not None)
until(lambda: store.take_job(job.id).result() is not None)
for each in keyed:
    until(lambda: isinstance(store.accept_and_spend(each).result(), Spent))
assert store.find_channel(key).result().spent == 2 * COST
print("all given back")
store.close()
"""


@pytest.mark.guard("F16", "F17")
def test_what_is_held_when_the_disk_is_full_is_given_back_afterwards(tmp_path: Path) -> None:
    """A payment's lease, a job's, and two requests under keys, of a process that lives on: none stays taken, and
    nothing is charged a second time."""
    tests = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "payments.db")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all given back"), done.stderr
