"""A client that sends its charges itself dies at a named place; the next process goes on with what was paid for."""

from __future__ import annotations

import secrets
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.chains.solana.signature import Key
from coinslot.store.book import PushedCharge
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.slot import Slot
from support.devnet import Chain
from support.pusher_child import start
from support.serving import asgi_server, page
from support.shop import Shop
from support.site import Reply, Seen, Site
from support.svm import SvmChain
from support.temposhop import fresh_address
from support.toybank import Bank

CENT = 10_000
POINTS = ("client.charge_recorded", "client.charge_sent", "client.charge_presented")


def left(path: Path) -> list[PushedCharge]:
    """What a book has in flight."""
    with closing(SqliteBook(path)) as book:
        return list(book.find_charges().result())


@pytest.mark.guard("F01", "F02", "F03", "F14", "F25")
@pytest.mark.parametrize("failpoint", POINTS)
def test_killed_anywhere_it_is_paid_once(bank: Bank, alice: dict[str, Any], tmp_path: Path, failpoint: str) -> None:
    """What may have been sent is on the disk, and the next process sends and presents that, and nothing else."""
    path, purse = tmp_path / "book.sqlite", {"toy": {**alice, "push": True}}
    with Site(Shop(bank)) as site:
        killed = start(path, purse, f"{site.url}/a", failpoint)
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL
        (charge,) = left(path)
        assert bank.settled() == (failpoint != "client.charge_recorded")
        went_on = start(path, purse, f"{site.url}/a")
        told, _ = went_on.communicate(timeout=60)
        assert told == f"200 {charge.reference}\n"
        assert (bank.settled(), left(path)) == (1, [])
        again, _ = start(path, purse, f"{site.url}/a").communicate(timeout=60)
    assert again.startswith("200 ")
    assert bank.settled() == 2


@pytest.mark.guard("F25")
def test_two_processes_that_ask_at_once_pay_one_each(bank: Bank, alice: dict[str, Any], tmp_path: Path) -> None:
    """Nobody takes over what a living process is doing."""
    path, purse, shop = tmp_path / "book.sqlite", {"toy": {**alice, "push": True}}, Shop(bank)

    def answer(seen: Seen) -> Reply:
        if seen.credential:
            site.wait_for(4)  # both have asked, and both have presented
        return shop(seen)

    with Site(answer) as site:
        both = [start(path, purse, f"{site.url}/a") for _ in range(2)]
        told = {one.communicate(timeout=60)[0] for one in both}
    assert len(told) == 2
    assert all(one.startswith("200 ") for one in told)
    assert (bank.settled(), left(path)) == (2, [])


def gone_on_with(purse: dict[str, Any], slot: Slot, path: Path, failpoint: str) -> str:
    """A client is killed before it presents; the next one is served. What was paid with."""
    with closing(slot), asgi_server(CoinslotMiddleware(page, slot, {"GET /paid": "0.01"}), lifespan="on") as url:
        killed = start(path, purse, f"{url}/paid", failpoint)
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL
        (charge,) = left(path)
        told, _ = start(path, purse, f"{url}/paid").communicate(timeout=60)
    assert told == f"200 {charge.reference}\n"
    assert left(path) == []
    return str(charge.reference)


@pytest.mark.guard("F01", "F02", "F03")
@pytest.mark.parametrize("failpoint", POINTS[:2])
def test_on_tempos_chain_it_is_paid_once(devnet: Chain, tmp_path: Path, failpoint: str) -> None:
    """One transfer, whether it had been sent or only written down."""
    key, recipient = PrivateKey(secrets.token_bytes(32)), fresh_address()
    devnet.fund(key.address, 5_000_000)
    slot = Slot(
        "shop.example",
        store="memory:",
        secret_key="a secret of more than thirty-two characters",
        tempo={"rpc_url": devnet.rpc_url, "recipient": recipient},
    )
    purse = {"tempo": {"rpc_url": devnet.rpc_url, "private_key": key.secret().hex(), "mode": "push"}}
    gone_on_with(purse, slot, tmp_path / "book.sqlite", failpoint)
    assert devnet.balance_of(devnet.tokens["PathUSD"], recipient) == CENT


@pytest.mark.guard("F01", "F02", "F03")
@pytest.mark.parametrize("failpoint", POINTS[:2])
def test_on_a_solana_chain_it_is_paid_once(svm: SvmChain, tmp_path: Path, failpoint: str) -> None:
    """One transfer, whether it had been sent or only written down."""
    key, payee = Key(bytes([7]) * 32), Key(bytes([8]) * 32)
    svm.fund(key.address, 10**9, "SOL")
    svm.fund(key.address, 5_000_000, "USDC")
    svm.fund(payee.address, 1, "USDC")
    slot = Slot(
        "shop.example",
        store="memory:",
        secret_key="a secret of more than thirty-two characters",
        solana={"rpc_url": svm.rpc_url, "recipient": payee.address, "network": "localnet"},
    )
    private = "0x" + key.secret().hex()
    purse = {"solana": {"rpc_url": svm.rpc_url, "private_key": private, "network": "localnet", "mode": "push"}}
    before = svm.balance(payee.address, "USDC")
    gone_on_with(purse, slot, tmp_path / "book.sqlite", failpoint)
    assert svm.balance(payee.address, "USDC") - before == CENT
