"""Cancel a flow at its n-th effect, as a server does whose client hung up; or a task at its n-th wait.

The effect is asked for and never answered ("lost"), or carried out and its answer lost ("late").
"""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

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


@types.coroutine
def task_cancelled_at(step: int, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run to the end, but at the n-th time that it waits for anything, cancel it there instead."""
    failure: BaseException | None = None
    for count in itertools.count(1):
        failure = asyncio.CancelledError() if count == step else failure
        try:
            waiting_for = work.send(None) if failure is None else work.throw(failure)
        except StopIteration as end:
            return end.value
        failure = None
        try:
            yield waiting_for
        except asyncio.CancelledError as error:  # of a library's own making, meant for what runs inside
            failure = error
    raise AssertionError
