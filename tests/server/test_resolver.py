"""Payments whose end was not learnt are asked about until it is, whoever asks and whenever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinslot.drive import run
from coinslot.errors import RpcUnreachable
from coinslot.intents.charge import Pending
from coinslot.server.events import Resolved
from coinslot.server.gate import CONFIRM_EVERY_S
from coinslot.server.issue import EXPIRES_IN_S
from coinslot.server.resolver import ROUND, resolve_round
from coinslot.store.open import open_store
from coinslot.store.protocol import Stage
from coinslot.transports.resolving import Resolving
from support.stepping import Between
from support.strike import struck_at
from support.till import Till, toy_seller
from support.toy import ToySeller
from support.toybank import Bank


def pending(till: Till) -> str:
    """A credential whose payment the bank has taken in and not settled."""
    credential = till.bought()
    till.bank.order("stuck")
    assert till.answer(credential).status == 503
    return credential


@pytest.mark.guard("F09", "F11")
@pytest.mark.parametrize("stop", ["gate.prepared", "gate.broadcast"])
def test_a_payment_that_was_left_open_is_settled_by_its_hash(till: Till, stop: str) -> None:
    """The process died after the record; whether it had sent the cheque is for the bank to say."""
    credential = till.bought()
    with struck_at(stop):
        till.present(credential)
    sent = stop == "gate.broadcast"
    assert till.resolve() == (not sent)
    assert till.payment(credential).stage is (Stage.SETTLED if sent else Stage.PREPARED)
    assert till.serve(credential).status == 200
    assert till.bank.settled() == 1
    assert set(till.sums().values()) == {0}


@pytest.mark.guard("F11")
def test_pending_stays_pending_until_the_chain_tells(till: Till) -> None:
    """Round after round, however late; then settled, told once, and delivered."""
    credential = pending(till)
    till.world.at_s += 100 * EXPIRES_IN_S
    assert [till.resolve() for _ in range(3)] == [1, 1, 1]
    till.bank.release()
    assert [till.resolve() for _ in range(2)] == [0, 0]
    told = [each for each in till.events if isinstance(each, Resolved)]
    found = till.payment(credential)
    assert found.prepared is not None
    assert told == [Resolved(found.challenge.id, found.prepared.reference, "settled")]
    assert till.serve(credential).status == 200


@pytest.mark.guard("F11")
def test_a_network_that_is_down_proves_nothing(till: Till) -> None:
    """No answer keeps it pending, never failed."""
    credential = pending(till)
    till.bank.order("down", 3)
    assert [till.resolve() for _ in range(3)] == [1, 1, 1]
    assert till.payment(credential).stage is Stage.PREPARED
    till.bank.release()
    assert till.resolve() == 0


@pytest.mark.guard("F13")
def test_a_payment_is_dead_only_by_the_chains_own_clock(till: Till) -> None:
    """Ours may run ahead: what was never taken in fails when the bank is past its time, and no sooner."""
    credential = till.bought()
    with struck_at("gate.prepared"):
        till.present(credential)
    till.world.at_s += 10 * EXPIRES_IN_S
    assert till.resolve() == 1
    till.bank.skew(2 * EXPIRES_IN_S)
    assert till.resolve() == 0
    found = till.payment(credential)
    assert (found.stage, found.reason) == (Stage.FAILED, "never taken in, and past its time")
    assert till.answer(credential).status == 402


@pytest.mark.guard("F21")
@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_while_a_request_waits_ends_its_waiting(till: Till, jump: float) -> None:
    """An hour back must not make the request wait that hour: it is answered 503, and the end is found later."""
    credential = till.bought()
    till.bank.order("stuck")
    sleep = till.world.sleep

    def jumping(seconds: float) -> None:
        sleep(seconds)
        if len(till.world.slept) == 2:
            till.world.at_s += jump

    till.world.sleep = jumping  # type: ignore[method-assign]
    assert till.answer(credential).status == 503
    assert len(till.world.slept) == 2
    till.bank.release()
    assert till.resolve() == 0


def test_a_request_waits_for_its_own_payment(till: Till) -> None:
    """Asked again and again until its patience of a second ends; one that settles meanwhile is served at once."""
    credential = till.bought()
    till.bank.order("stuck")
    assert till.answer(credential).status == 503
    assert till.world.slept == [CONFIRM_EVERY_S] * 7
    till.world.slept.clear()
    sleep = till.world.sleep

    def settling(seconds: float) -> None:
        sleep(seconds)
        till.bank.release()

    till.world.sleep = settling  # type: ignore[method-assign]
    assert till.serve(credential).status == 200
    assert till.world.slept == [CONFIRM_EVERY_S]


class Lagging(ToySeller):
    """A seller that asks a replica which has not caught up for the first answers."""

    behind = 0

    def confirm(self, prepared):  # type: ignore[no-untyped-def]
        """Nothing to be seen yet."""
        if self.behind:
            self.behind -= 1
            return Pending("not seen")
        return (yield from super().confirm(prepared))


@pytest.mark.guard("F11")
def test_a_replica_that_lags_is_asked_again(bank: Bank, alice: dict[str, object]) -> None:
    """Read after write: an absent transaction is not an unpaid one."""
    seller = Lagging(bank, "main", "shop", "coin")
    till = Till(bank, alice, sellers=[seller])
    seller.behind = 2
    assert till.serve(till.bought()).status == 200
    assert till.world.slept == [CONFIRM_EVERY_S] * 2
    seller.behind = 100
    credential = till.bought()
    assert till.answer(credential).status == 503
    seller.behind = 0
    assert till.serve(credential).status == 200
    assert bank.settled() == 2


@pytest.mark.guard("F09")
def test_a_restart_goes_on_asking(bank: Bank, alice: dict[str, object], tmp_path: Path) -> None:
    """Another process with the same file finds the payment by its hash."""
    url = f"sqlite:///{tmp_path}/payments.db"
    before = Till(bank, alice, open_store(url))
    credential = pending(before)
    before.store.close()
    bank.release()
    after = Till(bank, alice, open_store(url))
    assert after.resolve() == 0
    assert after.payment(credential).stage is Stage.SETTLED
    assert after.serve(credential).status == 200
    assert bank.submissions() == 1
    after.store.close()


@pytest.mark.guard("F11")
def test_payments_that_stay_open_do_not_starve_the_others(bank: Bank, alice: dict[str, object]) -> None:
    """A method that was taken out of the settings leaves more than a round of them: the newest is asked about still."""
    shells = Till(bank, alice, sellers=[toy_seller(bank, "shell")])
    for _ in range(ROUND):
        with struck_at("gate.broadcast"):
            shells.present(shells.bought())
    coins = Till(bank, alice, shells.store)
    credential = pending(coins)
    bank.release()
    turns = 0
    while coins.payment(credential).stage is Stage.PREPARED and turns < 3:
        run(resolve_round(coins.store, coins.sellers, None, turns), coins.world)
        turns += 1
    assert coins.payment(credential).stage is Stage.SETTLED
    assert shells.resolve() == 0


def test_a_network_that_is_silent_is_asked_once_a_round(bank: Bank, alice: dict[str, object]) -> None:
    """Each silence costs a timeout; the other networks' payments must not wait for all of them."""
    asked: list[str] = []

    class Silent(ToySeller):
        def confirm(self, prepared):  # type: ignore[no-untyped-def]
            asked.append(prepared.reference)
            yield from ()
            raise RpcUnreachable("silent")

    till = Till(bank, alice)
    for _ in range(5):
        pending(till)
    silent = Silent(bank, "main", "shop", "coin")
    assert run(resolve_round(till.store, [silent]), till.world) == 5
    assert len(asked) == 1


