"""Paid streams when processes are involved: a voucher at another server, a client or a server that dies."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from coinslot.store.sqlite import SqliteStore
from support.lapse import lapse
from support.serving import TIMEOUT_S
from support.stream_child import start
from support.streamclient import NEED, RECEIPT, StreamClient, events_of
from support.toybank import Bank

Wallet: TypeAlias = dict[str, Any]
WINDOW = 64
SEEDS = (1, 2, 3)


def settled_record(store: SqliteStore, client: StreamClient) -> Any:
    """The channel once no window is set aside any more."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.05)):
        found = store.find_channel(client.held.key).result()
        if found is not None and found.reserved == 0:
            return found
        pause.wait(0.05)
    raise AssertionError("a window is still set aside")


@pytest.mark.spec("TSES-173", "TSES-183")
def test_a_voucher_at_another_server_resumes_the_stream(bank: Bank, alice: Wallet, tmp_path: Path) -> None:
    """Two processes on one file: the stream runs at one, every further voucher goes to the other."""
    store = str(tmp_path / "payments.db")
    with (
        start(bank, store, tmp_path, "one", count=300) as one,
        start(bank, store, tmp_path, "two", count=300) as two,
    ):
        client = StreamClient(alice, one.url)
        words, needs = 0, 0
        with client.stream(100) as answer:
            for event in events_of(answer):
                if event.name == NEED:
                    needs += 1
                    assert client.raise_to(int(event.members["requiredCumulative"]), two.url).status_code == 204
                elif event.name != RECEIPT:
                    words += 1
                else:
                    assert (event.members["spent"], event.members["units"]) == ("300", 300)
    assert (words, needs) == (300, 4)


@pytest.mark.guard("T25")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_that_hangs_up_anywhere_pays_for_what_was_sent(
    bank: Bank, alice: Wallet, tmp_path: Path, seed: int
) -> None:
    """Of ten thousand words it read some; charged is what the server sent, and at most one that was on its way."""
    store = str(tmp_path / "payments.db")
    until = random.Random(seed).randrange(1, 3_000)
    with start(bank, store, tmp_path, "one") as child:
        client = StreamClient(alice, child.url)
        with client.stream(10_000) as answer:
            events = events_of(answer)
            for _ in range(until):
                next(events)
        other = SqliteStore(store)
        record = settled_record(other, client)
        assert until <= child.sent <= record.spent <= child.sent + 1
        other.close()


@pytest.mark.guard("F08", "T25")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_dies_anywhere_bills_what_was_sent_or_a_window_more(
    bank: Bank, alice: Wallet, tmp_path: Path, seed: int
) -> None:
    """Its last window is billed whole by another server, once; the channel goes on there."""
    store = str(tmp_path / "payments.db")
    die_after = random.Random(seed).randrange(1, 3_000)
    with start(bank, store, tmp_path, "one", die_after=die_after, count=10_000) as child:
        client = StreamClient(alice, child.url)
        with (
            pytest.raises(Exception, match=r"peer closed|incomplete|disconnected|reset"),
            client.stream(10_000) as answer,
        ):
            list(events_of(answer))
        assert child.sent == die_after
    other = SqliteStore(store)
    lapse(other)
    with start(bank, store, tmp_path, "two", count=10) as second:
        client.url = second.url
        client.asked()
        record = settled_record(other, client)
        assert die_after <= record.spent <= die_after + WINDOW
        assert client.get(10_000 + record.spent).status_code == 200
        assert settled_record(other, client).spent == record.spent + 10
        other.close()
