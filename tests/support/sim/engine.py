"""A small world in one thread: a clock that only events move, processes that die, flows that run in turns.

All chance comes from one seeded source, so that a seed is a history. A flow (coinslot.drive) is a task of a process:
what it asks for is answered later, by an event, and between two events anything else may happen.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, NoReturn

from coinslot.drive import Call, Cancelled, Effect, Flow, Now, Rpc, Send, Sleep, Wait
from coinslot.errors import RpcUnreachable

# Where simulated time begins: a whole second long after any other date in the tests.
BEGIN_S = 1_900_000_000.0
# What is told of the last events when an invariant breaks.
TOLD = 2000

Act = Callable[[], None]
Ended = Callable[[Any, BaseException | None], None]


class Crash(BaseException):
    """The process that runs dies here. No `except Exception` sees it."""


class Broken(AssertionError):
    """An invariant does not hold any more."""


@dataclass(frozen=True)
class Chances:
    """How often what goes wrong, each from 0 to 1. All zero: a perfect world."""

    crash: float = 0.0  # a process dies while it answers an effect, or at a failpoint
    lost_call: float = 0.0  # a call to the chain is lost on its way there, or on its way back
    stale: float = 0.0  # the chain answers as it did before
    forget: float = 0.0  # the chain says it took a transaction, and forgets it
    drop: float = 0.0  # an HTTP request or answer is lost
    twice: float = 0.0  # an HTTP request arrives twice
    late: float = 0.0  # anything takes a thousand times as long
    hang_up: float = 0.0  # a client's connection goes while it is served
    store: float = 0.0  # the store is busy, or a commit fails
    pause: float = 0.0  # a process stands still for longer than its leases last
    jump: float = 0.0  # everybody's clock jumps by minutes
    power: float = 0.0  # all servers and settlers die at once


CALM = Chances()


@dataclass
class Process:
    """What dies as one. `generation` tells its lives apart."""

    name: str
    alive: bool = True
    dying: bool = False
    generation: int = 0
    wakes_at_s: float = 0.0
    tasks: set[Task] = field(default_factory=set)
    on_crash: list[Act] = field(default_factory=list)


class Sim:
    """The events, in order of their time; equal times in order of asking."""

    def __init__(self, seed: int, chances: Chances = CALM) -> None:
        self.rng = Random(seed)
        self.chances = chances
        self.time = BEGIN_S
        self.offset_s = 0.0  # by which the walls' clocks differ from time as it passes
        self.told: deque[str] = deque(maxlen=TOLD)
        self.checks: list[Act] = []
        self.remote: Callable[[object], bool] = lambda function: False
        self.send: Callable[[Task, object], None] = _no_door
        self.running: Process | None = None
        self.passed: Counter[str] = Counter()  # failpoints
        self.events = 0
        self._queue: list[tuple[float, int, Process | None, int, Act]] = []
        self._numbers = count()

    def wall(self) -> float:
        """What a clock on the wall says."""
        return self.time + self.offset_s

    def tell(self, *words: object) -> None:
        """Note what happened, for whoever must find out why."""
        self.told.append(f"{self.time - BEGIN_S:10.4f}  " + " ".join(map(str, words)))

    def happens(self, chance: float) -> bool:
        """Whether, this time."""
        return chance > 0 and self.rng.random() < chance

    def latency(self, usual_s: float) -> float:
        """How long something takes: around the usual, now and then much longer."""
        factor = 1000.0 if self.happens(self.chances.late) else 1.0
        return usual_s * factor * (0.2 + self.rng.random())

    def after(self, delay_s: float, act: Act, process: Process | None = None) -> None:
        """Let something happen later, unless its process has died by then."""
        life = process.generation if process else 0
        heapq.heappush(self._queue, (self.time + delay_s, next(self._numbers), process, life, act))

    def step(self) -> bool:
        """The next event; False if there is none."""
        if not self._queue:
            return False
        at_s, number, process, life, act = heapq.heappop(self._queue)
        self.time = max(self.time, at_s)
        if process is not None and (not process.alive or process.generation != life):
            return True
        if process is not None and process.wakes_at_s > self.time:
            heapq.heappush(self._queue, (process.wakes_at_s, number, process, life, act))
            return True
        self.events += 1
        self.running = process
        try:
            act()
        except Crash:
            assert process is not None
            self.crash(process)
        finally:
            self.running = None
        for check in self.checks:
            check()
        return True

    def run(self, until: Callable[[], bool], for_s: float, most_events: int = 1_000_000) -> bool:
        """Go on until something is so; False if it is not within that time."""
        end_s = self.time + for_s
        for _ in range(most_events):
            if until():
                return True
            if not self._queue or self._queue[0][0] > end_s or not self.step():
                break
        return until()

    # --- processes

    def crash(self, process: Process) -> None:
        """SIGKILL: nothing of it happens any more. Its flows' `finally` blocks run, and reach nobody."""
        if not process.alive:
            return
        process.alive = process.dying = False
        process.generation += 1
        acts, process.on_crash = process.on_crash, []
        for act in acts:
            act()
        tasks, process.tasks = process.tasks, set()
        for task in tasks:
            task.bury()

    def strike(self, name: str) -> None:
        """What failpoints call: the process that runs may die here."""
        self.passed[name] += 1
        if self.running is not None and self.happens(self.chances.crash):
            self.die("struck at", name)

    def die(self, *words: object) -> NoReturn:
        """SIGKILL of the process that runs. From here on it reaches nobody."""
        assert self.running is not None
        self.tell("CRASH", self.running.name, *words)
        self.running.dying = True
        raise Crash

    def start(self, process: Process, flow: Flow[Any], ended: Ended, name: str = "") -> Task:
        """Run a flow as a task of a process. Not from the middle of another's step."""
        task = Task(self, process, flow, ended, name)
        process.tasks.add(task)
        self.after(0.0, task.begin, process)
        return task


