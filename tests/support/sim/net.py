"""HTTP between simulated processes: requests and answers get lost, come twice, overtake each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coinslot.drive import Flow
from coinslot.server.answer import Answer
from coinslot.server.request import Incoming
from support.sim.engine import Process, Sim, Task

# One way through a network, and how long a client waits for an answer.
WAY_S = 0.003
PATIENCE_S = 40.0


class NotSent(Exception):
    """No connection: the request has not left."""


class NoAnswer(Exception):
    """It left, and whether it arrived isn't known."""


@dataclass
class Line:
    """One request on its way, and what its client learns of the answer before its end.

    `heard` are the pieces of a stream that arrived; `on_piece` is told of each, in the client's process.
    """

    incoming: Incoming
    on_piece: Callable[[Line, Any], None] | None = None
    heard: list[Any] = field(default_factory=list)
    open: bool = True


Door: TypeAlias = Callable[[Process, Incoming, Callable[[Any], None]], Flow[Answer]]


class Net:
    """A load balancer before server processes. `door` is what a process does with a request."""

    def __init__(self, sim: Sim, servers: Sequence[Process], door: Door) -> None:
        self._sim, self._servers, self._door = sim, servers, door
        sim.send = self.send

    def send(self, task: Task, request: object) -> None:
        """Answer a task's Send, one way or another."""
        sim, ticket = self._sim, task._waiting
        line = request if isinstance(request, Line) else Line(_as_incoming(request))

        def reply(answer: Answer | None, error: BaseException | None) -> None:
            if line.open:
                line.open = False
                task.answer(answer, error, ticket=ticket)

        def lost() -> None:
            reply(None, NoAnswer("no answer in time"))

        sim.after(PATIENCE_S, lost, task.process)
        copies = 1 + sim.happens(sim.chances.twice)
        for copy in range(copies):
            if sim.happens(sim.chances.drop):
                sim.tell("request lost", line.incoming.method, line.incoming.path)
                continue
            sim.after(sim.latency(WAY_S) + copy * sim.latency(0.5), lambda: self._arrive(line, reply, task.process))

    def _arrive(
        self, line: Line, reply: Callable[[Answer | None, BaseException | None], None], client: Process
    ) -> None:
        sim = self._sim
        up = [each for each in self._servers if each.alive]
        if not up:
            sim.after(WAY_S, lambda: reply(None, NotSent("nobody listens")), client)
            return
        server = sim.rng.choice(up)

        def back(answer: Answer | None, error: BaseException | None) -> None:
            """The answer leaves the server; a crash, or an error that reached no door, closes the connection."""
            if answer is None:
                error = NoAnswer(f"the connection broke ({type(error).__name__})")
            elif sim.happens(sim.chances.drop):
                sim.tell("answer lost", answer.status)
                answer, error = None, NoAnswer("the connection broke")
            sim.after(sim.latency(WAY_S), lambda: reply(answer, error), client)

        def piece(told: Any) -> None:
            def arrive() -> None:
                if line.open:
                    line.heard.append(told)
                    if line.on_piece is not None:
                        line.on_piece(line, told)

            sim.after(WAY_S, arrive, client)  # in order: one connection

        task = sim.start(server, self._door(server, line.incoming, piece), back, f"{server.name} serves")
        server.on_crash.append(lambda: None if task.over else back(None, ConnectionResetError()))
        if sim.happens(sim.chances.hang_up):
            sim.after(sim.latency(0.05), lambda: self._hang_up(task, reply, client), server)

    def _hang_up(
        self, task: Task, reply: Callable[[Answer | None, BaseException | None], None], client: Process
    ) -> None:
        if not task.over:
            self._sim.tell("hangs up on", task.name)
            task.cancel()
            self._sim.after(WAY_S, lambda: reply(None, NoAnswer("the connection broke")), client)


def _as_incoming(request: object) -> Incoming:
    assert isinstance(request, Incoming), request
    return request
