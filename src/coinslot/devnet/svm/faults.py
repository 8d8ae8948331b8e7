"""What may go wrong with a node, on purpose: each fault is asked for, and used up by the calls it spoils."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

SEND = "sendTransaction"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a call: told as an error, answered with an HTTP status, hung up on, or answered late.

    `error` is a JSON-RPC error object; `is_lost`: carried out, and the connection is cut instead of an answer.
    """

    error: dict[str, object] | None = None
    status: int | None = None
    is_lost: bool = False
    delay_s: float = 0.0


@dataclass
class Faults:
    """Faults by method, oldest first; `ANY` stands for every method that no other fault is for."""

    _waiting: dict[str, list[Fault]] = field(default_factory=dict)
    _fates: deque[int | None] = field(default_factory=deque)  # slots until a transaction lands; None: never
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lose_answer(self, method: str = SEND, count: int = 1) -> None:
        """Carry out the next calls, and hang up instead of answering."""
        self._add(method, Fault(is_lost=True), count)

    def never_land(self, count: int = 1) -> None:
        """Answer the signatures of the next transactions, and forget about them."""
        self._plan(None, count)

    def land_late(self, slots: int, count: int = 1) -> None:
        """Answer the signatures of the next transactions, which land so many slots later, if they still can."""
        self._plan(slots, count)

    def refuse(
        self,
        method: str = ANY,
        *,
        code: int = -32603,
        message: str = "Internal error",
        data: object = None,
        count: int = 1,
    ) -> None:
        """Answer the next calls with an error; they are not carried out."""
        error: dict[str, object] = {"code": code, "message": message}
        self._add(method, Fault(error=error if data is None else error | {"data": data}), count)

    def http(self, method: str = ANY, *, status: int = 500, count: int = 1) -> None:
        """Answer the next calls with an HTTP status such as 429 or 500; they are not carried out."""
        self._add(method, Fault(status=status), count)

    def slow(self, method: str = ANY, *, seconds: float, count: int = 1) -> None:
        """Carry out the next calls at once, and answer late."""
        self._add(method, Fault(delay_s=seconds), count)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._waiting.clear()
            self._fates.clear()

    def _add(self, method: str, fault: Fault, count: int) -> None:
        with self._lock:
            self._waiting.setdefault(method, []).extend([fault] * count)

    def next(self, method: str) -> Fault | None:
        """The fault for a call of this method, used up by it."""
        with self._lock:
            for name in (method, ANY):
                if self._waiting.get(name):
                    return self._waiting[name].pop(0)
            return None

    def next_delay(self) -> int | None:
        """Slots until the transaction at hand lands: 0 unless planned otherwise; None: never. Uses up a plan."""
        with self._lock:
            return self._fates.popleft() if self._fates else 0

    def _plan(self, slots: int | None, count: int) -> None:
        with self._lock:
            self._fates.extend([slots] * count)
