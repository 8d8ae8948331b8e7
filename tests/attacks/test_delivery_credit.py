"""Payers who want more than their channel is trusted with, or a delivery that nobody asks them to pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.intents.owing import Declined, Not, Owed, Paid, Wish
from coinslot.server.request import Incoming
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from coinslot.store.open import open_store
from coinslot.store.sql import SqlStore
from support.channel_cases import RULES, found, opened, voucher
from support.drained import drained
from support.lapse import lapse, owner_of
from support.lendingsite import PRICE, WINDOW, Committer, lending
from support.toybank import Bank

KEY = "net:1/c"
CREDIT = 300
LEAST = 10


class Clock:
    """Seconds since 1970, moved by hand."""

    at_s = 1_000_000_000.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def lender(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """A store with an open channel that is trusted with three hundred."""
    if request.param == "memory":
        store: SessionStore = MemoryStore(clock=Clock())
    else:
        sqlite = request.param == "sqlite"
        store = open_store(f"sqlite:///{tmp_path}/x.db" if sqlite else str(request.getfixturevalue("postgres_db")))
    opened(store)
    yield store
    store.close()


def hours_pass(store: SessionStore) -> None:
    """All that has an end in time is past it; whoever lives, lives."""
    if isinstance(store, SqlStore):
        store._write(lambda db: db.change("UPDATE coinslot_owed SET expires_at = 0", {})).result()
    elif isinstance(store, MemoryStore):
        clock = store._clock
        assert isinstance(clock, Clock)
        clock.at_s += 10_000


def begun(store: SessionStore, most: int = 100) -> Owed | None:
    """A stream for which there is room; None where there is none."""
    made = store.set_aside(Wish(KEY, CREDIT, LEAST, most, begins=True)).result()
    assert isinstance(made, Owed) or made == Declined(Not.CREDIT)
    return made if isinstance(made, Owed) else None


@pytest.mark.guard("T26")
def test_names_that_a_payer_reserved_are_not_given_to_its_streams(lender: SessionStore) -> None:
    """Else streams would share one row: of twenty at once the credit would hold one, and one would be owed."""
    for number in range(8):
        small = Wish(KEY, CREDIT, 1, 1, f"c:{9 + number}")
        assert isinstance(lender.set_aside(small).result(), Owed)
    streams = [one for one in (begun(lender) for _ in range(20)) if one is not None]
    assert len({one.id for one in streams}) == len(streams)
    assert sum(one.most_units for one in streams) <= CREDIT
    for one in streams:
        lender.owe(one, one.most_units, 1).result()
    total = 0
    for one in streams:
        total += one.most_units
        assert isinstance(lender.pay_delivery(KEY, one.id, voucher("c", total), RULES).result(), Paid)
    assert found(lender).spent == total


@pytest.mark.guard("T26")
def test_a_stream_that_is_read_slowly_keeps_its_room(lender: SessionStore) -> None:
    """Who has all of it but its end, and hangs on, is trusted with no more; nor is its stream's name given away."""
    first = begun(lender, CREDIT)
    assert first is not None
    hours_pass(lender)
    assert begun(lender) is None
    assert lender.expire_deliveries(10).result() == 0
    assert begun(lender) is None
    lender.owe(first, CREDIT, 1).result()
    assert begun(lender) is None
    assert isinstance(lender.pay_delivery(KEY, first.id, voucher("c", CREDIT), RULES).result(), Paid)
    assert begun(lender) is not None


def test_a_stream_whose_server_died_gives_its_room_back(tmp_path: Path) -> None:
    """When its time is over, and no sooner."""
    dead, living = (open_store(f"sqlite:///{tmp_path}/x.db") for _ in range(2))
    opened(dead)
    assert begun(dead, CREDIT) is not None
    lapse(living, {owner_of(dead)})
    assert begun(living) is None
    hours_pass(living)
    assert begun(living) is not None
    living.close()
    dead.close()


@pytest.mark.guard("T26", "F29")
def test_a_stream_that_never_began_keeps_no_room(bank: Bank, alice: dict[str, Any]) -> None:
    """Its server's own observer fails between the room and the handler: the channel is trusted with all as before."""

    def broken(_: object) -> None:
        raise LookupError("the observer")

    with lending(bank) as site:
        client = Committer(alice, site.stream)
        gate = replace(site.slot.gate, observe=broken)
        price = site.slot.metered(PRICE, unit="word", window=WINDOW)
        for total in range(1, 5):
            headers = {name.lower(): (value,) for name, value in client.voucher(total).items()}
            with pytest.raises(LookupError):
                run(gate.admit(Incoming("GET", "/words", "", headers, b"", commits=True), price), site.slot.world)
        drained(site.slot.store)
        assert client.get(5).status_code == 200
