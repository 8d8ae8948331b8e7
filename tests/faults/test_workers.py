"""Two uvicorn workers on one store, one of them killed at each named place: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.errors import PaymentError, StoreError
from coinslot.intents.session import Channel, Stage
from coinslot.store.channels import ChannelQuery, SessionStore
from coinslot.store.open import open_store
from coinslot.transports.httpx import Session, pay, session
from support.failpoints import under
from support.toybank import Bank
from support.worker_app import COST, EVENTS, LEASE_S, WINDOW, Workers

ITEMS = 4
DEPOSIT = "0.04"
LIMITS = Policy(max_deposit=DEPOSIT, max_window=2 * WINDOW)  # and what a dead worker had set aside
# As long as a client may be kept from its goods by a death: the lease, and a worker's start on a busy machine.
PATIENCE_S = 45.0
# Passed while a channel lives at servers; the settler's own are struck by test_settler_crash.py, an opening that dies
# unmined by test_resolver_sessions.py, and what only a payer's mischief or a dead process leads to by name elsewhere.
STRUCK = under("session.", "meter.", "funding.", "store.channel.", apart=("funding.given_up",))
NOT_ON_THIS_WAY = {"store.channel.top_up", "store.channel.bill", "store.channel.closed", "store.channel.settled"}
SAMPLE = {"session.spent", "session.broadcast", "funding.noted", "meter.committed", "store.channel.reserve"}
WAY = [name for name in STRUCK if name not in NOT_ON_THIS_WAY]


def insist(what: Callable[[], httpx.Response | None]) -> httpx.Response | None:
    """Do it until it is done: the client's own retries end, a person's patience does not."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = what()
            if answer is None or answer.status_code == 200:
                return answer
            why: object = (answer.status_code, answer.text[:300])
        except (PaymentError, StoreError, httpx.HTTPError) as error:
            why = repr(error)
        assert time.monotonic() < until, why
        time.sleep(0.1)


def live(paid: Session) -> list[str]:
    """Some things are bought, a stream is read, and the channel is closed. The bodies of what was bought."""
    bodies: list[str] = []
    for number in range(ITEMS):
        headers = {"idempotency-key": f"item-{number}"}
        answer = insist(partial(paid.get, "/item", headers=headers))
        assert answer is not None
        bodies.append(answer.text)

    tries = count()

    def stream() -> httpx.Response:
        """One that broke off, or ran dry, is kept under its key as it was: another key, another stream."""
        answer = paid.get("/stream", headers={"idempotency-key": f"stream-{next(tries)}"})
        if not answer.text.rstrip().endswith("data: end"):
            raise httpx.ReadError(f"broke off: {answer.text[-200:]}")
        return answer

    assert insist(stream) is not None
    insist(lambda: paid.close("/item"))
    return bodies


def channels_of(store: SessionStore) -> list[Channel]:
    """All of them, once they have come to their end or patience has."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = list(store.list_channels(ChannelQuery()).result())
        if all(one.stage is Stage.CLOSED for one in found) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def check(workers: Workers, bank: Bank, bodies: list[str], before: int) -> None:
    """Sold once, paid once; the rest came back; the journal says what the bank says."""
    assert workers.mark.exists() == bool(workers.strike), f"{workers.strike} was not passed"
    assert len(set(bodies)) == ITEMS
    store = open_store(workers.store, lease_s=LEASE_S)
    try:
        found = channels_of(store)
        assert {one.stage for one in found} == {Stage.CLOSED}, found
        spent = sum(one.spent for one in found)
        delivered = (ITEMS + EVENTS) * COST
        events = workers.logged().count("event") * COST
        # One window more at most for the death, and for a stream that broke off what it had sent.
        assert delivered <= spent <= ITEMS * COST + events + WINDOW * COST
        captured = sum(one.settled for one in found)
        assert spent <= captured <= sum(one.accepted for one in found) <= spent + 2 * WINDOW * COST
        assert bank.balance("shop") == captured
        assert bank.balance("alice") == before - captured
        for accounts in store.balances().result().values():
            assert sum(accounts.values()) == 0
            assert accounts["payee:shop"] == captured
            assert {units for name, units in accounts.items() if name.startswith("channel:")} == {0}
    finally:
        store.close()


@pytest.fixture
def paying(alice: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[str], Session]]:
    """A client with a session at a URL."""
    clients: list[httpx.Client] = []

    def made(url: str) -> Session:
        plain = httpx.Client(trust_env=False, timeout=20)
        clients.append(pay(plain, wallet(toy=alice), LIMITS, book=tmp_path / "book.sqlite"))
        return session(clients[-1], f"{url}/item", max_deposit=DEPOSIT)

    yield made
    for client in clients:
        client.close()


def story(bank: Bank, folder: Path, store: str, strike: str, paying: Callable[[str], Session]) -> None:
    """A channel's life while a worker dies at a failpoint."""
    before = bank.balance("alice")
    toy = {"bank": bank.path, "recipient": "shop", "sessions": True}
    with Workers(folder, store, {"toy": toy}, strike) as workers:
        bodies = live(paying(workers.url))
        workers.wait()
        check(workers, bank, bodies, before)


@pytest.mark.guard("F06", "F07", "F08", "F09", "F10", "F15", "T02")
@pytest.mark.parametrize("name", ["", *WAY])
def test_a_worker_dies_and_the_channel_lives(
    bank: Bank, tmp_path: Path, paying: Callable[[str], Session], name: str
) -> None:
    """On SQLite: whichever worker comes to the failpoint first is killed; the client gets all it paid for, once."""
    story(bank, tmp_path, f"sqlite:///{tmp_path}/payments.db", name, paying)


@pytest.mark.postgres
@pytest.mark.parametrize("name", [pytest.param(one, marks=[] if one in SAMPLE else [pytest.mark.soak]) for one in WAY])
def test_a_worker_dies_and_the_channel_lives_on_postgresql(
    bank: Bank, tmp_path: Path, postgres_db: str, paying: Callable[[str], Session], name: str
) -> None:
    """The same on PostgreSQL."""
    story(bank, tmp_path, postgres_db, name, paying)


@pytest.mark.soak
@pytest.mark.parametrize("again", range(2))
@pytest.mark.parametrize("name", WAY)
def test_a_worker_dies_again_and_again(
    bank: Bank, tmp_path: Path, paying: Callable[[str], Session], name: str, again: int
) -> None:
    """Once is luck."""
    story(bank, tmp_path, f"sqlite:///{tmp_path}/payments.db", name, paying)
