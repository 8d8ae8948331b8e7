"""A payer's channels without the help of their servers: compared with the chain, found again, left step by step."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from coinslot import drive
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.drive import run
from coinslot.errors import ConfigError, NoPayableOffer, UsageError
from coinslot.intents import session
from coinslot.intents.acts import Held, Standing
from coinslot.services import leaving
from coinslot.services.cooperation import Cooperation
from coinslot.store.book_memory import MemoryBook
from support.sessiondesk import Desk
from support.strike import struck_at
from support.toybank import Bank

GRACE_S = 900.0


@pytest.fixture
def desk(bank: Bank, alice: dict[str, object]) -> Desk:
    """A payer and a seller of sessions."""
    bank.set_grace(GRACE_S)
    return Desk(bank, alice)


@pytest.fixture
def book() -> MemoryBook:
    """An empty book."""
    return MemoryBook()


def opened(desk: Desk, book: MemoryBook, *, age_s: float = 0.0) -> Held:
    """A channel on the chain, and in the book as it was before that was known."""
    move = desk.open(deposit=10_000)
    at_s = time.time() - age_s
    held = replace(move.held, opened_at_s=at_s, used_at_s=at_s, standing=Standing.OPENING)
    book.begin(held).result()
    desk.fund(move)
    return held


def seen(desk: Desk, book: MemoryBook, held: Held) -> leaving.Seen:
    """Compared with the chain."""
    return run(leaving.reconcile(book, desk.payer, held), desk.world)


def test_what_the_chain_shows_is_written_down(desk: Desk, book: MemoryBook) -> None:
    """An opening that happened is open; its opening is not presented again."""
    found = seen(desk, book, opened(desk, book))
    assert (found.held.standing, found.held.deposit_units, found.held.opening) == (Standing.OPEN, 10_000, b"")
    assert not found.missing


def test_an_opening_that_can_never_happen_is_lost(desk: Desk, book: MemoryBook) -> None:
    """Not before its transaction has been dead for a while."""
    move = desk.open()
    now_s = time.time()
    for dead_after_s, standing in ((now_s - 10, Standing.OPENING), (now_s - 1_000, Standing.LOST)):
        key = f"toy:main/0x{dead_after_s}"
        held = replace(move.held, key=key, standing=Standing.OPENING, dead_after_s=dead_after_s)
        book.begin(held).result()
        assert seen(desk, book, held).held.standing is standing


@pytest.mark.guard("F12")
@pytest.mark.parametrize(("age_s", "standing"), [(5, Standing.OPEN), (5_000, Standing.CLOSED)])
def test_a_node_that_knows_nothing_yet_closes_nothing(
    desk: Desk, book: MemoryBook, age_s: float, standing: Standing
) -> None:
    """A new channel that it doesn't show stays open; an old one is gone."""
    move = desk.open()  # never sent: the bank has not heard of it
    held = replace(move.held, opened_at_s=time.time() - age_s, standing=Standing.OPEN)
    book.begin(held).result()
    found = seen(desk, book, held)
    assert found.held.standing is standing
    assert found.missing == (standing is Standing.OPEN)


@pytest.mark.parametrize("point", ["leaving.asked", "leaving.withdrawn"])
def test_leaving_goes_on_where_it_was_struck_down(desk: Desk, book: MemoryBook, bank: Bank, point: str) -> None:
    """Between writing down and sending, or between signing and sending: the next try does it."""
    held = opened(desk, book)
    before = bank.balance("alice")
    if point == "leaving.asked":
        with struck_at(point):
            run(leaving.ask_to_close(book, desk.payer, held), desk.world)
    for _ in range(2):
        asked = run(leaving.ask_to_close(book, desk.payer, held), desk.world)
        assert asked.state.closing_at_s is not None
        assert asked.held.standing is Standing.CLOSING
    bank.advance(GRACE_S + 120)
    if point == "leaving.withdrawn":
        with struck_at(point):
            run(leaving.withdraw(book, desk.payer, held), desk.world)
    for _ in range(2):
        left = run(leaving.withdraw(book, desk.payer, held), desk.world)
        assert left is not None
        assert left.held.standing is Standing.CLOSED
    assert bank.balance("alice") == before + 10_000


