"""A book with a damaged row: the command line shows and closes the others, names that one, and pays nothing by it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coinslot.cli.main import main
from support.toybank import Bank
from support.upstream import Call, Gated, Reply, Upstream, gate_for

Output = pytest.CaptureFixture[bytes]
FUNDS = 5_000_000
PRICES: dict[str, Any] = {"GET /paid/*": "0.01"}


def answer(call: Call) -> Reply:
    """Anything."""
    return 200, {}, f"you asked for {call.target}".encode()


@pytest.fixture
def gates(bank: Bank) -> Iterator[tuple[Gated, Gated]]:
    """Two sellers with a payee each."""
    pair = [{"method": "toy", "bank": bank.path, "recipient": name, "sessions": True} for name in ("shop", "stall")]
    bank.open("stall")
    with (
        Upstream(answer) as api,
        gate_for(api, PRICES, bank, accept=[pair[0]]) as one,
        gate_for(api, PRICES, bank, accept=[pair[1]]) as two,
    ):
        yield one, two


def fetched(gate: Gated, key: list[str], *more: str) -> int:
    """A fetch from a channel of a quarter."""
    return main(["fetch", gate.url + "/paid/x", "--session", "--max-deposit", "0.25", *more, *key])


@pytest.fixture
def names(gates: tuple[Gated, Gated], key: list[str], capfdbinary: Output, tmp_path: Path) -> tuple[str, str]:
    """A good channel and a damaged one."""
    found = []
    for gate in gates:
        assert fetched(gate, key) == 0
        capfdbinary.readouterr()
        assert main(["channels", "list", "--json"]) == 0
        listed = json.loads(capfdbinary.readouterr().out)
        found.append(next(one["channel_id"] for one in listed if one["origin"] == gate.url))
    with closing(sqlite3.connect(tmp_path / "home" / "channels.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE channels SET voucher = 'torn' WHERE channel_id = ?", (found[1],))
    return found[0], found[1]


@pytest.mark.guard("F04")
def test_a_list_has_all_others_and_names_the_damaged_one(names: tuple[str, str], capfdbinary: Output) -> None:
    """As a table and as JSON; what is safe and what to do stands on standard error, and it ends with 1."""
    good, bad = names
    assert main(["channels", "list"]) == 1
    told = capfdbinary.readouterr()
    assert (good in told.out.decode(), bad in told.out.decode()) == (True, False)
    for word in (bad, "its voucher", "on the chain", "channels sync --book", "backup"):
        assert word in told.err.decode()
    assert main(["channels", "list", "--json"]) == 1
    told = capfdbinary.readouterr()
    assert [one["channel_id"] for one in json.loads(told.out)] == [good]
    error = json.loads(told.err)["error"]
    assert (error["code"], bad in error["message"]) == ("store-broken", True)
    assert b"torn" not in told.err


def test_one_is_shown_by_itself(names: tuple[str, str], capfdbinary: Output) -> None:
    """The good one as ever; of the damaged one it is said what it is, also by the beginning of its id."""
    good, bad = names
    assert main(["channels", "show", good]) == 0
    for name in (bad, bad[:12]):
        capfdbinary.readouterr()
        assert main(["channels", "show", name]) == 1
        assert bad in capfdbinary.readouterr().err.decode()


@pytest.mark.guard("F04")
def test_the_others_are_compared_and_closed(
    names: tuple[str, str], gates: tuple[Gated, Gated], key: list[str], bank: Bank, capfdbinary: Output
) -> None:
    """By name without a word; with --all, and in `sync`, the damaged one is told of last, and stays as it is."""
    good, bad = names
    assert main(["channels", "sync", "--json", *key]) == 1
    told = capfdbinary.readouterr()
    assert [one["channel_id"] for one in json.loads(told.out)["compared"]] == [good]
    assert bad in told.err.decode()
    assert fetched(gates[0], key) == 0
    capfdbinary.readouterr()
    assert main(["channels", "close", "--all", "--json", *key]) == 1
    told = capfdbinary.readouterr()
    assert [(one["channel_id"], one["standing"]) for one in json.loads(told.out)] == [(good, "closed")]
    assert bad in told.err.decode()
    assert (bank.balance("shop"), bank.balance("stall")) == (20_000, 0)
    assert main(["channels", "withdraw", "--all", *key]) == 1


@pytest.mark.guard("F04")
def test_nothing_is_paid_by_a_damaged_channel_nor_instead_of_it(
    names: tuple[str, str], gates: tuple[Gated, Gated], key: list[str], bank: Bank, capfdbinary: Output
) -> None:
    """Its seller gets no other channel meanwhile; the other seller is paid."""
    before = bank.balance("alice")
    assert fetched(gates[1], key) == 1
    assert b"can't be read" in capfdbinary.readouterr().err
    assert bank.balance("alice") == before
    assert fetched(gates[0], key) == 0


def test_its_deposit_comes_back_by_a_new_book(
    names: tuple[str, str], gates: tuple[Gated, Gated], key: list[str], bank: Bank, capfdbinary: Output
) -> None:
    """As the message says: found on the chain, and closed by its seller for what was spent."""
    _, bad = names
    assert main(["channels", "sync", "--book", "new.sqlite", *key]) == 0
    closing_it = ["channels", "close", bad, "--book", "new.sqlite", "--url", gates[1].url + "/paid/x"]
    assert main([*closing_it, "--server-only", *key]) == 0
    assert bank.balance("stall") == 10_000
    assert b"is closed" in capfdbinary.readouterr().out
