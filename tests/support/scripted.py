"""A node that plays answers back, for tests of what is believed of an answer; no chain behind it."""

from __future__ import annotations

from coinslot.drive import Rpc, Send


class ScriptedNode:
    """Answers each method with what was put in, a tuple one by one and the last for ever; only sleeping moves time."""

    def __init__(self, **answers: object) -> None:
        self.answers = {name: list(each) if isinstance(each, tuple) else [each] for name, each in answers.items()}
        self.asked: list[tuple[str, list[object]]] = []
        self.time = 1000.0

    def rpc(self, effect: Rpc) -> object:
        """The next answer of that method."""
        self.asked.append((effect.method, list(effect.params)))
        answers = self.answers[effect.method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, effect: Send) -> object:
        """No HTTP here."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.time += seconds

    def now(self) -> float:
        """The time that was slept."""
        return self.time

    def random(self, size: int) -> bytes:
        """Not random."""
        return bytes(size)

    @property
    def methods(self) -> list[str]:
        """The methods asked for, in order."""
        return [method for method, _ in self.asked]
