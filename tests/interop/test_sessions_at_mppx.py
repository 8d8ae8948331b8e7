"""Our client pays an mppx 0.11 server from a channel: requests, streams, top-ups, closing."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.signature import PrivateKey
from coinslot.client.events import Closed, Event, Opened, ToppedUp
from coinslot.client.wallet import wallet
from coinslot.intents.acts import Standing
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import Client
from support.devnet import Chain
from support.peers import mppx_home

pytestmark = [pytest.mark.interop, pytest.mark.devnet, pytest.mark.xdist_group("interop")]

DOLLAR, COST = 1_000_000, 1_000


def account(chain: Chain) -> PrivateKey:
    """A fresh account with five dollars."""
    key = PrivateKey(secrets.token_bytes(32))
    chain.fund(key.address, 5 * DOLLAR)
    return key


@contextmanager
def theirs(chain: Chain, owner: PrivateKey) -> Iterator[str]:
    """A running mppx server."""
    command = ["node", "sessionserver.mjs", chain.rpc_url, to_hex(owner.secret())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=mppx_home(), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.stdin is not None
        process.stdin.close()


def test_a_session_at_mppx_from_its_opening_to_its_close(devnet: Chain, tmp_path: Path) -> None:
    """One channel: bought from, topped up, streamed from with vouchers on the way, closed for what was spent."""
    owner, payer, events = account(devnet), account(devnet), list[Event]()
    book, words = SqliteBook(tmp_path / "book.sqlite"), [f"data: word {n}" for n in range(10)]
    before = devnet.balance_of("PathUSD", payer.address)
    purse = wallet(tempo={"rpc_url": devnet.rpc_url, "private_key": to_hex(payer.secret())})
    with (
        theirs(devnet, owner) as url,
        Client(purse, observe=events.append, book=book, trust_env=False, timeout=30) as client,
    ):
        with client.session(f"{url}/paid", max_deposit="0.002") as small:
            assert [small.get().json()["count"] for _ in range(2)] == [1, 2]
        client.session(f"{url}/paid", max_deposit="0.004").get()
        paid = client.session(f"{url}/words", max_deposit="0.1")
        with paid.stream("GET") as answer:
            assert [line for line in answer.iter_lines() if line.startswith("data:")] == words
        (held,) = book.all().result()
        assert held.spent_units == 13 * COST
        paid.close()
    (held,) = book.all().result()
    assert held.standing is Standing.CLOSED
    assert sum(isinstance(one, Opened) for one in events) == 1
    assert sum(isinstance(one, ToppedUp) for one in events) >= 1
    assert sum(isinstance(one, Closed) for one in events) == 1
    gone = before - devnet.balance_of("PathUSD", payer.address)
    assert 13 * COST <= gone < 13 * COST + 4 * held.deposit_units  # what was spent, and the payer's own network fees
    book.close()
