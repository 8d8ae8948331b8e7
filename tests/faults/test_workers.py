"""Two uvicorn workers on one store, one of them killed at each named place: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet, wallet
from coinslot.errors import PaymentError, StoreError
from coinslot.intents.session import Channel, Stage
from coinslot.store.channels import ChannelQuery, SessionStore
from coinslot.store.open import open_store
from coinslot.transports.httpx import Session, pay, session
from support.devnet import Chain
from support.failpoints import under
from support.toybank import Bank
from support.worker_app import COST, EVENTS, WINDOW, Workers

ITEMS = 4
DEPOSIT = "0.04"
LIMITS = Policy(max_deposit=DEPOSIT, max_window=2 * WINDOW)  # and what a dead worker had set aside
# As long as a client may be kept from its goods by a death: a worker's start on a busy machine.
PATIENCE_S = 45.0
# Passed while a channel lives at servers; the settler's own are struck by test_settler_crash.py, an opening that dies
# unmined by test_resolver_sessions.py, and what only a payer's mischief or a dead process leads to by name elsewhere.
STRUCK = under("session.", "meter.", "funding.", "store.channel.", apart=("funding.given_up",))
NOT_ON_THIS_WAY = {
    "store.channel.top_up", "store.channel.bill", "store.channel.closed", "store.channel.settled",
    "store.channel.forget",
}  # fmt: skip
SAMPLE = {"session.spent", "session.broadcast", "funding.noted", "meter.committed", "store.channel.reserve"}
ON_CHAIN = {"session.broadcast", "funding.noted"}
# Far more than the deposit; and more than what a few transactions cost.
DOLLARS, FEES = 5_000_000, 200_000
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


def captured(workers: Workers, bodies: list[str], payee: str) -> int:
    """Sold once, paid once, and everything closed, by store and journal; what the payee got in all, in base units."""
    assert workers.mark.exists() == bool(workers.strike), f"{workers.strike} was not passed"
    assert len(set(bodies)) == ITEMS
    store = open_store(workers.store)
    try:
        found = channels_of(store)
        assert {one.stage for one in found} == {Stage.CLOSED}, found
        spent = sum(one.spent for one in found)
        delivered = (ITEMS + EVENTS) * COST
        events = workers.logged().count("event") * COST
        # One window more at most for the death, and for a stream that broke off what it had sent.
        assert delivered <= spent <= ITEMS * COST + events + WINDOW * COST
        taken = sum(one.settled for one in found)
        assert spent <= taken <= sum(one.accepted for one in found) <= spent + 2 * WINDOW * COST
        for accounts in store.balances().result().values():
            assert sum(accounts.values()) == 0
            assert accounts[f"payee:{payee}"] == taken
            assert {units for name, units in accounts.items() if name.startswith("channel:")} == {0}
        return taken
    finally:
        store.close()


Paying = Callable[[str, Wallet], Session]


@pytest.fixture
def paying(tmp_path: Path) -> Iterator[Paying]:
    """A client with a session at a URL."""
    clients: list[httpx.Client] = []

    def made(url: str, purse: Wallet) -> Session:
        plain = httpx.Client(trust_env=False, timeout=20)
        clients.append(pay(plain, purse, LIMITS, book=tmp_path / "book.sqlite"))
        return session(clients[-1], f"{url}/item", max_deposit=DEPOSIT)

    yield made
    for client in clients:
        client.close()


@dataclass
class Scene:
    """Where a story happens."""

    bank: Bank
    alice: dict[str, Any]
    folder: Path
    paying: Paying

    def story(self, store: str, strike: str) -> None:
        """A channel's life at the toy bank, while a worker dies at a failpoint."""
        before = self.bank.balance("alice")
        toy = {"bank": self.bank.path, "recipient": "shop", "sessions": True}
        with Workers(self.folder, store, {"toy": toy}, strike) as workers:
            bodies = live(self.paying(workers.url, wallet(toy=self.alice)))
            workers.wait()
            taken = captured(workers, bodies, "shop")
        assert self.bank.balance("shop") == taken
        assert self.bank.balance("alice") == before - taken


@pytest.fixture
def scene(bank: Bank, alice: dict[str, Any], tmp_path: Path, paying: Paying) -> Scene:
    """A fresh one."""
    return Scene(bank, alice, tmp_path, paying)


@pytest.mark.guard("F06", "F07", "F08", "F09", "F10", "F15", "T02")
@pytest.mark.parametrize("name", ["", *WAY])
def test_a_worker_dies_and_the_channel_lives(scene: Scene, name: str) -> None:
    """On SQLite: whichever worker comes to the failpoint first is killed; the client gets all it paid for, once."""
    scene.story(f"sqlite:///{scene.folder}/payments.db", name)


@pytest.mark.postgres
@pytest.mark.parametrize("name", [pytest.param(one, marks=[] if one in SAMPLE else [pytest.mark.soak]) for one in WAY])
def test_a_worker_dies_and_the_channel_lives_on_postgresql(scene: Scene, postgres_db: str, name: str) -> None:
    """The same on PostgreSQL."""
    scene.story(postgres_db, name)


@pytest.mark.devnet
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in ON_CHAIN else [pytest.mark.soak]) for one in WAY]
)
def test_a_worker_dies_and_the_channel_lives_on_a_chain(
    devnet: Chain, tmp_path: Path, paying: Paying, name: str
) -> None:
    """The same on the local Tempo chain: the payer paid what was taken, and fees; nothing stays in escrow."""
    owner, payer = PrivateKey(secrets.token_bytes(32)), PrivateKey(secrets.token_bytes(32))
    for key in (owner, payer):
        devnet.fund(key.address, DOLLARS)
    table = {"rpc_url": devnet.rpc_url, "recipient": owner.address, "min_deposit": "0"}
    tempo = {**table, "session_key": to_hex(owner.secret()), "session_protocols": ["v2"]}
    with Workers(tmp_path, f"sqlite:///{tmp_path}/payments.db", {"tempo": tempo}, name) as workers:
        purse = wallet(tempo={"rpc_url": devnet.rpc_url, "private_key": to_hex(payer.secret())})
        bodies = live(paying(workers.url, purse))
        workers.wait()
        taken = captured(workers, bodies, owner.address.lower())
    lost = DOLLARS - devnet.balance_of("PathUSD", payer.address)
    assert taken <= lost <= taken + FEES


@pytest.mark.soak
@pytest.mark.parametrize("again", range(2))
@pytest.mark.parametrize("name", WAY)
def test_a_worker_dies_again_and_again(scene: Scene, name: str, again: int) -> None:
    """Once is luck."""
    scene.story(f"sqlite:///{scene.folder}/payments.db", name)