@pytest.mark.parametrize("past_s", [0.0, GRACE_S + 120], ids=["early", "late"])
@pytest.mark.parametrize("flavour", ["v1", "v2"])
def test_a_payee_that_closes_while_a_payer_withdraws_was_first(
    book: MemoryBook, bank: Bank, alice: dict[str, object], flavour: str, past_s: float
) -> None:
    """The chain refuses the withdrawal then: not for its time, and what was not settled is back. One forgets it."""
    bank.set_grace(GRACE_S)
    desk = Desk(bank, alice, flavour=flavour)
    move = desk.open(deposit=10_000)
    held = replace(move.held, standing=Standing.OPENING)
    book.begin(held).result()
    channel = desk.spent(desk.accept(desk.fund(move), held, 1_000), 1_000)
    before = bank.balance("alice")
    run(leaving.ask_to_close(book, desk.payer, held), desk.world)
    bank.advance(past_s)
    stopped = session.request_close(channel, time.time())
    assert isinstance(stopped, session.Channel)
    closing = session.close(stopped, None, desk.rules)
    assert isinstance(closing, session.Close)

    def meanwhile(at: str) -> None:
        if at == "leaving.withdrawn":
            desk.pay_out((stopped, closing, True))

    drive.arm_failpoints(meanwhile)
    try:
        left = run(leaving.withdraw(book, desk.payer, held), desk.world)
    finally:
        drive.arm_failpoints(None)
    assert left is not None
    assert left.missing == (flavour == "v2")
    assert left.missing or (left.held.standing, left.state.settled_units) == (Standing.CLOSED, 1_000)
    assert bank.balance("alice") == before + 9_000


def test_nothing_is_withdrawn_before_its_time(desk: Desk, book: MemoryBook) -> None:
    """Too early is told, and so is that nobody has asked."""
    held = opened(desk, book)
    with pytest.raises(NoPayableOffer, match="close it first"):
        run(leaving.withdraw(book, desk.payer, held), desk.world)
    run(leaving.ask_to_close(book, desk.payer, held), desk.world)
    assert run(leaving.withdraw(book, desk.payer, held), desk.world) is None


@pytest.mark.guard("F04")
def test_channels_that_the_book_lost_are_found(desk: Desk, book: MemoryBook) -> None:
    """Those that hold money, once each; what is known is left as it is."""
    held = opened(desk, book)
    other = MemoryBook()
    (found,) = run(leaving.find(other, desk.payer, 0.0), desk.world)
    assert (found.key, found.deposit_units, found.signed_units) == (held.key, 10_000, 0)
    assert run(leaving.find(other, desk.payer, 0.0), desk.world) == []
    assert run(leaving.find(book, desk.payer, 0.0), desk.world) == []
    assert book.get(held.key).result() == held


def test_a_wallet_speaks_for_its_own_channels(desk: Desk, book: MemoryBook) -> None:
    """Of its account, on its network: another node's silence says nothing of them."""
    held = opened(desk, book)
    assert leaving.payer_of([desk.payer], held) is desk.payer
    for other in (replace(held, payer="bob"), replace(held, network="toy:elsewhere"), replace(held, method="gold")):
        with pytest.raises(ConfigError, match="neither this wallet nor this node"):
            leaving.payer_of([desk.payer], other)


@pytest.mark.guard("T37")
@pytest.mark.parametrize("given", [True, False])
def test_a_voucher_goes_nowhere_in_the_clear(
    desk: Desk, book: MemoryBook, alice: dict[str, object], given: bool
) -> None:
    """Whether the URL was given or comes from the book."""
    held = replace(opened(desk, book), origin="http://shop.example")
    with (
        Cooperation(wallet(toy=alice), book, Policy(max_deposit="1")) as cooperation,
        pytest.raises(UsageError, match="not encrypted"),
    ):
        cooperation.close(held, "http://shop.example/paid" if given else None)
