"""The life of one process, and its death at any await: "the n-th effect kills".

All that a process asks of the world goes through `Life.step`: what its flows yield, and each step of its store or book.
A life may be set to end at its n-th step: before that is carried out, or after it was carried out and before its answer
is seen. What a dead process still tries (in `finally` blocks) reaches nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random as Chance
from typing import Any, Protocol, TypeVar

from coinslot.drive import Call, Effect, Flow, Now, Random, Rpc, Send, Sleep, Wait
from coinslot.errors import RpcUnreachable

T = TypeVar("T")

# Where every clock of these tests begins: a whole second long after any date in the product.
BEGIN_S = 1_900_000_000.0
# Longer than any history, and a whole number of slots.
ERA_S = 100_000.0


class Died(BaseException):
    """The process is dead. No `except Exception` sees it."""


class Gone(Exception):
    """The connection broke, or nobody listened."""


class Side(StrEnum):
    """Where at a step a process dies."""

    BEFORE = "before"
    AFTER = "after"


class Clock:
    """The time of everybody: chain, stores and processes. It moves when somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.at_s = BEGIN_S

    def __call__(self) -> float:
        """Seconds since 1970, or since anything."""
        return self.at_s

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.at_s += seconds

    def begins_anew(self) -> None:
        """On to the next round number: what starts then always goes the same way."""
        self.at_s += ERA_S - self.at_s % ERA_S


@dataclass
class Life:
    """One process from its start to its end. `at`: the number of the step it dies at, 0 for none. With `loses` it lives
    on, and that step fails: a call that did not reach its node or server, or whose answer got lost.
    """

    at: int = 0
    side: Side = Side.BEFORE
    passed: list[str] = field(default_factory=list)
    dead: bool = False
    loses: bool = False

    def step(self, name: str, act: Callable[[], T]) -> T:
        """One await. Raises Died, now and for ever, if that was to be the last one."""
        if self.dead:
            raise Died
        self.passed.append(name)
        last = len(self.passed) == self.at
        if last and self.loses:
            if self.side is Side.AFTER:
                act()
            raise Gone("the call got lost") if name == "send" else RpcUnreachable("the call got lost")
        if last and self.side is Side.BEFORE:
            self.die()
        try:
            return act()
        finally:
            if last:
                self.die()

    def die(self) -> None:
        """SIGKILL."""
        self.dead = True
        raise Died


class Mortal:
    """A store or a book as one process has it: each step is an await, and done when its future is there."""

    def __init__(self, life: Life, inner: Any, kind: str) -> None:
        self._life, self._inner, self._kind = life, inner, kind
        self.leases: list[Any] = []  # what the kernel takes back from the dead

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found
        life, label = self._life, f"{self._kind}.{name}"
        if name == "try_lock":
            return lambda scope: life.step(label, lambda: self._locked(found(scope)))
        return lambda *given, **named: life.step(label, lambda: _done(found(*given, **named)))

    def _locked(self, lease: Any) -> Any:
        if lease is not None:
            self.leases.append(lease)
        return lease


def _done(answer: T) -> T:
    """The same future, done."""
    if isinstance(answer, Future):
        answer.exception()
    return answer


class Answers(Protocol):
    """What is at the other end of calls and requests."""

    def rpc(self, effect: Rpc) -> object:
        """What a node says."""

    def send(self, request: object) -> object:
        """What a server answers."""


@dataclass
class Here:
    """How one process reaches the world."""

    life: Life
    clock: Clock
    there: Answers
    chance: Chance

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow to its end. Raises Died, after which the flow's `finally` blocks have run in vain."""
        answer: object = None
        failure: Exception | None = None
        try:
            while True:
                effect = flow.throw(failure) if failure is not None else flow.send(answer)
                answer, failure = None, None
                try:
                    answer = self.life.step(*self._performing(effect))
                except Exception as error:
                    failure = error
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            if self.life.dead:
                with suppress(
                    Died, RuntimeError
                ):  # a flow may not ask for anything while it is closed; a dead one does
                    flow.close()
            else:
                flow.close()

    def _performing(self, effect: Effect) -> tuple[str, Callable[[], object]]:
        match effect:
            case Rpc():
                return f"rpc.{effect.method}", lambda: self.there.rpc(effect)
            case Send(request):
                return "send", lambda: self.there.send(request)
            case Sleep(seconds):
                return "sleep", lambda: self.clock.passes(seconds)
            case Call(function, arguments):
                return f"call.{getattr(function, '__name__', 'user')}", lambda: function(*arguments)
            case Now():
                return "now", self.clock
            case Random(size):
                return "random", lambda: self.chance.randbytes(size)
            case Wait(future):
                return "wait", future.result
