"""Claims, receipts and entries for tests of stores; and what a child process does with a store.

Run as a program it opens the store at a URL and does one of the jobs below, telling each acknowledged step on a line.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from coinslot import drive
from coinslot.core.challenge import Challenge
from coinslot.core.receipt import Receipt
from coinslot.intents.charge import Budget, Prepared
from coinslot.ledger import Entry, Posting
from coinslot.store.open import open_store
from coinslot.store.protocol import Claim, Delivery, Lease, Store
from support.patience import within

ASSET = "net:1/token"
PAYER = "payer-1"


def challenge(name: str) -> Challenge:
    """A challenge whose every field holds something."""
    return Challenge(
        f"id-{name}", "api", "card", "charge", "eyJhIjoxfQ", "2026-01-31T12:05:00Z", "sha-256=:x:", "b", "h", "d"
    )


def claim(name: str, *, proof: str = "", key: str | None = None, budgets: tuple[Budget, ...] = ()) -> Claim:
    """A claim for `challenge(name)`, with a proof of its own unless told."""
    return Claim(challenge(name), proof or f"proof-{name}", PAYER, f"hash-{name}", f"cred-{name}", key, budgets)


def prepared(wish: Claim) -> Prepared:
    """What would be broadcast for a claim."""
    return Prepared(wish.challenge, wish.payer, wish.proof, f"ref-{wish.proof}", b"\x00raw\xff", 1700000000.5)


def receipt(wish: Claim) -> Receipt:
    """Its receipt."""
    return Receipt("card", f"ref-{wish.proof}", "2026-01-31T12:04:01Z", {"blockNumber": 7, "more": {"a": [1, "b"]}})


def entry(wish: Claim, units: int = 10_000, asset: str = ASSET) -> Entry:
    """Its entry: the payer gives, the payee receives."""
    postings = (Posting(f"payer:{wish.payer}", asset, -units), Posting("payee:shop", asset, units))
    return Entry(f"charge/{wish.proof}", 1700000001.25, f"ref-{wish.proof}", postings)


DELIVERY = Delivery(
    200, (("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2")), b"\x00body\xff"
)


def leased(store: Store, wish: Claim) -> Lease:
    """Claim what nobody claimed."""
    won = store.claim(wish).result()
    assert isinstance(won, Lease), won
    return won


def settled(store: Store, wish: Claim, units: int = 10_000, asset: str = ASSET) -> Lease:
    """Bring a payment to stage settled."""
    lease = leased(store, wish)
    store.prepare(lease, prepared(wish)).result()
    store.settle(lease, receipt(wish), entry(wish, units, asset)).result()
    return lease


def delivered(store: Store, wish: Claim) -> None:
    """Bring a payment to its end."""
    store.deliver(settled(store, wish), DELIVERY).result()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition, failing after a deadline."""
    deadline = time.monotonic() + within(seconds)
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


# --- the child -----------------------------------------------------------------------------------


def tell(*words: object) -> None:
    """One line to the parent."""
    print(*words, flush=True)


def _hold(store: Store, name: str) -> None:
    """Claim, tell, and then only live."""
    tell(leased(store, claim(name)).number)
    signal.pause()


def _work(store: Store, name: str) -> None:
    """Pay without end, telling each acknowledged step."""
    for n in range(1_000_000):
        wish = claim(f"{name}-{n}")
        lease = leased(store, wish)
        tell("claimed", n)
        store.prepare(lease, prepared(wish)).result()
        tell("prepared", n)
        store.settle(lease, receipt(wish), entry(wish)).result()
        tell("settled", n)
        store.deliver(lease, DELIVERY).result()
        tell("delivered", n)


def _race(store: Store, name: str) -> None:
    """Claim one proof under 50 challenges, when told to go; tell how often it was won."""
    tell("ready")
    sys.stdin.readline()
    asked = [store.claim(claim(f"{name}-{os.getpid()}-{n}", proof=name)) for n in range(50)]
    tell(sum(isinstance(each.result(), Lease) for each in asked))


def _die(store: Store, name: str) -> None:
    """Pay, and be killed at a failpoint."""
    failpoint = sys.argv[4]

    def strike(reached: str) -> None:
        if reached == failpoint:
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)
    delivered(store, claim(name))


if __name__ == "__main__":
    job, url, subject = sys.argv[1:4]
    opened = open_store(url, lease_s=float(os.environ.get("LEASE_S", "15")))
    {"hold": _hold, "work": _work, "race": _race, "die": _die}[job](opened, subject)
    opened.close()
