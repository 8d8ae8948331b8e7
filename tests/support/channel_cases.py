"""Channels for tests of stores; and what a child process does with one.

Run as a program it opens the store at a URL and does one of the jobs below, telling each acknowledged step on a line.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

from coinslot import drive
from coinslot.intents.session import Channel, Rules, Spent, Stage, Voucher, close
from coinslot.ledger import Entry, Posting
from coinslot.store.channels import ChannelQuery, Job, JobKind, Order, Repeated, Reserved, SessionStore
from coinslot.store.open import open_store
from support.store_cases import DELIVERY, claim, tell

RULES = Rules(bits=96)
ASSET = "net:1/token"
DEPOSIT = 1_000
COST = 10


def channel(name: str, deposit: int = DEPOSIT, stage: Stage = Stage.OPENING) -> Channel:
    """A channel whose every field holds something."""
    return Channel(
        f"net:1/{name}", name, "net:1", "card", "0xpayer", "0xpayee", "0xsigner", ASSET, deposit, stage=stage,
        state=b'{"salt":1}',
    )  # fmt: skip


def raw(amount: int) -> bytes:
    """The voucher as its method would record it."""
    return b'{"cumulativeAmount":"%d","signature":"0x\xff"}' % amount


def voucher(name: str, amount: int) -> Voucher:
    """A signed total."""
    return Voucher(name, amount, raw(amount))


def order(name: str, amount: int | None, cost: int = COST, rules: Rules = RULES) -> Order:
    """Buy for `cost` under a voucher of `amount`, or under none."""
    return Order(f"net:1/{name}", cost, rules, None if amount is None else voucher(name, amount), units=1)


def opened(store: SessionStore, name: str = "c", deposit: int = DEPOSIT, **parties: str) -> str:
    """An open channel, between other parties than usual where they are named; its key."""
    new = channel(name, deposit)
    new = replace(new, payer=parties.get("payer", new.payer), signer=parties.get("signer", new.signer))
    key, new = new.key, replace(new, payee=parties.get("payee", new.payee))
    store.open_channel(claim(f"open-{name}"), new, RULES).result()
    store.confirm_open(key, deposit, 0, RULES).result()
    return key


def found(store: SessionStore, name: str = "c") -> Channel:
    """The record, which must be there."""
    record = store.find_channel(f"net:1/{name}").result()
    assert record is not None
    return record


def entry(name: str, units: int) -> Entry:
    """A settlement: the payer's channel gives, the payee receives."""
    return Entry(
        f"settle/{name}/{units}", 1.5, f"0xtx-{name}",
        (Posting(f"channel:{name}", ASSET, -units), Posting("payee:shop", ASSET, units)),
    )  # fmt: skip


# --- the child -----------------------------------------------------------------------------------


def go() -> None:
    """Be ready, and wait to be told."""
    tell("ready")
    sys.stdin.readline()


def _race(store: SessionStore, name: str) -> None:
    """Twenty orders without a voucher, when told to go; how many were served."""
    go()
    asked = [store.accept_and_spend(order(name, None)) for _ in range(20)]
    tell(sum(isinstance(each.result(), Spent) for each in asked))


def _same(store: SessionStore, name: str) -> None:
    """One voucher fifty times; how often it bought something."""
    go()
    asked = [store.accept_and_spend(order(name, COST)) for _ in range(50)]
    tell(sum(isinstance(each.result(), Spent) for each in asked))


def _climb(store: SessionStore, name: str) -> None:
    """Every voucher up to the deposit, in steps, all queued at once, on 8 channels; how many bought on each."""
    go()
    asked = {n: [store.accept_and_spend(order(f"{name}{n}", step * COST)) for step in range(1, 51)] for n in range(8)}
    tell(*[sum(isinstance(each.result(), Spent) for each in answers) for answers in asked.values()])


def _pay(store: SessionStore, name: str) -> None:
    """Voucher upon voucher without end, telling each acknowledged one."""
    for amount in range(COST, 10**9, COST):
        answered = store.accept_and_spend(order(name, amount)).result()
        assert isinstance(answered, Spent), answered
        tell(amount)


def _hold(store: SessionStore, name: str) -> None:
    """Set a window aside, tell, and then only live."""
    got = store.reserve(order(name, 100, 0), 30, 30).result()
    assert isinstance(got, Reserved)
    tell("reserved")
    signal.pause()


def _keyed(store: SessionStore, name: str) -> None:
    """Buy under a key, tell, and then only live."""
    keyed = Order(f"net:1/{name}", COST, RULES, voucher(name, COST), 1, "k", "h")
    assert isinstance(store.accept_and_spend(keyed).result(), Spent)
    tell("spent")
    signal.pause()


def _keys(store: SessionStore, name: str) -> None:
    """Ask for so many things, each under its key, until each was answered; how many were bought here."""
    go()
    bought = 0
    for n in range(int(sys.argv[4])):
        wanted = Order(f"net:1/{name}", COST, RULES, None, 1, f"k{n}", "h")
        while isinstance(answered := store.accept_and_spend(wanted).result(), Repeated) and answered.answer is None:
            time.sleep(0.01)
        if isinstance(answered, Spent):
            bought += 1
            store.keep_answer(wanted.key, f"k{n}", DELIVERY).result()
    tell(bought)


def life(store: SessionStore, name: str) -> None:
    """A channel's whole life, through every step that has a failpoint."""
    key = opened(store, name)
    store.top_up(key, 2 * DEPOSIT, RULES).result()
    keyed = Order(key, COST, RULES, voucher(name, 200), 1, "k", "h")
    store.accept_and_spend(keyed).result()
    store.keep_answer(key, "k", DELIVERY).result()
    got = store.reserve(order(name, None, 0), 30, 30).result()
    assert isinstance(got, Reserved)
    assert got.reservation is not None
    store.commit(got.reservation, 20).result()
    store.bill(got.reservation).result()
    store.note_settled(key, 5, entry(name, 5)).result()
    store.mark_closing(key, 7.5).result()
    _close(store, name)
    store.mark_closed(key, 30).result()
    store.forget_answers(store.old_answers(0, 10).result(), 0).result()


def _close(store: SessionStore, name: str) -> None:
    how = close(found(store, name), None, RULES)
    job = store.plan(f"net:1/{name}", JobKind.CLOSE, how).result()  # type: ignore[arg-type]
    assert isinstance(job, Job)
    lease = store.take_job(job.id).result()
    assert lease is not None
    store.prepare_job(lease, "0xtx", b"raw\xff", 9.5).result()
    store.finish_job(lease, 30, entry(name, 25)).result()


def _die(store: SessionStore, name: str) -> None:
    """Live, and be killed at a failpoint."""
    failpoint = sys.argv[4]

    def strike(reached: str) -> None:
        if reached == failpoint:
            os.kill(os.getpid(), signal.SIGKILL)

    drive.arm_failpoints(strike)
    life(store, name)


def _list(store: SessionStore, name: str) -> None:
    """The keys of all channels."""
    tell(name, *[each.key for each in store.list_channels(ChannelQuery()).result()])


if __name__ == "__main__":
    job_name, url, subject = sys.argv[1:4]
    at_hand = open_store(url, lease_s=float(os.environ.get("LEASE_S", "15")))
    {
        "race": _race, "same": _same, "climb": _climb, "pay": _pay, "hold": _hold, "keyed": _keyed, "die": _die,
        "list": _list, "keys": _keys,
    }[job_name](at_hand, subject)  # fmt: skip
    at_hand.close()
