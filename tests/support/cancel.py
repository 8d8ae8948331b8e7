"""Cancel a flow at its n-th effect, as a server does whose client hung up.

The effect is asked for and never answered ("lost"), or carried out and its answer lost ("late").
"""

from __future__ import annotations

from typing import TypeVar

from coinslot.drive import Cancelled, Effect, Flow

T = TypeVar("T")


class Counted:
    """How many effects a flow asked for, and whether it was cancelled."""

    effects = 0
    cancelled = False


def cancelled_at(flow: Flow[T], n: int, *, late: bool, seen: Counted) -> Flow[T]:
    """The flow, cancelled at its n-th effect; later ones are refused: a cancelled flow asks for nothing more."""
    answer: object = None
    failure: BaseException | None = None
    try:
        while True:
            effect: Effect = flow.throw(failure) if failure is not None else flow.send(answer)
            assert not seen.cancelled, f"asked for {effect} after it was cancelled"
            answer, failure = None, None
            seen.effects += 1
            if seen.effects == n:
                if late:
                    yield effect
                seen.cancelled = True
                failure = Cancelled()
                continue
            try:
                answer = yield effect
            except Exception as error:
                failure = error
    except StopIteration as end:
        result: T = end.value
        return result
