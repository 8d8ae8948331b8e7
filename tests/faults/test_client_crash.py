"""The client dies at a named place, or loses its book; the next one goes on, pays no more and never signs less."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coinslot.client.events import Event, Recovered
from coinslot.client.purse import Policy
from coinslot.client.wallet import Wallet as Purse
from coinslot.client.wallet import wallet
from coinslot.intents.acts import Held, Standing
from coinslot.server.price import Price
from coinslot.store.book import Scope, scope_of
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import pay
from support.mutation import TESTS
from support.sessionsite import SessionShop
from support.sessiontill import SessionTill
from support.site import Site
from support.toybank import Bank
from support.toyproof import ProofSeller, proving_wallet

COST = 1_000
LIMITS = Policy(max_deposit="0.02")
Wallet = dict[str, Any]


@pytest.fixture
def shop(bank: Bank, alice: Wallet) -> SessionShop:
    """Sells every GET for a thousandth of a coin, from channels only."""
    return SessionShop(SessionTill(bank, alice))


@pytest.fixture
def site(shop: SessionShop) -> Iterator[Site]:
    """The shop on loopback."""
    with Site(shop) as running:
        yield running


def child(book: Path, shop: SessionShop, site: Site, count: int, failpoint: str = "") -> subprocess.Popen[bytes]:
    """A client process."""
    command = [sys.executable, "-m", "support.payer_child", str(book), json.dumps(shop.till.wallet), f"{site.url}/a"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen([*command, str(count), failpoint], stdout=subprocess.PIPE, env=environment)


def entry(path: Path) -> Held:
    """The only channel of a book."""
    book = SqliteBook(path)
    (held,) = book.all().result()
    book.close()
    return held


def accepted(shop: SessionShop, key: str) -> int:
    """The highest total that the server ever saw."""
    found = shop.till.store.find_channel(key).result()
    return 0 if found is None else found.accepted


@pytest.mark.guard("F01", "F02", "F03", "F25")
@pytest.mark.parametrize(
    ("failpoint", "made"),
    [
        ("client.opening", 1),
        ("client.opened", 1),
        ("client.managed", 1),
        ("client.presented", 1),
        ("client.signed", 1),
        ("client.saved", 1),
        ("client.sent", 1),
        ("client.topping_up", 2),
        ("client.closing", 2),
    ],
)
def test_killed_anywhere_the_next_process_goes_on(
    shop: SessionShop, site: Site, tmp_path: Path, failpoint: str, made: int
) -> None:
    """No total was ever sent that is not on disk, no lock stays behind, and each request costs its price at most."""
    path = tmp_path / "channels.sqlite"
    killed = child(path, shop, site, 1, failpoint)
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    book = SqliteBook(path)
    before = {one.key: one.signed_units for one in book.all().result()}
    book.close()
    for key, signed in before.items():
        assert accepted(shop, key) <= signed
    went_on = child(path, shop, site, 1)
    told, _ = went_on.communicate(timeout=30)
    assert (told, went_on.returncode) == (b"200\n", 0)
    book = SqliteBook(path)
    after = {one.key: one for one in book.all().result()}
    book.close()
    for key, signed in before.items():
        assert after[key].signed_units >= signed
    assert sum(one.signed_units for one in after.values()) <= (made + 1) * COST + 1
    assert len(after) == (2 if failpoint == "client.closing" else 1)
    assert all(accepted(shop, key) <= one.signed_units for key, one in after.items())


@pytest.mark.guard("F25")
def test_two_processes_share_one_channel(shop: SessionShop, site: Site, tmp_path: Path) -> None:
    """One writer at a time, whichever process it is in: twenty requests cost twenty prices, on one channel."""
    path = tmp_path / "channels.sqlite"
    assert child(path, shop, site, 1).communicate(timeout=30)[0] == b"200\n"
    both = [child(path, shop, site, 5) for _ in range(2)]
    assert [one.communicate(timeout=60)[0] for one in both] == [b"200\n" * 5] * 2
    held = entry(path)
    assert (held.signed_units, held.spent_units, len(shop.runs)) == (11 * COST, 11 * COST, 11)


@pytest.mark.guard("F25")
def test_a_killed_holder_of_a_turn_wedges_nobody(tmp_path: Path) -> None:
    """The kernel lets go of its lock; what it leaves behind is no lock."""
    path = tmp_path / "channels.sqlite"
    book = SqliteBook(path)
    scope = Scope("toy:x", "toy", "alice", "shop", "toy:x/coin")
    program = (
        "import sys, time; from coinslot.store.book_sqlite import SqliteBook; from coinslot.store.book import Scope\n"
        "lease = SqliteBook(sys.argv[1]).try_lock(Scope('toy:x', 'toy', 'alice', 'shop', 'toy:x/coin'))\n"
        "print('held' if lease else 'not', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert book.try_lock(scope) is None
    holder.kill()
    holder.communicate()
    lease = book.try_lock(scope)
    assert lease is not None
    lease.release()
    book.close()


def paying(
    shop: SessionShop, path: Path, events: list[Event] | None = None, purse: Purse | None = None
) -> httpx.Client:
    """A client of this process."""
    plain = httpx.Client(trust_env=False, timeout=20)
    told = events if events is not None else []
    return pay(plain, purse or wallet(toy=shop.till.wallet), LIMITS, told.append, path)


@pytest.mark.guard("F04")
@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_a_lost_book_recovers_from_our_own_signature(bank: Bank, alice: Wallet, tmp_path: Path, flavour: str) -> None:
    """On a new machine the server proves what we signed; the channel goes on from there, not from nothing."""
    till = SessionTill(bank, alice, flavour=flavour)
    till.price = Price("0.001", till.price.sellers, provers=(ProofSeller(till.seller),))
    shop, purse = SessionShop(till), proving_wallet(till)
    events: list[Event] = []
    with Site(shop) as site:
        with paying(shop, tmp_path / "old.sqlite", purse=purse) as client:
            for _ in range(3):
                client.get(f"{site.url}/a")
        with paying(shop, tmp_path / "new.sqlite", events, purse) as client:
            assert client.get(f"{site.url}/a").status_code == 200
    held = entry(tmp_path / "new.sqlite")
    assert held.key == entry(tmp_path / "old.sqlite").key
    assert (held.signed_units, held.deposit_units) == (4 * COST, 20_000)
    assert [one.signed_units for one in events if isinstance(one, Recovered)] == [3 * COST]


@pytest.mark.guard("F05")
@pytest.mark.parametrize("since", [1, 4])
@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_an_old_backup_catches_up(bank: Bank, alice: Wallet, tmp_path: Path, flavour: str, since: int) -> None:
    """A book from before some purchases: the next request learns what was signed since, and is served."""
    shop, path = SessionShop(SessionTill(bank, alice, flavour=flavour)), tmp_path / "channels.sqlite"
    with Site(shop) as site:
        with paying(shop, path) as client:
            client.get(f"{site.url}/a")
            client._transport.purse.desk.book.close()  # type: ignore[attr-defined]  # so that the log is in the file
        shutil.copy(path, tmp_path / "backup")
        with paying(shop, path) as client:
            for _ in range(since):
                client.get(f"{site.url}/a")
            client._transport.purse.desk.book.close()  # type: ignore[attr-defined]
        for leftover in tmp_path.glob("channels.sqlite-*"):
            leftover.unlink()
        shutil.copy(tmp_path / "backup", path)
        assert entry(path).signed_units == COST + 1
        with paying(shop, path) as client:
            assert client.get(f"{site.url}/a").status_code == 200
            assert client.get(f"{site.url}/a").status_code == 200
    held = entry(path)
    assert (held.signed_units, held.spent_units) == ((since + 3) * COST, (since + 3) * COST)
    assert len(shop.runs) == since + 3
    assert held.standing is Standing.OPEN


def test_scopes_are_those_of_channels(shop: SessionShop, site: Site, tmp_path: Path) -> None:
    """What is locked before a channel is known is what is locked for it."""
    with paying(shop, tmp_path / "channels.sqlite") as client:
        client.get(f"{site.url}/a")
    held = entry(tmp_path / "channels.sqlite")
    assert scope_of(held) == Scope(held.network, "toy", "alice", "shop", held.asset)