def test_what_another_resolver_settled_is_left_alone(till: Till) -> None:
    """Two processes look at the same list: what has moved since is not asked about and not told twice."""
    pending(till)
    till.bank.release()

    def other() -> None:
        till.resolve()

    store = Between(till.store, other, find_fails=False)
    assert run(resolve_round(store, till.sellers, till.events.append), till.world) == 0  # type: ignore[arg-type]
    assert len([each for each in till.events if isinstance(each, Resolved)]) == 1


def test_one_payment_that_cannot_be_resolved_does_not_stop_the_round(till: Till) -> None:
    """An entry that contradicts the journal is left for `doctor`; the next payment is settled."""
    from coinslot.errors import LedgerError

    one, two = pending(till), pending(till)
    till.bank.release()
    refused: list[int] = []
    settle = till.store.settle

    def contrary(*given):  # type: ignore[no-untyped-def]
        if not refused:
            refused.append(1)
            raise LedgerError("posted with other content")
        return settle(*given)

    till.store.settle = contrary  # type: ignore[method-assign]
    assert till.resolve() == 1
    assert [till.payment(each).stage for each in (one, two)] == [Stage.PREPARED, Stage.SETTLED]
    assert till.resolve() == 0


# --- the thread ---------------------------------------------------------------------------------


@pytest.fixture
def resolving(till: Till) -> Iterator[Resolving]:
    """A resolver that asks all the time."""
    made = Resolving(till.store, till.sellers, till.events.append, every_s=0.01)
    yield made
    made.stop()
    if made._thread.is_alive():
        made._thread.join(60)


@pytest.mark.guard("F09")
def test_a_thread_asks_wherever_the_door_is_no_event_loop(till: Till, resolving: Resolving) -> None:
    """As under WSGI: the first request starts it, once, and it settles what is open."""
    credential = pending(till)
    till.bank.release()
    before = set(threading.enumerate())
    for _ in range(3):
        resolving.ensure()
    assert set(threading.enumerate()) - before == {resolving._thread}
    waited = threading.Event()
    for _ in range(6000):
        if till.payment(credential).stage is Stage.SETTLED:
            break
        waited.wait(0.01)
    assert till.payment(credential).stage is Stage.SETTLED


def test_a_store_that_fails_for_a_while_does_not_end_the_thread(till: Till, resolving: Resolving) -> None:
    """It asks again in the next round, and ends when it is told to."""
    from coinslot.errors import StoreBusy

    calls = threading.Semaphore(0)
    unresolved = till.store.unresolved

    def busy(limit: int):  # type: ignore[no-untyped-def]
        calls.release()
        raise StoreBusy("busy")

    till.store.unresolved = busy  # type: ignore[method-assign]
    resolving.ensure()
    assert all(calls.acquire(timeout=60) for _ in range(3))
    till.store.unresolved = unresolved  # type: ignore[method-assign]
    resolving.stop()
    resolving._thread.join(60)
    assert not resolving._thread.is_alive()
    resolving.ensure()
    assert not resolving._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_of_a_bug_is_started_again(till: Till, resolving: Resolving) -> None:
    """A payment method's bug ends a round loudly; the next request brings the resolver back."""
    resolving._sellers = None  # type: ignore[assignment]
    pending(till)
    resolving.ensure()
    resolving._thread.join(60)
    assert not resolving._thread.is_alive()
    resolving._sellers = till.sellers
    resolving.ensure()
    assert resolving._thread.is_alive()