def _no_door(task: Task, request: object) -> None:
    raise AssertionError("nobody listens")


class Task:
    """A flow under way."""

    def __init__(self, sim: Sim, process: Process, flow: Flow[Any], ended: Ended, name: str) -> None:
        self.sim, self.process, self.flow, self.ended, self.name = sim, process, flow, ended, name
        self.over = False
        self._cancel = False
        self._waiting = 0  # which answer it waits for: one that comes too late counts for nothing

    def begin(self) -> None:
        """The first step."""
        self._go(None, None)

    def cancel(self) -> None:
        """Throw a cancellation in at the await it is at, as asyncio does."""
        if not self.over and not self._cancel:
            self._cancel = True
            self._waiting += 1
            self.sim.after(0.0, lambda: self._go(None, Cancelled()), self.process)

    def bury(self) -> None:
        """Its process is dead."""
        self.over = True
        with suppress(Crash, RuntimeError):  # a flow may not yield while it is closed; what a dead one does is nothing
            self.flow.close()

    def answer(self, result: object = None, error: BaseException | None = None, *, ticket: int | None = None) -> None:
        """Go on with this, now."""
        if not self.over and ticket in (None, self._waiting):
            self._waiting += 1
            self._go(result, error)

    def _go(self, result: object, error: BaseException | None) -> None:
        if self.over:
            return
        try:
            effect = self.flow.throw(error) if error is not None else self.flow.send(result)
        except StopIteration as end:
            self._end(end.value, None)
        except AssertionError:
            raise
        except (Exception, Cancelled) as failure:
            self._end(None, failure)
        else:
            self._perform(effect)

    def _end(self, result: object, error: BaseException | None) -> None:
        self.over = True
        self.process.tasks.discard(self)
        self.ended(result, error)

    # --- effects

    def _later(self, delay_s: float, result: object = None, error: BaseException | None = None) -> None:
        ticket = self._waiting
        self.sim.after(delay_s, lambda: self.answer(result, error, ticket=ticket), self.process)

    def _perform(self, effect: Effect) -> None:
        sim = self.sim
        if sim.happens(sim.chances.crash):
            sim.die("at", type(effect).__name__, "of", self.name)
        match effect:
            case Wait(future):
                ticket = self._waiting
                # not within the callback: futures swallow what is raised there
                future.add_done_callback(
                    lambda done: sim.after(0.0, lambda: self.answer(*_outcome(done), ticket=ticket), self.process)
                )
            case Call(function, arguments):
                if sim.remote(function):
                    self._ask(function, arguments)
                    return
                try:
                    self._later(0.0, function(*arguments))
                except Exception as error:
                    self._later(0.0, error=error)
            case Sleep(seconds):
                self._later(max(0.0, seconds))
            case Now():  # a clock and randomness are read without an await: no cancellation comes between
                self.answer(sim.wall())
            case Send(request):
                sim.send(self, request)
            case Rpc():
                raise AssertionError("the chain here is called, not asked by JSON-RPC")
            case _:
                self.answer(sim.rng.randbytes(effect.size))

    def _ask(self, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        """A call to the chain: there, done, and back; either way may be lost."""
        sim, ticket = self.sim, self._waiting
        fails = sim.happens(sim.chances.lost_call)
        reached = not fails or sim.rng.random() < 0.5

        def there() -> None:
            if not reached:
                self._reply(ticket, None, RpcUnreachable("the call was lost"))
                return
            try:
                result, error = function(*arguments), None
            except Exception as failure:
                result, error = None, failure
            if fails:
                sim.tell("answer lost of", getattr(function, "__name__", function))
                result, error = None, RpcUnreachable("the answer was lost")
            self._reply(ticket, result, error)

        sim.after(sim.latency(0.005), there)  # on its way whatever becomes of who asked

    def _reply(self, ticket: int, result: object, error: BaseException | None) -> None:
        sim = self.sim
        sim.after(sim.latency(0.005), lambda: self.answer(result, error, ticket=ticket), self.process)


def _outcome(done: Any) -> tuple[object, BaseException | None]:
    error = done.exception()
    return (None, error) if error is not None else (done.result(), None)
