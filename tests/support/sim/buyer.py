"""The real client in a simulated process: the flows of client/ with a book that survives it, and HTTP that may fail.

It buys items one after the other, each under an Idempotency-Key; what fails is asked for again, as a program would that
wants its goods. Its locks die with it, its book does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from coinslot.client import closing
from coinslot.client.desk import Desk
from coinslot.client.exchange import exchange
from coinslot.client.journey import Journey
from coinslot.client.presenting import Ask, Tapped
from coinslot.client.purse import Policy, Purse
from coinslot.client.wallet import Wallet
from coinslot.drive import Cancelled, Effect, Flow, Send, send, sleep
from coinslot.errors import CoinslotError, UsageError
from coinslot.intents.acts import Held, Standing
from coinslot.method import SessionPayer
from coinslot.server.answer import Answer
from coinslot.server.request import Incoming
from coinslot.store.book_memory import MemoryBook
from support.sim.engine import Broken, Process, Sim
from support.sim.net import Line, NoAnswer, NotSent
from support.sim.payer import TRIES, Wish
from support.sim.stores import Queued

T = TypeVar("T")

URL = "https://api.example.com/item"
# What one channel may hold, in whole coins: eight items.
LIMITS = Policy(max_deposit="0.08")
LEAVING = ("close", "stay")


class Got:
    """An answer as the client's flows see it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.status = answer.status
        self.body = answer.body

    def fields(self, name: str) -> Sequence[str]:
        """See presenting.Answer."""
        return [value for key, value in self._answer.headers if key.lower() == name.lower()]

    def read(self, limit: int) -> bytes:
        """See presenting.Answer."""
        return self._answer.body[:limit]

    def attach(self, payment: object) -> None:
        """Nobody looks."""

    def watch(self, tap: Tapped) -> None:
        """Items are no streams."""


class Errand:
    """A request for an item."""

    method = "GET"
    url = URL

    def __init__(self, key: str) -> None:
        self._headers = {"idempotency-key": key}

    def fields(self, name: str) -> Sequence[str]:
        """See presenting.Errand."""
        value = self._headers.get(name.lower())
        return [] if value is None else [value]

    def body(self) -> bytes:
        """See presenting.Errand."""
        return b""

    def incoming(self, ask: Ask) -> Incoming:
        """As it arrives."""
        headers = {} if ask.verb else dict(self._headers)
        headers |= {name.lower(): value for name, value in ask.headers}
        verb = ask.verb or self.method
        many = {name: (value,) for name, value in headers.items()}
        return Incoming(verb, urlsplit(self.url).path, "", many, manages=verb == "POST")


class Buyer:
    """A client process. `asked` counts the requests that it began, which is what it may have signed for."""

    def __init__(self, sim: Sim, name: str, payer: SessionPayer, wishes: list[Wish], leaves: str) -> None:
        self.sim, self.payer, self.wishes, self.leaves = sim, payer, wishes, leaves
        self.process = Process(name)
        self.book = MemoryBook()
        self.at = self.asked = 0
        self.done = False
        self._begin()

    def _begin(self) -> None:
        self.process.alive = True
        self.process.on_crash.append(lambda: self.sim.after(4 * self.sim.rng.random(), self._begin))
        self.book._turns.clear()  # the kernel lets go of a dead process's locks
        book: Any = Queued(self.sim, self.process, self.book)
        self._purse = Purse(Wallet((), [self.payer]), LIMITS, desk=Desk(lambda: book))
        if not self.done:
            self.sim.start(self.process, self._life(), self._ended, f"{self.process.name} buys")

    def _ended(self, result: object, error: BaseException | None) -> None:
        if error is not None:
            raise error

    def held(self) -> list[Held]:
        """What the book says."""
        return list(self.book.all().result())

    def _life(self) -> Flow[None]:
        while self.at < len(self.wishes):
            yield from sleep(self.sim.rng.random())
            yield from self._get(self.wishes[self.at])
            self.at += 1
        if self.leaves == "close":
            yield from self._close()
        self.done = True

    def _get(self, wish: Wish) -> Flow[None]:
        for _ in range(TRIES):
            errand = Errand(wish.key)
            self.asked += 1
            try:
                answer = yield from _through(errand, exchange(errand, self._purse, Journey(errand)))
                assert isinstance(answer, Got)
            except UsageError:
                raise
            except (CoinslotError, NoAnswer, NotSent) as error:
                self.sim.tell(self.process.name, wish.key, type(error).__name__, str(error)[:160])
            else:
                self.sim.tell(self.process.name, wish.key, answer.status, answer.body[:60])
                if answer.status == 200 and answer.body:
                    wish.body = answer.body
                    return
            yield from sleep(min(20.0, 0.3 + self.asked / 10))
        raise Broken(f"I8: {self.process.name} can't buy {wish.key}, ever: {self.held()}")

    def _close(self) -> Flow[None]:
        for _ in range(TRIES):
            left = [one for one in self.held() if one.standing not in (Standing.CLOSED, Standing.LOST)]
            if not left:
                return
            errand = Errand("closing")
            try:
                yield from _through(errand, closing.close(self._purse, URL, left[0].key))
            except (CoinslotError, NoAnswer, NotSent) as error:
                self.sim.tell(self.process.name, "close", type(error).__name__, str(error)[:160])
                yield from sleep(1.0)
        raise Broken(f"I8: {self.process.name} can't close, ever: {self.held()}")


def _through(errand: Errand, flow: Flow[T]) -> Flow[T]:
    """A flow of the client's, with what it sends put on the simulated line."""
    answer: object = None
    failure: BaseException | None = None
    try:
        while True:
            effect: Effect = flow.throw(failure) if failure is not None else flow.send(answer)
            answer, failure = None, None
            try:
                if isinstance(effect, Send):
                    assert isinstance(effect.request, Ask)
                    answer = Got((yield from send(Line(errand.incoming(effect.request)))))
                else:
                    answer = yield effect
            except (Exception, Cancelled) as error:
                failure = error
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()
